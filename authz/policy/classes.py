"""Sorts texts into classes that no rule of a policy tells apart.

A rule that matches `/accounts/*` decides `/accounts/1` and `/accounts/2` alike. So where rules do nothing else with an
attribute than match it with patterns and compare it with constants, a decision rests only on which patterns match and
which constant it equals: that is its class (I3).
"""

from collections.abc import Callable, Hashable, Mapping

from authz.policy.functions import Function
from authz.policy.pace import pausing
from authz.policy.trie import Outline, Trie
from authz.policy.uses import AttributeUse

_PACE = 32
"""Patterns that take a few microseconds each, between two pauses."""
_MAX_UNINDEXED = 16
_MAX_CANDIDATES = 64
"""A text that more patterns might match is a class of its own: sorting it would cost more than deciding it."""

_Entry = tuple[int, Callable[[str], bool]]
_Entries = tuple[_Entry, ...]


class TextClasses:
    """The classes of one attribute; immutable."""

    def __init__(self, use: AttributeUse, functions: Mapping[str, Function]) -> None:
        """File every pattern by its outline, those that look only before a `?` apart."""
        self._texts = frozenset(use.texts)
        tries: dict[bool, dict[Outline, list[_Entry]]] = {}
        unindexed: list[_Entry] = []
        for number, ((name, pattern), predicate) in enumerate(pausing(use.patterns.items(), use.pause, _PACE)):
            function = functions[name]
            entry: _Entry = (number, predicate)  # type: ignore[assignment]  # what `bind` of a pattern function gives
            if function.outline is None:
                unindexed.append(entry)
            else:
                tries.setdefault(function.strips_query, {}).setdefault(function.outline(pattern), []).append(entry)
        self._unindexed = tuple(unindexed)
        self._tries = tuple(
            (strips, Trie([(shape, tuple(entries)) for shape, entries in shapes.items()], _is_one, use.pause))
            for strips, shapes in tries.items()
        )
        self.usable = len(unindexed) <= _MAX_UNINDEXED
        """Whether sorting is cheap enough; else every text is best taken for a class of its own."""

    def of(self, text: str) -> Hashable:
        """The class of a text: equal for texts that every rule treats alike.

        Cost: a look-up for each segment, and each pattern that begins like the text.
        """
        if not text.isascii():
            return text  # a lone surrogate lets some patterns err, those too that the text would never lead to
        candidates = list(self._unindexed)
        for strips, trie in self._tries:
            for entries in trie.find(text.partition("?")[0] if strips else text):
                candidates += entries
            if len(candidates) > _MAX_CANDIDATES:
                return text
        try:
            matching = frozenset([number for number, matches in candidates if matches(text)])
        except Exception:  # noqa: BLE001  # a rule will err in the same way, and this very text decides how
            return text
        return matching, text if text in self._texts else None


def _is_one(entries: _Entries) -> bool:
    return len(entries) == 1
