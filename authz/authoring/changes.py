"""Which decisions change, grouped so that a person can judge them."""

from collections.abc import Iterator, Sequence
from enum import Enum

import msgspec

from authz.authoring.ruling import Ruling

MAX_GROUPS = 10_000
"""So many groups are told apart; further changes are counted together."""
_SHOWN_GROUPS = 50
"""So many groups of a kind are shown in words; `--json` has them all."""


class Kind(str, Enum):
    """How a decision changes, the gravest first."""

    GAIN = "now allowed"
    LOSS = "now denied"
    TERMS = "allowed on other terms"
    REASON = "denied for another reason"

    @property
    def counts(self) -> bool:
        """Whether anybody can do anything else than before."""
        return self is not Kind.REASON


class Change(msgspec.Struct, frozen=True):
    """One call that is decided otherwise."""

    kind: Kind
    who: str
    what: str
    old: str
    """What was decided, and why."""
    new: str
    example: str
    """How to find or repeat the call."""


class Group(msgspec.Struct, frozen=True):
    """Calls that are decided otherwise in the same way."""

    kind: Kind
    count: int
    who: str
    what: str
    old: str
    new: str
    example: str
    """One of them."""


def kind_of(old: Ruling, new: Ruling) -> Kind | None:
    """Answer how a decision changes, if it does."""
    if old.effect != new.effect:
        return Kind.GAIN if new.effect == "allow" else Kind.LOSS
    if old.effect == "allow":
        return Kind.TERMS if old.obligations != new.obligations else None
    return Kind.REASON if old.reason != new.reason else None


class Grouping:
    """Puts changes of one kind, caller, thing and reason together, in bounded memory."""

    def __init__(self) -> None:
        self._found: dict[Change, tuple[int, str]] = {}

    def add(self, change: Change) -> None:
        """Count a change; of those that are alike, the shortest example asks for the least that is unusual."""
        alike = msgspec.structs.replace(change, example="")
        if alike not in self._found and len(self._found) >= MAX_GROUPS:
            # Who calls, and for what, can be chosen without end by whoever made the calls.
            alike = Change(change.kind, "others", "anything", "decided otherwise", change.kind.value, "")
        count, example = self._found.get(alike, (0, change.example))
        self._found[alike] = count + 1, min(example, change.example, key=len)

    @property
    def groups(self) -> list[Group]:
        """The gravest first, then the largest."""
        groups = [
            Group(alike.kind, count, alike.who, alike.what, alike.old, alike.new, example)
            for alike, (count, example) in self._found.items()
        ]
        order = list(Kind)
        return sorted(groups, key=lambda group: (order.index(group.kind), -group.count, group.who, group.what))


def in_words(groups: Sequence[Group]) -> Iterator[str]:
    """Yield the changes as lines for people."""
    for kind in Kind:
        of_kind = [group for group in groups if group.kind is kind]
        if not of_kind:
            continue
        yield f"{kind.value}: {sum(group.count for group in of_kind)} calls"
        for group in of_kind[:_SHOWN_GROUPS]:
            yield f"  {group.count} x {group.who}: {group.what}"
            yield f"      was {group.old}"
            yield f"      now {group.new}"
            yield f"      such as {group.example}"
        if len(of_kind) > _SHOWN_GROUPS:
            yield f"  and {len(of_kind) - _SHOWN_GROUPS} more; --json has them all"
        yield ""
