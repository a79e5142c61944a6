"""Bounds and ends of the decisions that are kept."""

import sys

import pytest

from authz.decision.cache import CacheSettings, DecisionCache, Entry, LocalEpoch
from authz.decision.check import denial
from authz.errors import Reason
from authz.model import Decision, Effect, RuleRef, Subject

ALLOWED = Decision(Effect.ALLOW, Reason.ALLOWED)
DENIED = denial(Reason.NO_MATCHING_RULE)
SNAPSHOT, OTHER = object(), object()
CALLER = Subject(id="spiffe://td/a")


class Kept:
    """A cache with a short way to keep and to look."""

    def __init__(self, **settings):
        self.epoch = LocalEpoch()
        self.cache = DecisionCache(CacheSettings(**settings), self.epoch)
        self.look("nothing")

    def keep(self, name, decision=ALLOWED, *, at=0.0, until=50.0, epoch=None, size=10, subject=CALLER):
        epoch = self.epoch.current if epoch is None else epoch
        entry = Entry(decision, (b"x" * size,), subject, at, until, epoch)
        self.cache.keep(SNAPSHOT, (name,), entry)

    def look(self, name, *, at=1.0, snapshot=SNAPSHOT):
        return self.cache.find(snapshot, (name,), self.epoch.current, at)


def test_what_is_kept_is_found_until_its_end_and_not_at_it():
    kept = Kept()
    kept.keep("a", at=5.0, until=9.0)
    assert kept.look("a", at=5.0)
    assert kept.look("a", at=8.999)
    assert kept.look("a", at=9.0) is None
    assert kept.cache.entries == (0, 0)
    assert kept.cache.stats.expired == 1


def test_a_clock_that_went_back_voids_what_was_made_later():
    kept = Kept()
    kept.keep("a", at=5.0, until=9.0)
    assert kept.look("a", at=4.999) is None
    assert kept.look("a", at=6.0) is None
    assert kept.cache.stats.clock == 1


def test_nothing_outlives_max_age():
    kept = Kept(max_age_seconds=2.0)
    kept.keep("a", at=5.0, until=9.0)
    assert kept.look("a", at=6.9)
    assert kept.look("a", at=7.0) is None


def test_reading_does_not_extend_a_life():
    kept = Kept(max_age_seconds=2.0)
    kept.keep("a", at=0.0)
    for at in (0.5, 1.0, 1.5, 1.9):
        assert kept.look("a", at=at)
    assert kept.look("a", at=2.0) is None


def test_what_ends_as_it_is_made_is_not_kept():
    kept = Kept()
    kept.keep("a", at=5.0, until=5.0)
    assert kept.look("a", at=5.0) is None
    assert kept.cache.stats.uncacheable == 1


def test_an_epoch_that_moved_voids_everything_at_once():
    kept = Kept()
    kept.keep("a")
    kept.keep("b", DENIED)
    kept.epoch.advance()
    assert kept.look("a") is None
    assert kept.look("b") is None
    assert kept.cache.stats.invalidated_by_epoch == 2


def test_a_result_of_an_older_epoch_is_never_used():
    kept = Kept()
    begun = kept.epoch.current
    kept.epoch.advance()
    kept.keep("a", epoch=begun)
    assert kept.look("a") is None


def test_another_snapshot_voids_everything_at_once():
    kept = Kept()
    kept.keep("a")
    assert kept.look("a", snapshot=OTHER) is None
    assert kept.cache.entries == (0, 0)
    kept.keep("b")  # made under the one that was replaced meanwhile
    assert kept.cache.entries == (0, 0)


def test_a_flood_of_denials_pushes_out_no_allow():
    kept = Kept(max_allowed_entries=3, max_denied_entries=5)
    for name in "abc":
        kept.keep(name)
    for number in range(1000):
        kept.keep(number, DENIED)
    assert all(kept.look(name) for name in "abc")
    assert kept.cache.entries == (3, 5)
    assert kept.cache.stats.evicted_denied == 995


