"""Explanations: the rules that came near, the condition that failed, the values that were seen."""

import pytest

from authz.errors import Refusal
from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.explain import State, explain
from authz.policy.keys import conjuncts
from authz.policy.render import render

MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, rule
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub.name, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act && eval(p.rule)
"""
POLICY = """
p, reader, /docs/:id, read, r.sub.age > 18
p, reader, /docs/:id, write, r.sub.age > 18
p, admin, /admin/*, read, True
p, other, /else, none, r.sub.age > 99
g, alice, reader
"""


def never() -> bool:
    return False


def engine(model: str = MODEL, policy: str = POLICY) -> CompiledEngine:
    return CompiledEngine.load(model, "m", [("p.csv", policy)])


def test_the_nearest_rules_come_first_with_what_each_lacked():
    found = explain(engine(), ({"name": "alice", "age": 17}, "/docs/1", "read"), never)
    assert found.verdict.effect is Effect.DENY
    assert [near.rule.line for near in found.near] == [2, 3, 4, 5]
    nearest = found.near[0]
    assert [condition.state for condition in nearest.conditions] == [State.HOLDS, State.HOLDS, State.HOLDS, State.FAILS]
    assert nearest.lacking.text == "r.sub.age > 18"
    assert nearest.lacking.seen == (("r.sub.age", "17"),)
    assert found.near[1].lacking.text == "r.act == 'write'"
    assert found.near[1].lacking.seen == (("r.act", "'read'"),)
    assert found.near[2].lacking.text == "g(r.sub.name, 'admin')"


def test_a_rule_that_matches_lacks_nothing():
    found = explain(engine(), ({"name": "alice", "age": 30}, "/docs/1", "read"), never, most=1)
    assert found.verdict.effect is Effect.ALLOW
    [near] = found.near
    assert (near.rule.line, near.lacking, near.says) == (2, None, Effect.ALLOW)


def test_a_condition_that_errs_says_why():
    found = explain(engine(), ({"name": "alice"}, "/docs/1", "read"), never)
    assert found.verdict.error
    lacking = found.near[0].lacking
    assert (lacking.state, lacking.error) == (State.ERRS, "the request has no attribute 'age' there")
    assert lacking.seen == (("r.sub.age", "(absent)"),)


def test_long_values_are_cut():
    found = explain(engine(), ({"name": "x" * 10_000}, "/docs/1", "read"), never)
    for near in found.near:
        for condition in near.conditions:
            assert all(len(value) < 100 for _, value in condition.seen)


def test_a_request_of_another_size_has_a_verdict_and_nothing_near():
    found = explain(engine(), ("alice",), never)
    assert found.verdict.effect is Effect.DENY
    assert found.near == ()


def test_it_ends_when_time_is_up():
    answers = iter([False, False, True])
    policy = "\n".join(f"p, reader, /docs/{n}, read, True" for n in range(1000))
    with pytest.raises(Refusal):
        explain(engine(policy=policy), ({"name": "x"}, "/docs/1", "read"), lambda: next(answers))


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (
            "r.sub == p.sub && (r.obj == p.obj || r.act in ('a', 'b'))",
            "r.sub == 'x' && (r.obj == 'y') || (r.act in ('a', 'b'))",
        ),
        ("!(r.sub.a == 1) && -r.sub.b + 2 > 3 * 4", "!(r.sub.a == 1) && (-r.sub.b + 2) > 12"),
        ('r.sub["a b"].c != None && r.act', "r.sub['a b'].c != None && r.act"),
        ("keyGet2(r.obj, '/:id', 'id') == r.sub", "keyGet2(r.obj, '/:id', 'id') == r.sub"),
        ("r.sub in (r.obj,) && r.act not in [1, 2.5]", "r.sub in (r.obj,) && r.act not in (1, 2.5)"),
    ],
)
def test_conditions_are_written_with_the_constants_of_the_rule(matcher: str, text: str):
    model = MODEL.replace("g(r.sub.name, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act && eval(p.rule)", matcher)
    loaded = engine(model, "p, x, y, z, True")
    rule = loaded.rules[0]
    written = [render(part, rule.constants, "r") for part in conjuncts(rule.variant.tree)]
    assert " && ".join(written) == text
