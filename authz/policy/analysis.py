"""What can be said of a policy before any request: what it reads, whether it depends on the time, which rules are idle.

`CompiledEngine.reads` is the projection for a cache of decisions: two requests that agree in these attributes, in type
and in being absent too, are decided alike as long as `timed` is False (I3).
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from authz.model import Effect, RuleRef
from authz.policy.compile import CompiledEngine
from authz.policy.keys import conjuncts
from authz.policy.patterns import covers
from authz.policy.rule import CompiledRule
from authz.policy.tree import Attribute, Call, Literal, Node, Slot, Test, is_role, rewrite, walk

_TIMED = frozenset(("time", "hour", "weekday"))
_ENVIRONMENT = "env"
_MAX_COMPARISONS = 2_000_000


class Idle(Enum):
    """Why a rule changes no decision."""

    NEVER_MATCHES = "its conditions contradict each other"
    INDETERMINATE = "it says neither allow nor deny"
    DUPLICATE = "another rule says the same"
    SHADOWED = "another rule, wider than this one, decides whatever this one matches"


class Finding(msgspec.Struct, frozen=True):
    """A rule that changes no decision, and the rule that makes it so, where one does."""

    rule: RuleRef
    why: Idle
    because: RuleRef | None = None


class Findings(msgspec.Struct, frozen=True):
    """The idle rules of a policy, in order of file and line."""

    found: tuple[Finding, ...]
    complete: bool
    """Whether all rules could be compared; a very large policy may have more idle rules than are listed."""


def timed(engine: CompiledEngine, mapping: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Whether a decision may change with the time alone.

    `mapping` says for request tokens what they stand for, where that is not what they are called: `ctx` -> `env`.
    """
    if any(_reads_time(attribute, mapping) for attribute in _attributes(engine)):
        return True
    for tree in {rule.variant.tree for rule in engine.rules}:
        for node in walk(tree):
            if isinstance(node, Test) and engine.source.functions[node.function].timed:
                return True
            if isinstance(node, Call) and is_role(node.function) and engine.roles[node.function].timed:
                return True
    return False


def idle(engine: CompiledEngine) -> Findings:
    """The rules that change no decision, unless by an error."""
    search = _Search(engine)
    found = [finding for rule in engine.rules if (finding := search.finding(rule)) is not None]
    found.sort(key=lambda finding: (finding.rule.file, finding.rule.line))
    return Findings(tuple(found), search.comparisons <= _MAX_COMPARISONS)


def _attributes(engine: CompiledEngine) -> set[Attribute]:
    trees = {rule.variant.tree for rule in engine.rules}
    return {node for tree in trees for node in walk(tree) if isinstance(node, Attribute)}


def _reads_time(attribute: Attribute, mapping: Mapping[str, str]) -> bool:
    root, *rest = (*mapping.get(attribute.token, attribute.token).split("."), *attribute.path)
    return root == _ENVIRONMENT and (not rest or rest[0] in _TIMED)


class _Search:
    """Looks for a rule that makes another idle; each rule is compared only with those that share a condition."""

    def __init__(self, engine: CompiledEngine) -> None:
        self._engine = engine
        self._conditions = {rule.ordinal: _conditions(rule) for rule in engine.rules}
        self._filed: dict[Node | None, list[CompiledRule]] = {}
        for rule in engine.rules:
            plain = [part for part in self._conditions[rule.ordinal] if not _widens(part)]
            self._filed.setdefault(plain[0] if plain else None, []).append(rule)
        self.comparisons = 0

    def finding(self, rule: CompiledRule) -> Finding | None:
        conditions = self._conditions[rule.ordinal]
        if Literal(False) in conditions:
            return Finding(rule.row.reference, Idle.NEVER_MATCHES)
        if rule.says is None:
            return Finding(rule.row.reference, Idle.INDETERMINATE)
        for other in self._comparable(conditions):
            self.comparisons += 1
            if self.comparisons > _MAX_COMPARISONS:
                return None
            if other is not rule and self._settles(other, rule) and self._covers(other, rule):
                same = self._conditions[other.ordinal] == conditions
                if same and other.says is rule.says and other.ordinal > rule.ordinal:
                    continue  # of two that are alike, the later one is idle
                why = Idle.DUPLICATE if same and other.says is rule.says else Idle.SHADOWED
                return Finding(rule.row.reference, why, other.row.reference)
        return None

    def _comparable(self, conditions: Iterable[Node]) -> Iterator[CompiledRule]:
        for part in (*conditions, None):
            yield from self._filed.get(part, ())

    def _settles(self, other: CompiledRule, rule: CompiledRule) -> bool:
        """Whether `other`, where both match, leaves nothing for `rule` to decide."""
        if other.says is None:
            return False
        if self._engine.combining.ordered:
            return other.ordinal < rule.ordinal
        if other.says is Effect.DENY:
            return True
        return rule.says is Effect.ALLOW and set(rule.obligations) <= set(other.obligations)

    def _covers(self, other: CompiledRule, rule: CompiledRule) -> bool:
        """Whether `other` matches whatever `rule` matches."""
        conditions = self._conditions[rule.ordinal]
        return all(
            wide in conditions or any(self._implies(narrow, wide) for narrow in conditions)
            for wide in self._conditions[other.ordinal]
        )

    def _implies(self, narrow: Node, wide: Node) -> bool:
        match narrow, wide:
            case Test(function, subject=subject, constants=(Literal(str() as inner),)), Test(
                other, subject=same, constants=(Literal(str() as outer),)
            ):
                return function == other and subject == same and covers(function, outer, inner)
            case Call(function, (subject, Literal(inner))), Call(other, (same, Literal(outer))):
                if function != other or subject != same or not is_role(function):
                    return False
                definition = self._engine.roles[function]
                return not definition.conditional and not definition.matching and outer in definition.reach(inner)
        return False


def _widens(part: Node) -> bool:
    """Whether a wider condition of the same kind could cover it, so that it does not tell rules apart."""
    return isinstance(part, Test | Call)


def _conditions(rule: CompiledRule) -> tuple[Node, ...]:
    """The conjuncts of a rule with its constants in place."""

    def ground(node: Node) -> Node | None:
        if isinstance(node, Slot):
            value = rule.constants[node.at]
            return Literal(value) if isinstance(value, str | int | float) or value is None else None
        if isinstance(node, Test):
            subject = None if node.subject is None else rewrite(node.subject, ground)
            constants = tuple(rewrite(constant, ground) for constant in node.constants)
            return Test(node.function, Literal(None), subject, node.boolean, constants)
        return None

    return tuple(rewrite(part, ground) for part in conjuncts(rule.variant.tree))
