"""What the rules of a policy make a decision rest on."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.decision.key import Basis, KeyMaker, ResourceClasses, basis_of, frozen
from authz.model import Asked, Credential, Subject, Target
from authz.policy.compile import CompiledEngine

ASKED = Asked(Target(), {}, "http", "GET", {})

MODEL = """
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = rule
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = eval(p.rule)
"""


def basis(*rules, shown=(), mapping=None):
    text = "\n".join(f"p, {rule}" for rule in rules)
    return basis_of((CompiledEngine.load(MODEL, "m", [("p", text)], clock=lambda: 0.0),), mapping or {}, shown)


def numbers(found, *paths):
    classes = ResourceClasses(found)
    return [classes({"path": path, "id": path[-1]}) for path in paths]


def test_paths_that_the_same_patterns_match_share_a_class():
    found = basis("keyMatch(r.obj.path, '/accounts/*')", "r.obj.path == '/accounts/7'")
    one, two, seven, other, again = numbers(found, "/accounts/1", "/accounts/2", "/accounts/7", "/x", "/accounts/3")
    assert one == two == again
    assert len({one, seven, other}) == 3


def test_a_million_ids_are_one_class():
    classes = ResourceClasses(basis("keyMatch2(r.obj.path, '/accounts/:id')"))
    assert len({classes({"path": f"/accounts/{number}"}) for number in range(0, 1_000_000, 997)}) == 1


@pytest.mark.parametrize(
    "rule",
    [
        "'1' in r.obj.path",
        "keyGet2(r.obj.path, '/accounts/:id', 'id') == '1'",
        "r.obj.path == r.sub.path",
        "r.obj.path",
        "r.obj.path < 'b'",
        "keyMatch(r.obj.path, '/accounts/*') && r.obj.path != r.env.sni",
    ],
)
def test_whatever_else_is_done_with_a_text_makes_its_value_count(rule):
    one, two = numbers(basis(rule), "/accounts/1", "/accounts/2")
    assert one != two


def test_what_the_proxy_is_told_makes_its_value_count():
    one, two = numbers(basis("keyMatch(r.obj.path, '/accounts/*')", shown=["obj.id"]), "/accounts/1", "/accounts/2")
    assert one != two


def test_what_no_rule_reads_is_in_no_key():
    found = basis("r.act.method == 'GET'")
    assert (found.obj, found.act, found.env) == ((), (("method",),), ())


def test_a_mapped_token_is_what_it_stands_for():
    found = basis("r.obj == '/x' && r.env == 'a'", mapping={"obj": "obj.path", "env": "env.sni"})
    assert [path for path, _ in found.obj] == [("path",)]
    assert found.env == (("sni",),)


@pytest.mark.parametrize(
    "rule",
    [
        "r.env.time % 2 == 0",
        "r.env.time > r.env.size",
        "r.sub.credential.age",
        "r.env == r.sub",
        "r.sub.credential == 1",
    ],
)
def test_a_rule_that_computes_with_the_time_lets_nothing_be_reused(rule):
    assert not basis(rule).reusable


def test_comparisons_with_the_time_end_decisions_where_they_change():
    found = basis(
        "r.env.time < 100 && 50 <= r.env.time",
        "r.sub.credential.age > 30",
        "timeMatch('1970-01-01 00:05:00', '_')",
        "r.env.hour == 3",
    )
    assert found.reusable
    keys = KeyMaker(found, None)
    assert found.moments == (50.0, 100.0, 300.0)
    assert found.ages == (30.0,)
    credential = Credential("x509-svid", "f", 40.0, 1e9)
    subject = Subject(credential=credential)
    assert keys.until(subject, ASKED, 42.0) == pytest.approx(50, abs=0.01)
    assert keys.until(subject, ASKED, 55.0) == pytest.approx(70, abs=0.01)
    assert keys.until(subject, ASKED, 80.0) == pytest.approx(100, abs=0.01)
    assert keys.until(subject, ASKED, 120.0) == pytest.approx(300, abs=0.01)
    assert keys.until(subject, ASKED, 400.0) == pytest.approx(3600, abs=0.01)
    for moment in (50.0, 70.0, 100.0, 300.0):
        assert keys.until(subject, ASKED, moment) <= moment  # at the very moment of a change nothing is kept


def test_a_decision_ends_with_its_grant_and_when_the_age_of_it_matters():
    asked = msgspec.structs.replace(ASKED, grant={"issued_at": 40}, grant_key="g", until=90.0)
    assert KeyMaker(Basis(), None).until(Subject(), asked, 10.0) == 90.0
    found = basis("r.env.grant.age > 30 && r.env.grant.valid")
    assert (found.reusable, found.grant_ages, found.env) == (True, (30.0,), ())
    assert KeyMaker(found, None).until(Subject(), asked, 42.0) == pytest.approx(70, abs=0.01)
    assert KeyMaker(found, None).until(Subject(), asked, 80.0) == 90.0
    assert KeyMaker(found, None).until(Subject(), ASKED, 42.0) == float("inf")


@pytest.mark.parametrize(
    "rule", ["r.env.grant.age * 2 > 30", "r.env.state.revocations_age < 2", "r.env.state.policy_age < 2"]
)
def test_what_changes_from_one_moment_to_the_next_is_never_used_again(rule):
    assert not basis(rule).reusable


def test_a_decision_ends_with_its_credential():
    subject = Subject(credential=Credential("x509-svid", "f", 0.0, 60.0), token=Credential("oidc", "t", 0.0, 30.0))
    assert KeyMaker(Basis(), None).until(subject, ASKED, 10.0) == 30.0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 2.0]) | st.sampled_from(["", "1", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def alike(one, two):
    """Equal in type and content all the way down, written without a key in mind."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(alike(one[name], two[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(alike, one, two))
    return one == two


@given(VALUES, VALUES)
def test_frozen_values_are_equal_exactly_when_the_values_are_alike(one, two):
    assert (frozen(one) == frozen(two)) == alike(one, two)
    assert hash(frozen(one)) == hash(frozen(one))
