"""A bounded memory of what a pure function answered, as quick as a dictionary."""

import sys
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(dict[K, V]):
    """Keeps the most recently used answers in two generations: when the young one is full, the old one is forgotten.

    What was asked for within the last `limit / 2` different keys is always there. A look-up costs a third of one in
    cachetools' LRUCache (docs/caching.md), for keeping no exact order. Nothing in it expires: what it keeps must stay
    true for as long as it lives. Threads that share one may make each other forget, and nothing worse.

    What is forgotten is let go of one by one, whenever another is put in its place: thousands at once would keep a
    request waiting for milliseconds. Until then it takes memory, half as much as what is kept at most.

    It is a dictionary, of the young generation, only so that finding something there runs no Python code.
    """

    __slots__ = ("_generation", "_old", "_void")

    def __init__(self, limit: int) -> None:
        """`limit`: the most keys that are kept, at least 2."""
        super().__init__()
        self._generation = max(1, limit // 2)
        self._old: dict[K, V] = {}
        self._void: dict[K, V] = {}
        """What was forgotten. It is empty again before there is more: as many are put as a generation holds."""

    def __len__(self) -> int:
        return len(self.keys() | self._old.keys())

    if TYPE_CHECKING:

        def get(self, key: K) -> V | None:  # type: ignore[override]  # of one argument only
            """What was kept under `key`; None: nothing."""
    else:
        get = dict.__getitem__  # which asks `__missing__`

    def __missing__(self, key: K) -> V | None:
        """What the old generation has; from now on the young one has it as well."""
        found = self._old.get(key) if self._old else None
        if found is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep `value`."""
        if super().__len__() >= self._generation:
            self._void, self._old = self._old, dict(self)
            super().clear()
        if self._void:
            try:  # noqa: SIM105 - `suppress` costs more than all else here
                self._void.popitem()
            except KeyError:  # another thread let go of the last one
                pass
        self[key] = value

    def same(self: "Memo[V, V]", value: V) -> V:
        """The value equal to `value` that is kept, so that equal ones need not be; from now on that is this one."""
        found = self.get(value)
        if found is None:
            self.put(value, value)
            return value
        return found

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._old, self._void = {}, {}

    def take(self) -> list[dict[K, V]]:
        """Forget everything, and answer all that it takes memory for, for the caller to let go of bit by bit."""
        taken = [dict(self), self._old, self._void]
        self.clear()
        return taken


def size(value: object) -> int:
    """What a key, or any value of a request, takes in bytes: its parts, each for itself."""
    taken = sys.getsizeof(value)
    if isinstance(value, Mapping):
        taken += sum(size(name) + size(each) for name, each in value.items())
    elif isinstance(value, tuple | list | frozenset):
        taken += sum(map(size, value))
    return taken
