"""What a policy does with each attribute of a request: the ground on which decisions may be used again.

Two texts that the same patterns match, and that equal the same constants, are one to a policy that asks nothing else of
them. A number that is only compared with constants changes nothing until it passes one of them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from authz.policy.compile import CompiledEngine
from authz.policy.functions import Function, parse_time
from authz.policy.pace import no_pause, pausing
from authz.policy.rule import CompiledRule
from authz.policy.specialise import Variant
from authz.policy.tree import Attribute, Call, Compare, Literal, Node, Slot, Test, children, is_role

Pattern: TypeAlias = "tuple[str, str]"
"""The name of a pattern function, and the pattern."""

_PACE = 128
"""Rules that take less than a microsecond each, between two pauses."""
_EQUALITIES = frozenset(("==", "!="))
_MEMBERSHIPS = frozenset(("in", "not in"))
_ORDERINGS = frozenset(("<", "<=", ">", ">="))


@dataclass(slots=True)
class AttributeUse:
    """All that the rules do with one attribute."""

    patterns: "dict[Pattern, object]" = field(default_factory=dict)
    """The patterns that it is matched with, each with its predicate."""
    texts: set[str] = field(default_factory=set)
    """The texts that it is compared with for equality."""
    numbers: set[float] = field(default_factory=set)
    """The numbers that it is compared with."""
    matched: bool = False
    """Some rule matches it or compares it with texts."""
    measured: bool = False
    """Some rule compares it with numbers."""
    taken: bool = False
    """Some rule does anything else with it, so that its value itself may matter."""
    pause: Callable[[], None] = no_pause
    """To be called now and then by whoever looks through all of it."""

    @property
    def only_matched(self) -> bool:
        """Whether texts that fit the same patterns and equal the same constants are decided alike."""
        return self.matched and not self.measured and not self.taken

    @property
    def only_measured(self) -> bool:
        """Whether a number decides only by the constants that it lies between."""
        return self.measured and not self.matched and not self.taken


@dataclass(slots=True)
class PolicyUse:
    """All that the rules do with a request, and with the time."""

    pause: Callable[[], None] = no_pause
    """To be called now and then by whoever looks through all of it."""
    attributes: dict[Attribute, AttributeUse] = field(default_factory=dict)
    moments: set[float] = field(default_factory=set)
    """Seconds since the epoch at which an answer of timeMatch changes."""
    timeless: bool = True
    """Whether the clock, but for `moments`, is asked nowhere: neither by conditional roles nor in another way."""

    def of(self, attribute: Attribute) -> AttributeUse:
        """The uses of one attribute."""
        found = self.attributes.get(attribute)
        if found is None:
            found = self.attributes[attribute] = AttributeUse(pause=self.pause)
        return found


def policy_use(engine: CompiledEngine) -> PolicyUse:
    """Look through every rule. Cost: about a microsecond for each."""
    use = PolicyUse(engine.pause, timeless=not any(definition.timed for definition in engine.roles.values()))
    alike: defaultdict[Variant, list[CompiledRule]] = defaultdict(list)
    for rule in pausing(engine.rules, engine.pause, _PACE):
        alike[rule.variant].append(rule)
    for variant, rules in alike.items():
        for reader in _readers(variant.tree, engine.source.functions, use):
            reader.take(rules, use)
    return use


@dataclass(frozen=True, slots=True)
class _Reader:
    """One place in the expression of a variant where constants of its rules meet an attribute, or the clock."""

    attribute: Attribute | None
    constants: tuple[Node, ...]
    function: str = ""
    bound: Node | None = None
    operator: str = ""
    """How they are compared."""

    def take(self, rules: Sequence[CompiledRule], use: PolicyUse) -> None:
        """Note what is done with the constants of rules of that variant."""
        if self.attribute is None:
            for text in (each for node in self.constants for each in _values(node, rules, use.pause)):
                if (moment := parse_time(str(text))) is not None:
                    use.moments.add(moment)
            return
        found = use.of(self.attribute)
        if self.bound is not None:
            found.matched = True
            name, patterns = self.function, found.patterns
            predicates = _values(self.bound, rules, use.pause)
            for pattern, predicate in zip(_values(self.constants[0], rules), predicates, strict=True):
                patterns.setdefault((name, str(pattern)), predicate)
            return
        for node in self.constants:
            for value in _values(node, rules, use.pause):
                _compared(found, value, self.operator)


def _compared(found: AttributeUse, value: object, operator: str) -> None:
    if type(value) is str and operator in _EQUALITIES:
        found.matched = True
        found.texts.add(value)
    elif type(value) in {int, float}:
        found.measured = True
        found.numbers.add(float(value))  # type: ignore[arg-type]  # a number, by the line above
    elif operator in _ORDERINGS or (operator in _MEMBERSHIPS and isinstance(value, str)):
        # Which of two texts comes first, or whether one is a part of the other, tells any two apart.
        found.taken = True
    elif isinstance(value, str):
        found.matched = True
        found.texts.add(value)
    elif isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        found.matched = True
        found.texts.update(value)
    else:
        found.taken = True


def _readers(node: Node, functions: "dict[str, Function] | object", use: PolicyUse) -> Iterator[_Reader]:
    """The places where constants meet attributes; any other use of an attribute is noted in `use` at once."""
    match node:
        case Attribute():
            use.of(node).taken = True
        case Compare(operator, Attribute() as attribute, right) if _fits(operator, right):
            yield _Reader(attribute, (right,), operator=operator)
        case Compare(operator, left, Attribute() as attribute) if operator not in _MEMBERSHIPS and _constant(left):
            yield _Reader(attribute, (left,), operator=operator)
        case Test(function, bound, Attribute() as attribute, True, (pattern,)):
            yield _Reader(attribute, (pattern,), function, bound)
        case Test(function, subject=None, constants=constants) if functions[function].timed:  # type: ignore[index]
            yield _Reader(None, constants)
        case _:
            if isinstance(node, Test | Call) and not is_role(node.function) and functions[node.function].timed:  # type: ignore[index]
                use.timeless = False
            for child in _operands(node):
                yield from _readers(child, functions, use)


def _operands(node: Node) -> Sequence[Node]:
    return tuple(children(node)) if not isinstance(node, Test) else tuple(filter(None, (node.subject,)))


def _fits(operator: str, right: Node) -> bool:
    return _constant(right) and (operator not in _MEMBERSHIPS or not _is_text(right))


def _constant(node: Node) -> bool:
    return isinstance(node, Literal | Slot)


def _is_text(node: Node) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, str)


def _values(node: Node, rules: Sequence[CompiledRule], pause: Callable[[], None] = no_pause) -> Iterator[object]:
    """What a constant is in each of the rules."""
    paced = pausing(rules, pause, _PACE)
    if isinstance(node, Slot):
        at = node.at
        return (rule.constants[at] for rule in paced)
    return (node.value for _ in paced)  # type: ignore[union-attr]  # a Literal
