"""Decisions for the eye: counted exactly, sampled within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.control.sampling import Counts, Lately, Recent, Sampler
from authz.errors import Reason
from authz.model import Decision, Effect, Outcome

_REASONS = st.sampled_from([Reason.ALLOWED, Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE])


def outcome(number, reason=Reason.ALLOWED, time=None):
    effect = Effect.ALLOW if reason is Reason.ALLOWED else Effect.DENY
    return Outcome(
        decision_id=str(number),
        decision=Decision(effect=effect, reason=reason),
        call=None,
        subject=None,
        request=None,
        time=float(number) if time is None else time,
        latency_seconds=0.0,
    )


@given(st.lists(_REASONS, max_size=200), st.integers(0, 10), st.integers(1, 5))
def test_every_decision_is_counted_and_some_are_shown_the_newest_first(reasons, most, looks):
    sampler = Sampler(None, most)
    allowed, denied, counted = 0, 0, {}
    for look in range(looks):
        part = reasons[look::looks]
        for number, reason in enumerate(part):
            sampler.tell(outcome(number, reason))
        counts, shown = sampler.take()
        assert counts.allowed + counts.denied == len(part)
        assert len(shown) == min(most, len(part))
        assert [each.time for each in shown] == sorted((each.time for each in shown), reverse=True)
        allowed, denied = allowed + counts.allowed, denied + counts.denied
        for reason, count in counts.reasons.items():
            counted[reason] = counted.get(reason, 0) + count
    assert allowed == reasons.count(Reason.ALLOWED)
    assert counted == {reason.value: reasons.count(reason) for reason in reasons}


def test_a_flood_of_allows_leaves_the_denials_counted_and_only_what_is_wanted_is():
    sampler = Sampler(lambda each: each.decision.effect is Effect.DENY, 3)
    for number in range(1_000):
        sampler.tell(outcome(number, Reason.DENIED_BY_RULE if number == 500 else Reason.ALLOWED))
    counts, shown = sampler.take()
    assert (counts.allowed, counts.denied) == (0, 1)
    assert [each.decision_id for each in shown] == ["500"]


@pytest.mark.parametrize(
    ("allows", "denials", "shown"),
    [(50, 0, (4, 0)), (50, 1, (3, 1)), (50, 50, (2, 2)), (0, 50, (0, 4)), (1, 50, (1, 3)), (2, 1, (2, 1))],
)
def test_neither_effect_leaves_the_other_without_room(allows, denials, shown):
    sampler = Sampler(None, 4)
    for number in range(allows):
        sampler.tell(outcome(number))
    for number in range(denials):
        sampler.tell(outcome(100 + number, Reason.DENIED_BY_RULE))
    counts, some = sampler.take()
    assert (counts.allowed, counts.denied) == (allows, denials)
    effects = [each.decision.effect for each in some]
    assert (effects.count(Effect.ALLOW), effects.count(Effect.DENY)) == shown


def test_what_other_processes_count_adds_up():
    sampler = Sampler(None, 4)
    sampler.tell(outcome(1))
    sampler.miss({"allow": {"allowed": 7}, "deny": {"denied_by_rule": 2}})
    counts, _ = sampler.take()
    assert (counts.allowed, counts.denied, counts.reasons) == (8, 2, {"allowed": 8, "denied_by_rule": 2})
    assert sampler.take()[0] == Counts(0, 0, {})


def test_of_each_second_a_few_of_each_effect_are_kept():
    lately = Lately(most=100, a_second=2)
    for number in range(1_000):
        lately.tell(
            outcome(number, Reason.DENIED_BY_RULE if number == 900 else Reason.ALLOWED, time=5.0 + number / 1_000)
        )
    kept = lately.newest(lambda _: True, 100)
    assert [each.decision_id for each in kept] == ["900", "1", "0"]


def test_what_was_shown_is_remembered_within_bounds():
    recent = Recent(2)
    recent.keep([outcome(1), outcome(2)])
    recent.keep([outcome(1), outcome(3)])
    assert recent.find("2") is None
    assert recent.find("1").decision_id == "1"
    assert recent.find("3").decision_id == "3"
