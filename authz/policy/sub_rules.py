"""Parses the sub-rules of a policy, each shape once: those that differ only in their constants share one tree.

Most rules of a large policy are copies of a few, with other names and numbers in them. So a text is first split at its
constants, which is far quicker than to cut it into tokens, and what is left is looked up among what was parsed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from authz.policy.expr import Parser, Scope, cut
from authz.policy.lexer import LITERAL, ExpressionError, Token, literal
from authz.policy.limits import PolicyLimits
from authz.policy.tree import Node

Lifted: TypeAlias = "tuple[str | int | float, ...]"


@dataclass(frozen=True, slots=True)
class _Split:
    """All sub-rules that are the same but for their texts and numbers."""

    fixed: tuple[int, ...]
    """Which of those name an attribute, `r.sub["team"]`: where they differ, so does the tree."""
    trees: dict[tuple[str, ...], Node] = field(default_factory=dict)
    """By what stands at the fixed ones."""


class SubRules:
    """Parses sub-rules."""

    def __init__(self, scope: Scope, limits: PolicyLimits) -> None:
        self._scope = scope
        self._limits = limits
        self._trees: dict[tuple[object, ...], Node] = {}
        self._split: dict[tuple[object, ...], _Split] = {}

    def parse(self, text: str) -> tuple[Node, Lifted]:
        """The tree of a sub-rule with its texts and numbers lifted out, and those, in order.

        The tree is the same object for all of one shape.

        Raises:
            ExpressionError: It is not an expression of the language, or beyond a limit.
        """
        if len(text) > self._limits.max_expression_chars:
            return self._parsed(text)[:2]
        parts = LITERAL.split(text)
        sources = parts[1::2]
        key = (*parts[::2], *[source[0].isdigit() or source[0] == "." for source in sources])
        known = self._split.get(key)
        if known is not None:
            fixed = known.fixed
            tree = known.trees.get(tuple([sources[place] for place in fixed]))
            if tree is not None:
                try:
                    values = [literal(source) for place, source in enumerate(sources) if place not in fixed]
                except ExpressionError:
                    return self._parsed(text)[:2]  # which says where
                return tree, tuple(values)
        tree, lifted, literals = self._parsed(text)
        if _places(parts) == [token.column for token, _ in literals]:
            # Then any text with these parts, and constants of these kinds between them, is cut into the same tokens:
            # no part ends in what a constant could go on, for LITERAL leaves out those behind a name or a dot.
            fixed = tuple(place for place, (_, lift) in enumerate(literals) if not lift)
            known = self._split.setdefault(key, _Split(fixed))
            known.trees[tuple([sources[place] for place in fixed])] = tree
        return tree, lifted

    def _parsed(self, text: str) -> tuple[Node, Lifted, list[tuple[Token, bool]]]:
        """Also all texts and numbers in it, and whether they are lifted out."""
        tokens = cut(text, self._limits, comments=False)
        lifted = [token.literal and not _subscript(tokens, place) for place, token in enumerate(tokens)]
        shape = tuple(
            token.kind if lift else (token.kind, token.value) for token, lift in zip(tokens, lifted, strict=True)
        )
        tree = self._trees.get(shape)
        if tree is None:
            tree = Parser(tokens, self._scope, self._limits, matcher=False, lift=True).parse()
            self._trees[shape] = tree
        constants = tuple(token.value for token, lift in zip(tokens, lifted, strict=True) if lift)
        literals = [(token, lift) for token, lift in zip(tokens, lifted, strict=True) if token.literal]
        return tree, constants, literals  # type: ignore[return-value]  # what is lifted is a text or a number


def _places(parts: Sequence[str]) -> list[int]:
    """The columns, from 1, at which the constants among the parts of a text stand."""
    found: list[int] = []
    at = 1
    for place, part in enumerate(parts):
        if place % 2:
            found.append(at)
        at += len(part)
    return found


def _subscript(tokens: Sequence[Token], place: int) -> bool:
    """Whether the token names an attribute, `r.sub["team"]`; then it is part of the shape."""
    return place > 1 and tokens[place - 1].kind == "[" and tokens[place - 2].kind in ("name", "]")
