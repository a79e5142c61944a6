"""Which values the rules of a policy compare the attributes of a request with: where decisions can differ."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from authz.decision.bind import DEFAULT_TOKENS
from authz.policy.compile import CompiledEngine
from authz.policy.rule import CompiledRule
from authz.policy.tree import Attribute, Call, Compare, Items, Literal, Node, Slot, Test, is_role, walk

_HOLE = re.compile(r"\{[^{}/]*\}|:[A-Za-z_][A-Za-z0-9_]*|\*")
_NOT_PATTERNS = frozenset({"regexMatch"})

Values = Mapping[str, tuple[Any, ...]]
"""By attribute, as `sub.id`."""


def constants(engine: CompiledEngine, mapping: Mapping[str, str]) -> Values:
    """Answer the values that any rule compares each attribute with; `mapping` as in configuration."""
    return _collected(pair for rule in engine.rules for pair in _pairs(engine, rule, mapping))


def rule_constants(engine: CompiledEngine, rule: CompiledRule, mapping: Mapping[str, str]) -> Values:
    """Answer the same for one rule."""
    return _collected(_pairs(engine, rule, mapping))


def instance(pattern: str, filling: str) -> str:
    """Answer a text that a path pattern matches: every `*`, `{name}` and `:name` filled in."""
    return _HOLE.sub(filling, pattern)


def _collected(pairs: Iterator[tuple[str, Any]]) -> Values:
    found: dict[str, dict[tuple[str, Any], None]] = {}
    for attribute, value in pairs:
        # Of one type: True and 1 are two values.
        found.setdefault(attribute, {})[type(value).__name__, value] = None
    return {attribute: tuple(value for _, value in values) for attribute, values in found.items()}


def _pairs(engine: CompiledEngine, rule: CompiledRule, mapping: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for node in walk(rule.variant.tree):
        match node:
            case (
                Compare(left=Attribute() as attribute, right=other)
                | Compare(left=other, right=Attribute() as attribute)
            ):
                found = _values(rule, other)
            case Test(function, subject=Attribute() as attribute, constants=(pattern, *_)):
                found = (_spelt(function, value) for value in _values(rule, pattern))
            case Call(function, (Attribute() as attribute, role, *_)) if is_role(function):
                found = iter([*_values(rule, role), *_members(engine, function)])
            case Attribute() as attribute:
                found = iter(())
            case _:
                continue
        name = ".".join((mapping.get(attribute.token, DEFAULT_TOKENS.get(attribute.token, "")), *attribute.path))
        for value in found:
            if isinstance(value, str | int | float | bool):
                yield name, value
                if isinstance(value, int | float) and not isinstance(value, bool):
                    yield from ((name, value - 1), (name, value + 1))


def _values(rule: CompiledRule, node: Node) -> Iterator[Any]:
    match node:
        case Literal(value):
            yield value
        case Slot(at):
            constant = rule.constants[at]
            yield from constant if isinstance(constant, tuple | list) else (constant,)
        case Items(items):
            for item in items:
                yield from _values(rule, item)


def _spelt(function: str, pattern: object) -> object:
    if not isinstance(pattern, str) or function in _NOT_PATTERNS:
        return None
    return pattern.partition("/")[0] if function == "ipMatch" else pattern


def _members(engine: CompiledEngine, definition: str) -> Iterator[str]:
    """Answer whom the grants of a role definition name."""
    yield from (row.cells[0] for row in engine.source.rows if row.ptype == definition)
