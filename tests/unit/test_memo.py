"""A bounded memory."""

import pytest

from authz.memo import Memo


def test_what_was_put_is_answered():
    memo = Memo(10)
    memo.put("a", 1)
    assert memo.get("a") == 1
    assert memo.get("b") is None


@pytest.mark.parametrize("limit", [2, 3, 10, 100])
def test_it_never_holds_more_than_its_limit(limit):
    memo = Memo(limit)
    for number in range(10 * limit):
        memo.put(number, number)
        assert len(memo) <= limit


def test_what_is_asked_for_stays():
    memo = Memo(10)
    memo.put("kept", 1)
    for number in range(1000):
        memo.put(number, number)
        assert memo.get("kept") == 1


def test_of_equal_values_the_first_is_kept():
    memo = Memo(4)
    first, second = (("a", number) for number in (1.5, 1.5))
    assert first is not second
    assert memo.same(first) is first
    assert memo.same(second) is first
    assert memo.same(("a", 2.5)) == ("a", 2.5)


def test_what_is_cleared_is_gone():
    memo = Memo(4)
    memo.put("a", 1)
    memo.clear()
    assert memo.get("a") is None


class Counted:
    """Counts how many of its kind were let go of."""

    gone = 0

    def __del__(self):
        Counted.gone += 1


def test_what_is_forgotten_is_let_go_of_one_by_one():
    memo, most = Memo(100), 0
    for number in range(1_000):
        before = Counted.gone
        memo.put(number, Counted())
        most = max(most, Counted.gone - before)
    assert most == 1
    assert 1_000 - Counted.gone <= 150
