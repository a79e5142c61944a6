"""Ready only while everything holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.transport.readiness import DRAINING, Readiness


def test_nothing_holds_at_the_start():
    readiness = Readiness(["policies", "listeners"])
    assert not readiness.ready
    assert readiness.failing == {"policies": "starting", "listeners": "starting"}


def test_readiness_without_conditions_is_refused():
    with pytest.raises(ValueError, match="without conditions"):
        Readiness([])


def test_every_condition_must_hold():
    readiness = Readiness(["policies", "listeners"])
    readiness.hold("policies")
    assert not readiness.ready
    readiness.hold("listeners")
    assert readiness.ready
    readiness.fail("audit", "disk full")
    assert readiness.failing == {"audit": "disk full"}
    readiness.hold("audit")
    assert readiness.ready


def test_draining_is_for_good_unless_somebody_lies():
    readiness = Readiness(["policies"])
    readiness.drain()
    readiness.hold("policies")
    assert readiness.failing == {DRAINING: "the server is stopping"}


def test_what_it_answers_cannot_change_it():
    readiness = Readiness(["policies"])
    readiness.failing.clear()
    assert not readiness.ready


def test_observers_are_told_of_changes_only_and_until_they_leave():
    readiness, told = Readiness(["policies"]), []
    leave = readiness.subscribe(lambda: told.append(readiness.ready))
    readiness.hold("policies")
    readiness.hold("policies")
    readiness.fail("policies", "a")
    readiness.fail("policies", "a")
    readiness.fail("policies", "b")
    leave()
    readiness.hold("policies")
    assert told == [True, False, False]


def test_an_observer_may_leave_while_it_is_told():
    readiness, told = Readiness(["a"]), []

    def once() -> None:
        told.append(1)
        leave()

    leave = readiness.subscribe(once)
    readiness.subscribe(lambda: told.append(2))
    readiness.hold("a")
    readiness.fail("a", "x")
    assert told == [1, 2, 2]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_ready_is_what_a_plain_reading_says(changes):
    readiness, state = Readiness("abc"), dict.fromkeys("abc", False)
    for name, holds in changes:
        state[name] = holds
        if holds:
            readiness.hold(name)
        else:
            readiness.fail(name, "why")
        assert readiness.ready == all(state.values())
        assert set(readiness.failing) == {name for name, value in state.items() if not value}
