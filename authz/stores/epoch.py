"""The epoch that all worker processes of one host share: a counter whose rise makes what they remember unusable.

It lives in memory that every process maps. Whoever changes something raises it (`advance`), and from that moment on no
worker uses an entry made under an older epoch, because each reads the counter for every request. What a worker must
*do* about a change, such as read revocations again, it does when woken, and then acknowledges; `wait_applied` returns
once all have, so that a change can be told as accepted only when it is in force everywhere.

The memory is a sealed memfd: no file that an earlier boot left behind, that the disk has no room for, or that anybody
could truncate under us (which would kill every process that maps it).
"""

import asyncio
import contextlib
import ctypes
import fcntl
import mmap
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from authz.errors import AuthzError

MAX_WORKERS: Final = 256
_MAGIC: Final = int.from_bytes(b"authzep1", "little")
_WORD: Final = 8
# Words of the head, each on a cache line of its own where it matters: the epoch is read for every request.
_MAGIC_AT, _SLOTS_AT, _EPOCH_AT, _HEAD_WORDS = 0, 1, 8, 16
# Words of a slot. A slot is as long as a cache line, so that workers do not disturb each other.
_PID, _SERVING, _APPLIED, _WAITS, _BEAT, _CONNECTIONS, _CALLS, _SLOT_WORDS = 0, 1, 2, 3, 4, 5, 6, 8
_LOCK_SECONDS: Final = 1.0
_LOCK_PAUSE_SECONDS: Final = 0.0005
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class Laggard:
    """A worker that has not acknowledged an epoch."""

    index: int
    pid: int
    applied: int
    """The newest epoch that it has acknowledged."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a worker last told of itself."""

    pid: int
    serving: bool
    beat: float
    """When, by the monotonic clock of this machine."""
    connections: int
    calls: int


class Counter(ctypes.Structure):
    """The epoch as the request path reads it. Cost of `current`: one aligned read of eight bytes, about 45 ns."""

    _fields_ = (("current", ctypes.c_uint64),)
    current: int


