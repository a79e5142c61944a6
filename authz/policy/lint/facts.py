"""What a rule's conditions say of single attributes, so that conditions that exclude each other show.

Whatever is not understood is left out: `impossible` is then False more often than need be, never the other way round.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from authz.policy.functions import Function
from authz.policy.keys import conjuncts
from authz.policy.rule import CompiledRule
from authz.policy.tree import Attribute, Compare, Items, Literal, Node, Not, Slot, Test
from authz.policy.trie import Outline

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(slots=True)
class Fact:
    """What is said of one attribute; all of it holds at once."""

    allowed: list[tuple[object, ...]] = field(default_factory=list)
    """For each condition that lists values, those values."""
    checks: list[Callable[[object], object]] = field(default_factory=list)
    """Each answers whether a value is one of those that are meant."""
    outlines: list[Outline] = field(default_factory=list)
    truths: set[bool] = field(default_factory=set)
    """Whether it is itself a condition, or the opposite of one."""
    lower: list[tuple[float, bool]] = field(default_factory=list)
    """Bounds from below, each with whether it is excluded."""
    upper: list[tuple[float, bool]] = field(default_factory=list)

    def joined(self, other: "Fact") -> "Fact":
        """Both together."""
        return Fact(
            self.allowed + other.allowed,
            self.checks + other.checks,
            self.outlines + other.outlines,
            self.truths | other.truths,
            self.lower + other.lower,
            self.upper + other.upper,
        )

    @property
    def impossible(self) -> bool:
        """Whether no value is as all of this says."""
        if len(self.truths) > 1:
            return True
        if self.allowed:
            return not any(self._fits(value) for value in self.allowed[0])
        if self.lower and self.upper:
            (low, above), (high, below) = max(self.lower), min(self.upper, key=lambda bound: (bound[0], not bound[1]))
            if low > high or (low == high and (above or below)):
                return True
        return any(_apart(one, other) for at, one in enumerate(self.outlines) for other in self.outlines[:at])

    def _fits(self, value: object) -> bool:
        if not all(value in values for values in self.allowed[1:]):
            return False
        if self.truths and bool(value) not in self.truths:
            return False
        try:
            in_bounds = all(value > low or (value == low and not out) for low, out in self.lower) and all(  # type: ignore[operator]  # TypeError is caught
                value < high or (value == high and not out)  # type: ignore[operator]  # likewise
                for high, out in self.upper
            )
            return in_bounds and all(check(value) for check in self.checks)
        except Exception:  # noqa: BLE001  # it errs; that is not the same as not matching
            return True


Facts = Mapping[Attribute, Fact]
_NOTHING = Fact()


def facts_of(rule: CompiledRule, functions: Mapping[str, Function]) -> Facts:
    """What a rule asks of each attribute."""
    found: dict[Attribute, Fact] = {}
    for part in conjuncts(rule.variant.tree):
        told = _fact(part, rule, functions)
        if told is not None:
            attribute, fact = told
            found[attribute] = found.get(attribute, _NOTHING).joined(fact)
    return found


def impossible(*several: Facts) -> bool:
    """Whether no request can be as all of these say."""
    first, *others = sorted(several, key=len)
    if not others:
        return any(fact.impossible for fact in first.values())
    for attribute, fact in first.items():
        joined = fact
        for other in others:
            joined = joined.joined(other.get(attribute, _NOTHING))
        if joined.impossible:
            return True
    return False


def _fact(part: Node, rule: CompiledRule, functions: Mapping[str, Function]) -> tuple[Attribute, Fact] | None:
    match part:
        case Attribute():
            return part, Fact(truths={True})
        case Not(Attribute() as attribute):
            return attribute, Fact(truths={False})
        case Compare(operator, Attribute() as attribute, other):
            return _compared(attribute, operator, other, rule)
        case Compare(operator, other, Attribute() as attribute) if operator not in ("in", "not in"):
            return _compared(attribute, _MIRRORED.get(operator, operator), other, rule)
        case Test(function, Slot() as bound, subject=Attribute() as attribute, constants=constants):
            outline = functions[function].outline
            pattern = _constant(constants[0], rule) if constants else None
            outlines = [outline(str(pattern))] if outline is not None and isinstance(pattern, str) else []
            check: Callable[[object], object] = rule.constants[bound.at]  # type: ignore[assignment]  # a bound function
            return attribute, Fact(checks=[check], outlines=outlines)
    return None


def _compared(attribute: Attribute, operator: str, other: Node, rule: CompiledRule) -> tuple[Attribute, Fact] | None:
    value = _constant(other, rule)
    match operator, value:
        case "==", str() | int() | float():
            return attribute, Fact(allowed=[(value,)])
        case "!=", str() | int() | float():
            return attribute, Fact(checks=[lambda found: found != value])
        case "in", tuple() | list():
            return attribute, Fact(allowed=[tuple(value)])
        case "not in", tuple() | list():
            return attribute, Fact(checks=[lambda found: found not in value])
        case "<" | "<=", int() | float():
            return attribute, Fact(upper=[(value, operator == "<")])
        case ">" | ">=", int() | float():
            return attribute, Fact(lower=[(value, operator == ">")])
    return None


def _constant(node: Node, rule: CompiledRule) -> object:
    """The value of a constant of the rule; None for what is none."""
    match node:
        case Literal(value):
            return value
        case Slot(at):
            return rule.constants[at]
        case Items(items):
            values = tuple(_constant(item, rule) for item in items)
            return None if None in values else values
        case _:
            return None


def _apart(one: Outline, other: Outline) -> bool:
    """Whether no text has both outlines."""
    for (left, left_whole), (right, right_whole) in zip(one.segments, other.segments, strict=False):
        if left_whole and right_whole:
            differ = left != right
        elif left_whole or right_whole:
            whole, start = (left, right) if left_whole else (right, left)
            differ = not whole.startswith(start)
        else:
            differ = not (left.startswith(right) or right.startswith(left))
        if differ:
            return True
    return _too_short(one, other) or _too_short(other, one)


def _too_short(one: Outline, other: Outline) -> bool:
    return not one.open and len(one.segments) < len(other.segments)
