"""What a task may spend from its beginning to its end, as its grants say it."""

import re
from typing import Final

import msgspec

from authz.amount import parse_amount, show_amount

MAX_CALLS: Final = 1_000_000_000
MAX_RESOURCES: Final = 10_000
"""Distinct resources that one task may be limited to: each is remembered while the task is open."""
MAX_SUMS: Final = 8
ARGUMENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,7}")
"""How an argument is named: the path below `r.act.args`."""


class TaskLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The limits of one task, over all of its grants together.

    Raises:
        ValueError: a limit that means nothing.
    """

    calls: int = 0
    """How many calls may be allowed; 0: without limit."""
    resources: int = 0
    """How many distinct resources; 0: without limit."""
    sums: dict[str, str] = {}
    """What an argument may add up to: its path below `r.act.args` -> an amount as text, such as {"amount": "100.00"}.
    A call without that argument adds nothing; one where it cannot be counted is refused."""

    def __post_init__(self) -> None:
        if not 0 <= self.calls <= MAX_CALLS:
            raise ValueError(f"limits: 'calls' is 0 (without limit) to {MAX_CALLS}")
        if not 0 <= self.resources <= MAX_RESOURCES:
            raise ValueError(f"limits: 'resources' is 0 (without limit) to {MAX_RESOURCES}")
        if len(self.sums) > MAX_SUMS:
            raise ValueError(f"limits: at most {MAX_SUMS} sums")
        for argument, amount in self.sums.items():
            if ARGUMENT.fullmatch(argument) is None:
                raise ValueError(f"limits: {argument!r} names no argument of an action")
            parse_amount(amount)

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self.calls or self.resources or self.sums)

    @property
    def units(self) -> dict[str, int]:
        """The sums in millionths."""
        return {argument: parse_amount(amount) for argument, amount in self.sums.items()}

    def within(self, outer: "TaskLimits") -> bool:
        """Whether each limit of `outer` is here too, and none is higher (I7)."""
        mine = self.units
        return (
            (not outer.calls or 0 < self.calls <= outer.calls)
            and (not outer.resources or 0 < self.resources <= outer.resources)
            and all(argument in mine and mine[argument] <= units for argument, units in outer.units.items())
        )

    def narrowed(self, by: "TaskLimits") -> "TaskLimits":
        """The stricter of both, limit by limit."""
        sums = self.units
        for argument, units in by.units.items():
            sums[argument] = min(units, sums.get(argument, units))
        return TaskLimits(
            calls=_stricter(self.calls, by.calls),
            resources=_stricter(self.resources, by.resources),
            sums={argument: show_amount(units) for argument, units in sums.items()},
        )


NO_LIMITS: Final = TaskLimits()


def _stricter(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other