class SharedEpoch:
    """The counter, and one slot a process; the last slot is the supervisor's own, which only waits.

    `current`, `beat` and `acknowledge` belong to the event loop's thread; `advance` may be called from any.
    """

    def __init__(self, memory: int, wakers: Sequence[int], index: int) -> None:
        """Map what `create` made, or a parent handed down; `index` is this process's slot.

        Raises:
            AuthzError: the descriptors are not those of an epoch.
        """
        self.index = index
        self._memory = memory
        self._wakers = tuple(wakers)
        if not 0 <= index < len(self._wakers):
            raise AuthzError(f"the shared epoch has no slot {index}")
        self._map = _mapped(memory, _size(len(self._wakers)))
        self._words = memoryview(self._map).cast("Q")
        if self._words[_MAGIC_AT] != _MAGIC or self._words[_SLOTS_AT] != len(self._wakers):
            self._unmap()
            raise AuthzError("the shared epoch was made by another version of this program")
        self.counter = Counter.from_buffer(self._map, _EPOCH_AT * _WORD)
        """What the request path reads."""
        self._slot = _HEAD_WORDS + index * _SLOT_WORDS
        self._mutex = threading.Lock()  # the file lock is the process's, not the thread's
        self._waiting: set[asyncio.Event] = set()

    @classmethod
    def create(cls, workers: int) -> "SharedEpoch":
        """Make an epoch for so many workers, and answer it as their supervisor sees it.

        Raises:
            AuthzError: the system has no room for it.
        """
        if not 1 <= workers <= MAX_WORKERS:
            raise AuthzError(f"an epoch is shared by 1 to {MAX_WORKERS} workers, not {workers}")
        slots = workers + 1
        wakers: list[int] = []
        memory = -1
        try:
            memory = os.memfd_create("authz-epoch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(memory, _size(slots))
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            head = b"".join(word.to_bytes(_WORD, "little") for word in (_MAGIC, slots))
            os.pwrite(memory, head, 0)
            os.pwrite(memory, (1).to_bytes(_WORD, "little"), _EPOCH_AT * _WORD)
            for _ in range(slots):
                wakers.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))  # noqa: PERF401 - all are closed below
        except OSError as error:
            for descriptor in (memory, *wakers):
                if descriptor >= 0:
                    os.close(descriptor)
            raise AuthzError(f"the shared epoch cannot be made: {error.strerror or error}") from None
        return cls(memory, wakers, workers)

    @property
    def descriptors(self) -> tuple[int, tuple[int, ...]]:
        """What a child inherits to map the same: the memory, and what wakes each process."""
        return self._memory, self._wakers

    @property
    def current(self) -> int:
        """The epoch now. The request path asks `counter.current`, which costs a third of this."""
        return self.counter.current

    def advance(self) -> int:
        """Raise the epoch, wake every process, and answer the new one.

        What was remembered under an older epoch is not used any more, anywhere, by any request that begins after this
        has returned.

        Raises:
            AuthzError: a process holds the lock and does not go on, so nothing was raised.
        """
        with self._locked():
            epoch = self._words[_EPOCH_AT] + 1
            self._words[_EPOCH_AT] = epoch  # one store: there is no state in between to crash in
        for waker in self._wakers:
            _wake(waker)
        return epoch

    # A worker's own slot

    def join(self) -> int:
        """Say that this process is on its way up, and answer the epoch from which on it must know of changes.

        Call it before reading anything that an epoch could make stale.

        Raises:
            AuthzError: a process holds the lock and does not go on.
        """
        words, slot = self._words, self._slot
        with self._locked():
            for word in (_SERVING, _WAITS, _CONNECTIONS, _CALLS):
                words[slot + word] = 0
            words[slot + _APPLIED] = words[_EPOCH_AT]
            words[slot + _PID] = os.getpid()
            self.beat(0, 0)
            return words[_EPOCH_AT]

    def serve(self) -> int:
        """Say that from now on changes wait for this process; answer the epoch now, which may be newer than at `join`.

        Under the lock, so that every `advance` either is seen here or sees this process serving.
        """
        with self._locked():
            self._words[self._slot + _SERVING] = 1
            return self._words[_EPOCH_AT]

    def acknowledge(self, epoch: int) -> None:
        """Say that what `epoch` and earlier ones changed is in force here."""
        words, applied = self._words, self._slot + _APPLIED
        words[applied] = max(words[applied], epoch)
        for index, waker in enumerate(self._wakers):
            if words[_HEAD_WORDS + index * _SLOT_WORDS + _WAITS]:
                _wake(waker)

    def beat(self, connections: int, calls: int) -> None:
        """Say that the event loop turns, how many connections are open, and how many calls were answered in all."""
        words, slot = self._words, self._slot
        changed = words[slot + _CONNECTIONS] != connections
        words[slot + _CONNECTIONS], words[slot + _CALLS] = connections, calls
        words[slot + _BEAT] = time.monotonic_ns()
        if changed:
            _wake(self._wakers[-1])  # the supervisor, which says who gets the next one

    # Everybody's slots

    def pulse(self, index: int) -> Pulse:
        """What the worker of that index last told."""
        words, slot = self._words, _HEAD_WORDS + index * _SLOT_WORDS
        return Pulse(
            pid=words[slot + _PID],
            serving=bool(words[slot + _SERVING]),
            beat=words[slot + _BEAT] / 1e9,
            connections=words[slot + _CONNECTIONS],
            calls=words[slot + _CALLS],
        )

    def laggards(self, epoch: int) -> tuple[Laggard, ...]:
        """The workers that serve, live, and have not acknowledged `epoch`."""
        words, found = self._words, []
        for index in range(len(self._wakers) - 1):
            slot = _HEAD_WORDS + index * _SLOT_WORDS
            pid, applied = words[slot + _PID], words[slot + _APPLIED]
            if pid and words[slot + _SERVING] and applied < epoch and _lives(pid):
                found.append(Laggard(index, pid, applied))
        return tuple(found)

    def forget(self, index: int) -> None:
        """Clear the slot of a worker that has died, so that nobody waits for it."""
        slot = _HEAD_WORDS + index * _SLOT_WORDS
        for word in range(_SLOT_WORDS):
            self._words[slot + word] = 0
        for waker in self._wakers:
            _wake(waker)

    async def wait_applied(self, epoch: int, timeout_seconds: float) -> tuple[Laggard, ...]:
        """Return once every live worker has acknowledged `epoch`; answer those that did not in time.

        Needs `EpochWatch` to run in this process, which is what is woken.
        """
        words, waits = self._words, self._slot + _WAITS
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        woken = asyncio.Event()
        self._waiting.add(woken)
        words[waits] += 1
        try:
            while True:
                woken.clear()
                late = self.laggards(epoch)
                left = end - loop.time()
                if not late or left <= 0:
                    return late
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await woken.wait()
        finally:
            words[waits] -= 1
            self._waiting.discard(woken)

    @property
    def waker(self) -> int:
        """The descriptor that becomes readable when this process is woken."""
        return self._wakers[self.index]

    def woken(self) -> None:
        """Take note of being woken: everybody here who waits looks again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.waker)
        for event in tuple(self._waiting):
            event.set()

    def close(self) -> None:
        """Let go of the memory and the descriptors."""
        self._unmap()
        for descriptor in (self._memory, *self._wakers):
            os.close(descriptor)

    def _unmap(self) -> None:
        self._words.release()
        with contextlib.suppress(BufferError):  # somebody still holds the counter: it goes when they do
            self._map.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._mutex:
            end = time.monotonic() + _LOCK_SECONDS
            while not self._try_lock():
                # Held for microseconds, unless its holder was stopped in between: whoever waits must not hang with it.
                if time.monotonic() > end:
                    raise AuthzError("the shared epoch is locked by a process that does not go on")
                time.sleep(_LOCK_PAUSE_SECONDS)
            try:
                yield
            finally:
                fcntl.lockf(self._memory, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel takes it from a process that dies
        except BlockingIOError:
            return False
        return True


def _size(slots: int) -> int:
    return (_HEAD_WORDS + slots * _SLOT_WORDS) * _WORD


def _mapped(memory: int, size: int) -> mmap.mmap:
    try:
        # Sealed and as long as it must be: reading beyond the end of a mapped file would kill the process.
        if os.fstat(memory).st_size != size or fcntl.fcntl(memory, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise AuthzError("the shared epoch has not the size and the seals that it is made with")
        return mmap.mmap(memory, size)
    except OSError as error:
        raise AuthzError(f"the shared epoch cannot be mapped: {error.strerror or error}") from None


def _wake(waker: int) -> None:
    with contextlib.suppress(BlockingIOError):  # woken so often, and did not look yet: it will
        os.eventfd_write(waker, 1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
