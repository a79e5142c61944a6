"""The index: few rules are looked at, no rule that matters is left out, and one odd rule spoils nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Reason, Refusal
from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.functions import UserFunction
from authz.policy.limits import PolicyLimits
from authz.policy.reference import Reference
from authz.policy.source import CompileSettings
from authz.policy.trie import REST, SEGMENT, Trie, outline

MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = {columns}
{roles}
[policy_effect]
e = {effect}
[matchers]
m = {matcher}
"""
ALLOW = "some(where (p.eft == allow))"
ALLOW_AND_DENY = f"{ALLOW} && !some(where (p.eft == deny))"
PRIORITY = "priority(p.eft) || deny"


def engine(
    matcher: str, rows: list[str], columns: str = "sub, obj, act", *, roles: str = "", effect: str = ALLOW, **more
):
    text = MODEL.format(
        columns=columns, matcher=matcher, effect=effect, roles=f"[role_definition]\n{roles}" if roles else ""
    )
    settings = CompileSettings(limits=PolicyLimits(max_rules=300_000))
    return CompiledEngine.load(text, "m", [("p", "\n".join(rows))], settings=settings, **more)


def looked_at(compiled: CompiledEngine, *request: object) -> list[int]:
    """The lines of the rules that are evaluated for a request."""
    return [rule.row.line for rule in compiled._candidates.find(request)]


def agree(compiled: CompiledEngine, *request: object) -> bool | str:
    """The answer, which is also the specification's."""
    verdict, specified = compiled.evaluate(request, lambda: False), Reference(compiled.source).evaluate(request)
    assert (verdict.effect, verdict.rule, bool(verdict.error)) == (
        specified.effect,
        specified.rule,
        bool(specified.error),
    )
    return "error" if verdict.error else verdict.effect is Effect.ALLOW


def test_equal_texts_lead_straight_to_their_rules():
    rows = [f"p, s{n % 10}, o{n % 100}, read" for n in range(1000)]
    compiled = engine("r.sub == p.sub && r.obj == p.obj && r.act == p.act", rows)
    assert len(looked_at(compiled, "s3", "o33", "read")) == 10
    assert looked_at(compiled, "s3", "o34", "read") == []
    assert looked_at(compiled, "s3", "o33", "write") == []
    assert agree(compiled, "s3", "o33", "read") is True


def test_an_attribute_path_is_indexed_like_a_plain_value():
    rows = [f"p, s{n}, /o{n}/:id, read" for n in range(200)]
    compiled = engine("r.sub.name == p.sub && keyMatch2(r.obj.path, p.obj) && r.act.method == p.act", rows)
    request = ({"name": "s7"}, {"path": "/o7/1"}, {"method": "read"})
    assert looked_at(compiled, *request) == [8]
    assert agree(compiled, *request) is True


def test_paths_lead_to_the_patterns_that_begin_like_them():
    rows = [f"p, s, /api/v{n % 3}/team{n}/:id/*, read" for n in range(300)] + ["p, s, /api/*, read", "p, s, *, read"]
    compiled = engine("keyMatch2(r.obj, p.obj) && r.sub == p.sub", rows)
    assert looked_at(compiled, "s", "/api/v1/team7/5/x", "read") == [8, 301, 302]
    assert looked_at(compiled, "s", "/other", "read") == [302]
    assert looked_at(compiled, "nobody", "/api/v1/team7/5/x", "read") == []


def test_roles_lead_to_the_rules_of_every_role_that_is_held():
    rows = [f"p, role{n}, data, read" for n in range(500)]
    rows += [f"g, user{n}, role{n}" for n in range(500)] + ["g, role7, role9"]
    compiled = engine("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", rows, roles="g = _, _")
    assert looked_at(compiled, "user7", "data", "read") == [8, 10]
    assert looked_at(compiled, "user8", "data", "read") == [9]
    assert looked_at(compiled, "stranger", "data", "read") == []


def test_collections_lead_to_the_rules_of_their_members():
    compiled = engine("p.sub in r.sub.groups && r.obj == p.obj", [f"p, team{n}, data, read" for n in range(100)])
    assert looked_at(compiled, {"groups": ["team5", "team50", "other", 7, ["team1"]]}, "data", "read") == [6, 51]
    assert looked_at(compiled, {"groups": {"team5": 1}}, "data", "read") == [6]


def test_constants_of_sub_rules_lead_to_their_rules():
    rows = [f"p, r.sub.team == 't{n}' && r.sub.age > {n % 50}, data, read" for n in range(200)]
    rows += [f"p, r.sub.team in ('u{n}', 'v{n}'), data, read" for n in range(200)]
    compiled = engine("eval(p.rule) && r.obj == p.obj && r.act == p.act", rows, "rule, obj, act")
    assert looked_at(compiled, {"team": "t77", "age": 60}, "data", "read") == [78]
    assert looked_at(compiled, {"team": "v9", "age": 60}, "data", "read") == [210]