def test_the_least_recently_used_goes_first():
    kept = Kept(max_allowed_entries=2)
    kept.keep("a")
    kept.keep("b")
    kept.look("a")
    kept.keep("c")
    assert kept.look("a")
    assert kept.look("b") is None


def test_bytes_are_bounded_and_given_back():
    kept = Kept(max_bytes=65_536)
    for number in range(500):
        kept.keep(number, size=1000)
    assert 20 < kept.cache.entries[0] < 60
    assert kept.cache.bytes <= 65_536
    kept.keep("huge", size=100_000)
    assert kept.look("huge") is None
    assert kept.cache.clear() > 20
    assert kept.cache.bytes == 0


@pytest.mark.parametrize("decision", [ALLOWED, DENIED])
def test_a_cache_of_size_0_keeps_nothing(decision):
    kept = Kept(max_allowed_entries=0, max_denied_entries=0)
    kept.keep("a", decision)
    assert kept.look("a") is None
    assert kept.cache.bytes == 0


def test_what_a_reload_voids_is_gone_at_once_and_let_go_of_bit_by_bit():
    kept, caller = Kept(), Subject(id="spiffe://td/b")
    unheld = sys.getrefcount(caller)
    for number in range(200):
        kept.keep(number, DENIED if number % 2 else ALLOWED, subject=caller)
    held = sys.getrefcount(caller)
    kept.look("a", snapshot=OTHER)
    assert kept.cache.entries == (0, 0)
    assert kept.cache.bytes == 0
    assert kept.cache.stats.invalidated_by_reload == 200
    assert all(kept.look(number) is None for number in range(200))
    assert sys.getrefcount(caller) == held
    fewest = held
    for number in range(40):
        kept.keep(("later", number))
        freed, fewest = fewest - sys.getrefcount(caller), sys.getrefcount(caller)
        assert freed <= 16
    assert fewest == unheld


def test_keeping_the_same_key_again_counts_its_bytes_once():
    kept = Kept()
    kept.keep("a")
    before = kept.cache.bytes
    kept.keep("a")
    assert kept.cache.bytes == before


def test_equal_answers_and_decisions_are_kept_once():
    kept = Kept()
    for name in ("a", "b"):
        kept.keep(name, Decision(Effect.ALLOW, Reason.ALLOWED, "v1"), size=300)
    kept.keep("c", Decision(Effect.ALLOW, Reason.ALLOWED, "v2"), size=301)
    one, two, other = kept.look("a"), kept.look("b"), kept.look("c")
    assert one.decision is two.decision
    assert one.parts is two.parts
    assert other.decision.policy_version == "v2"
    assert other.parts == (b"x" * 301,)


def test_long_answers_are_not_looked_for_among_others():
    kept = Kept()
    for name in ("a", "b"):
        kept.keep(name, size=5_000)
    assert kept.look("a").parts is not kept.look("b").parts


def test_how_often_each_policy_file_decided_is_counted():
    kept = Kept(max_age_seconds=5.0)
    rule = RuleRef("p", "policies/a.csv", 3, "p, x")
    kept.keep("a", Decision(Effect.ALLOW, Reason.ALLOWED, rule=rule))
    kept.keep("b", DENIED)
    for _ in range(3):
        kept.look("a")
    kept.look("b")
    kept.look("a", at=6.0)
    told = {policy: (use.again, use.afresh) for policy, use in kept.cache.stats.policies.items()}
    assert told == {"policies/a.csv": (3, 1), "": (1, 1)}


def test_a_decision_that_is_not_kept_counts_for_its_policy_all_the_same():
    kept = Kept(max_allowed_entries=0)
    kept.keep("a")
    kept.keep("b", until=0.0)
    assert kept.cache.stats.policies[""].afresh == 2


def test_names_of_policies_are_bounded():
    kept = Kept()
    for number in range(200):
        rule = RuleRef("p", f"policies/{number}.csv", 3, "p, x")
        kept.keep(f"{number}", Decision(Effect.ALLOW, Reason.ALLOWED, rule=rule))
    policies = kept.cache.stats.policies
    assert len(policies) == 65
    assert policies["others"].afresh == 200 - 64
