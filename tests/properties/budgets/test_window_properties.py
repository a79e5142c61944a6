"""Windows held against a list of everything that ever passed: never too much, and never refused without need."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from authz.budgets.counter import Counter
from authz.budgets.matching import Budget
from authz.budgets.settings import BudgetSettings
from authz.budgets.window import Tally

STEPS = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 4)), max_size=80)
SLOTS = st.integers(1, 25)
ROUNDING = 1e-6


def counter(count, limit, slots, window=20.0):
    argument = "amount" if count == "sum" else ""
    settings = BudgetSettings(name="x", count=count, argument=argument, limit=limit, window_seconds=window, slots=slots)
    made = Counter(Budget(settings), "x", 0.0)
    made.limit = limit
    made.budget.shared = True
    return made


def total(passed, start):
    return sum(amount for at, amount, _ in passed if at >= start)


def distinct(passed, start):
    return len({member for at, _, member in passed if at >= start})


@given(STEPS, SLOTS, st.integers(1, 12))
def test_a_sum_is_never_above_its_limit_in_any_window_and_refuses_only_for_what_is_at_most_one_slot_older(
    steps, slots, limit
):
    made, passed, now = counter("sum", limit, slots), [], 1_000.0
    for pause, amount in steps:
        now += pause
        older = now - 20.0 - 20.0 / slots
        if made.room(now, amount, ""):
            made.add(made.budget.span.slot(now), amount, "")
            passed.append((now, amount, ""))
            assert total(passed, now - 20.0 + ROUNDING) <= limit
        else:
            assert total(passed, older - ROUNDING) + amount > limit
            if amount <= limit:
                assert copy.deepcopy(made).room(now + made.retry_after(now, amount), amount, "")


@given(STEPS, SLOTS, st.integers(1, 3))
def test_distinct_ones_are_never_more_than_the_limit_in_any_window(steps, slots, limit):
    made, passed, now = counter("resources", limit, slots), [], 1_000.0
    for pause, number in steps:
        now += pause
        if made.room(now, 1, str(number)):
            made.add(made.budget.span.slot(now), 1, str(number))
            passed.append((now, 1, str(number)))
            assert distinct(passed, now - 20.0 + ROUNDING) <= limit
        else:
            recent = {member for at, _, member in passed if at >= now - 20.0 - 20.0 / slots - ROUNDING}
            assert str(number) not in {member for at, _, member in passed if at >= now - 20.0 + ROUNDING}
            assert len(recent | {str(number)}) > limit
            assert copy.deepcopy(made).room(now + made.retry_after(now, 1), 1, str(number))
        assert len(made.distinct.members) <= limit


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-3, 5)), max_size=60), st.integers(0, 30))
def test_amounts_in_any_order_of_slots_add_up(steps, oldest):
    """Other processes tell of slots that are gone by here, or have not begun."""
    made, known = Tally(), {}
    for slot, amount in steps:
        made.add(slot, amount)
        known[slot] = known.get(slot, 0) + amount
    assert {slot: made.amount(slot) for slot in known} == known
    assert made.roll(oldest) == sum(amount for slot, amount in known.items() if slot >= oldest)
    assert made.amount(oldest - 1) == 0


@given(STEPS, SLOTS)
def test_what_is_taken_back_leaves_no_trace(steps, slots):
    made, twin, now = counter("calls", 1_000, slots), counter("calls", 1_000, slots), 1_000.0
    for pause, amount in steps:
        now += pause
        slot = made.budget.span.slot(now)
        for each in (made, twin):
            each.room(now, amount, "")
            each.add(slot, amount)
        made.add(slot, 7)
        now += pause
        made.room(now, 1, "")
        made.take_back(slot, 7)
        twin.room(now, 1, "")
        oldest = made.budget.span.oldest(made.slot)
        assert made.total == twin.total
        assert _within(made.take_unsent(), oldest) == _within(twin.take_unsent(), oldest)


def _within(unsent, oldest):
    return {place: amount for place, amount in unsent.items() if place[0] >= oldest}