def test_wildcards_and_alternatives_are_found_each_their_own_way():
    rows = [f"p, s{n}, o{n}, read" for n in range(100)] + ["p, *, o5, read", "p, s5, *, read", "p, *, *, read"]
    matcher = (
        '(p.sub == "*" || r.sub == p.sub) && (p.obj == "*" || r.obj == p.obj) && r.act == p.act || r.sub == "root"'
    )
    compiled = engine(matcher, rows)
    assert looked_at(compiled, "s5", "o5", "read") == [6, 101, 102, 103]
    assert looked_at(compiled, "s1", "o9", "read") == [103]
    assert len(looked_at(compiled, "root", "x", "y")) == 103
    assert agree(compiled, "s5", "o5", "read") is True
    assert agree(compiled, "s1", "o9", "write") is False


def test_one_odd_rule_is_looked_at_alone():
    rows = [f"p, r.sub.team == 't{n}', data{n}, read" for n in range(500)]
    rows.append("p, odd(r.sub.team), data7, read")
    functions = {"odd": UserFunction(lambda team: team == "odd", (str,), bool)}
    compiled = engine("eval(p.rule) && r.obj == p.obj && r.act == p.act", rows, "rule, obj, act", functions=functions)
    assert looked_at(compiled, {"team": "t7"}, "data7", "read") == [8, 501]
    assert looked_at(compiled, {"team": "t7"}, "data9", "read") == [501]


def test_a_rule_that_could_fail_for_this_request_is_never_left_out():
    rows = [f"p, r.sub.age > {n}, data{n}, read, allow" for n in range(100)]
    rows.append("p, r.sub.clearance > 3, data5, read, deny")
    for effect in (ALLOW, ALLOW_AND_DENY, PRIORITY):
        compiled = engine(
            "eval(p.rule) && r.obj == p.obj && r.act == p.act", rows, "rule, obj, act, eft", effect=effect
        )
        assert looked_at(compiled, {"age": 9, "clearance": 1}, "data5", "read") == [6, 101]
        # The rule of line 101 is about data5, but its condition is evaluated first and fails.
        assert 101 in looked_at(compiled, {"age": 9}, "data7", "read")
        assert agree(compiled, {"age": 9}, "data50", "read") == "error"
        assert (
            agree(compiled, {"age": 9}, "data7", "read") is (True if effect == PRIORITY else "error")
            or effect == PRIORITY
        )
        assert len(looked_at(compiled, {"age": "nine", "clearance": 1}, "data5", "read")) == 101


def test_a_condition_behind_the_keys_is_no_reason_to_look_at_other_rules():
    rows = [f"p, r.sub.age > {n}, data{n}, read" for n in range(100)]
    compiled = engine("r.obj == p.obj && r.act == p.act && eval(p.rule)", rows, "rule, obj, act")
    assert looked_at(compiled, {}, "data5", "read") == [6]
    assert agree(compiled, {}, "data5", "read") == "error"
    assert agree(compiled, {}, "data500", "read") is False


def test_keys_before_the_condition_that_fails_still_narrow():
    rows = [f"p, r.sub.kind == 'k{n}' && r.sub.age > 18, data, read" for n in range(100)]
    compiled = engine("eval(p.rule) && r.obj == p.obj && r.act == p.act", rows, "rule, obj, act")
    assert looked_at(compiled, {"kind": "k7"}, "data", "read") == [8]
    assert looked_at(compiled, {"kind": "robot"}, "data", "read") == []
    assert len(looked_at(compiled, {}, "data", "read")) == 100
    assert agree(compiled, {"kind": "k7"}, "data", "read") == "error"


def test_a_comparison_that_the_look_up_did_not_make_is_still_made():
    # Two comparisons of one attribute: the index uses one of them.
    rows = [f"p, s{n}, write, o" for n in range(20)]
    compiled = engine('r.sub == p.sub && r.act in ("read", "write") && r.act == p.obj', rows)
    assert agree(compiled, "s7", "x", "write") is True
    assert agree(compiled, "s7", "x", "read") is False
    compiled = engine("r.sub == p.sub && r.sub == p.act", [f"p, s{n}, x, s{n + 1}" for n in range(20)])
    assert agree(compiled, "s7", "x", "read") is False


def test_a_value_that_is_no_truth_value_is_an_error_of_every_rule_that_would_yield_it():
    compiled = engine("r.sub.note && r.obj == p.obj", [f"p, s, o{n}, read" for n in range(20)])
    assert agree(compiled, {"note": True}, "o7", "read") is True
    assert agree(compiled, {"note": False}, "o7", "read") is False
    assert agree(compiled, {"note": ""}, "nothing", "read") == "error"


