"""Going back to an earlier policy: pinned until released, bounded in memory."""

import dataclasses

import pytest

from authz.errors import ConfigError
from authz.stores.history import HistorySettings, SnapshotHistory


@dataclasses.dataclass(frozen=True)
class Policy:
    version: str
    rule_count: int = 1


def history_of(*names: str, rules: int = 1, **settings: int) -> SnapshotHistory[Policy]:
    history: SnapshotHistory[Policy] = SnapshotHistory(HistorySettings(**settings), lambda: 5.0)
    for name in names:
        history.add(name.encode(), Policy(name * 12, rules))
    return history


def versions(history: SnapshotHistory[Policy]) -> list[str]:
    return [kept.version[0] for kept in history.listing()]


def test_the_newest_is_chosen_until_another_is_pinned():
    history = history_of("a", "b")
    assert history.chosen.version[0] == "b"
    assert history.rollback("a" * 12).version[0] == "a"
    history.add(b"c", Policy("c" * 12))
    assert history.chosen.version[0] == "a"
    assert history.release().version[0] == "c"
    assert history.chosen.version[0] == "c"


def test_a_listing_tells_which_is_in_force():
    history = history_of("a", "b")
    history.rollback("a" * 8)
    assert [(k.version[0], k.newest, k.in_force, k.pinned) for k in history.listing()] == [
        ("b", True, False, False),
        ("a", False, True, True),
    ]


@pytest.mark.parametrize("wanted", ["zzzzzzzz", "", "a", "a" * 7, "a" * 13])
def test_a_version_that_is_not_kept_or_too_short_is_refused(wanted: str):
    history = history_of("a", "b")
    with pytest.raises(ConfigError, match="no kept policy"):
        history.rollback(wanted)
    assert history.pinned is None


def test_an_ambiguous_version_is_refused():
    history = history_of()
    history.add(b"1", Policy("aaaaaaaa1"))
    history.add(b"2", Policy("aaaaaaaa2"))
    with pytest.raises(ConfigError, match="more than one"):
        history.rollback("aaaaaaaa")


def test_the_version_of_a_record_finds_its_policy():
    history = history_of("a", "b")
    history.known_as(history.find(b"a"), "0123456789abcdef")
    assert history.rollback("0123456789abcdef").version[0] == "a"


def test_a_policy_that_comes_again_is_the_newest_again_and_kept_once():
    history = history_of("a", "b")
    history.add(b"a", history.find(b"a"))
    assert versions(history) == ["a", "b"]


def test_the_oldest_go_first_and_never_the_newest_nor_the_pinned():
    history = history_of("a", "b", "c", "d", keep=1)
    history.rollback("a" * 12)
    assert [policy.version[0] for policy in history.trim()] == ["b"]
    assert versions(history) == ["d", "c", "a"]
    history.release()
    assert [policy.version[0] for policy in history.trim()] == ["a"]


def test_kept_policies_are_bounded_by_their_rules():
    history = history_of("a", "b", "c", "d", rules=100, keep=10, max_rules=250)
    assert [policy.version[0] for policy in history.trim()] == ["a"]


def test_keeping_none_leaves_the_newest():
    history = history_of("a", "b", keep=0)
    history.trim()
    assert versions(history) == ["b"]


def test_nothing_is_chosen_before_anything_was_loaded():
    with pytest.raises(ConfigError, match="no policy"):
        _ = history_of().chosen
