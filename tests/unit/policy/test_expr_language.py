"""What expressions of a policy mean, and which are none."""

import pytest

from authz.errors import PolicyError
from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.limits import PolicyLimits
from authz.policy.reference import Reference
from authz.policy.source import CompileSettings

MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, rule
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = {}
"""
PERSON = {
    "name": "alice",
    "age": 30,
    "score": 2.5,
    "admin": True,
    "guest": False,
    "teams": ["red", "blue"],
    "labels": {"tier": "gold", "a b": 1},
    "empty": "",
    "none": None,
    "nested": {"deep": {"er": "x"}},
    "items": "of the map",
    "nan": float("nan"),
}


def engine(matcher: str, rule: str = "True", limits: PolicyLimits | None = None) -> CompiledEngine:
    settings = CompileSettings(limits=limits or PolicyLimits())
    return CompiledEngine.load(
        MODEL.format(matcher), "m.conf", [("p.csv", f"p, alice, data1, {rule}")], settings=settings
    )


def value(matcher: str, rule: str = "True") -> bool | str:
    """True, False, or "error"; compiled and specification must agree."""
    compiled = engine(matcher, rule)
    request = (PERSON, "data1", "read")
    verdict = compiled.evaluate(request, lambda: False)
    specified = Reference(compiled.source).evaluate(request)
    assert (verdict.effect, verdict.rule, bool(verdict.error)) == (
        specified.effect,
        specified.rule,
        bool(specified.error),
    )
    return "error" if verdict.error else verdict.effect is Effect.ALLOW


MEANINGS = [
    ("r.sub.name == 'alice'", True),
    ('r.sub.name == "alice"', True),
    ("r.sub.name != 'alice'", False),
    ("r.sub.age > 29 && r.sub.age >= 30 && r.sub.age < 31 && r.sub.age <= 30", True),
    ("18 < r.sub.age < 40", True),
    ("18 < r.sub.age < 30", False),
    ("40 > r.sub.age != 31", True),
    ("r.sub.name < 'bob'", True),
    ("r.sub.name < 3", "error"),
    ("r.sub.none == None", True),
    ("r.sub.admin == True && r.sub.admin == true && r.sub.guest == false", True),
    ("r.sub.admin", True),
    ("r.sub.guest", False),
    ("!r.sub.guest", True),
    ("!!r.sub.admin", True),
    ("!r.sub.guest && r.sub.admin", True),
    ("not r.sub.guest", True),
    ("not r.sub.name == 'bob'", True),
    ("!(r.sub.name == 'bob')", True),
    ("r.sub.admin == !r.sub.guest", True),
    ("!(r.sub.admin) || r.sub.admin", True),
    ("r.sub.admin and not r.sub.guest or False", True),
    ("True || False && False", True),
    ("False && False || True", True),
    ("(True || False) && False", False),
    ("True || True and False", True),
    ("not False || True", True),
    ("not (False || True)", False),
    ("False && r.sub.nothing", False),
    ("True || r.sub.nothing", True),
    ("r.sub.nothing || True", "error"),
    ("r.sub.nothing.at.all == 1", "error"),
    ("r.sub.nested.deep.er == 'x'", True),
    ("r.sub['nested']['deep'].er == 'x'", True),
    ("r.sub.labels['a b'] == 1", True),
    ("r.sub.items == 'of the map'", True),
    ("r.sub.name.first == 'a'", "error"),
    ("'red' in r.sub.teams", True),
    ("'green' not in r.sub.teams", True),
    ("'tier' in r.sub.labels", True),
    ("'ali' in r.sub.name", "error"),
    ("'' not in r.sub.name", "error"),
    ("3 in r.sub.age", "error"),
    ("r.sub.name in ('alice', 'bob')", True),
    ("r.sub.name in ('alice',)", True),
    ("r.sub.name in ['bob']", False),
    ("r.sub.name in []", False),
    ("r.sub.age in (29, 30)", True),
    ("r.sub.teams in ('red', 'blue')", False),
    ("r.sub.name in ('x', r.sub.name)", True),
    ("r.sub.age + 1 == 31 && r.sub.age - 1 == 29 && r.sub.age * 2 == 60", True),
    ("r.sub.age / 4 == 7.5 && r.sub.age % 7 == 2", True),
    ("2 + 3 * 4 == 14 && (2 + 3) * 4 == 20 && 10 - 4 - 3 == 3", True),
    ("-r.sub.age == -30 && -(2) == 0 - 2", True),
    ("r.sub.age / 0 > 1", "error"),
    ("r.sub.name + '!' == 'alice!'", True),
    ("r.sub.name * 3 == 'alicealicealice'", "error"),
    ("r.sub.name % 3 == 'alice'", "error"),
    ("r.sub.teams + r.sub.teams == r.sub.teams", "error"),
    ("r.sub.score == 2.5 && 1e1 == 10 && .5 == 0.5", True),
    ("p.sub == r.sub.name && p_obj == r_obj", True),
    ("r.sub.age", "error"),
    ("r.sub.score", True),
    ("r.sub.score - 2.5", False),
    ("r.sub.nan", "error"),
    ("r.sub.name", "error"),
    ("r.sub.empty && True", "error"),
    ("r.sub.name && True", True),
    ("r.sub.none || r.sub.admin", True),
    ("r.sub", "error"),
    # Inside quotes, nothing is an operator, a comment or a name.
    ("'a&&b' == 'a&&b' && 'a||b' != 'a or b' && '!x' != 'not x'", True),
    ("'#' == '#' # and this is a comment", True),
    ("'p.sub r.sub' == 'p.sub r.sub'", True),
    (r"'it\'s' == " + '"it\'s"', True),
    (r"'\x41\u0042\n' == 'AB\x0a'", True),
    (r"'\d' == r'\d' && r'\\' == '\\\\'", True),
    # A sub-rule is one whole value.
    ("eval(p.rule)", True),
    ("eval( p.rule ) && r.act == 'read'", True),
]


@pytest.mark.parametrize(("matcher", "meaning"), MEANINGS)
def test_an_expression_means_what_it_says(matcher: str, meaning: object):
    assert value(matcher) == meaning


@pytest.mark.parametrize(
    ("matcher", "meaning"), [case for case in MEANINGS if "#" not in case[0] and "eval" not in case[0]]
)
def test_a_sub_rule_means_the_same_as_the_matcher(matcher: str, meaning: object):
    if "," in matcher.replace("(", "[").split("[")[0]:
        pytest.skip("a comma outside brackets ends a column")
    assert value("eval(p.rule)", matcher) == meaning


NO_EXPRESSIONS = [
    ("r.sub ==", 9, "expected a value"),
    ("r.sub == ", 9, "expected a value"),
    ("(r.sub", 7, "expected ,"),
    ("r.sub)", 6, "expected an operator, or the end"),
    ("()", 1, "expected a value between the brackets"),
    ("r.sub in ()", 10, "expected a value between the brackets"),
    ("'%5000000d' % 1 == 'x'", 13, "arithmetic on a text"),
    ("r.sub * 'x' == 'x'", 7, "arithmetic on a text"),
    ("r.sub == 7 - p.sub", 12, "arithmetic on a text"),
    ("r.sub = 'x'", 7, "'=' alone"),
    ("r.sub & r.obj", 7, "'&' alone"),
    ("r.sub | r.obj", 7, "'|' alone"),
    ("r.sub == 'x", 10, "does not end"),
    ("'a' 'b' == 'ab'", 5, "expected an operator"),
    ("r.sub == 'a' r.obj", 14, "expected an operator"),
    ("a == b", 1, "unknown name 'a'"),
    ("alice == r.sub", 1, "unknown name 'alice'"),
    ("r == 'x'", 1, "unknown name 'r'"),
    ("r2.sub == 'x'", 1, "unknown name 'r2'"),
    ("r.subject == 'x'", 3, "r has no 'subject'; it has sub, obj, act"),
    ("p.act == 'x'", 3, "p has no 'act'"),
    ("p.sub.x == 'x'", 3, "is a text and has no attributes"),
    ("nofunction(r.sub)", 1, "unknown function 'nofunction'"),
    ("len(r.sub) == 1", 1, "unknown function 'len'"),
    ("keyMatch(r.obj)", 1, "keyMatch takes 2 arguments, not 1"),
    ("g(r.sub, p.sub, r.obj)", 1, "g takes 2 arguments, not 3"),
    ("r.sub in 'alice'", 17, "tests for a part of the text"),
    ("r.sub in ('alice')", 19, "tests for a part of the text"),
    ("r.sub in p.sub", 15, "tests for a part of the text"),
    ("!r.sub == 'x'", 8, "`!` binds tighter than `==`"),
    ("!r.sub in ('x',)", 8, "`!` binds tighter than `in`"),
    ("!r.sub + 1 == 2", 10, "`!` before an operand of arithmetic"),
    ("r.sub ** 2", 8, "expected a value"),
    ("r.sub // 2", 8, "expected a value"),
    ("r.sub ^ 2", 7, "is not part of the expression language"),
    ("r.sub if r.act else r.obj", 7, "expected an operator"),
    ("r.sub[0] == 'x'", 7, "expected text"),
    ("007 == 7", 1, "cannot start with 0"),
    ("1234567890123456789012345678901 == 7", 1, "more than 30 characters"),
    (r"'\101' == 'A'", 1, "not supported"),
    ("keyMatch(p.obj, r.obj)", 0, "from the rule, not the request"),
    ("regexMatch(r.obj, r.act)", 0, "from the rule, not the request"),
    ("regexMatch('x', r.act + 'y')", 0, "from the rule, not the request"),
    ("eval(r.sub)", 1, "eval() takes one column of the rule"),
    ("eval('True')", 1, "eval() takes one column of the rule"),
    ("eval(p.rule, p.sub)", 1, "eval() takes one column of the rule"),
]


@pytest.mark.parametrize(("matcher", "column", "problem"), NO_EXPRESSIONS)
def test_what_is_no_expression_is_refused_with_its_column(matcher: str, column: int, problem: str):
    with pytest.raises(PolicyError) as refused:
        engine(matcher)
    assert problem in refused.value.problem
    assert (refused.value.file, refused.value.line) == ("m.conf", 11)
    assert f"column {column}:" in refused.value.problem or not column


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("", "column 1: expected a value"),
        ("r.sub.age > 18 # adults", "a comment needs a line of its own"),
        ("r.sub.age > 18#adults", "column 15: a comment cannot stand in a rule"),
        ("eval(p.rule)", "cannot hold another eval()"),
        ("True) or (True", "is no"),
        ("r.sub.age >", "column 12: expected a value"),
        ("regexMatch(r.obj, r.act)", "from the rule, not the request"),
        ("regexMatch(r.obj, '[z-a]')", "is not supported"),
        ("r.obj == 'a' && regexMatch(r.obj, '(?=x)')", "is not supported"),
        ("keyMatch(r.obj, 3)", "takes texts"),
        ("p.sub > 3", "can only fail"),
        ("r.act == 'x' && p.sub > 3", "can only fail"),
    ],
)
def test_a_sub_rule_that_is_none_is_refused_at_load_whatever_stands_before_it(rule: str, problem: str):
    # The first conjunct is false for every request: pycasbin would never look at the rest, or only for some request.
    with pytest.raises(PolicyError) as refused:
        engine("r.act == 'never' && eval(p.rule)", rule)
    assert refused.value.line == 1
    assert refused.value.file == "p.csv"
    if problem != "is no":
        assert problem in refused.value.problem


def test_a_condition_that_the_rule_itself_settles_is_settled_at_load():
    assert value('p.sub == "alice" || r.sub.nothing') is True
    assert value('p.sub == "bob" && r.sub.nothing') is False
    assert value('r.sub.admin && p.sub == "bob" && p.sub > 3') is False
    assert value('keyMatch(p.obj, "data*") && p.obj + "!" == "data1!"') is True


def test_true_and_one_are_not_taken_for_each_other():
    rows = "p, a, data1, True\np, b, data1, True"
    compiled = CompiledEngine.load(MODEL.format("r.sub.admin && (p.sub == 'a' || 1)"), "m", [("p", rows)])
    # The second rule's matcher yields 1, which is no truth value.
    verdict = compiled.evaluate((PERSON, "data1", "read"), lambda: False)
    assert (verdict.effect, verdict.rule.line) == (Effect.DENY, 2)
    assert "neither true nor false" in verdict.error


def test_sub_rules_that_differ_only_in_constants_share_their_code():
    rows = "\n".join(
        f"p, s{n}, o{n}, r.sub.age > {n} && r.sub.name == 'n{n}' && r.act in ('a{n}', 'b')" for n in range(500)
    )
    compiled = CompiledEngine.load(MODEL.format("eval(p.rule) && r.obj == p.obj"), "m", [("p", rows)])
    assert compiled.means.shapes <= 3
    assert len({rule.variant for rule in compiled.rules}) == 1


@pytest.mark.parametrize(
    ("limits", "matcher", "problem"),
    [
        (PolicyLimits(max_expression_chars=20), "r.sub == '0123456789a'", "longer than 20 characters"),
        (PolicyLimits(max_expression_nodes=10), " && ".join(["True"] * 6), "over 10 parts"),
        (PolicyLimits(max_expression_depth=5), "((((((True))))))", "nests more than 5 deep"),
        (PolicyLimits(max_expression_depth=5), "!!!!!!True", "nests more than 5 deep"),
        (PolicyLimits(max_expression_depth=5), "------1 == 1", "nests more than 5 deep"),
        (PolicyLimits(max_expression_depth=5), "not not not not not not True", "nests more than 5 deep"),
        (PolicyLimits(max_expression_depth=5), "1+1+1+1+1+1+1 == 7", "nests more than 5 deep"),
        (PolicyLimits(max_expression_depth=5), "((((r.sub in [[1]]))))", "nests more than 5 deep"),
        (PolicyLimits(), "(" * 100_000, "longer than 4096 characters"),
        (PolicyLimits(), "(" * 4000, "nests more than 40 deep"),
        (PolicyLimits(), "!" * 4000, "nests more than 40 deep"),
        (PolicyLimits(), "1+" * 2000 + "1", "nests more than 40 deep"),
        (PolicyLimits(), "True && " * 500 + "True", "over 500 parts"),
    ],
)
def test_an_expression_beyond_a_limit_is_refused(limits: PolicyLimits, matcher: str, problem: str):
    with pytest.raises(PolicyError, match=problem.replace("(", r"\(")):
        engine(matcher, limits=PolicyLimits(max_line_chars=200_000) if limits == PolicyLimits() else limits)


def test_too_many_different_expressions_are_refused():
    rows = "\n".join(f"p, a, b, {' && '.join(['r.sub.age > 1'] * n)}" for n in range(1, 12))
    settings = CompileSettings(max_distinct_expressions=5)
    with pytest.raises(PolicyError, match="differ in more than constants"):
        CompiledEngine.load(MODEL.format("eval(p.rule)"), "m", [("p", rows)], settings=settings)
