"""Parses an expression for those who show it: with the place of every part, and past names that nothing has."""

from collections.abc import Callable, Iterable

from authz.policy.expr import Parser, Scope
from authz.policy.lexer import ExpressionError, tokens
from authz.policy.limits import PolicyLimits
from authz.policy.tree import Node

Span = tuple[int, int]
"""The first and the last column of a part, from 1."""


class Unknown(ExpressionError):
    """A name that nothing has, and the names that there are."""

    def __init__(self, error: ExpressionError, name: str, known: Iterable[str]) -> None:
        super().__init__(error.column, error.problem, error.code)
        self.name = name
        self.known = tuple(known)


class Located:
    """An expression with the places of its parts."""

    def __init__(self, text: str, scope: Scope, limits: PolicyLimits, *, matcher: bool) -> None:
        """Parse.

        Raises:
            ExpressionError: It is no expression, for another reason than an unknown name.
        """
        if len(text) > limits.max_expression_chars:
            raise ExpressionError(1, f"the expression is longer than {limits.max_expression_chars} characters")
        parser = _Locating(text, scope, limits, matcher=matcher)
        self.tree = parser.parse()
        self.unknown = tuple(parser.unknown)
        self._spans = parser.spans
        self._whole: Span = (1, len(text.rstrip()))

    def span(self, *nodes: Node) -> Span:
        """Where the first of `nodes` that has a place stands; else the whole expression."""
        return next((self._spans[id(node)] for node in nodes if id(node) in self._spans), self._whole)


class _Locating(Parser):
    """The parser, noting where each part begins and ends."""

    def __init__(self, text: str, scope: Scope, limits: PolicyLimits, *, matcher: bool) -> None:
        super().__init__(tokens(text, comments=matcher), scope, limits, matcher=matcher, lift=False)
        self._text = text
        self.spans: dict[int, Span] = {}
        """By the identity of nodes: equal ones stand in several places."""
        self.unknown: list[Unknown] = []
        self._kept: list[Node] = []

    def _unknown(self, error: ExpressionError, name: str, known: Iterable[str]) -> None:
        self.unknown.append(Unknown(error, name, known))

    def _noted(self, produce: Callable[[], Node]) -> Node:
        start = self._next.column
        node = produce()
        end = len(self._text[: self._next.column - 1].rstrip())
        if id(node) not in self.spans:
            self.spans[id(node)] = (start, max(start, end))
            self._kept.append(node)  # so that no other node gets its identity
        return node

    def _either(self) -> Node:
        return self._noted(super()._either)

    def _both(self) -> Node:
        return self._noted(super()._both)

    def _comparison(self) -> Node:
        return self._noted(super()._comparison)

    def _sum(self) -> Node:
        return self._noted(super()._sum)

    def _product(self) -> Node:
        return self._noted(super()._product)

    def _unary(self) -> Node:
        return self._noted(super()._unary)

    def _primary(self) -> Node:
        return self._noted(super()._primary)
