"""One counter of one budget, for one key; and the bounded table of all of them."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

from authz.budgets.matching import MAX_NAME, Budget
from authz.budgets.window import Distinct, Tally

_LOOKED_AT = 2
"""Entries of a table that are looked at for each new one: whoever fills it pays for clearing it."""


class Counter:
    """What was spent of one budget by one of those it counts for.

    What is counted in the slot that goes on is kept apart from the slots before it: to count is two additions then.
    """

    __slots__ = (
        "blocked",
        "budget",
        "dead",
        "distinct",
        "fresh_until",
        "here",
        "key",
        "limit",
        "noted",
        "slot",
        "slot_end",
        "tally",
        "told",
        "total",
        "unsent",
    )

    def __init__(self, budget: Budget, key: str, time: float) -> None:
        self.budget = budget
        self.limit = budget.limit
        self.key = key
        """What the shared store calls it."""
        self.slot = budget.span.slot(time)
        """The slot that goes on."""
        self.slot_end = 0.0
        self.here = 0
        """What was spent in it."""
        self.told = 0
        """What the shared store holds of it, as far as is known."""
        self.total = 0
        """What was spent in the whole window."""
        self.tally: Tally | None = None
        """The slots before; None: nothing was spent in them."""
        self.distinct = Distinct() if budget.counts == "resources" else None
        self.unsent: dict[tuple[int, str], int] | None = None
        """What the shared store has not been told of slots before, and of members: slot and member -> amount."""
        self.noted = False
        """Whether it waits to be told."""
        self.blocked = (0.0, 0)
        """Of an exact budget: until when, and from which amount on, the store is known to refuse."""
        self.fresh_until = time + budget.span.seconds
        """Until then it is not idle, though nothing was counted yet: whoever had it made is about to."""
        self.dead = False
        """It was dropped from its table: what is counted here would be lost."""

    def turn(self, time: float) -> None:
        """Go on to the slot that `time` is in, and forget what is older than the window."""
        span = self.budget.span
        slot = span.slot(time)
        if slot != self.slot:
            self._keep(slot)
        self.slot_end = (slot + 1) * span.slot_seconds
        if self.distinct is None:
            self.total = (self.tally.roll(span.oldest(slot)) if self.tally is not None else 0) + self.here

    def _keep(self, slot: int) -> None:
        """Put what was spent in the slot that went on to those before."""
        if self.here != self.told:
            self.note_unsent(self.slot, "", self.here - self.told)
        if self.here:
            self._past().add(self.slot, self.here)
        self.slot = slot
        self.here = self.told = 0
        if self.tally is not None and (ahead := self.tally.amount(slot)):
            # Another process, whose clock is ahead, has spent in it already.
            self.here = self.told = ahead
            self.tally.add(slot, -ahead)

    def _past(self) -> Tally:
        if self.tally is None:
            self.tally = Tally()
        return self.tally

    @property
    def used(self) -> int:
        """How much of the limit is used, as of the last turn."""
        return self.total if self.distinct is None else len(self.distinct.members)

    def room(self, time: float, amount: int, member: str) -> bool:
        """Whether so much more fits."""
        if time >= self.slot_end:
            self.turn(time)
        if self.distinct is None:
            return self.total + amount <= self.limit
        oldest = self.budget.span.oldest(self.slot)
        members = self.distinct.members
        if len(members) < self.limit or members.get(member, oldest - 1) >= oldest:
            return True
        return self.distinct.roll(oldest) < self.limit

    def add(self, slot: int, amount: int, member: str = "") -> None:
        """Count it."""
        if self.distinct is None:
            self.total += amount
            if slot == self.slot:
                self.here += amount
            else:
                self._past().add(slot, amount)
                self.note_unsent(slot, "", amount)
        elif self.distinct.add(slot, member):
            self.note_unsent(slot, member, amount)

    def take_back(self, slot: int, amount: int, member: str = "") -> None:
        """Undo `add`. A resource that others were told of, or use too, stays until its slot has gone."""
        if self.distinct is None:
            if slot >= self.budget.span.oldest(self.slot):  # else it is forgotten already
                self.add(slot, -amount)
        elif self.distinct.take_back(slot, member) and self.unsent:
            self.unsent.pop((slot, member), None)

    def note_unsent(self, slot: int, member: str, amount: int) -> None:
        """Have the shared store told of what is not in the slot that goes on."""
        if not self.budget.shared:
            return
        if self.unsent is None:
            self.unsent = {}
        place = (slot, member)
        self.unsent[place] = self.unsent.get(place, 0) + amount

    def learn(self, slot: int, member: str, amount: int) -> None:
        """Take over what the shared store holds of one slot, or that it knows a member."""
        if self.distinct is not None:
            if amount > 0 and member:
                self.distinct.add(slot, member)
                self.distinct.others[member] = self.distinct.others.get(member, 0) + 1  # never to be taken back
        elif slot == self.slot:
            # What is above what it held when we last told it, it does not know yet.
            self.total += amount - self.told
            self.here += amount - self.told
            self.told = amount
        else:
            past = self._past()
            change = amount + (self.unsent or {}).get((slot, ""), 0) - past.amount(slot)
            past.add(slot, change)
            self.total += change

    def take_unsent(self) -> dict[tuple[int, str], int]:
        """Answer what the shared store has not been told, as if it were told now."""
        unsent, self.unsent = self.unsent or {}, None
        if self.distinct is None and self.here != self.told:
            unsent[self.slot, ""] = self.here - self.told
            self.told = self.here
        self.noted = False
        return unsent

    def untold(self, slot: int, member: str, amount: int) -> None:
        """Take back that something was told."""
        if self.distinct is None and slot == self.slot:
            self.told -= amount
        else:
            self.note_unsent(slot, member, amount)

    def retry_after(self, time: float, amount: int) -> int:
        """In how many seconds there is room again, as far as is known now."""
        if self.distinct is None:
            gone = self._past().until_room(self.total + amount, self.limit, self.slot)
        else:
            gone = self.distinct.oldest()
        return seconds_until(self.budget.span.end(gone), time)

    def idle(self, time: float) -> bool:
        """Whether nothing in it counts any more."""
        if self.unsent or self.noted or time < self.fresh_until or self.blocked[0] > time:
            return False
        self.turn(time)
        if self.distinct is None:
            return self.total == 0
        return self.distinct.roll(self.budget.span.oldest(self.slot)) == 0


class Idles(Protocol):
    """What a table holds."""

    dead: bool

    def idle(self, time: float) -> bool:
        """Whether it may be forgotten without any answer becoming another."""


T = TypeVar("T", bound=Idles)


class Table(Generic[T]):
    """Keeps so many entries and no more; what counts is never forgotten to make room (I12)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, T] = {}
        self.refused = 0
        """How many times there was no room."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._entries.values()))

    def get(self, key: str) -> T | None:
        """What is kept under `key`."""
        return self._entries.get(key)

    def put(self, key: str, entry: T, time: float) -> bool:
        """Keep a new entry, having looked for old ones that may go; answer whether there was room."""
        entries = self._entries
        for _ in range(min(_LOOKED_AT, len(entries))):
            self._look_at_first(time)
        if len(entries) >= self._limit:
            self.refused += 1
            return False
        entries[key] = entry
        return True

    def sweep(self, time: float, limit: int) -> None:
        """Look at so many entries, the longest not looked at first, and forget those that are idle."""
        for _ in range(min(limit, len(self._entries))):
            self._look_at_first(time)

    def _look_at_first(self, time: float) -> None:
        key = next(iter(self._entries))
        entry = self._entries.pop(key)
        if entry.idle(time):
            entry.dead = True
        else:
            self._entries[key] = entry


def seconds_until(moment: float, now: float) -> int:
    """Whole seconds after which a moment is over for sure, at least one."""
    return max(1, int(moment - now) + 1)


def short(text: str) -> str:
    """A text of bounded length that stands for this one and no other."""
    if len(text) <= MAX_NAME and text.isprintable():
        return text
    # 128 bits of a cryptographic hash: nobody finds two texts with one digest. What does not print
    # not every database keeps.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{''.join(filter(str.isprintable, text[: MAX_NAME // 2]))}~{digest}"
