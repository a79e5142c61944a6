"""Whom and what `authz policy graph` asks about: from the inventory, the catalogue, and the constants of rules."""

from collections.abc import Iterable, Iterator, Mapping

from authz.decision.access_table import TableResource, TableSubject
from authz.decision.catalogue import ResourceEntry
from authz.policy.compile import CompiledEngine
from authz.policy.lint.facts import Fact, facts_of
from authz.policy.lint.whole import Standing
from authz.policy.tree import Attribute, Call, is_role, walk
from authz.resource_pattern import parse_path

_EXAMPLE = "example"
_ANY_HOST = "any-host.example"
_CONNECT = "CONNECT"
_DEFAULT_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def rule_facts(engine: CompiledEngine, standing: Standing) -> Iterator[tuple[str, Mapping[str, Fact]]]:
    """For each rule its name, and what it asks of each attribute, by dotted names."""
    for rule in engine.rules:
        facts = facts_of(rule, engine.source.functions)
        yield rule.row.reference.id, {standing.dotted(attribute): fact for attribute, fact in facts.items()}


def granted(engine: CompiledEngine, standing: Standing) -> Iterator[TableSubject]:
    """Those whom role grants name, where rules ask for roles of the caller's identity; roles themselves left out."""
    calls = {
        node for tree in {rule.variant.tree for rule in engine.rules} for node in walk(tree) if isinstance(node, Call)
    }
    asked = {
        call.function
        for call in calls
        if is_role(call.function)
        and isinstance(call.arguments[0], Attribute)
        and standing.dotted(call.arguments[0]) == "sub.id"
    }
    for name in sorted(asked):
        rows = engine.source.of_type(name)
        roles = {row.cells[1] for row in rows}
        for row in rows:
            if row.cells[0] not in roles:
                yield TableSubject(row.cells[0], f"grant {row.reference.id}")


def distinct(found: Iterable[TableSubject]) -> Iterator[TableSubject]:
    """Each subject once, as it was found first."""
    seen: set[str] = set()
    for subject in found:
        if subject.id not in seen:
            seen.add(subject.id)
            yield subject


def subjects(workloads: Iterable[str], facts: Iterable[tuple[str, Mapping[str, Fact]]]) -> Iterator[TableSubject]:
    """Those of the inventory, and those that rules name."""
    for name in workloads:
        if name.endswith("/*"):
            yield TableSubject(f"{name[:-1]}{_EXAMPLE}", f"inventory, for {name}", sampled=True)
        else:
            yield TableSubject(name, "inventory")
    for rule, found in facts:
        for value in _constants(found.get("sub.id")):
            yield TableSubject(value, f"rule {rule}")


def resources(
    entries: Iterable[tuple[str, ResourceEntry]],
    facts: Iterable[tuple[str, Mapping[str, Fact]]],
    methods: tuple[str, ...],
) -> Iterator[TableResource]:
    """The entries of the catalogue, and the paths that rules name; each once."""
    known = list(facts)
    asked = methods or tuple(dict.fromkeys((*_DEFAULT_METHODS, *_named_methods(known))))
    seen: set[str] = set()
    for where, entry in entries:
        path = _example_of(entry.path)
        host = entry.host.replace("*", _EXAMPLE) if entry.host != "*" else _ANY_HOST
        described = ", ".join(word for word in (entry.type, entry.sensitivity, _card(entry)) if word)
        seen.add(entry.path)
        listed = tuple(_CONNECT if method == "connect" else method for method in entry.methods)
        name = entry.path if entry.host == "*" else f"{entry.host} {entry.path}"
        yield TableResource(name, host, path, _fitting(path, listed or asked), where, described)
    for rule, found in known:
        for name, path in _paths(found.get("obj.path")):
            if name not in seen:
                seen.add(name)
                yield TableResource(name, _ANY_HOST, path, _fitting(path, asked), f"rule {rule}")


def _fitting(path: str, methods: tuple[str, ...]) -> tuple[str, ...]:
    """CONNECT for a connection, and only there."""
    if path.startswith("tcp:"):
        return (_CONNECT,)
    return tuple(method for method in methods if method != _CONNECT)


def _card(entry: ResourceEntry) -> str:
    return "cardholder data" if entry.cardholder_data else ""


def _example_of(pattern: str) -> str:
    """A path that an entry's pattern means."""
    parsed = parse_path(pattern)
    segments = [_EXAMPLE if segment is None else segment for segment in parsed.segments]
    if not pattern.startswith("/"):
        return "tcp:1" if parsed.open_ended else "".join(segments)
    return "/".join([*segments, _EXAMPLE] if parsed.open_ended else segments) or "/"


def _paths(fact: Fact | None) -> Iterator[tuple[str, str]]:
    """The paths that a rule names, each with an example."""
    if fact is None:
        return
    for value in _constants(fact):
        yield value, value
    for outline in fact.outlines:
        text = "/".join(start if whole else f"{start}{_EXAMPLE}" for start, whole in outline.segments)
        shown = "/".join(start if whole else f"{start}*" for start, whole in outline.segments)
        path = text.startswith("/") and not fact.joined(Fact(allowed=[(text,)])).impossible
        if path or (text.startswith("tcp:") and text[4:].isdigit()):
            yield shown, text


def _named_methods(facts: Iterable[tuple[str, Mapping[str, Fact]]]) -> Iterator[str]:
    for _, found in facts:
        fact = found.get("act.method")
        yield from _constants(fact)
        for outline in fact.outlines if fact else ():
            if all(whole for _, whole in outline.segments):
                yield "/".join(start for start, _ in outline.segments)


def _constants(fact: Fact | None) -> Iterator[str]:
    for values in fact.allowed if fact else ():
        yield from (value for value in values if isinstance(value, str) and value)
