"""Models and policies that do not load: each a clear error that names the file and the line."""

from typing import NamedTuple

import pytest

from authz.errors import PolicyError
from authz.policy.compile import CompiledEngine
from authz.policy.limits import PolicyLimits
from authz.policy.source import CompileSettings

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""


class Broken(NamedTuple):
    """A change to the model that breaks it, and what is said."""

    old: str
    new: str
    line: int
    problem: str


MODELS = [
    Broken("[request_definition]\nr = sub, obj, act\n", "", 0, "[request_definition] is missing"),
    Broken("[policy_definition]\np = sub, obj, act\n", "", 0, "[policy_definition] is missing"),
    Broken("[policy_effect]\ne = some(where (p.eft == allow))\n", "", 0, "[policy_effect] is missing"),
    Broken("m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n", "", 0, "[matchers] is missing or empty"),
    Broken("[matchers]", "[Matchers]", 9, "unknown section [Matchers]"),
    Broken("[matchers]", "[ matchers ]", 9, "unknown section"),
    Broken("[matchers]", "[matchers", 9, "expected `name = value`"),
    Broken("[request_definition]\n", "", 1, "r stands before the first section"),
    Broken("r = sub, obj, act", "r sub, obj, act", 2, "expected `name = value`"),
    Broken("r = sub, obj, act", "r =", 2, "r is empty"),
    Broken("r = sub, obj, act", "R = sub, obj, act", 2, "'R' has no meaning here"),
    Broken("r = sub, obj, act", "r1 = sub, obj, act", 2, "'r1' has no meaning here"),
    Broken("r = sub, obj, act", "r02 = sub, obj, act", 2, "'r02' has no meaning here"),
    Broken("r = sub, obj, act", "p = sub, obj, act", 2, "'p' has no meaning here"),
    Broken("r = sub, obj, act", "r2 = sub, obj, act", 2, "r2 is defined but r is not"),
    Broken("p = sub, obj, act", "p = sub, obj, act\np3 = sub", 5, "p3 is defined but p2 is not"),
    Broken("p = sub, obj, act", "p = sub, obj, act\np = sub", 5, "p is defined a second time"),
    Broken("r = sub, obj, act", "r = sub, obj, act # the request", 2, "a comment behind r"),
    Broken("p = sub, obj, act", "p = sub, obj, act#x", 4, "a comment behind p"),
    Broken("r = sub, obj, act", "r = sub, obj, sub", 2, "'sub' occurs twice"),
    Broken("r = sub, obj, act", "r = sub, obj,", 2, "'' in r is not a name"),
    Broken("r = sub, obj, act", "r = sub, o-bj", 2, "'o-bj' in r is not a name"),
    Broken("r = sub, obj, act", "r = sub, _obj", 2, "'_obj' in r is not a name"),
    Broken("r = sub, obj, act", "r = sub, 1obj", 2, "'1obj' in r is not a name"),
    Broken("r = sub, obj, act", "r = sub, \u00f6bj", 2, "is not a name"),
    Broken("g = _, _", "g = _", 6, "g is not a definition of role grants"),
    Broken("g = _, _", "g = _, _, _, _", 6, "g is not a definition of role grants"),
    Broken("g = _, _", "g = _, _ # _", 6, "g is not a definition of role grants"),
    Broken("g = _, _", "g = a, b", 6, "g is not a definition of role grants"),
    Broken("e = some(where (p.eft == allow))", "e = allow-all", 8, "e is not an effect; supported are"),
    Broken("e = some(where (p.eft == allow))", "e = some(where (p.eft == deny))", 8, "e is not an effect"),
    Broken(
        "e = some(where (p.eft == allow))", "e = subjectPriority(p.eft) || deny\ng = _", 9, "'g' has no meaning here"
    ),
    Broken("m = g(", "m = nofunction(", 10, "in m: column 1: unknown function 'nofunction'"),
    Broken("m = g(r.sub, p.sub)", "m = g2(r.sub, p.sub)", 10, "unknown function 'g2'"),
    Broken("m = g(r.sub, p.sub)", "m = g(r.sub, p.sub, r.obj)", 10, "g takes 2 arguments, not 3"),
    Broken("r.act == p.act", "r.actor == p.act", 10, "r has no 'actor'; it has sub, obj, act"),
    Broken("r.act == p.act", "timeMatch('_', '_')", 10, "unknown function 'timeMatch'"),
    Broken("r.act == p.act", "\x00", 10, "control character"),
    Broken("r = sub", "r = \x07sub", 2, "control character"),
    Broken("m = g(", "m = # all is a comment", 10, "expected a value"),
    # A blank line ends what was continued.
    Broken("m = g(", "m = g(\\\n\n", 12, "has no meaning here"),
    Broken("r.act == p.act", "r.act == p.act &&\\\n", 10, "expected a value"),
]


