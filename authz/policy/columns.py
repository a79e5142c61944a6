"""The constants of rules by which they are filed, read once for each key, whatever number of indexes file by it."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product

from authz.policy.functions import Function
from authz.policy.keys import Key
from authz.policy.pace import pausing
from authz.policy.rule import CompiledRule
from authz.policy.tree import Slot
from authz.policy.trie import Outline

_PACE = 64
"""Rules that take a microsecond each, between two pauses."""


class Column:
    """What items are filed by in one dimension."""

    __slots__ = ("many", "values")

    def __init__(self, values: Sequence[Hashable], *, many: bool = False) -> None:
        self.values = values
        """For each item its text or, of a path, the number of its outline; where `many`, a tuple of all that fit it."""
        self.many = many

    @property
    def every(self) -> Sequence[tuple[Hashable, ...]]:
        """As if `many`."""
        return self.values if self.many else [(value,) for value in self.values]  # type: ignore[return-value]

    def then(self, other: "Column") -> "Column":
        """The column of these items, and of those of `other` behind them."""
        if self.many or other.many:
            return Column([*self.every, *other.every], many=True)
        return Column([*self.values, *other.values])


def together(columns: Sequence[Column]) -> Iterator[Iterable[Hashable]]:
    """For each item the keys under which it is found in all of the columns at once; of one column, its values."""
    alone = len(columns) == 1
    if any(column.many for column in columns):
        every = zip(*[column.every for column in columns], strict=True)
        return (values[0] for values in every) if alone else (product(*values) for values in every)
    keys = zip(*[column.values for column in columns], strict=True)
    return keys if alone else zip(keys, strict=True)


class Constants:
    """Reads columns. Equal outlines of patterns get one number, so that none is compared with another again."""

    def __init__(self, functions: Mapping[str, Function], pause: Callable[[], None]) -> None:
        self._functions = functions
        self._pause = pause
        self.outlines: list[Outline] = []
        """By number."""
        self._numbers: dict[Outline, int] = {}
        self._patterns: dict[str, dict[str, int]] = {}

    def column(self, rules: Sequence[CompiledRule], key: Key) -> Column:
        """The constants of `rules`, which share one expression, that `key` compares with."""
        paced = pausing(rules, self._pause, _PACE)
        match key.values:
            case (Slot(at, "text"),) if key.function:
                number = self._numbering(key.function)
                return Column([number(rule.constants[at]) for rule in paced])
            case (Slot(at, "text"),):
                return Column([rule.constants[at] for rule in paced])
            case _:
                return Column([self._all_of(rule, key) for rule in paced], many=True)

    def _all_of(self, rule: CompiledRule, key: Key) -> tuple[Hashable, ...]:
        found: list[Hashable] = []
        for node in key.values:
            value = rule.constants[node.at] if isinstance(node, Slot) else node.value
            found.extend(value if isinstance(value, tuple) else (value,))
        return tuple(dict.fromkeys(map(self._numbering(key.function), found) if key.function else found))

    def _numbering(self, function: str) -> Callable[[object], int]:
        """Gives the number of a pattern's outline."""
        known, draw = self._patterns.setdefault(function, {}), self._functions[function].outline
        assert draw is not None  # noqa: S101 - else there would be no such key

        def number(pattern: object) -> int:
            text = str(pattern)
            found = known.get(text)
            if found is None:
                shape = draw(text)
                found = known[text] = self._numbers.setdefault(shape, len(self.outlines))
                if found == len(self.outlines):
                    self.outlines.append(shape)
            return found

        return number
