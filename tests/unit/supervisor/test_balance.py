"""Who gets the next connection, and who is to let some go."""

from hypothesis import given
from hypothesis import strategies as st

from authz.supervisor.balance import Balance


def test_the_one_with_the_fewest_is_next():
    assert Balance(30).next({0: 2, 1: 1, 2: 3}) == 1


def test_equals_are_taken_in_turns():
    balance = Balance(30)
    assert [balance.next({0: 1, 1: 1, 2: 1}) for _ in range(4)] == [0, 1, 2, 0]


def test_nobody_is_next_where_there_is_nobody():
    assert Balance(30).next({}) is None
    assert Balance(30).overfull({}, 0.0) is None


@given(st.integers(1, 8), st.integers(0, 100))
def test_one_at_a_time_they_end_up_even(workers, connections):
    balance, has = Balance(30), dict.fromkeys(range(workers), 0)
    for _ in range(connections):
        has[balance.next(has)] += 1
    assert max(has.values()) - min(has.values()) <= 1


def test_only_what_stays_uneven_is_moved():
    balance = Balance(30)
    assert balance.overfull({0: 4, 1: 0}, 0.0) is None
    assert balance.overfull({0: 4, 1: 0}, 29.0) is None
    assert balance.overfull({0: 4, 1: 0}, 30.0) == 0
    assert balance.overfull({0: 2, 1: 3}, 31.0) is None  # one more is as even as five can be
    assert balance.overfull({0: 0, 1: 2}, 40.0) is None
    assert balance.overfull({0: 0, 1: 2}, 70.0) == 1


def test_clients_that_cannot_be_spread_are_left_alone_ever_longer():
    balance = Balance(10)
    moved = [now for now in range(1000) if balance.overfull({0: 9, 1: 0}, float(now)) is not None]
    assert moved == [10, 30, 70, 150, 310, 630, 950]


def test_zero_means_never():
    balance = Balance(0)
    assert all(balance.overfull({0: 9, 1: 0}, float(now)) is None for now in range(0, 100_000, 1000))
