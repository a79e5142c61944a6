"""Finds the rules that could match, without looking at the others.

Rules are filed under their keys: first by every attribute that must equal a constant, all in one look-up; where many
rules share those, further by role, by membership and by path. What is found is a superset of the rules that match: the
index narrows, the expression decides. A rule that has no key is in every answer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Generic, Protocol, TypeAlias, TypeVar

from authz.policy.columns import Column, together
from authz.policy.guards import Guard
from authz.policy.keys import Dimension
from authz.policy.pace import no_pause, pausing
from authz.policy.tree import Attribute
from authz.policy.trie import Outline, Trie

_FEW = 8
"""So many rules are as quickly evaluated as narrowed further."""
_PACE = 64
"""Items that take a microsecond each, between two pauses."""
_MAX_FILES = 16
"""More different sets of keys than this would make asking all of them slow; the rarest keys are then not used."""


class Item(Protocol):
    """What is filed: something with a place in the order of rules."""

    @property
    def ordinal(self) -> int: ...


T = TypeVar("T", bound=Item)
Found: TypeAlias = "list[tuple[T, ...]]"


class Arm:
    """One way to find the items of a family: for each of its dimensions, a column of constants."""

    def __init__(self, dimensions: Sequence[Dimension], columns: Sequence[Column]) -> None:
        self.dimensions = tuple(dimensions)
        self.columns = tuple(columns)

    def within(self, used: Collection[Dimension]) -> "Arm":
        """The arm in the dimensions that are used, in an order that depends on nothing else."""
        kept = sorted({dim for dim in self.dimensions if dim in used}, key=repr)
        return Arm(kept, [self.columns[self.dimensions.index(dim)] for dim in kept])


class Family(Generic[T]):
    """Items that differ only in their constants, and so are found in the same ways."""

    def __init__(
        self,
        items: Sequence[T],
        arms: Sequence[Arm],
        narrow: Callable[[frozenset[Dimension]], Callable[[T], T]] | None = None,
    ) -> None:
        self.items = items
        self.arms = arms
        self.narrow = narrow
        """Gives the form of an item for when the look-up has established its equalities in the given dimensions."""


class Layout:
    """Where a probe puts the attributes that look-ups read, and how roles are found."""

    def __init__(
        self,
        places: Mapping[Attribute, int],
        reach: Mapping[str, Callable[..., frozenset[str]]],
        outlines: Sequence[Outline],
        pause: Callable[[], None] = no_pause,
    ) -> None:
        self.places = places
        self.reach = reach
        self.outlines = outlines
        """Those of patterns, by number; no two are equal."""
        self.pause = pause
        """Called now and then while filing."""


class _Drawer(Protocol[T]):
    """A part of the index that is asked with what a probe found."""

    def find(self, probed: Sequence[object], found: "Found[T]") -> None:
        """Add the items filed under what was probed to `found`, each group in order."""


Content: TypeAlias = "tuple[T, ...] | _Drawer[T]"


class _Whole(Generic[T]):
    """Not filed further."""

    def __init__(self, items: "tuple[T, ...]") -> None:
        self._items = items

    def find(self, _: Sequence[object], found: "Found[T]") -> None:
        found.append(self._items)


class _Equal(Generic[T]):
    """Filed by the values of attributes, all at once."""

    def __init__(self, places: Sequence[int], table: "Mapping[object, Content[T]]") -> None:
        self._key = itemgetter(*places)
        self._table = table

    def find(self, probed: Sequence[object], found: "Found[T]") -> None:
        try:
            content = self._table.get(self._key(probed))
        except TypeError:
            return  # unhashable, so it equals no text
        if type(content) is tuple:
            found.append(content)
        elif content is not None:
            _take(content, probed, found)


class _Roles(Generic[T]):
    """Filed by a role that the subject must hold."""

    def __init__(
        self, places: Sequence[int], reach: Callable[..., frozenset[str]], table: "dict[str, Content[T]]"
    ) -> None:
        self._places = places
        self._reach = reach
        self._table = table

    def find(self, probed: Sequence[object], found: "Found[T]") -> None:
        table = self._table
        for role in table.keys() & self._reach(*[probed[place] for place in self._places]):
            _take(table[role], probed, found)


class _Members(Generic[T]):
    """Filed by a text that must be in a collection of the request."""

    def __init__(self, place: int, table: "Mapping[object, Content[T]]") -> None:
        self._place = place
        self._table = table

    def find(self, probed: Sequence[object], found: "Found[T]") -> None:
        collection = probed[self._place]
        for member in {member for member in collection if type(member) is str}:  # type: ignore[attr-defined]  # guarded
            _take(self._table.get(member), probed, found)


class _Paths(Generic[T]):
    """Filed by the outline of a pattern that must match."""

    def __init__(self, place: int, *, strips_query: bool, trie: "Trie[Content[T]]") -> None:
        self._place = place
        self._strips_query = strips_query
        self._trie = trie

    def find(self, probed: Sequence[object], found: "Found[T]") -> None:
        text = str(probed[self._place])
        for content in self._trie.find(text.partition("?")[0] if self._strips_query else text):
            _take(content, probed, found)


class File(Generic[T]):
    """All rules with the same dimensions."""

    def __init__(self, content: "Content[T]", needs: frozenset[Guard]) -> None:
        self.drawer: _Drawer[T] = _Whole(content) if isinstance(content, tuple) else content
        self.find: Callable[[Sequence[object], Found[T]], None] = self.drawer.find
        self.needs = needs
        """What must hold for the look-ups to make sense of the request."""


class Index(Generic[T]):
    """Rules, filed."""

    def __init__(self, files: "Sequence[File[T]]", always: "tuple[T, ...]") -> None:
        self.files = files
        self.always = always

    def find(self, probed: Sequence[object], failed: frozenset[Guard] = frozenset()) -> "Found[T]":
        """Groups of rules, each in order, that hold every rule whose keys fit what was probed.

        Files that need a guard in `failed` are passed over: the caller finds their rules another way.
        """
        found = [self.always] if self.always else []
        for file in self.files:
            if not failed or not (file.needs & failed):
                file.find(probed, found)
        return found


def merged(found: "Found[T]") -> Sequence[T]:
    """The rules of all groups in order, each once."""
    if len(found) == 1:
        return found[0]
    if not found:
        return ()
    return sorted({item.ordinal: item for group in found for item in group}.values(), key=attrgetter("ordinal"))


def build(families: "Sequence[Family[T]]", layout: Layout) -> "Index[T]":
    """File the items of all families."""
    used = _used_dimensions(families)
    filed: dict[tuple[Dimension, ...], _Filed[T]] = {}
    always: list[T] = []
    for family in families:
        arms = [arm.within(used) for arm in family.arms]
        if not all(arm.dimensions for arm in arms):
            always.extend(family.items)
            continue
        for arm in arms:
            equal = frozenset(dim for dim in arm.dimensions if dim.kind == "equal")
            narrow = family.narrow(equal) if family.narrow and len(arms) == 1 and equal else None
            items = [narrow(item) for item in pausing(family.items, layout.pause, _PACE)] if narrow else family.items
            filed.setdefault(arm.dimensions, _Filed(arm.dimensions)).add(items, arm.columns)
    files = [
        File(_equal(members, layout), frozenset(need for dim in dimensions for need in _needs(dim)))
        for dimensions, members in filed.items()
    ]
    return Index(files, _ordered(always, layout.pause))


class _Filed(Generic[T]):
    """All items with the same dimensions, and what each is filed by in each of these."""

    def __init__(self, dimensions: tuple[Dimension, ...]) -> None:
        self.dimensions = dimensions
        self.items: Sequence[T] = ()
        self.columns: Sequence[Column] = ()

    def add(self, items: Sequence[T], columns: Sequence[Column]) -> None:
        """Put the items of another family behind those that are here."""
        if not self.items:
            self.items, self.columns = items, columns
            return
        self.items = [*self.items, *items]
        self.columns = [one.then(other) for one, other in zip(self.columns, columns, strict=True)]


def _needs(dimension: Dimension) -> Iterable[Guard]:
    """What a look-up in this dimension needs; anything can be compared, only texts name roles and paths."""
    if dimension.kind == "equal":
        return ()
    kind = "collection" if dimension.kind == "member" else "text"
    return (Guard(kind, attribute) for attribute in dimension.attributes)


def _used_dimensions(families: "Sequence[Family[T]]") -> set[Dimension]:
    """The dimensions to file by: all, or as many of the commonest as do not make too many files."""
    counted = Counter[frozenset[Dimension]]()
    for family in families:
        counted.update({frozenset(arm.dimensions): len(family.items) for arm in family.arms})
    common = Counter[Dimension]()
    for dimensions, count in counted.items():
        common.update(dict.fromkeys(dimensions, count))
    used = [dimension for dimension, _ in common.most_common()]
    while len({dimensions & set(used) for dimensions in counted}) > _MAX_FILES:
        used.pop()
    return set(used)


def _equal(filed: _Filed[T], layout: Layout) -> "Content[T]":
    equal = [place for place, dim in enumerate(filed.dimensions) if dim.kind == "equal"]
    others = [place for place, dim in enumerate(filed.dimensions) if dim.kind != "equal"]
    rows: Sequence[int] = range(len(filed.items))
    if not equal:
        return _further(filed, rows, others, layout)
    keys = pausing(together([filed.columns[place] for place in equal]), layout.pause, _PACE)
    tables: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, fitting in enumerate(keys):
        for key in fitting:
            tables[key].append(row)
    places = [layout.places[filed.dimensions[place].attribute] for place in equal]
    groups = pausing(tables.items(), layout.pause, _PACE)
    return _Equal(places, {key: _further(filed, group, others, layout) for key, group in groups})


def _further(filed: _Filed[T], rows: Sequence[int], dimensions: Sequence[int], layout: Layout) -> "Content[T]":
    """Items narrowed by the dimension that tells most of them apart, as long as they are many."""
    if len(rows) == 1:
        return (filed.items[rows[0]],)
    if len(rows) <= _FEW or not dimensions:
        return _ordered([filed.items[row] for row in rows], layout.pause)
    tables: list[dict[Hashable, list[int]]] = []
    for place in dimensions:
        column = filed.columns[place]
        table: defaultdict[Hashable, list[int]] = defaultdict(list)
        for row in pausing(rows, layout.pause, _PACE):
            if column.many:
                for value in column.values[row]:  # type: ignore[attr-defined]  # of many, a tuple
                    table[value].append(row)
            else:
                table[column.values[row]].append(row)
        tables.append(table)
    best = max(range(len(dimensions)), key=lambda number: len(tables[number]))
    rest = [*dimensions[:best], *dimensions[best + 1 :]]
    shared = pausing(tables[best].items(), layout.pause, _PACE)
    contents = {value: _further(filed, group, rest, layout) for value, group in shared}
    return _drawer(filed.dimensions[dimensions[best]], contents, layout)


def _drawer(dimension: Dimension, contents: "dict[Hashable, Content[T]]", layout: Layout) -> "Content[T]":
    places = [layout.places[attribute] for attribute in dimension.attributes]
    if dimension.kind == "role":
        table = {str(role): content for role, content in contents.items()}
        return _Roles(places, layout.reach[dimension.function], table)
    if dimension.kind == "member":
        return _Members(places[0], contents)
    outlines = ((layout.outlines[number], content) for number, content in contents.items())  # type: ignore[call-overload]
    return _Paths(places[0], strips_query=dimension.strips_query, trie=Trie(outlines, _is_few, layout.pause))


def _is_few(content: "Content[T]") -> bool:
    return type(content) is tuple and len(content) <= _FEW


def _take(content: "Content[T] | None", probed: Sequence[object], found: "Found[T]") -> None:
    if type(content) is tuple:
        found.append(content)
    elif content is not None:
        content.find(probed, found)  # type: ignore[union-attr]  # a tuple was dealt with above


def _ordered(items: Sequence[T], pause: Callable[[], None]) -> "tuple[T, ...]":
    last = -1
    for item in pausing(items, pause, _PACE):
        if item.ordinal <= last:
            unique = {item.ordinal: item for item in items}
            return tuple(sorted(unique.values(), key=attrgetter("ordinal")))
        last = item.ordinal
    return tuple(items)
