"""Who can do what: an answer that is sure stays the same, whatever else the request holds."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.decision.access_table import AccessTable, Answer, TableResource, TableSubject
from authz.model import Effect
from authz.policy.compile import CompiledEngine

MODEL = """[request_definition]
r = sub, obj, act, env
[policy_definition]
p = rule, path, eft
[policy_effect]
e = {effect}
[matchers]
m = keyMatch(r.obj.path, p.path) && eval(p.rule)
"""
UNORDERED = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
PRIORITY = "priority(p.eft) || deny"
SUBJECT, RESOURCE = TableSubject("s", "test"), TableResource("/a", "h", "/a", ("GET",), "test")

closed = ["True", "r.sub.kind == 'agent'", "r.obj.type == 'x'", "r.act.method == 'GET'", "!(r.sub.kind == 'agent')"]
opened = [
    "r.env.sni == 'a'",
    "r.sub.credential.age < 60",
    "r.act.query == 'q'",
    "(r.sub.kind == 'agent' || r.env.sni == 'b')",
]
conditions = st.lists(st.sampled_from(closed + opened), min_size=1, max_size=3).map(" && ".join)
rules = st.lists(
    st.builds(
        "p, {}, {}, {}".format, conditions, st.sampled_from(["/a", "/*", "/b"]), st.sampled_from(["allow", "deny"])
    ),
    max_size=4,
)


def request(kind: str, type_: str, sni: str = "", age: int = 60, query: str = ""):
    sub = {"kind": kind, "credential": {"age": age}}
    return sub, {"path": "/a", "type": type_}, {"method": "GET", "query": query}, {"sni": sni}


def cell(text: str, values, effect: str = UNORDERED):
    engine = CompiledEngine.load(MODEL.format(effect=effect), "m", [("p", text)])
    table = AccessTable(engine, {})
    chosen = table.possible(engine.rules, values, frozenset(("sub",))) & table.possible(
        engine.rules, values, frozenset(("obj", "act"))
    )
    verdict = engine.evaluate(values, lambda: False)
    looked_at = [rule for rule in engine.rules if rule.ordinal in chosen]
    return engine, table.cell(SUBJECT, RESOURCE, "GET", values, verdict, looked_at)


@given(rules, st.sampled_from(["agent", "human"]), st.sampled_from(["x", "y"]), st.sampled_from([UNORDERED, PRIORITY]))
def test_a_sure_answer_holds_whatever_the_rest_of_the_request(found, kind, type_, effect):
    engine, told = cell("\n".join(found), request(kind, type_), effect)
    effects = {
        engine.evaluate(request(kind, type_, *rest), lambda: False).effect
        for rest in product(("", "a", "b"), (10, 90), ("", "q"))
    }
    if told.answer is Answer.YES:
        assert effects == {Effect.ALLOW}
    elif told.answer is Answer.NO:
        assert effects == {Effect.DENY}
    else:
        assert told.needs


@pytest.mark.parametrize(
    ("text", "answer", "needs"),
    [
        ("p, True, /a, allow", Answer.YES, ()),
        ("p, True, /b, allow", Answer.NO, ()),
        ("p, True, /a, allow\np, r.sub.kind == 'agent', /a, deny", Answer.NO, ()),
        ("p, r.env.sni == 'a', /a, allow", Answer.DEPENDS, ("r.env.sni == 'a' (allow, p:1)",)),
        ("p, r.env.sni == '', /a, allow", Answer.DEPENDS, ("r.env.sni == '' (allow, p:1)",)),
        ("p, True, /a, allow\np, r.env.sni == 'a', /a, deny", Answer.DEPENDS, ("r.env.sni == 'a' (deny, p:2)",)),
        ("p, True, /a, allow\np, r.env.sni == 'a', /a, allow", Answer.YES, ()),
        ("p, r.env.sni == 'a' && r.sub.kind == 'human', /a, allow", Answer.NO, ()),
        ("p, r.env.nothing == 'a', /a, allow", Answer.DEPENDS, ("r.env.nothing == 'a' (allow, p:1)",)),
        ("p, r.sub.nothing == 'a', /a, allow\np, True, /a, allow", Answer.NO, ()),
    ],
)
def test_what_each_answer_means(text, answer, needs):
    _, told = cell(text, request("agent", "x"))
    assert (told.answer, told.needs) == (answer, needs)
