"""Sliding windows over bounded memory.

Time is cut into slots. A window is the slot that is going on and the whole ones before it, so that what it holds covers
at least the time that was asked for and at most one slot more: never more than the limit passes in any such time, and
what was spent is given back at most one slot late. Of the slots nothing older than the window is kept.
"""

from array import array
from typing import Final

_ENDLESS: Final = 0


class Span:
    """How a window is cut up; shared by all counters of one budget."""

    __slots__ = ("seconds", "slot_seconds", "slots")

    def __init__(self, seconds: float, slots: int) -> None:
        """`seconds` 0: from the beginning, without end."""
        self.seconds = seconds
        self.slots = slots
        self.slot_seconds = seconds / slots

    def slot(self, time: float) -> int:
        """The slot that `time` is in; alike in every process whose clock is right."""
        return int(time // self.slot_seconds) if self.slot_seconds else _ENDLESS

    def end(self, slot: int) -> float:
        """When what is in `slot` does not count any more."""
        return (slot + self.slots + 1) * self.slot_seconds

    def oldest(self, slot: int) -> int:
        """The oldest slot that counts while `slot` goes on."""
        return slot - self.slots if self.slot_seconds else _ENDLESS


class Tally:
    """Adds up amounts in a window: pairs of slot and amount, the oldest first."""

    __slots__ = ("_pairs", "total")

    def __init__(self) -> None:
        self._pairs = array("q")
        self.total = 0

    def __bool__(self) -> bool:
        """Whether anything is in it; as of the last `roll`."""
        return self.total != 0

    def roll(self, oldest: int) -> int:
        """Forget what is older than slot `oldest`; answer what is left."""
        pairs = self._pairs
        if pairs and pairs[0] < oldest:
            at = 0
            while at < len(pairs) and pairs[at] < oldest:
                self.total -= pairs[at + 1]
                at += 2
            del pairs[:at]
        return self.total

    def add(self, slot: int, amount: int) -> None:
        """Put an amount in a slot; a negative one takes back."""
        pairs = self._pairs
        self.total += amount
        if pairs and pairs[-2] == slot:
            pairs[-1] += amount
        elif not pairs or pairs[-2] < slot:
            pairs.extend((slot, amount))
        else:
            self._put(slot, amount)

    def _put(self, slot: int, amount: int) -> None:
        """Add to a slot that is not the last: another process, or a clock that went back."""
        pairs = self._pairs
        at = len(pairs)
        while at and pairs[at - 2] > slot:
            at -= 2
        if at and pairs[at - 2] == slot:
            pairs[at - 1] += amount
        else:
            pairs[at:at] = array("q", (slot, amount))

    def amount(self, slot: int) -> int:
        """What is in one slot."""
        pairs = self._pairs
        for at in range(len(pairs) - 2, -1, -2):
            if pairs[at] == slot:
                return pairs[at + 1]
        return 0

    def until_room(self, total: int, limit: int, newest: int) -> int:
        """Which slot must have gone for `total` to fall to `limit`; `newest` where none of these is enough."""
        pairs = self._pairs
        for at in range(0, len(pairs), 2):
            total -= pairs[at + 1]
            if total <= limit:
                return pairs[at]
        return newest


class Distinct:
    """Counts distinct members in a window, exactly: each with the last slot that it was in. Bounded by its limit."""

    __slots__ = ("members", "others")

    def __init__(self) -> None:
        self.members: dict[str, int] = {}
        self.others: dict[str, int] = {}
        """How many count on a member besides one: only the last of them can take it back."""

    def __bool__(self) -> bool:
        """Whether anything is in it; as of the last `roll`."""
        return bool(self.members)

    def roll(self, oldest: int) -> int:
        """Forget what is older than slot `oldest`; answer how many are left."""
        members = self.members
        for member in [member for member, slot in members.items() if slot < oldest]:
            del members[member]
            self.others.pop(member, None)
        return len(members)

    def add(self, slot: int, member: str) -> bool:
        """Count one; answer whether the slot is news of it."""
        before = self.members.get(member)
        if before is None:
            self.members[member] = slot
            return True
        self.others[member] = self.others.get(member, 0) + 1
        self.members[member] = max(slot, before)
        return before != slot

    def take_back(self, slot: int, member: str) -> bool:
        """Undo `add`; answer whether the member is gone. One that was used later stays: rather too strict."""
        if self.members.get(member) != slot:
            return False
        if others := self.others.get(member, 0):
            self.others[member] = others - 1
            return False
        del self.members[member]
        return True

    def oldest(self) -> int:
        """The slot whose going makes room."""
        return min(self.members.values(), default=_ENDLESS)
