"""A set of digests, each with the moment when it lapses: 16 bytes and a time an entry, whatever they stand for."""

import heapq
import math
from collections.abc import Iterable
from typing import TypeVar

_T = TypeVar("_T")

_SLOT_SECONDS = 16
"""Entries are swept together with those that lapse about the same time."""


class LapsingSet:
    """Digests that hold until a moment. Not for use by several threads."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}
        self._slots: dict[int, list[bytes]] = {}
        self._due: list[int] = []

    def __len__(self) -> int:
        """How many are held, lapsed ones that were not swept yet included."""
        return len(self._until)

    def first(self, questions: Iterable[tuple[bytes, _T]], now: float) -> _T | None:
        """What comes with the first digest that is held at `now`; None when none is. Cost: a look-up each."""
        until = self._until
        for digest, answer in questions:
            end = until.get(digest)
            if end is not None and end >= now:  # a credential is accepted up to that very moment, too
                return answer
        return None

    def add(self, digest: bytes, until: float) -> None:
        """Hold it until then, or longer where it is held longer already."""
        known = self._until.get(digest)
        if known is not None and known >= until:
            return
        self._until[digest] = until
        if until == math.inf:
            return
        place = math.ceil(until / _SLOT_SECONDS)  # due when all in the slot have lapsed
        slot = self._slots.get(place)
        if slot is None:
            self._slots[place] = [digest]
            heapq.heappush(self._due, place)
        else:
            slot.append(digest)

    def discard(self, digest: bytes) -> None:
        """Hold it no longer."""
        self._until.pop(digest, None)

    def sweep(self, now: float, limit: int) -> int:
        """Forget lapsed ones, having looked at no more than `limit`; answer at how many."""
        looked = 0
        while looked < limit and self._due and self._due[0] * _SLOT_SECONDS < now:
            slot = self._slots[self._due[0]]
            while slot and looked < limit:
                digest = slot.pop()
                looked += 1
                # It may be held longer by now, or again after it was discarded.
                if self._until.get(digest, math.inf) < now:
                    del self._until[digest]
            if not slot:
                del self._slots[heapq.heappop(self._due)]
        return looked