def test_a_condition_that_says_more_than_its_key_is_still_evaluated():
    rows = [f"p, s, o{n}, read" for n in range(20)]
    # The second alternative can never hold, which leaves one way to find the rule.
    matcher = '(r.obj == p.obj && r.act != "write" || r.act == "x" && False) && r.sub == p.sub'
    compiled = engine(matcher, rows)
    assert looked_at(compiled, "s", "o7", "write") == [8]
    assert agree(compiled, "s", "o7", "read") is True
    assert agree(compiled, "s", "o7", "write") is False


def test_a_text_that_the_engine_of_patterns_cannot_read_is_an_error_of_every_rule_that_would_read_it():
    rows = [f"p, s, x.*{n}, act{n}, deny" for n in range(20)] + ["p, s, y, read, allow"]
    matcher = '(regexMatch(r.obj, p.obj) || p.act == "read") && r.act == p.act'
    compiled = engine(matcher, rows, "sub, obj, act, eft", effect=ALLOW_AND_DENY)
    assert agree(compiled, "s", "readable", "read") is True
    # pycasbin's order: the first rule fails before it is found to be about another action.
    assert agree(compiled, "s", "\ud800", "read") == "error"


def test_values_that_cannot_be_looked_up_match_nothing():
    compiled = engine("r.sub == p.sub && r.obj == p.obj", [f"p, s{n}, o{n}, read" for n in range(20)])
    for odd in ([], {}, {"a": []}, [["s7"]], None, 7, float("nan"), True, ("s7",)):
        assert agree(compiled, odd, "o7", "read") is False


def test_the_order_of_rules_is_kept_across_the_ways_they_are_found():
    rows = []
    for n in range(60):
        rows.append(f"p, s{n % 5}, /a/:x, read, {'deny' if n % 3 else 'allow'}")
        rows.append(f"p, *, /a/*, read, {'allow' if n % 2 else 'deny'}")
    matcher = '(p.sub == "*" || r.sub == p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act'
    compiled = engine(matcher, rows, "sub, obj, act, eft", effect=PRIORITY)
    lines = looked_at(compiled, "s3", "/a/1", "read")
    assert lines == sorted(lines)
    for user in ("s0", "s1", "s3", "nobody"):
        agree(compiled, user, "/a/1", "read")


def test_many_different_sets_of_keys_do_not_make_many_look_ups():
    rows = [
        f"p, {' && '.join(f'r.sub.a{k} == {chr(39)}x{chr(39)}' for k in range(8) if n >> k & 1)}, o{n}, read"
        for n in range(1, 256)
    ]
    compiled = engine("r.obj == p.obj && eval(p.rule)", rows, "rule, obj, act")
    assert len(compiled._candidates._main.files) <= 16
    person = {f"a{k}": "x" for k in range(8)}
    assert looked_at(compiled, person, "o7", "read") == [7]
    assert agree(compiled, person, "o200", "read") is True


def test_a_long_scan_looks_at_the_clock():
    rows = [f"p, s, r.sub.age + {n} > 1000000, read" for n in range(2000)]
    compiled = engine("eval(p.obj)", rows)
    asked = []

    def out_of_time() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Refusal) as refused:
        compiled.evaluate(({"age": 1}, "x", "read"), out_of_time)
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    assert len(asked) == 4


def test_a_rule_that_allows_ends_a_scan_when_no_rule_can_fail():
    rows = [f"p, s, r.sub.age > {n}, read" for n in range(2000)]
    compiled = engine("eval(p.obj)", rows)
    asked = []
    verdict = compiled.evaluate(({"age": 5000}, "x", "read"), lambda: bool(asked.append(1)))
    assert verdict.rule.line == 1
    assert len(asked) == 2  # once at the start, once for the first part of the scan
    # One that could fail is looked for: order must not matter.
    assert agree(engine("eval(p.obj)", [*rows, "p, s, r.sub.other > 1, read"]), {"age": 5000}, "x", "read") == "error"


parts = st.lists(
    st.one_of(st.sampled_from([SEGMENT, REST]), st.text("ab/", min_size=1, max_size=4)), min_size=1, max_size=5
)


@given(st.lists(parts, min_size=1, max_size=8), st.text("ab/", max_size=8))
def test_the_trie_finds_every_outline_that_a_text_fits(patterns: list[list[object]], text: str):
    shapes = list(dict.fromkeys(outline(pattern) for pattern in patterns))
    pieces = text.split("/")
    fitting = set()
    for shape in shapes:
        starts = all(
            piece == start if whole else piece.startswith(start)
            for piece, (start, whole) in zip(pieces, shape.segments, strict=False)
        )
        long_enough = len(pieces) >= len(shape.segments) if shape.open else len(pieces) == len(shape.segments)
        if starts and long_enough:
            fitting.add(shape)
    assert set(Trie([(shape, shape) for shape in shapes], lambda _: False).find(text)) == fitting
    assert fitting <= set(Trie([(shape, shape) for shape in shapes], lambda _: True).find(text))
