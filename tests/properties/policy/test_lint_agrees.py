"""The linter against the engine: it says that a policy is refused exactly where loading refuses it, and what it calls
impossible no request can meet."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import PolicyError
from authz.policy.compile import CompiledEngine
from authz.policy.functions import registry
from authz.policy.lint.check import Ground, lint
from authz.policy.lint.facts import facts_of, impossible
from authz.policy.lint.finding import Severity

MODEL = (pathlib.Path(__file__).parents[3] / "policies" / "model.conf").read_text()
LOADING = {
    "row-refused",
    "rule-refused",
    "syntax",
    "unknown-function",
    "request-controlled-pattern",
    "unsupported-pattern",
}
GROUND = Ground(functions=registry(lambda: 0.0, {}))

atoms = st.sampled_from(
    [
        "True",
        "r.sub.kind == 'agent'",
        "r.sub.kind in ['agent', 'human']",
        "r.sub.kind not in ('agent', 'x')",
        "r.sub.kind != 'human'",
        "r.sub.clearance > 3",
        "2 >= r.sub.clearance",
        "r.sub.clearance < 3",
        "r.sub.clearance == 3",
        "r.sub.registered",
        "!r.sub.registered",
        "keyMatch(r.obj.path, '/a/*')",
        "keyMatch2(r.obj.path, '/a/:id/c')",
        "regexMatch(r.obj.path, '^/a/b(/c)?$')",
        "globMatch(r.obj.path, '/a/*')",
        "r.obj.path == '/a/b'",
        "r.obj.path in ['/a/b/c', '/b']",
        "(r.sub.kind == 'human' || r.sub.clearance == 1)",
    ]
)
faulty = st.sampled_from(
    [
        "r.sub.kind ==",
        "nothing(r.sub.kind)",
        "r.bus.kind == 1",
        "keyMatch('/a', r.obj.path)",
        "keyMatch(r.obj.path)",
        "regexMatch(r.obj.path, '(?=a)')",
        "keyMatch(r.obj.path, '/a/*/b')",
        "'a' in 'abc'",
        "r.sub.kind == 'a",
        "('a' - 1) == 2",
        "1 / 0 == 1",
        "'a' == 1",
        "__import__('os')",
        "r.sub._x == 1",
        "eval(p.rule)",
        "(r.sub.kind",
    ]
)
conditions = st.lists(atoms, min_size=1, max_size=4).map(" && ".join)
mixed = st.one_of(conditions, st.tuples(conditions, faulty).map(" && ".join), faulty)
rows = st.builds(
    "p, x, {}, {}, {}, {}, {}".format,
    mixed,
    st.sampled_from(["/a/*", "/a", "*", "/a/*/b", '"/a"']),
    st.sampled_from(["GET", "*", "G*T"]),
    st.sampled_from(["allow", "deny", "indeterminate", "allw", ""]),
    st.sampled_from(["", "", "apply=x", "x"]),
)
lines = st.one_of(rows, rows, st.sampled_from(["", "# comment", "p, a", "g, a, b", "p, x, True, /a, GET, allow, # no"]))


@given(st.lists(lines, min_size=1, max_size=4))
def test_the_linter_refuses_exactly_what_loading_refuses(chosen):
    text = "\n".join(chosen)
    try:
        CompiledEngine.load(MODEL, "m", [("p", text)], clock=lambda: 0.0)
        refused = False
    except PolicyError:
        refused = True
    found = {each.code for each in lint(("m", MODEL), [("p", text)], GROUND)}
    # `r.bus` is an attribute to the linter, and unknown to the engine too.
    said = bool(found & LOADING) or ("unknown-attribute" in found)
    assert said == refused, (text, found)


values = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["agent", "human", "x"]),
        "clearance": st.sampled_from([0, 1, 2, 3, 4]),
        "registered": st.booleans(),
    }
)
paths = st.sampled_from(["/a/b", "/a/b/c", "/b", "/a/", "/a", "/a/b/d"])


@given(st.lists(st.tuples(conditions, st.sampled_from(["/a/*", "*", "/b"])), min_size=2, max_size=2), values, paths)
def test_what_is_called_impossible_no_request_meets(chosen, subject, path):
    text = "\n".join(f"p, x, {condition}, {pattern}, *, allow," for condition, pattern in chosen)
    engine = CompiledEngine.load(MODEL, "m", [("p", text)])
    request = (subject, {"path": path}, {"method": "GET"}, {})
    facts = [facts_of(rule, engine.source.functions) for rule in engine.rules]
    matches = [rule.code(*request, rule.constants) is True for rule in engine.rules]
    for one, told in zip(matches, facts, strict=True):
        assert not (one and impossible(told)), text
    if impossible(*facts):
        assert not all(matches), text


CORPUS = pathlib.Path(__file__).parents[2] / "corpus" / "casbin"


@pytest.mark.parametrize("model", sorted(CORPUS.glob("*.conf")), ids=lambda path: path.name)
def test_every_model_of_the_corpus_with_every_policy_is_refused_by_both_or_by_neither(model):
    model_text = model.read_text()
    for policy in sorted(CORPUS.glob("*.csv")):
        text = policy.read_text()
        try:
            CompiledEngine.load(model_text, "m", [("p", text)], clock=lambda: 0.0)
            refused = False
        except PolicyError:
            refused = True
        found = [each for each in lint(("m", model_text), [("p", text)], GROUND) if each.severity is Severity.ERROR]
        assert bool(found) == refused, (policy.name, found)
