"""Which patterns could match a path: patterns laid out by segment, so that a path meets only those that begin like it.

The answer is a superset: what stands in the trie is only the outline of a pattern; the pattern itself still decides.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from authz.policy.pace import no_pause, pausing

V = TypeVar("V")
_PACE = 64
"""Outlines that take a microsecond each, between two pauses."""
_NONE: Mapping[str, Any] = MappingProxyType({})


class Outline(msgspec.Struct, frozen=True, gc=False):
    """What every text that a pattern matches looks like, split at "/"."""

    segments: tuple[tuple[str, bool], ...]
    """For each segment the text that it starts with, and whether that is all of it."""
    open: bool = False
    """Whether anything, further segments included, may follow the last one's text."""


class Anything:
    """Stands in a pattern for what it leaves open."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


SEGMENT = Anything("SEGMENT")
"""One or more characters other than "/" and line breaks."""
REST = Anything("REST")
"""Any characters, line breaks excepted."""


def outline(parts: Iterable[str | Anything]) -> Outline:
    """The outline of a pattern given as literal texts and what stands between them."""
    segments: list[tuple[str, bool]] = []
    start, whole = "", True
    for part in parts:
        if part is REST:
            return Outline((*segments, (start, False)), open=True)
        if not isinstance(part, str):
            whole = False
            continue
        first, *others = part.split("/")
        start = start + first if whole else start
        for other in others:
            segments.append((start, whole))
            start, whole = other, True
    return Outline((*segments, (start, whole)))


class _Node(Generic[V]):
    """What follows after the segments above."""

    __slots__ = ("ends", "exact", "starting", "tails")
    few: None = None

    def __init__(self) -> None:
        self.ends: V | None = None
        self.exact: Mapping[str, _Node[V] | _Few[V]] = _NONE
        self.starting: Sequence[tuple[int, Mapping[str, _Node[V] | _Few[V]]]] = ()
        """By length: the nodes for a segment that only starts with a text of that length."""
        self.tails: Sequence[tuple[int, Mapping[str, V]]] = ()
        """By length: values of open outlines, whose last text the segment starts with."""


class _Few(Generic[V]):
    """Stands for a node below which is only this: not worth telling from nothing."""

    __slots__ = ("few",)
    ends: None = None

    def __init__(self, few: V) -> None:
        self.few = few


class Trie(Generic[V]):
    """A map from outlines to values, asked with a text."""

    def __init__(
        self, items: Iterable[tuple[Outline, V]], few: Callable[[V], bool], pause: Callable[[], None] = no_pause
    ) -> None:
        """Lay out `items`; an outline occurs once. A lone value that is `few` may also be found for other texts."""
        self._few = few
        self._pause = pause
        self._root = self._node(list(items), 0)

    def _node(self, items: list[tuple[Outline, V]], depth: int) -> _Node[V]:
        node: _Node[V] = _Node()
        below: defaultdict[tuple[str, bool], list[tuple[Outline, V]]] = defaultdict(list)
        tails: dict[int, dict[str, V]] = {}
        for item in pausing(items, self._pause, _PACE):
            shape, value = item
            segments = shape.segments
            if depth == len(segments):
                node.ends = value
            elif shape.open and depth == len(segments) - 1:
                start = segments[depth][0]
                tails.setdefault(len(start), {})[start] = value
            else:
                below[segments[depth]].append(item)
        starting: defaultdict[int, dict[str, _Node[V] | _Few[V]]] = defaultdict(dict)
        exact: dict[str, _Node[V] | _Few[V]] = {}
        few = self._few
        for (start, whole), group in pausing(below.items(), self._pause, _PACE):
            table = exact if whole else starting[len(start)]
            value = group[0][1]
            table[start] = _Few(value) if len(group) == 1 and few(value) else self._node(group, depth + 1)
        node.exact = exact or _NONE
        node.starting = tuple(starting.items())
        node.tails = tuple(tails.items())
        return node

    def find(self, text: str) -> list[V]:
        """The values of every outline that `text` fits, in no particular order, and perhaps some few others.

        Cost: one look-up for each segment and each node that the text leads to.
        """
        found: list[V] = []
        nodes: list[_Node[V] | _Few[V]] = [self._root]
        for segment in text.split("/"):
            following: list[_Node[V] | _Few[V]] = []
            for node in nodes:
                _follow(node, segment, found, following)
            nodes = following
            if not nodes:
                return found
        for node in nodes:
            found.extend(value for value in (node.ends, node.few) if value is not None)
        return found


def _follow(node: _Node[V] | _Few[V], segment: str, found: list[V], following: list[_Node[V] | _Few[V]]) -> None:
    """Go on from one node with the next segment."""
    if isinstance(node, _Few):
        found.append(node.few)
        return
    for length, tails in node.tails:
        value = tails.get(segment[:length])
        if value is not None:
            found.append(value)
    exact = node.exact.get(segment)
    if exact is not None:
        following.append(exact)
    for length, starting in node.starting:
        below = starting.get(segment[:length])
        if below is not None:
            following.append(below)
