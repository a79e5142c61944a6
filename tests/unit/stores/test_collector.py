"""Passes of the collector that look at what is new, and at everything when memory has tripled."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from authz.stores.collector import MIDDLE, OLD, YOUNG, ShortPasses, keep_passes_short


class Part:
    """Something that can refer to itself."""

    def __init__(self) -> None:
        self.itself = self


class Memory:
    def __init__(self) -> None:
        self.used = 100

    def __call__(self) -> int:
        return self.used


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    callbacks, thresholds = list(gc.callbacks), gc.get_threshold()
    gc.disable()  # no pass but those that are asked for
    yield
    gc.enable()
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def watched(memory: Memory) -> ShortPasses:
    gc.unfreeze()
    passes = ShortPasses(memory)
    gc.callbacks.append(passes)
    return passes


def test_what_survived_a_full_pass_is_not_looked_at_again():
    watched(Memory())
    part = Part()
    assert gc.is_tracked(part)
    gc.collect(1)
    assert any(one is part for one in gc.get_objects())
    gc.collect()
    assert not any(one is part for one in gc.get_objects())
    newer = Part()
    assert any(one is newer for one in gc.get_objects())


def test_a_cycle_that_was_set_aside_is_freed_once_memory_has_tripled():
    memory = Memory()
    watched(memory)
    part = Part()
    dead = weakref.ref(part)
    gc.collect()
    del part
    memory.used = 300
    gc.collect()
    gc.collect()
    assert dead() is not None
    memory.used = 301
    gc.collect()  # takes it into sight again
    gc.collect()
    assert dead() is None


def test_the_measure_is_what_lived_when_all_was_looked_at():
    memory = Memory()
    watched(memory)
    memory.used = 301
    gc.collect()
    memory.used = 150
    gc.collect()  # looked at everything
    memory.used = 450
    gc.collect()
    assert gc.get_freeze_count() > 0
    memory.used = 451
    gc.collect()
    assert gc.get_freeze_count() == 0


def test_passes_are_short_from_now_on():
    passes = keep_passes_short()
    assert passes in gc.callbacks
    assert gc.get_threshold() == (YOUNG, MIDDLE, OLD)
    gc.collect()
    assert gc.get_freeze_count() > 0
