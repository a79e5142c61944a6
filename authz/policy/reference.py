"""The specification of the policy engine, executable: what a model and its rules say about a request, put plainly.

Nothing here is fast, indexed, cached or shared between rules. The compiled engine must agree with it. For tests only.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from operator import add, eq, ge, gt, le, lt, mod, mul, ne, sub, truediv
from typing import Any

from authz.model import Effect
from authz.policy import obligations, tree
from authz.policy.effect import Combining
from authz.policy.engine import Verdict
from authz.policy.expr import parse, parse_sub_rule
from authz.policy.rows import Row
from authz.policy.source import Sections, Source

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_ARITHMETIC: Mapping[str, Callable[[Any, Any], object]] = {"+": add, "-": sub, "*": mul, "/": truediv, "%": mod}


class Reference:
    """Evaluates every rule, in order, by walking its expression."""

    def __init__(self, source: Source, sections: Sections = Sections()) -> None:  # noqa: B008  # frozen
        self.source = source
        self.combining = source.combining(sections)
        self.scope = source.scope(sections)
        self.matcher = parse(source.model.matchers[sections.matcher].value, self.scope, source.settings.limits)
        self.rules = source.ordered(sections)

    def evaluate(self, values: Sequence[object]) -> Verdict:
        """What the rules together say about one request."""
        request = dict(zip(self.scope.tokens, values, strict=True))
        allowing: list[Row] = []
        for rule in self.rules:
            try:
                if not self.matches(rule, request):
                    continue
            except Exception:  # noqa: BLE001  # a rule that errs denies, whatever the error
                return Verdict(Effect.DENY, rule.reference, error="it cannot be evaluated")
            says = self.cell(rule, "eft", "allow")
            if says == "deny":
                return Verdict(Effect.DENY, rule.reference, self.obligations([rule]))
            if says == "allow":
                allowing.append(rule)
                if self.combining in (Combining.PRIORITY, Combining.SUBJECT_PRIORITY):
                    break
        if allowing:
            return Verdict(Effect.ALLOW, allowing[0].reference, self.obligations(allowing))
        return Verdict(Effect.DENY)

    def matches(self, rule: Row, request: Mapping[str, object]) -> bool:
        """Whether the matcher holds for a rule."""
        value = self.value(self.matcher, rule, request)
        if isinstance(value, bool) or (isinstance(value, float) and not isnan(value)):
            return bool(value)
        raise TypeError("neither true nor false")

    def value(self, node: tree.Node, rule: Row, request: Mapping[str, object]) -> Any:
        """The value of an expression."""
        result: Any = request
        match node:
            case tree.Literal(constant):
                return constant
            case tree.Field(name):
                return self.cell(rule, name)
            case tree.Attribute(token, path):
                for name in (token, *path):
                    result = result[name]
            case tree.SubRule(field):
                inner = parse_sub_rule(self.cell(rule, field), self.scope, self.source.settings.limits)
                return self.value(inner, rule, request)
            case tree.And(operands) | tree.Or(operands):
                for operand in operands:
                    result = self.value(operand, rule, request)
                    if bool(result) is isinstance(node, tree.Or):
                        break
            case _:
                parts = [self.value(part, rule, request) for part in tree.children(node)]
                return self.operation(node, parts)
        return result

    def operation(self, node: tree.Node, parts: list[Any]) -> Any:
        """The value of an operation whose parts are evaluated."""
        match node:
            case tree.Items():
                return tuple(parts)
            case tree.Not():
                return not parts[0]
            case tree.Compare("in" | "not in" as sign) if not isinstance(parts[1], str):
                return (parts[0] in parts[1]) is (sign == "in")
            case tree.Compare("==" | "!=" | "<" | "<=" | ">" | ">=" as sign):
                return _COMPARE[sign](*parts)
            case tree.Arithmetic("+") if all(isinstance(part, str) for part in parts):
                return parts[0] + parts[1]
            case tree.Arithmetic(sign) if all(isinstance(part, int | float) for part in parts):
                return _ARITHMETIC[sign](*parts)
            case tree.Negative() if isinstance(parts[0], int | float):
                return -parts[0]
            case tree.Call(name) if tree.is_role(name):
                return self.holds(name, *parts)
            case tree.Call(name):
                function = self.source.functions[name]
                return function.bind(*parts[function.subjects :])(*parts[: function.subjects])
        raise TypeError("arithmetic on what is no number, or a search in a text")

    def holds(self, definition: str, name: object, role: object, domain: object = "") -> bool:
        """Whether a name holds a role: by a grant to it or to a role that it holds, patterns and conditions heeded."""
        if not (isinstance(name, str) and isinstance(role, str) and isinstance(domain, str)):
            raise TypeError("roles are texts")
        roles, domains = self.source.settings.roles.role_matching, self.source.settings.roles.domain_matching
        scoped = self.source.model.roles[definition].domains
        grants = [row.cells for row in self.source.of_type(definition)]
        names = {cell for cells in grants for cell in cells[:2]} | {role}
        held, granted = {name}, set[str]()
        while True:
            for user, given, *rest in grants:
                inside = not scoped or self.fits(domain, rest[0], domains.get(definition))
                if inside and any(self.fits(one, user, roles.get(definition)) for one in held):
                    granted |= {given} if self.condition(definition, rest[scoped:]) else set()
            granted |= {one for one in names for given in granted if self.fits(one, given, roles.get(definition))}
            if granted <= held:
                return role in held
            held |= granted

    def fits(self, text: str, pattern: str, function: str | None) -> bool:
        """Whether two names are the same, or the second is a pattern that the first matches."""
        if text == pattern or function is None:
            return text == pattern
        try:
            return bool(self.source.functions[function].bind(pattern)(text))
        except ValueError:
            return False

    def condition(self, definition: str, columns: Sequence[str]) -> bool:
        """Whether the condition of a grant, a function without other arguments than its columns, holds."""
        name = self.source.settings.roles.conditions.get(definition, "timeMatch")
        return not columns or bool(self.source.functions[name].bind(*columns)())

    def cell(self, rule: Row, name: str, default: str = "") -> str:
        """A column of a rule."""
        return rule.cells[self.scope.fields.index(name)] if name in self.scope.fields else default

    def obligations(self, rules: Sequence[Row]) -> tuple[tuple[str, str], ...]:
        """What the rules demand, each once."""
        cells, known = [self.cell(rule, obligations.COLUMN) for rule in rules], self.source.known_obligations
        return tuple(dict.fromkeys(demand for cell in cells for demand in obligations.parse(cell, known)))
