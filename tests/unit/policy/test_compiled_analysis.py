"""What is said of a policy before any request: dependence on time, idle rules."""

import pytest

from authz.policy import analysis
from authz.policy.analysis import Idle, idle, timed
from authz.policy.compile import CompiledEngine
from authz.policy.functions import UserFunction

MODEL = """
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = sub, obj, act, eft, rule, obligations
[role_definition]
g = _, _
[policy_effect]
e = {effect}
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act && eval(p.rule)
"""
UNORDERED = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
PRIORITY = "priority(p.eft) || deny"


def engine(*rows: str, effect: str = UNORDERED, model: str = MODEL, **more) -> CompiledEngine:
    text = model.format(effect=effect)
    return CompiledEngine.load(text, "m", [("p", "\n".join(rows))], known_obligations=["log"], **more)


def found(*rows: str, effect: str = UNORDERED) -> list[tuple[int, Idle, int]]:
    result = idle(engine(*rows, effect=effect))
    assert result.complete
    return [(each.rule.line, each.why, each.because.line if each.because else 0) for each in result.found]


@pytest.mark.parametrize(
    ("rule", "depends"),
    [
        ("True", False),
        ("r.env.time > 3", True),
        ("r.env.hour > 8 && r.env.hour < 18", True),
        ("r.env.weekday in (5, 6)", True),
        ("r.env.sni == 'x'", False),
        ("r.env == 3", True),
        ("r.env.context.time == 'x'", False),
        ("r.sub.time == 3", False),
        ("timeMatch('_', '2030-01-01 00:00:00')", True),
        ("False && r.env.time > 3", False),
    ],
)
def test_a_policy_depends_on_time_when_a_rule_reads_it(rule: str, depends: object):
    assert timed(engine(f"p, a, /b, c, allow, {rule},", clock=lambda: 0.0)) is depends


def test_it_depends_on_time_under_whatever_name_a_model_has_for_it():
    loaded = engine("p, a, /b, c, allow, r.sub.hour > 3 && r.act == 'x',")
    assert not timed(loaded)
    assert timed(loaded, {"sub": "env"})
    assert timed(loaded, {"act": "env.time"})
    assert not timed(loaded, {"act": "env.sni"})


def test_it_depends_on_time_when_a_grant_in_use_does():
    model = MODEL.replace("g = _, _", "g = _, _, (_, _)")
    assert timed(engine("p, a, /b, c, allow, True,", "g, x, a, _, _", model=model, clock=lambda: 0.0))
    assert not timed(engine("p, a, /b, c, allow, True,", model=model, clock=lambda: 0.0))


def test_a_rule_that_contradicts_itself_never_matches():
    assert found("p, a, /b, c, allow, False,", "p, a, /b, c, allow, p.act == 'd' && r.sub == 'a',") == [
        (1, Idle.NEVER_MATCHES, 0),
        (2, Idle.NEVER_MATCHES, 0),
    ]


def test_an_indeterminate_rule_says_nothing():
    assert found("p, a, /b, c, indeterminate, True,") == [(1, Idle.INDETERMINATE, 0)]


def test_of_two_rules_that_are_alike_the_later_is_idle():
    assert found("p, a, /b, c, allow, True,", "p, x, /b, c, allow, True,", "p, a, /b, c, allow, True,") == [
        (3, Idle.DUPLICATE, 1)
    ]


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("p, a, /b/*, c, allow, True,", "p, a, /b/x, c, allow, True,"),
        ("p, a, /b/*, c, allow, True,", "p, a, /b/:id/y, c, allow, True,"),
        ("p, a, *, c, allow, True,", "p, a, /b, c, allow, True,"),
        ("p, a, /b, c, allow, True,", "p, a, /b, c, allow, r.sub == 'x',"),
        ("p, reader, /b, c, allow, True,", "p, writer, /b, c, allow, True,"),
        ("p, reader, /b/*, c, allow, r.sub == 'x',", "p, writer, /b/y, c, allow, r.sub == 'x' && r.obj == 'z',"),
    ],
)
def test_a_rule_is_shadowed_by_a_wider_one_that_says_the_same(wide: str, narrow: str):
    grants = ("g, writer, reader",)
    assert found(wide, narrow, *grants) == [(2, Idle.SHADOWED, 1)]
    assert found(narrow, wide, *grants) == [(1, Idle.SHADOWED, 2)]
    assert found(wide, narrow, *grants, effect=PRIORITY) == [(2, Idle.SHADOWED, 1)]
    # By priority, the narrow one comes first and decides.
    assert found(narrow, wide, *grants, effect=PRIORITY) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("p, a, /b/*, c, allow, True,", "p, x, /b/x, c, allow, True,"),
        ("p, a, /b/*, c, allow, True,", "p, a, /b, c, allow, True,"),
        ("p, a, /b/:id, c, allow, True,", "p, a, /b/x/*, c, allow, True,"),
        ("p, a, /b, c, allow, r.sub == 'x',", "p, a, /b, c, allow, r.sub == 'y',"),
        ("p, a, /b/*, c, allow, True,", "p, a, /b/x, c, deny, True,"),
        ("p, a, /b/*, c, allow, True,", "p, a, /b/x, c, allow, True, log=full"),
        ("p, writer, /b, c, allow, True,", "p, stranger, /b, c, allow, True,"),
    ],
)
def test_rules_that_decide_different_things_are_not_idle(one: str, other: str):
    assert found(one, other, "g, writer, reader") == []


def test_a_rule_that_allows_what_another_denies_is_idle_but_not_the_other_way_round():
    wide, narrow = "p, a, /b/*, c, deny, True,", "p, a, /b/x, c, allow, True,"
    assert found(wide, narrow) == [(2, Idle.SHADOWED, 1)]
    assert found(narrow, wide) == [(1, Idle.SHADOWED, 2)]
    assert found("p, a, /b/*, c, allow, True,", "p, a, /b/x, c, deny, True,") == []


def test_no_idle_rule_changes_a_decision():
    rows = [
        f"p, {who}, {where}, c, {says}, True,"
        for who in ("reader", "writer")
        for where in ("/b/*", "/b/x", "/b/:id", "/c")
        for says in ("allow", "deny")
    ]
    grants = ["g, writer, reader"]
    for effect in (UNORDERED, PRIORITY):
        for start in range(len(rows)):
            chosen = rows[start:] + rows[:start:3]
            idle_lines = {line for line, *_ in found(*chosen, *grants, effect=effect)}
            kept = [row for number, row in enumerate(chosen, 1) if number not in idle_lines]
            whole, less = engine(*chosen, *grants, effect=effect), engine(*kept, *grants, effect=effect)
            for who in ("reader", "writer", "x"):
                for where in ("/b/x", "/b/y", "/b/y/z", "/c"):
                    request = (who, where, "c", {})
                    assert whole.evaluate(request, lambda: False).effect is less.evaluate(request, lambda: False).effect


def test_a_very_large_policy_is_compared_only_so_far(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(analysis, "_MAX_COMPARISONS", 50)
    rows = [f"p, a, /b{n}, c, allow, True," for n in range(100)]
    assert not idle(engine(*rows)).complete


def test_functions_of_configuration_are_no_reason_to_call_a_rule_idle():
    functions = {"odd": UserFunction(lambda text: text == "a", (str,), bool)}
    rows = ("p, a, /b, c, allow, odd(r.sub),", "p, a, /b, c, allow, !odd(r.sub),")
    assert idle(engine(*rows, functions=functions)).found == ()