@pytest.mark.parametrize("case", MODELS, ids=lambda case: f"{case.new[:40]!r}-{case.problem}")
def test_a_broken_model_is_refused(case: Broken):
    assert MODEL.count(case.old) == 1
    with pytest.raises(PolicyError) as refused:
        CompiledEngine.load(MODEL.replace(case.old, case.new), "model.conf", [("policy.csv", "p, a, b, c")])
    assert case.problem in refused.value.problem
    assert (refused.value.file, refused.value.line) == ("model.conf", case.line)


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing", "garbage", "[", "[]", "= = =", "\ufeff[request_definition]", "[matchers]\n" * 1000]
)
def test_what_is_no_model_at_all_is_refused(text: str):
    with pytest.raises(PolicyError):
        CompiledEngine.load(text, "model.conf", [])


ROWS = [
    ("p, alice, data1", "2 columns where p has 3"),
    ("p, alice, data1, read, more", "4 columns where p has 3"),
    ("p", "0 columns where p has 3"),
    ("g, alice", "1 columns where g has 2"),
    ("g, alice, admin, domain1", "3 columns where g has 2"),
    ("P, alice, data1, read", "unknown policy type 'P'; the model has p, g"),
    ("deny, alice, data1, read", "unknown policy type 'deny'"),
    ("p2, alice, data1, read", "unknown policy type 'p2'"),
    (", p, alice, data1, read", "unknown policy type ''"),
    ("alice", "unknown policy type 'alice'"),
    ('"p", alice, data1, read', "unknown policy type '\"p\"'"),
    ("[p], alice, data1, read", "unknown policy type '[p]'"),
    ("(p, alice, data1, read", "a bracket is not closed"),
    ("p, alice, (data1, read", "a bracket is not closed"),
    ("p, alice, data1), read", "column 16: ) closes nothing"),
    ("]p, alice, data1, read", "column 1: ] closes nothing"),
    ('p, "alice, bob", data1, read', "quotes do not protect a comma"),
    ('p, "alice", data1, read', "quotes are part of the value here; write alice without them"),
    ("p, alice, data1, read # for now", "a comment needs a line of its own"),
    ("p, alice, data1, #read", "a comment needs a line of its own"),
    ("p, alice, da\x00ta1, read", "control character"),
    ("p, alice, da\rta1, read", "control character"),
    ("p, alice, data1, read\x1b", "control character"),
    ("p, " + "a" * 20_000 + ", data1, read", "longer than 16384 characters"),
]


@pytest.mark.parametrize(("row", "problem"), ROWS, ids=[problem for _, problem in ROWS])
def test_a_broken_row_is_refused(row: str, problem: str):
    text = f"# a comment\n\np, alice, data1, read\n{row}\np, bob, data1, read"
    with pytest.raises(PolicyError) as refused:
        CompiledEngine.load(MODEL, "model.conf", [("first.csv", "p, a, b, c"), ("second.csv", text)])
    assert problem in refused.value.problem
    assert (refused.value.file, refused.value.line) == ("second.csv", 4)


