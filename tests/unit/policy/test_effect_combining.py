"""How rules combine, apart from how they are evaluated: abstract rules that match, do not match or err."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Reason, Refusal
from authz.model import Effect
from authz.policy.effect import Combining, combine, describe
from authz.policy.functions import RuleError

ORDERED = [Combining.PRIORITY, Combining.SUBJECT_PRIORITY]
UNORDERED = [combining for combining in Combining if combining not in ORDERED]


class Abstract(NamedTuple):
    """A rule whose outcome is given."""

    says: Effect | None
    outcome: str
    constants = ()

    def code(self, *_: object) -> object:
        if self.outcome == "error":
            raise RuleError("it errs")
        return self.outcome == "match"


rules = st.lists(
    st.builds(
        Abstract,
        st.sampled_from([Effect.ALLOW, Effect.DENY, None]),
        st.sampled_from(["match", "no match", "error"]),
    ),
    max_size=8,
)
combinings = st.sampled_from(list(Combining))


def effect(combining: Combining, listed: list[Abstract]) -> Effect:
    return combine(combining, listed, ())[0]


@pytest.mark.parametrize("combining", Combining)
def test_an_empty_policy_denies(combining: Combining):
    assert combine(combining, [], ()) == (Effect.DENY, None, "", ())


@given(combinings, rules)
def test_nothing_is_allowed_unless_a_rule_that_matches_allows(combining: Combining, listed: list[Abstract]):
    if effect(combining, listed) is Effect.ALLOW:
        assert Abstract(Effect.ALLOW, "match") in listed


@given(combinings, rules)
def test_a_rule_that_errs_denies_unless_a_rule_before_it_decides_by_priority(
    combining: Combining, listed: list[Abstract]
):
    errs = next((place for place, rule in enumerate(listed) if rule.outcome == "error"), None)
    if errs is None:
        return
    before = listed[:errs] if combining.ordered else []
    if not any(rule.outcome == "match" and rule.says is not None for rule in before):
        assert effect(combining, listed) is Effect.DENY


@given(st.sampled_from(UNORDERED), rules)
def test_an_explicit_deny_beats_every_allow(combining: Combining, listed: list[Abstract]):
    if Abstract(Effect.DENY, "match") in listed:
        assert effect(combining, listed) is Effect.DENY


@given(st.sampled_from(UNORDERED), rules, st.randoms(use_true_random=False))
def test_order_and_duplicates_change_nothing_without_priorities(combining: Combining, listed: list[Abstract], random):
    other = listed + [random.choice(listed) for _ in range(2) if listed]
    random.shuffle(other)
    assert effect(combining, listed) is effect(combining, other)


@given(st.sampled_from(UNORDERED), rules)
def test_without_priorities_it_is_allowed_exactly_when_one_allows_none_denies_and_none_errs(
    combining: Combining, listed: list[Abstract]
):
    allows = Abstract(Effect.ALLOW, "match") in listed
    denies = Abstract(Effect.DENY, "match") in listed
    errs = any(rule.outcome == "error" for rule in listed)
    assert (effect(combining, listed) is Effect.ALLOW) is (allows and not denies and not errs)


@given(st.sampled_from(ORDERED), rules)
def test_with_priorities_the_first_rule_that_says_anything_decides(combining: Combining, listed: list[Abstract]):
    speaking = [rule for rule in listed if rule.outcome == "error" or (rule.outcome == "match" and rule.says)]
    found, rule, error, _ = combine(combining, listed, ())
    if not speaking:
        assert (found, rule, error) == (Effect.DENY, None, "")
    elif speaking[0].outcome == "error":
        assert (found, rule, error) == (Effect.DENY, speaking[0], "it errs")
    else:
        assert (found, rule, error) == (speaking[0].says, speaking[0], "")


@given(combinings, rules)
def test_a_rule_that_does_not_match_or_says_nothing_changes_nothing(combining: Combining, listed: list[Abstract]):
    without = [rule for rule in listed if rule.outcome != "no match" and (rule.says or rule.outcome == "error")]
    assert effect(combining, listed) is effect(combining, without)


@given(combinings, rules)
def test_a_rule_that_denies_can_only_take_away(combining: Combining, listed: list[Abstract]):
    if effect(combining, listed) is Effect.DENY:
        assert effect(combining, [*listed, Abstract(Effect.DENY, "match")]) is Effect.DENY
        assert effect(combining, [Abstract(Effect.DENY, "match"), *listed]) is Effect.DENY


@given(st.sampled_from(UNORDERED), rules)
def test_the_rules_that_allow_are_named_all_and_in_order(combining: Combining, listed: list[Abstract]):
    found, rule, _, allowing = combine(combining, listed, ())
    if found is Effect.ALLOW:
        assert allowing == [rule for rule in listed if rule == Abstract(Effect.ALLOW, "match")]
        assert rule is allowing[0]


def test_enough_ends_it_at_the_first_rule_that_allows_and_is_asked_once():
    asked = []

    def enough() -> bool:
        asked.append(1)
        return True

    listed = [Abstract(Effect.ALLOW, "no match"), Abstract(Effect.ALLOW, "match"), Abstract(Effect.ALLOW, "error")]
    assert combine(Combining.ALLOW_OVERRIDE, listed, (), enough)[0] is Effect.ALLOW
    assert asked == [1]
    assert combine(Combining.ALLOW_OVERRIDE, listed, (), lambda: False)[0] is Effect.DENY


def test_the_end_of_the_time_is_no_error_of_a_rule():
    def rules_until_time_is_up():
        yield Abstract(Effect.ALLOW, "match")
        raise Refusal(Reason.DEADLINE_EXCEEDED)

    with pytest.raises(Refusal):
        combine(Combining.ALLOW_OVERRIDE, rules_until_time_is_up(), ())


class Yields(NamedTuple):
    """A rule whose matcher yields a value."""

    value: object
    says: Effect = Effect.ALLOW
    constants = ()

    def code(self, *_: object) -> object:
        return self.value


@pytest.mark.parametrize("value", [1, 0, "", "yes", None, [], (1,), {}, float("nan"), object()])
def test_a_matcher_that_yields_neither_true_nor_false_is_an_error(value: object):
    found, rule, error, _ = combine(Combining.ALLOW_OVERRIDE, [Yields(value)], ())
    assert (found, rule is not None) == (Effect.DENY, True)
    assert "neither true nor false" in error


@pytest.mark.parametrize(("value", "found"), [(True, "allow"), (False, "deny"), (2.5, "allow"), (0.0, "deny")])
def test_a_number_with_a_fraction_counts_as_in_casbin(value: object, found: str):
    assert combine(Combining.ALLOW_OVERRIDE, [Yields(value)], ())[0] is Effect(found)


@pytest.mark.parametrize(
    ("text", "combining"),
    [
        ("some(where (p.eft == allow))", Combining.ALLOW_OVERRIDE),
        ("some(where (p_eft == allow)) # which", Combining.ALLOW_OVERRIDE),
        ("some(where (p2.eft == allow))", Combining.ALLOW_OVERRIDE),
        ("!some(where (p.eft == deny))", Combining.DENY_OVERRIDE),
        ("some(where (p.eft == allow)) && !some(where (p.eft == deny))", Combining.ALLOW_AND_DENY),
        ("priority(p.eft) || deny", Combining.PRIORITY),
        ("subjectPriority(p.eft) || deny", Combining.SUBJECT_PRIORITY),
    ],
)
def test_the_five_effects_are_known_by_their_text(text: str, combining: Combining):
    assert Combining.of(text) is combining


@pytest.mark.parametrize(
    "text", ["", "allow", "some(where (p.eft == deny))", "some(where(p.eft == allow))", "priority(p.eft) || allow"]
)
def test_any_other_effect_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a valid"):
        Combining.of(text)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("age"), "the request has no attribute 'age' there"),
        (TypeError("secret"), "a value of the request has a type that the rule cannot use"),
        (ZeroDivisionError("secret"), "division by zero"),
        (ValueError("secret"), "ValueError while evaluating the rule"),
        (RecursionError("secret"), "RecursionError while evaluating the rule"),
    ],
)
def test_an_error_is_told_without_a_value_of_the_request(error: Exception, said: str):
    assert describe(error) == said
