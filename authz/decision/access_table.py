"""Who can do what: every subject asked for every operation on every resource, and on what else the answer depends.

A table cannot hold all requests, so each is asked once, with the rest of the request as plain as can be. Where a rule
that could change the answer reads something of that rest (a header, a claim, the time), the answer is "depends", with
the conditions that it depends on.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import msgspec

from authz.model import Effect, RuleRef
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Verdict
from authz.policy.keys import conjuncts
from authz.policy.render import render
from authz.policy.rule import CompiledRule
from authz.policy.tree import Attribute, Call, Node, Test, is_role, walk

_SETTLED = frozenset(("sub", "obj", "act"))
_OPEN = frozenset(
    ("sub.claims", "sub.credential", "sub.sources", "sub.hops", "sub.chain", "sub.depth", "sub.origin")
).union(("sub.transaction", "act.query", "obj.port"))
"""What differs from one request to the next of the same subject for the same resource, besides all of `env`."""
_MAX_NEEDS = 5


class TableSubject(msgspec.Struct, frozen=True):
    """A caller of the table."""

    id: str
    origin: str
    """Where it was found."""
    sampled: bool = False
    """Whether it is one example of many."""


class TableResource(msgspec.Struct, frozen=True):
    """A resource of the table."""

    name: str
    """The pattern that it is an example of."""
    host: str
    path: str
    methods: tuple[str, ...]
    origin: str
    description: str = ""


class Answer(Enum):
    """What a subject may do."""

    YES = "yes"
    DEPENDS = "depends"
    NO = "no"


class Cell(msgspec.Struct, frozen=True):
    """One answer."""

    subject: TableSubject
    resource: TableResource
    method: str
    answer: Answer
    rule: RuleRef | None = None
    needs: tuple[str, ...] = ()
    """For "depends", the conditions that were not settled, each with its rule."""


class _Part(msgspec.Struct, frozen=True):
    """One condition of a rule."""

    node: Node
    open: bool
    """Whether it reads something that the table does not settle."""


class AccessTable:
    """Asks an engine."""

    def __init__(self, engine: CompiledEngine, mapping: Mapping[str, str]) -> None:
        """`mapping`: what the tokens of the model stand for, where it is not what they are called."""
        self._engine = engine
        self._mapping = mapping
        self._parts: dict[Node, tuple[_Part, ...]] = {}

    def cell(  # noqa: PLR0913, PLR0917 - a place in a table, and what stands there
        self,
        subject: TableSubject,
        resource: TableResource,
        method: str,
        values: Sequence[object],
        verdict: Verdict,
        rules: Iterable[CompiledRule],
    ) -> Cell:
        """The answer for one request, `values`, that the engine decided as `verdict`; `rules` are those to look at."""
        sure: list[CompiledRule] = []
        needs: dict[str, Effect] = {}
        for rule in rules:
            if rule.says is None:
                continue
            missing = self._missing(rule, values)
            if missing == ():
                sure.append(rule)
            elif missing is not None:
                needs[f"{' && '.join(missing)} ({rule.says.value}, {rule.row.reference.id})"] = rule.says
        answer = _answer(verdict, sure, set(needs.values()), ordered=self._engine.combining.ordered)
        told = tuple(list(needs)[:_MAX_NEEDS]) if answer is Answer.DEPENDS else ()
        return Cell(subject, resource, method, answer, verdict.rule, told)

    def possible(self, rules: Iterable[CompiledRule], values: Sequence[object], roots: frozenset[str]) -> set[int]:
        """The rules, by ordinal, whose conditions on the `roots` (`sub`, or `obj` and `act`) alone do not fail."""
        return {
            rule.ordinal
            for rule in rules
            if not any(
                self._roots(part.node) <= roots and self._holds(rule, part.node, values) is False
                for part in self._of(rule)
                if not part.open
            )
        }

    def _missing(self, rule: CompiledRule, values: Sequence[object]) -> tuple[str, ...] | None:
        """The conditions that are not settled; None when another one fails."""
        missing: list[str] = []
        for part in self._of(rule):
            if part.open:
                missing.append(render(part.node, rule.constants, self._engine.sections.request))
            elif self._holds(rule, part.node, values) is False:
                return None
        return tuple(missing)

    def _holds(self, rule: CompiledRule, node: Node, values: Sequence[object]) -> bool | None:
        """Whether a condition holds; None when it errs, which counts as neither."""
        try:
            return bool(self._engine.means.code(node)(*values, rule.constants))
        except Exception:  # noqa: BLE001 - the engine says what an error comes to
            return None

    def _of(self, rule: CompiledRule) -> tuple[_Part, ...]:
        tree = rule.variant.tree
        if tree not in self._parts:
            self._parts[tree] = tuple(_Part(node, self._open(node)) for node in conjuncts(tree))
        return self._parts[tree]

    def _roots(self, node: Node) -> set[str]:
        return {self._dotted(part).partition(".")[0] for part in walk(node) if isinstance(part, Attribute)}

    def _open(self, node: Node) -> bool:
        return any(self._reads_open(part) for part in walk(node))

    def _reads_open(self, part: Node) -> bool:
        match part:
            case Attribute():
                name = self._dotted(part)
                inner = any(f"{name}.".startswith(f"{each}.") or f"{each}.".startswith(f"{name}.") for each in _OPEN)
                return name.partition(".")[0] not in _SETTLED or inner
            case Test(function):
                return self._engine.source.functions[function].timed
            case Call(function) if is_role(function):
                return self._engine.roles[function].timed
            case _:
                return False

    def _dotted(self, attribute: Attribute) -> str:
        return ".".join((self._mapping.get(attribute.token, attribute.token), *attribute.path))


def _answer(verdict: Verdict, sure: Sequence[CompiledRule], open_: set[Effect], *, ordered: bool) -> Answer:
    """What the answer is, whatever the rest of the request."""
    if ordered and open_:
        return Answer.DEPENDS
    denied = any(rule.says is Effect.DENY for rule in sure)
    allowed = any(rule.says is Effect.ALLOW for rule in sure)
    if verdict.error and not open_:
        return Answer.NO
    if denied and not ordered:
        return Answer.NO
    if verdict.effect is Effect.ALLOW:
        return Answer.YES if allowed and Effect.DENY not in open_ else Answer.DEPENDS
    if (allowed and open_) or Effect.ALLOW in open_:
        return Answer.DEPENDS
    return Answer.NO
