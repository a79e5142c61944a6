"""Long loops of a load that let others have their turn: a policy is built beside a server that goes on deciding."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_EVERY = 16
"""About 0.3 ms of work between two pauses."""


def no_pause() -> None:
    """Go on at once."""


def pausing(items: Iterable[T], pause: Callable[[], None]) -> Iterator[T]:
    """The items, with a pause now and then."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % _EVERY:
            pause()
