"""Attempts to reach beyond the expression language: all refused when the policy loads, wherever they stand."""

import pytest

from authz.errors import PolicyError
from authz.policy.compile import CompiledEngine

MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, rule
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = {}
"""
ATTEMPTS = [
    "__import__('os').system('true')",
    "r.sub.__class__.__bases__[0].__subclasses__()",
    "r.sub.__class__",
    "r.sub['__class__']",
    "r.sub._private",
    "r.sub['_private'] == 1",
    "r.sub.name._x == 1",
    "_r == 1",
    "__builtins__",
    "().__class__",
    "(1).__class__",
    "'a'.__class__",
    "'a'.upper() == 'A'",
    "r.sub.upper() == 'A'",
    "r.sub.name.format(r) == 'A'",
    "r.sub.keys()",
    "'{0.__class__}'.format(r.sub)",
    "'%5000000d' % 1 == 'x'",
    "f'{r.sub}' == 'x'",
    "b'x' == r.sub",
    "u'x' == r.sub",
    "lambda: 1",
    "(lambda: 1)()",
    "[x for x in r.sub]",
    "{x for x in r.sub}",
    "(x for x in r.sub)",
    "{'a': 1}",
    "{1, 2}",
    "r.sub if True else r.obj",
    "(y := r.sub)",
    "r.sub; r.obj",
    "r.sub\\x00 == 1",
    "yield r.sub",
    "await r.sub",
    "import os",
    "exec('x')",
    "eval('1')",
    "open('x')",
    "getattr(r.sub, 'x')",
    "globals()",
    "locals()",
    "vars(r.sub)",
    "type(r.sub)",
    "print(r.sub)",
    "list(r.sub)",
    "set(r.sub)",
    "dict(r.sub)",
    "str(r.sub) == 'x'",
    "r.sub is None",
    "9**9**9 > 1",
    "2**4000000 > 1",
    "1 << 4000000 > 1",
    "~1 == 1",
    "1 @ 2",
    "r.sub[0:2] == 'al'",
    "r.sub[r.obj] == 'x'",
    "*r.sub",
    "keyMatch(*r.sub)",
    "keyMatch(key1=r.sub, key2='x')",
    "keyMatch.__globals__",
    "keyMatch == 1",
    "call_keyMatch(r.obj, 'x')",
    "reach_g(r.sub)",
    "add(1, 2) == 3",
    "c[0] == 1",
    "r0 == 'x'",
    "p[0] == 'x'",
    "q == 1",
    "r.sub == '''x'''",
    "`r.sub`",
    "r.sub $ 1",
    "\u00e4 == 1",
    "r.\u00e4 == 1",
    "r.sub == \u201cx\u201d",
]
"""None of them may load, in a matcher or in a rule."""


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_it_is_refused_in_a_matcher(attempt: str):
    with pytest.raises(PolicyError) as refused:
        CompiledEngine.load(MODEL.format(attempt), "m.conf", [("p.csv", "p, a, b, True")])
    assert (refused.value.file, refused.value.line) == ("m.conf", 9)


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("matcher", ["eval(p.rule)", "False && eval(p.rule)", "r.sub == 'nobody' && eval(p.rule)"])
def test_it_is_refused_in_a_rule_even_behind_a_condition_that_never_holds(matcher: str, attempt: str):
    with pytest.raises(PolicyError) as refused:
        CompiledEngine.load(MODEL.format(matcher), "m.conf", [("p.csv", f"p, a, b, {attempt}")])
    assert (refused.value.file, refused.value.line) == ("p.csv", 1)


@pytest.mark.parametrize(
    "value",
    [
        "' or '1'=='1",
        "\\' || True || \\'",
        "x' == 'x' || 'x",
        "__import__('os')",
        "p.sub",
        "*",
        "[1][0]",
    ],
)
def test_a_value_of_a_rule_is_only_ever_compared(value: str):
    engine = CompiledEngine.load(MODEL.format("r.sub == p.sub && r.obj == p.obj"), "m", [("p", f"p, {value}, b, x")])
    assert engine.evaluate((value, "b", "read"), lambda: False).effect.value == "allow"
    for other in ("", "alice", "True", "p", "1"):
        assert engine.evaluate((other, "b", "read"), lambda: False).effect.value == "deny"


def test_code_of_a_policy_reaches_nothing_but_its_own_names():
    engine = CompiledEngine.load(MODEL.format("eval(p.rule)"), "m", [("p", "p, a, b, keyMatch(r.obj, '/a/*')")])
    code = engine.rules[0].code
    assert code.__globals__["__builtins__"] == {}
    assert code.__closure__ is None
    assert set(code.__code__.co_names) <= {name for name in code.__globals__ if not name.startswith("_")}
