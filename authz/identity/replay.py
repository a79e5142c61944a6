"""A bounded memory of proofs that were used: each counts once."""

import heapq
from collections import Counter
from collections.abc import Hashable
from typing import Final, Protocol

from authz.errors import Reason, Refusal


class Claims(Protocol):
    """Knows what other processes have used; `authz.stores.used_proofs.UsedProofs` does."""

    def claim(self, proof: bytes, ends: float, now: float) -> bool:
        """Answer whether no process used a proof before, which then is used; it `ends` at the time given.

        Raises:
            Refusal: OVERLOADED: it cannot be told, or not be remembered.
        """


class NobodyElse:
    """Where there is one process, nothing was used elsewhere."""

    def claim(self, proof: bytes, ends: float, now: float) -> bool:  # noqa: ARG002 - as `Claims`
        """Nobody else used it."""
        return True


NOBODY_ELSE: Final = NobodyElse()


class ReplayMemory:
    """Remembers what was used until it ends anyway. Not for use by several threads.

    It outlives snapshots, so that a reload does not let a proof in again.

    No holder may take more of it than it leaves free: whoever makes proofs without end is refused at half of it, the
    second one at a quarter, and so there is always room for who makes few.
    """

    def __init__(self, limit: int, elsewhere: Claims = NOBODY_ELSE) -> None:
        """`limit`: the most proofs that are remembered at once. `elsewhere`: the other processes of this server."""
        self._limit = limit
        self._elsewhere = elsewhere
        self._used: set[bytes] = set()
        self._ends: list[tuple[float, bytes, Hashable]] = []
        self._held: Counter[Hashable] = Counter()
        self._horizon = float("-inf")
        """Up to here everything that had ended was forgotten."""

    def __len__(self) -> int:
        return len(self._used)

    def use(self, proof: bytes, ends: float, now: float, holder: Hashable) -> None:
        """Pass when a proof, which `ends` at the time given, is used for the first time.

        Raises:
            Refusal: TOKEN_REPLAYED; OVERLOADED when no more, in all or of this holder, can be remembered: what is
                forgotten could come again.
        """
        if now > self._horizon:
            self._horizon = now
            while self._ends and self._ends[0][0] <= now:
                _, gone, whose = heapq.heappop(self._ends)
                self._used.discard(gone)
                self._held[whose] -= 1
                if not self._held[whose]:
                    del self._held[whose]
        # What ended before the horizon may have been used and forgotten, should the clock have gone back since.
        if proof in self._used or not ends > self._horizon:
            raise Refusal(Reason.TOKEN_REPLAYED, "the proof was used before")
        if self._held[holder] >= self._limit - len(self._used):
            raise Refusal(Reason.OVERLOADED, "more proofs are in use than are remembered, for this holder or in all")
        if not self._elsewhere.claim(proof, ends, now):
            raise Refusal(Reason.TOKEN_REPLAYED, "the proof was used before, with another process")
        self._used.add(proof)
        self._held[holder] += 1
        heapq.heappush(self._ends, (ends, proof, holder))
