"""Formatting: one layout for whatever means the same, and never another meaning."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import PolicyError
from authz.policy import perm
from authz.policy.compile import CompiledEngine
from authz.policy.formatting import format_expression, format_model, format_policy, sub_rule_columns
from authz.policy.functions import registry
from authz.policy.lexer import ExpressionError, pieces, tokens
from authz.policy.limits import PolicyLimits
from authz.policy.source import CompileSettings, Source

ROOT = pathlib.Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "corpus" / "casbin"
MODEL = (ROOT / "policies" / "model.conf").read_text()
LIMITS = PolicyLimits()
FUNCTIONS = registry(lambda: 0.0, {})


def columns(model: str):
    parsed = perm.parse(model, "m", LIMITS)
    return sub_rule_columns(parsed, LIMITS, Source(parsed, (), frozenset(), CompileSettings(), FUNCTIONS, ""))


def compiled(model: str, policy: str):
    """All that decides: each rule's expression, constants, effect and obligations."""
    engine = CompiledEngine.load(model, "m", [("p", policy)], clock=lambda: 0.0, known_obligations=["apply"])
    return [(rule.variant.tree, rule.says, rule.obligations, rule.ordinal) for rule in engine.rules], [
        [constant for constant in rule.constants if not callable(constant)] for rule in engine.rules
    ]


words = st.sampled_from(
    ["r.sub.kind", "r . sub . kind", "'a  b'", '"x,y"', "12", "1.5", "True", "(1 + 2)", "r.sub['a b']", "-3", "p.name"]
)
comparisons = st.builds(
    "{0}{3}{1}{3}{2}".format,
    words,
    st.sampled_from(["==", "!=", "<", " in ", " not in "]),
    words,
    st.sampled_from(["", " ", "\t", "   "]),
)
calls = st.builds("keyMatch({0} r.obj.path{0},{0}'/a/*' )".format, st.sampled_from(["", " ", "  "]))
lists = st.builds("r.sub.kind in [{0}'a'{0},{0}'b c'{0}]".format, st.sampled_from(["", " "]))
conditions = st.recursive(
    st.one_of(comparisons, calls, lists),
    lambda inner: st.one_of(
        st.builds(
            "{0}{2}{3}{2}{1}".format,
            inner,
            inner,
            st.sampled_from([" ", "  "]),
            st.sampled_from(["&&", "||", "and", "or"]),
        ),
        st.builds("!{1}({0}{1})".format, inner, st.sampled_from(["", " "])),
        st.builds("not ({0})".format, inner),
        st.builds("( {0})".format, inner),
    ),
    max_leaves=5,
)
blank = st.sampled_from(["", " ", "  ", "\t"])
lines = st.one_of(
    st.builds(
        "{5}p{0},{0}name,{5}{1},{2}{5},GET,{3}{0},{4}".format,
        blank,
        conditions,
        st.sampled_from(["/a/*", "*"]),
        st.sampled_from(["allow", "deny"]),
        st.sampled_from(["", " "]),
        blank,
    ),
    st.sampled_from(["", "  ", "# a comment,  with blanks", "  #x", "\r"]),
)


@given(conditions)
def test_an_expression_keeps_its_tokens_and_is_laid_out_once(text):
    formatted = format_expression(text)
    assert [(t.kind, t.value) for t in tokens(formatted, comments=True)] == [
        (t.kind, t.value) for t in tokens(text, comments=True)
    ]
    assert format_expression(formatted) == formatted


@given(st.text(alphabet="r.sub'\" ()[]!-&|=<>,#inot1\\/*", max_size=30))
def test_any_text_keeps_its_tokens_or_is_left_alone(text):
    formatted = format_expression(text)
    try:
        before = tokens(text, comments=True)
    except ExpressionError:
        assert formatted == text
        return
    assert [(t.kind, t.value) for t in tokens(formatted, comments=True)] == [(t.kind, t.value) for t in before]
    assert format_expression(formatted) == formatted


@given(conditions, st.integers(1, 5))
def test_blanks_make_no_difference(text, extra):
    spread = (" " * extra).join(pieces(text))
    assert format_expression(spread) == format_expression(text)


@given(st.lists(lines, max_size=6))
def test_a_policy_means_the_same_afterwards_and_stays_as_it_is(chosen):
    text = "\n".join(chosen)
    formatted = format_policy(text, "p", LIMITS, columns(MODEL))
    assert format_policy(formatted, "p", LIMITS, columns(MODEL)) == formatted
    try:
        before = compiled(MODEL, text)
    except PolicyError:
        with pytest.raises(PolicyError):
            compiled(MODEL, formatted)
        return
    assert compiled(MODEL, formatted) == before
    assert [line.strip() for line in text.split("\n") if line.strip()[:1] == "#"] == [
        line for line in formatted.split("\n") if line[:1] == "#"
    ]


@pytest.mark.parametrize("path", sorted(CORPUS.rglob("*.conf")), ids=lambda path: path.name)
def test_every_model_of_the_corpus_means_the_same_afterwards(path):
    text = path.read_text()
    try:
        before = perm.parse(text, "m", LIMITS)
    except PolicyError:
        with pytest.raises(PolicyError):
            format_model(text, "m", LIMITS)
        return
    formatted = format_model(text, "m", LIMITS)
    after = perm.parse(formatted, "m", LIMITS)
    assert format_model(formatted, "m", LIMITS) == formatted
    assert (after.requests, after.policies, after.roles) == (before.requests, before.policies, before.roles)
    for name, entry in before.effects.items():
        assert after.effects[name].value == entry.value
    for name, entry in before.matchers.items():
        old, new = (tokens(value, comments=True)[:-1] for value in (entry.value, after.matchers[name].value))
        assert [(t.kind, t.value) for t in new] == [(t.kind, t.value) for t in old]
    assert set(after.matchers) == set(before.matchers)


@pytest.mark.parametrize("path", sorted(CORPUS.rglob("*.csv")), ids=lambda path: path.name)
def test_every_policy_of_the_corpus_keeps_its_rows(path):
    text = path.read_text()
    if not text:
        return
    formatted = format_policy(text, "p", LIMITS, {})
    squeezed = [",".join(cell.strip() for cell in line.split(",")) for line in text.split("\n")]
    assert [",".join(c.strip() for c in line.split(",")) for line in formatted.split("\n") if line] == [
        line for line in squeezed if line.strip(",")
    ]


@pytest.mark.parametrize(
    ("written", "laid_out"),
    [
        ("a==-1&&b", "a == -1 && b"),
        ("a-1 - -2", "a - 1 - -2"),
        ("! a", "!a"),
        ("not(a)", "not (a)"),
        ("a in['x','y']", "a in ['x', 'y']"),
        ("f ( a,'b' )", "f(a, 'b')"),
        ("r . sub [ 'x' ] . y", "r.sub['x'].y"),
        ("(a||b)#  why ", "(a || b)  #  why"),
        ("'a  &&b'", "'a  &&b'"),
        ("a = b", "a = b"),
        ("('x',)", "('x',)"),
    ],
)
def test_the_layout(written, laid_out):
    assert format_expression(written) == laid_out