COLUMNS = [
    ("eft", "Allow", "the effect of a rule is allow, deny or indeterminate, not 'Allow'"),
    ("eft", "denied", "not 'denied'"),
    ("eft", "", "not ''"),
    ("priority", "high", "the priority 'high' is not a whole number"),
    ("priority", "1.5", "is not a whole number"),
    ("priority", "", "is not a whole number"),
    ("priority", "\u00b2", "is not a whole number"),
    ("obligations", "unknown=1", "the obligation 'unknown' is not known; known are: log"),
    ("obligations", "log", "not of the form name=value"),
    ("obligations", "log=", "not of the form name=value"),
    ("obligations", "log=full;log=none", "is given twice"),
    ("obligations", "log=full;", "not of the form name=value"),
]


@pytest.mark.parametrize(("column", "cell", "problem"), COLUMNS)
def test_a_cell_that_its_column_does_not_allow_is_refused(column: str, cell: str, problem: str):
    model = MODEL.replace("p = sub, obj, act", f"p = sub, obj, act, {column}")
    good = {"eft": "allow", "priority": "1", "obligations": "log=full"}[column]
    text = f"p, a, b, c, {good}\np, a, b, c, {cell}"
    with pytest.raises(PolicyError) as refused:
        CompiledEngine.load(model, "m", [("policy.csv", text)], known_obligations=["log"])
    assert problem in refused.value.problem
    assert (refused.value.file, refused.value.line) == ("policy.csv", 2)


@pytest.mark.parametrize("says", ["deny", "indeterminate"])
def test_a_rule_that_does_not_allow_cannot_demand(says: str):
    model = MODEL.replace("p = sub, obj, act", "p = sub, obj, act, eft, obligations")
    with pytest.raises(PolicyError, match="never be carried out"):
        CompiledEngine.load(model, "m", [("p", f"p, a, b, c, {says}, log=full")], known_obligations=["log"])


def test_subjects_in_a_circle_have_no_priority():
    model = MODEL.replace("some(where (p.eft == allow))", "subjectPriority(p.eft) || deny")
    with pytest.raises(PolicyError, match="is above itself") as refused:
        CompiledEngine.load(model, "m", [("p", "p, a, b, c\ng, x, a\ng, a, b\ng, b, c\ng, c, a")])
    assert refused.value.line == 3


@pytest.mark.parametrize(
    ("old", "new"), [("[role_definition]\ng = _, _\n", ""), ("p = sub, obj, act", "p = obj, sub, act")]
)
def test_subject_priority_needs_subjects(old: str, new: str):
    model = MODEL.replace("some(where (p.eft == allow))", "subjectPriority(p.eft) || deny").replace(
        "g(r.sub, p.sub)", "True"
    )
    with pytest.raises(PolicyError, match="subjectPriority needs a role definition g, and p to start with sub"):
        CompiledEngine.load(model.replace(old, new), "m", [("p", "")])


@pytest.mark.parametrize("text", ["x" * 100_000, "p, a, b, c\n" * 50, "(" * 10_000, "p," * 5_000])
def test_size_is_bounded(text: str):
    settings = CompileSettings(limits=PolicyLimits(max_rules=40))
    with pytest.raises(PolicyError):
        CompiledEngine.load(MODEL, "m", [("p", text)], settings=settings)


def test_a_megabyte_of_expression_is_refused_quickly():
    with pytest.raises(PolicyError, match="longer than"):
        CompiledEngine.load(MODEL.replace("r.act == p.act", "r.act == p.act && " * 60_000 + "True"), "m", [])


def test_what_pycasbin_reads_is_read():
    text = (
        "; a comment\n[request_definition]\nr=sub,obj , act\n\n[policy_definition]\n  p = sub, obj, act  \n"
        "[role_definition]\ng = _,_\n[policy_effect]\ne = some(where (p.eft == allow)) # which\n[matchers]\n"
        "m = g(r.sub, p.sub) && \\\n    r.obj == p.obj && \\\n    r.act == p.act # and that is all\n"
    )
    policy = "\r\n# comment\r\n  p ,alice,  (a, b) [c,d] ,read\t\r\ng,bob,alice\r\n"
    engine = CompiledEngine.load(text, "m", [("p", policy)])
    assert engine.rules[0].row.cells == ("alice", "(a, b) [c,d]", "read")
    assert engine.evaluate(("bob", "(a, b) [c,d]", "read"), lambda: False).effect.value == "allow"
