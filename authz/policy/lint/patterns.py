"""Checks the patterns of a rule: those that are refused, and regular expressions that other engines would hang on."""

from collections.abc import Iterator, Mapping

import msgspec

from authz.policy.expr import Scope
from authz.policy.functions import Function
from authz.policy.lexer import ExpressionError
from authz.policy.limits import PolicyLimits
from authz.policy.lint.finding import Finding
from authz.policy.lint.regexes import nested_quantifiers
from authz.policy.lint.text import File
from authz.policy.located import Located, Span
from authz.policy.rows import Row
from authz.policy.tree import Call, Field, Literal, SubRule, is_role, walk

_REGEX = "regexMatch"


class _Use(msgspec.Struct, frozen=True):
    """One call of a function with the constants that a rule gives it."""

    name: str
    function: Function
    constants: tuple[str, ...]
    span: Span
    """Where the first of the constants stands, in the line."""


class Patterns:
    """Looks at the patterns of rules under one matcher."""

    def __init__(
        self,
        files: Mapping[str, File],
        matcher: Located,
        scope: Scope,
        functions: Mapping[str, Function],
        limits: PolicyLimits,
    ) -> None:
        self._files = files
        self._matcher = matcher
        self._scope = scope
        self._functions = functions
        self._limits = limits
        self._regex = any(isinstance(node, Call) and node.function == _REGEX for node in walk(matcher.tree))
        self._fields = list(dict.fromkeys(node.field for node in walk(matcher.tree) if isinstance(node, SubRule)))

    def refused(self, row: Row) -> Iterator[Finding]:
        """The patterns of a rule that cannot be used."""
        for use in self._uses(row):
            try:
                use.function.bind(*use.constants)
            except ValueError as error:
                yield self._finding(row, use, "unsupported-pattern", str(error), "")

    def remarkable(self, row: Row) -> Iterator[Finding]:
        """The regular expressions of a rule that an engine which backtracks would hang on."""
        if _REGEX not in self._files[row.file].lines[row.line - 1] and not self._regex:
            return
        for use in self._uses(row):
            if use.name == _REGEX and nested_quantifiers(use.constants[0]):
                message = "quantifiers within quantifiers: harmless here, where patterns run on RE2 in linear time"
                advice = "other Casbin implementations backtrack, and could be made to hang on this"
                yield self._finding(row, use, "nested-quantifiers", message, advice)

    def _finding(self, row: Row, use: _Use, code: str, message: str, advice: str) -> Finding:
        column, end = use.span
        return Finding(code=code, file=row.file, line=row.line, column=column, end=end, message=message, advice=advice)

    def _uses(self, row: Row) -> Iterator[_Use]:
        if row.ptype != self._scope.policy:
            return
        yield from self._calls(row, self._matcher, 0)
        for field in self._fields:
            place = self._files[row.file].cell(row.line, self._scope.fields.index(field) + 1)
            if place is None:
                continue
            try:
                located = Located(place[1], self._scope, self._limits, matcher=False)
            except ExpressionError:
                continue
            yield from self._calls(row, located, place[0][0])

    def _calls(self, row: Row, located: Located, start: int) -> Iterator[_Use]:
        """`start`: where the expression starts in the rule's line; 0: it stands in the model."""
        for node in walk(located.tree):
            if not isinstance(node, Call) or is_role(node.function) or node.function not in self._functions:
                continue
            function = self._functions[node.function]
            constants: list[str] = []
            spans: list[Span] = []
            for argument in node.arguments[function.subjects :]:
                if isinstance(argument, Literal) and isinstance(argument.value, str):
                    constants.append(argument.value)
                    if start:
                        first, last = located.span(argument, node)
                        spans.append((start + first - 1, start + last - 1))
                elif isinstance(argument, Field):
                    column = self._scope.fields.index(argument.name)
                    constants.append(row.cells[column])
                    place = self._files[row.file].cell(row.line, column + 1)
                    if place is not None:
                        spans.append(place[0])
            if constants and spans and len(constants) == len(node.arguments) - function.subjects:
                yield _Use(node.function, function, tuple(constants), spans[0])
