"""A sub-rule means the same whatever was parsed before it: sharing trees among alike ones is not to be noticed."""

from hypothesis import example, given
from hypothesis import strategies as st

from authz.policy.expr import Scope, Signature, parse_sub_rule
from authz.policy.lexer import ExpressionError
from authz.policy.limits import PolicyLimits
from authz.policy.sub_rules import SubRules
from authz.policy.tree import Literal, Node, Param, rewrite

SCOPE = Scope("r", ("sub", "obj"), "p", ("rule",), {"keyMatch": Signature(2, 2)})
LIMITS = PolicyLimits(max_expression_chars=80)
CONSTANTS = (
    "'a'",
    '"b"',
    "'it\\'s'",
    "'\\x41'",
    "'\\7'",
    "r'\\d'",
    'r"x"',
    "''",
    "1",
    "0",
    "01",
    "2.5",
    ".5",
    "1.",
    "1e3",
    "1e",
)
PIECES = (
    *(
        "r.sub.name",
        "r.sub.x2",
        "r.obj",
        "r.sub[",
        "]",
        "r",
        "bar",
        "a1",
        "in",
        "not ",
        "and",
        "True",
        "keyMatch(",
        ")",
    ),
    *(
        " ",
        "==",
        " == ",
        "!=",
        "<",
        "&&",
        " && ",
        "||",
        "!",
        "+",
        "-",
        ".",
        "..",
        ",",
        "(",
        "[",
        "'",
        '"',
        "\\",
        "#",
        "é",
    ),
)
TEXTS = st.lists(st.sampled_from(CONSTANTS) | st.sampled_from(PIECES), max_size=9).map("".join)


def outcome(rules: SubRules, text: str) -> object:
    """The tree with its constants back in place, or the error."""
    try:
        tree, lifted = rules.parse(text)
    except ExpressionError as error:
        return error.column, error.problem, error.code
    return _filled(tree, lifted), [type(value) for value in lifted]


def _filled(tree: Node, lifted: tuple[str | int | float, ...]) -> Node:
    return rewrite(tree, lambda node: Literal(lifted[node.at]) if isinstance(node, Param) else None)


@given(st.lists(TEXTS, min_size=1, max_size=6))
@example(["r.sub.name == 'a'", "r.sub.name == 1", "r.sub.name == .5", "r.sub.name == r'\\d'", "r.sub.name == '\\7'"])
@example(["r.sub['a'] == 'a'", "r.sub['b'] == 'a'", "r.sub['a'] == 'b'"])
@example(["r.obj==1 &&r.sub.name=='a'", "r.obj==1.&&r.sub.name=='a'", "r.obj==1e&&r.sub.name=='a'"])
def test_what_was_parsed_before_makes_no_difference(texts: list[str]):
    shared = SubRules(SCOPE, LIMITS)
    for text in (*texts, *texts):
        assert outcome(shared, text) == outcome(SubRules(SCOPE, LIMITS), text), text


@given(TEXTS)
@example("r.sub['a'] == 'a' && r.sub.name in ['x', 'y', 2]")
def test_constants_lifted_out_are_those_in_the_text(text: str):
    rules = SubRules(SCOPE, LIMITS)
    try:
        plain = parse_sub_rule(text, SCOPE, LIMITS)
    except ExpressionError:
        return
    for _ in range(2):
        assert _filled(*rules.parse(text)) == plain


def _one_of_each(first: str, second: str) -> list[str]:
    return [f"r.sub.name == {first} && keyMatch(r.obj, {second})", f"r.obj != {second} || r.sub.x2 == {first}"]


@given(st.lists(st.tuples(st.sampled_from(CONSTANTS), st.sampled_from(CONSTANTS)), min_size=2, max_size=8))
def test_alike_sub_rules_keep_their_own_constants(pairs: list[tuple[str, str]]):
    shared = SubRules(SCOPE, LIMITS)
    for text in (each for pair in pairs for each in _one_of_each(*pair)):
        assert outcome(shared, text) == outcome(SubRules(SCOPE, LIMITS), text), text
