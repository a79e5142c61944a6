"""A condition of a scope: one attribute of the request, and the values that it may have."""

import re
from math import isnan
from typing import Final

import msgspec

from authz.model import Value

MAX_VALUES: Final = 64
"""Values that one condition may list."""
MAX_VALUE_CHARS: Final = 256

# What the request itself says, with no policy asked. Caller and time are conditions for policies.
_ATTRIBUTE = re.compile(
    r"act\.(?:method|protocol|kind|tool)|act\.args(?:\.[A-Za-z0-9_-]{1,64}){1,8}"
    r"|obj\.(?:type|id|sensitivity|environment|cardholder_data|port|uri|prompt|model|task|context)|obj\.labels\.[A-Za-z0-9_-]{1,64}"
)


class Constraint(msgspec.Struct, frozen=True):
    """The values that are admitted; typed: a number is never equal to a text or a truth value."""

    among: frozenset[tuple[str, str | int | float]] | None
    """Type and value; None: any."""
    least: int | float | None
    most: int | float | None

    def admits(self, value: Value) -> bool:
        """Whether the attribute may have this value; never one that is absent or no plain value."""
        if isinstance(value, bool | str):
            bounded = False
        elif isinstance(value, int | float):
            # Comparisons of NaN are false, so that no bound admits it.
            bounded = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        else:
            return False
        if self.among is not None and _typed(value) not in self.among:
            return False
        return bounded or (self.least is None and self.most is None)

    def within(self, outer: "Constraint") -> bool:
        """Whether all that is admitted here, `outer` admits too; False where that is not plain."""
        if self.among is not None:
            return all(outer.admits(value) for _, value in self.among if self.admits(value))
        return (
            outer.among is None
            and (outer.least is None or (self.least is not None and self.least >= outer.least))
            and (outer.most is None or (self.most is not None and self.most <= outer.most))
        )


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"among": "in"}):
    """What one attribute of the request must be: one of some values, within bounds, or both.

    An attribute that the request does not have, or that is of another type, fails the condition.

    Raises:
        ValueError: an attribute that no condition may name, no demand, or one that nothing can meet.
    """

    attribute: str
    """`act.method`, `act.protocol`, `act.kind`, `act.tool`, `act.args.<name>`, `obj.type`, `obj.id`, `obj.uri`,
    `obj.labels.<name>` and the like."""
    among: tuple[bool | int | float | str, ...] = ()
    """Written `in`: the values that it may have; none: any."""
    min: int | float | None = None
    """The least number that it may be."""
    max: int | float | None = None
    """The greatest number that it may be."""

    def __post_init__(self) -> None:
        if _ATTRIBUTE.fullmatch(self.attribute) is None:
            raise ValueError(f"{self.attribute!r} is no attribute that a condition may name")
        if len(self.among) > MAX_VALUES or any(len(v) > MAX_VALUE_CHARS for v in self.among if isinstance(v, str)):
            raise ValueError(f"'in' lists at most {MAX_VALUES} values of at most {MAX_VALUE_CHARS} characters")
        if not self.among and self.min is None and self.max is None:
            raise ValueError(f"the condition on {self.attribute!r} demands nothing")
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        values = self.among or bounds[:1]
        if (
            any(isnan(value) for value in (*values, *bounds) if isinstance(value, float))
            or bounds != sorted(bounds)
            or not any(self.constraint.admits(value) for value in values)
        ):
            raise ValueError(f"the condition on {self.attribute!r} can never hold")

    @property
    def constraint(self) -> Constraint:
        """What it demands, made ready for use."""
        among = frozenset(_typed(value) for value in self.among) if self.among else None
        return Constraint(among, self.min, self.max)


def _typed(value: bool | float | str) -> tuple[str, str | int | float]:  # noqa: FBT001 - a value, no switch
    # Python calls 1, 1.0 and True equal; of a NaN no two are.
    return ("truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"), value
