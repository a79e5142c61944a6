"""Deadlines, lag and limits, with a clock of the test's own."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_kit import FakeObserver, until

from authz.errors import Reason, Refusal
from authz.transport.admission import Admission
from authz.transport.settings import OverloadSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admission_of(clock: Clock, **changes: object) -> Admission:
    return Admission(OverloadSettings(**changes), FakeObserver(), clock)


def refused(claim) -> Reason:
    with pytest.raises(Refusal) as raised:
        claim.budget()
    return raised.value.reason


def test_a_call_without_deadline_gets_envoys_default_less_the_margin(clock):
    assert admission_of(clock).claim(None, clock.now).budget() == pytest.approx(0.19)


def test_a_deadline_is_kept_and_a_long_one_cut(clock):
    admission = admission_of(clock, max_deadline_seconds=2.0)
    assert admission.claim(1.0, clock.now).budget() == pytest.approx(0.99)
    assert admission.claim(3600.0, clock.now).budget() == pytest.approx(1.99)


def test_the_default_never_exceeds_the_maximum(clock):
    admission = admission_of(clock, default_deadline_seconds=9.0, max_deadline_seconds=2.0)
    assert admission.claim(None, clock.now).budget() == pytest.approx(1.99)


def test_time_since_arrival_is_taken_off(clock):
    claim = admission_of(clock).claim(0.2, clock.now)
    clock.now += 0.1
    assert claim.budget() == pytest.approx(0.09)
    assert claim.patience() == pytest.approx(0.09)


@pytest.mark.parametrize("waited", [0.19, 0.2, 5.0])
def test_no_time_left_is_a_refusal_and_no_patience(clock, waited):
    claim = admission_of(clock).claim(0.2, clock.now)
    clock.now += waited
    assert refused(claim) is Reason.DEADLINE_EXCEEDED
    assert claim.patience() == pytest.approx(0.0, abs=1e-9)


@given(deadline=st.floats(0, 10), waited=st.floats(0, 10))
def test_a_budget_is_more_than_nothing_and_less_than_what_is_left(deadline, waited):
    clock = Clock()
    claim = admission_of(clock, max_deadline_seconds=60.0).claim(deadline, clock.now)
    clock.now += waited
    try:
        budget = claim.budget()
    except Refusal:
        assert deadline - 0.01 - waited <= 1e-6
    else:
        assert 0 < budget <= deadline - waited - 0.01 + 1e-9


async def test_a_tick_that_is_overdue_counts_before_it_comes(clock):
    admission = admission_of(clock, max_lag_share=0.5, lag_probe_interval_seconds=0.01)
    admission.start()
    try:
        clock.now += 0.01 + 0.05  # the tick should have come 50 ms ago
        assert admission.lag(clock.now) == pytest.approx(0.05)
        assert admission.claim(0.2, clock.now).budget() == pytest.approx(0.2 - 0.01 - 0.05)
        clock.now += 0.06
        assert refused(admission.claim(0.2, clock.now)) is Reason.OVERLOADED
        assert admission.claim(1.0, clock.now).budget() > 0  # a longer deadline bears a longer lag
    finally:
        admission.stop()


async def test_a_measured_lag_fades_over_some_ticks(clock):
    observer = FakeObserver()
    admission = Admission(OverloadSettings(), observer, clock)
    admission.start()
    seen = []
    for late in (0.8, 0.0, 0.0, 0.5, 0.0):
        clock.now += 0.01 + late
        admission._tick()
        seen.append(admission.lag(clock.now))
    admission.stop()
    assert observer.lags == pytest.approx([0.8, 0.0, 0.0, 0.5, 0.0])
    assert seen == pytest.approx([0.8, 0.4, 0.2, 0.5, 0.25])


async def test_ticks_come_by_themselves():
    observer = FakeObserver()
    admission = Admission(OverloadSettings(lag_probe_interval_seconds=0.001), observer)
    admission.start()
    await until(lambda: len(observer.lags) >= 3)
    admission.stop()


async def test_after_stop_nothing_is_measured(clock):
    observer = FakeObserver()
    admission = Admission(OverloadSettings(lag_probe_interval_seconds=0.001), observer, clock)
    admission.start()
    admission.stop()
    clock.now += 10
    await asyncio.sleep(0.01)
    assert observer.lags == []
    assert admission.lag(clock.now) == 0


def test_calls_in_flight_are_counted_and_bounded(clock):
    admission = admission_of(clock, max_inflight_calls=2)
    admission.enter()
    admission.enter()
    with pytest.raises(Refusal) as raised:
        admission.enter()
    assert raised.value.reason is Reason.OVERLOADED
    for _ in range(3):  # who was refused leaves, too
        admission.leave()
    assert admission.inflight == 0
    admission.enter()


def test_memory_is_set_aside_bounded_and_given_back(clock):
    admission = admission_of(clock, max_buffered_bytes=100)
    claim = admission.claim(None, clock.now)
    with claim.buffering(60):
        with pytest.raises(Refusal) as raised, claim.buffering(41):
            pass
        assert raised.value.reason is Reason.OVERLOADED
        with claim.buffering(40):
            assert admission.buffered_bytes == 100
    with pytest.raises(ZeroDivisionError), claim.buffering(100):
        raise ZeroDivisionError
    assert admission.buffered_bytes == 0
