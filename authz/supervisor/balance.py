"""Who gets the next connection, and who has had too many for too long: pure, told of counts and times."""

from collections.abc import Mapping
from typing import Final

_UNEVEN: Final = 2
"""With one connection more than another, an odd number is shared as evenly as can be."""
_MAX_PATIENCE: Final = 32


class Balance:
    """Spreads connections over workers."""

    def __init__(self, rebalance_seconds: float) -> None:
        """`rebalance_seconds`: how long it may be uneven before somebody is to move on; 0: for ever."""
        self._seconds = rebalance_seconds
        self._last = -1
        self._uneven_since: float | None = None
        self._patience = 1

    def next(self, connections: Mapping[int, int]) -> int | None:
        """Answer the worker with the fewest connections; among equals, in turns. None: there are no workers."""
        if not connections:
            return None
        in_turns = sorted(connections, key=lambda index: (index <= self._last, index))
        self._last = min(in_turns, key=connections.__getitem__)
        return self._last

    def overfull(self, connections: Mapping[int, int], now: float) -> int | None:
        """Answer the worker whose clients are to connect anew; None: nobody's.

        Each time that it did not help it waits twice as long, so that clients which cannot be spread are left alone.
        """
        fullest = max(connections, key=connections.__getitem__, default=None)
        if not self._seconds or fullest is None:
            return None
        if connections[fullest] - min(connections.values()) < _UNEVEN:
            self._uneven_since, self._patience = None, 1
            return None
        if self._uneven_since is None:
            self._uneven_since = now
        if now - self._uneven_since < self._seconds * self._patience:
            return None
        self._uneven_since, self._patience = now, min(self._patience * 2, _MAX_PATIENCE)
        return fullest
