"""The proofs that were used by any worker process of one host: each counts once, whichever worker gets it.

It lives in memory that every process maps: a table of marks of a fixed size, made by the supervisor, so that a worker
that is replaced finds what the one before it has used. A place in it is chosen by a keyed hash, so that nobody can make
proofs that fall together. Where a process keeps what it needs besides, who took how much, is `identity.replay`.
"""

import fcntl
import mmap
import os
import time
from hashlib import blake2b
from typing import Final

from authz.errors import AuthzError, Reason, Refusal

_MAGIC: Final = b"authzup1"
_WORD: Final = 8
_SECRET_BYTES: Final = 32
_HEAD_BYTES: Final = 64
"""Magic, number of buckets, secret."""
SLOTS: Final = 32
"""Of a bucket. Half of them are taken when as many proofs are in use as may be; even then only one bucket in ten
thousand is full by chance, and refuses."""
_MARK: Final = 16
"""128 bits of a keyed hash: no two proofs have one mark, by chance or by intent."""
_MARKS_AT: Final = _WORD * (1 + SLOTS)
"""Of a bucket: its horizon, when each of its slots ends, and the marks."""
_BUCKET_BYTES: Final = _MARKS_AT + SLOTS * _MARK
_TURNS: Final = 1_024
"""Buckets that have to wait for one another are as rare as this."""
_TURN_SECONDS: Final = 0.1
_PAUSE_SECONDS: Final = 0.0002
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def make_used_proofs(limit: int) -> int:
    """Make the memory for so many proofs in use at once, and answer its descriptor: 48 bytes each, taken as needed.

    Raises:
        AuthzError: the system has no room for it.
    """
    buckets = max(1, -(-2 * limit // SLOTS))
    try:
        memory = os.memfd_create("authz-used-proofs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, _HEAD_BYTES + buckets * _BUCKET_BYTES)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            os.pwrite(memory, _MAGIC + buckets.to_bytes(_WORD, "little") + os.urandom(_SECRET_BYTES), 0)
        except OSError:
            os.close(memory)
            raise
    except OSError as error:
        raise AuthzError(f"no memory for proofs that were used: {error.strerror or error}") from None
    return memory


class UsedProofs:
    """The table, as one process sees it. Implements `authz.identity.replay.Claims`. Not for use by several threads."""

    def __init__(self, memory: int) -> None:
        """Map what `make_used_proofs` made.

        Raises:
            AuthzError: the descriptor is not that of such a table.
        """
        self._memory = memory
        try:
            head = os.pread(memory, _HEAD_BYTES, 0)
            self._buckets = int.from_bytes(head[_WORD : 2 * _WORD], "little")
            size = _HEAD_BYTES + self._buckets * _BUCKET_BYTES
            # Sealed and as long as it must be: reading beyond the end of a mapped file would kill the process.
            sealed = fcntl.fcntl(memory, fcntl.F_GET_SEALS) & _SEALS == _SEALS
            if not head.startswith(_MAGIC) or os.fstat(memory).st_size != size or not sealed:
                raise AuthzError("the memory for used proofs was made by another version of this program")
            self._map = mmap.mmap(memory, size)
        except OSError as error:
            raise AuthzError(f"the memory for used proofs cannot be mapped: {error.strerror or error}") from None
        self._secret = head[2 * _WORD : 2 * _WORD + _SECRET_BYTES]
        self._times = memoryview(self._map).cast("d")

    def claim(self, proof: bytes, ends: float, now: float) -> bool:
        """Answer whether no process used a proof before, which then is used; it `ends` at the time given.

        Cost: about 7 us, and as much again where nothing of it is in the processor's caches.

        Raises:
            Refusal: OVERLOADED: it cannot be remembered, or another process does not let go of its place.
        """
        hashed = blake2b(proof, key=self._secret, digest_size=_WORD + _MARK).digest()
        bucket, mark = int.from_bytes(hashed[:_WORD], "little") % self._buckets, hashed[_WORD:]
        turn = bucket % _TURNS
        self._lock(turn)
        try:
            return self._claim(_HEAD_BYTES + bucket * _BUCKET_BYTES, mark, ends, now)
        finally:
            fcntl.lockf(self._memory, fcntl.LOCK_UN, 1, turn)

    def close(self) -> None:
        """Let go of the memory and its descriptor."""
        self._times.release()
        self._map.close()
        os.close(self._memory)

    def _claim(self, start: int, mark: bytes, ends: float, now: float) -> bool:
        times, first = self._times, start // _WORD
        # What ended before the horizon may have been used and forgotten, should the clock have gone back since.
        if not ends > now or not ends > times[first] or self._holds(start + _MARKS_AT, mark):
            return False
        until = times[first + 1 : first + 1 + SLOTS].tolist()
        earliest = min(until)
        if not earliest <= now:
            raise Refusal(Reason.OVERLOADED, "more proofs are in use than this host remembers")
        # In this order: killed in between, a process leaves a proof that counts as used, and none that was forgotten.
        slot = until.index(earliest)
        times[first] = max(times[first], earliest)
        place = start + _MARKS_AT + slot * _MARK
        self._map[place : place + _MARK] = mark
        times[first + 1 + slot] = ends
        return True

    def _holds(self, start: int, mark: bytes) -> bool:
        # A mark that only seems to be there, across two others, is as improbable as two that are the same.
        return self._map.find(mark, start, start + SLOTS * _MARK) >= 0

    def _lock(self, turn: int) -> None:
        """Have the buckets of a turn for oneself. The kernel takes the lock from a process that dies."""
        end = 0.0
        while not self._try_lock(turn):
            # Held for microseconds, unless its holder was stopped in between: nobody must hang with it (I2).
            end = end or time.monotonic() + _TURN_SECONDS
            if time.monotonic() > end:
                raise Refusal(Reason.OVERLOADED, "a process of this host does not let go of a proof")
            time.sleep(_PAUSE_SECONDS)

    def _try_lock(self, turn: int) -> bool:
        try:
            fcntl.lockf(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, turn)
        except BlockingIOError:
            return False
        return True
