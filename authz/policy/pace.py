"""Long loops of a load that let others have their turn: a policy is built beside a server that goes on deciding."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
EVERY = 4
"""Of what takes 25 us each, about 0.1 ms of work between two pauses."""


def no_pause() -> None:
    """Go on at once."""


def pausing(items: Iterable[T], pause: Callable[[], None], every: int = EVERY) -> Iterator[T]:
    """The items, with a pause now and then: after so many of them."""
    return iter(items) if pause is no_pause else _pausing(iter(items), pause, every)


def _pausing(items: Iterator[T], pause: Callable[[], None], every: int) -> Iterator[T]:
    while some := tuple(islice(items, every)):
        yield from some
        pause()
