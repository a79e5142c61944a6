"""Checks of a policy as a whole: rules against each other, against sensitive resources, and role grants in circles."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from authz.model import Effect
from authz.policy.analysis import Idle, idle
from authz.policy.compile import CompiledEngine
from authz.policy.depth import components
from authz.policy.lint.facts import Fact, Facts, facts_of, impossible
from authz.policy.lint.finding import Finding
from authz.policy.rows import Row
from authz.policy.rule import CompiledRule
from authz.policy.tree import Attribute

_IDLE = {
    Idle.NEVER_MATCHES: ("never-matches", "remove it, or the condition that is wrong"),
    Idle.INDETERMINATE: ("indeterminate", "write allow or deny"),
    Idle.DUPLICATE: ("duplicate", "remove one of the two"),
    Idle.SHADOWED: ("shadowed", "remove it, or narrow the other one"),
}
_MAX_COMPARISONS = 500_000
_MAX_NAMED = 5


class Sensitive(msgspec.Struct, frozen=True):
    """A resource that wants care."""

    name: str
    """What the catalogue calls it, for messages."""
    facts: Mapping[str, object]
    """What policies see of it, by dotted names: `obj.type`."""
    inside: tuple[str, ...]
    """Paths that are this resource's."""
    outside: str
    """A path just beside it."""
    methods: tuple[str, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """What the tokens of the model stand for: `obj` for `obj`, or `path` for `obj.path`."""

    tokens: Mapping[str, str]

    def dotted(self, attribute: Attribute) -> str:
        """The name of an attribute: `obj.path`."""
        return ".".join((self.tokens.get(attribute.token, attribute.token), *attribute.path))


def whole(engine: CompiledEngine, sensitive: Sequence[Sensitive], standing: Standing) -> Iterator[Finding]:
    """Every finding that takes more than one rule to see."""
    facts = {rule.ordinal: facts_of(rule, engine.source.functions) for rule in engine.rules}
    empty = [rule for rule in engine.rules if impossible(facts[rule.ordinal])]
    yield from _idle(engine, {rule.row.reference.id for rule in empty})
    for rule in empty:
        message = "this rule can never match: its conditions exclude each other"
        yield _finding(rule, "never-matches", message, _IDLE[Idle.NEVER_MATCHES][1])
    dead = {rule.ordinal for rule in empty}
    living = [rule for rule in engine.rules if rule.ordinal not in dead]
    yield from _overlaps(engine, living, facts)
    allowing = [rule for rule in living if rule.says is Effect.ALLOW]
    if len(allowing) * len(sensitive) > _MAX_COMPARISONS:
        yield _not_compared(engine, "the rules were not compared with sensitive resources")
        allowing = []
    for rule in allowing:
        yield from _over_sensitive(rule, facts[rule.ordinal], sensitive, standing)
    for name, roles in engine.roles.items():
        yield from _circles(engine.source.of_type(name), domains=roles.definition.domains)


def _finding(rule: CompiledRule, code: str, message: str, advice: str) -> Finding:
    return Finding(code=code, file=rule.row.file, line=rule.row.line, message=message, advice=advice)


def _idle(engine: CompiledEngine, told: set[str]) -> Iterator[Finding]:
    found = idle(engine)
    for each in found.found:
        if each.rule.id in told:
            continue
        code, advice = _IDLE[each.why]
        because = f" ({each.because.id})" if each.because else ""
        message = f"this rule changes no decision: {each.why.value}{because}"
        yield Finding(code=code, file=each.rule.file, line=each.rule.line, message=message, advice=advice)
    if not found.complete:
        yield _not_compared(engine, "not all rules were compared for duplicates and wider ones")


def _not_compared(engine: CompiledEngine, message: str) -> Finding:
    advice = "the policy is too large for that; lint parts of it"
    return Finding(code="not-compared", file=engine.source.model.file, line=0, message=message, advice=advice)


def _overlaps(engine: CompiledEngine, rules: Sequence[CompiledRule], facts: Mapping[int, Facts]) -> Iterator[Finding]:
    """For each rule that denies, the rules that allow some of the same requests."""
    if engine.combining.ordered:
        return
    allowing = [rule for rule in rules if rule.says is Effect.ALLOW]
    compared = 0
    for rule in rules:
        if rule.says is not Effect.DENY:
            continue
        compared += len(allowing)
        if compared > _MAX_COMPARISONS:
            yield _not_compared(engine, "not all rules that deny were compared with those that allow")
            return
        both = [each for each in allowing if not impossible(facts[rule.ordinal], facts[each.ordinal])]
        if both:
            named = ", ".join(each.row.reference.id for each in both[:_MAX_NAMED])
            more = f" and {len(both) - _MAX_NAMED} more" if len(both) > _MAX_NAMED else ""
            message = f"may deny what {named}{more} would allow; where both match, this one wins"
            yield _finding(rule, "overlap", message, "")


def _over_sensitive(
    rule: CompiledRule, facts: Facts, sensitive: Sequence[Sensitive], standing: Standing
) -> Iterator[Finding]:
    """Whether a rule that allows reaches, by a wildcard, resources that want care and that it does not speak of."""
    named = {standing.dotted(attribute): fact for attribute, fact in facts.items()}
    if "obj.sensitivity" in named or "obj.cardholder_data" in named:
        return  # whoever asks for it knows
    path = named.get("obj.path", Fact())
    reached = [each for each in sensitive if _reaches(named, path, each)]
    if reached:
        what = ", ".join(each.name for each in reached[:_MAX_NAMED])
        more = f" and {len(reached) - _MAX_NAMED} more" if len(reached) > _MAX_NAMED else ""
        message = f"the wildcard of this rule takes in {what}{more}"
        advice = "narrow the path, or say r.obj.sensitivity == '...'"
        yield _finding(rule, "wildcard-over-sensitive", message, advice)


def _reaches(named: Mapping[str, Fact], path: Fact, resource: Sensitive) -> bool:
    def meant(text: str) -> bool:
        return not path.joined(Fact(allowed=[(text,)])).impossible

    if not meant(resource.outside) or not any(meant(text) for text in resource.inside):
        return False
    known = {name: Fact(allowed=[(value,)]) for name, value in resource.facts.items()}
    if resource.methods:
        known["act.method"] = Fact(allowed=[resource.methods])
    return not any(name in known and fact.joined(known[name]).impossible for name, fact in named.items())


def _circles(grants: Sequence[Row], *, domains: bool) -> Iterator[Finding]:
    """Grants that lead from a name back to itself; one finding for each circle, at its last grant."""

    def ends(row: Row) -> tuple[str, str]:
        domain = row.cells[2] if domains else ""
        return f"{domain}\0{row.cells[0]}", f"{domain}\0{row.cells[1]}"

    graph: dict[str, set[str]] = {}
    for row in grants:
        holder, role = ends(row)
        graph.setdefault(holder, set()).add(role)
    group = {name: number for number, members in enumerate(components(graph)) for name in members}
    closing: dict[int, Row] = {}
    for row in grants:
        holder, role = ends(row)
        if group[holder] == group[role]:
            closing[group[holder]] = row
    for number, row in closing.items():
        names = sorted(name.partition("\0")[2] for name, of in group.items() if of == number)
        told = f"{', '.join(names[:_MAX_NAMED])}{', ...' if len(names) > _MAX_NAMED else ''}"
        message = f"role grants go in a circle: {told} hold each other's roles"
        if len(names) == 1:
            message = f"{told} is granted to itself"
        advice = "remove this grant, or another one of the circle"
        yield Finding(code="role-cycle", file=row.file, line=row.line, message=message, advice=advice)
