"""Pattern functions: what each pattern matches; beside pycasbin's own where that is sane, apart from it where not."""

import pytest
from casbin import util
from hypothesis import given
from hypothesis import strategies as st

from authz.policy.functions import RuleError, registry
from authz.policy.patterns import covers
from authz.policy.regex import PatternError
from authz.policy.trie import Trie

FUNCTIONS = registry(None, {})
THEIRS = {
    "keyMatch": util.key_match_func,
    "keyMatch2": util.key_match2_func,
    "keyMatch3": util.key_match3_func,
    "keyMatch4": util.key_match4_func,
    "keyMatch5": util.key_match5_func,
    "regexMatch": util.regex_match_func,
}
SAME = [
    ("keyMatch", "/foo/*", ["/foo/", "/foo/x", "/foo/x/y", "/foo", "/fo", "", "/foo/x\n"]),
    ("keyMatch", "/foo*", ["/foo", "/foobar", "/foo/x", "/fo"]),
    ("keyMatch", "/foo", ["/foo", "/foo/", "/Foo", ""]),
    ("keyMatch", "*", ["", "x", "/x/y"]),
    ("keyMatch", "", ["", "x"]),
    ("keyMatch2", "/a/:id", ["/a/1", "/a/", "/a", "/a/1/2", "/b/1", "/a/:id", "/a/\u00e4"]),
    ("keyMatch2", "/a/:id/*", ["/a/1/", "/a/1/x/y", "/a//x", "/a/1"]),
    ("keyMatch2", "/:a/:b/c", ["/1/2/c", "/1//c", "/1/2/d", "/c"]),
    ("keyMatch2", "/a/*/c", ["/a/b/c", "/a//c", "/a/c", "/a/b/b/c", "/a/b/d"]),
    ("keyMatch2", "/a/x:id", ["/a/x1", "/a/x", "/a/1", "/a/x1/2"]),
    ("keyMatch2", "*", ["", "x", "/x/y"]),
    ("keyMatch2", "/*", ["/", "/x", "/x/y", "", "x"]),
    ("keyMatch2", "", ["", "x"]),
    ("keyMatch2", ":all", ["x", "", "x/y"]),
    ("keyMatch2", "/a/*/:id/*", ["/a/b/1/c", "/a/b/1", "/a//1/"]),
    ("keyMatch3", "/a/{id}/c", ["/a/1/c", "/a//c", "/a/1/2/c", "/a/{id}/c"]),
    ("keyMatch3", "/a/{x}-{y}", ["/a/1-2", "/a/12", "/a/1-", "/a/1-2-3"]),
    ("keyMatch3", "p_{x}_q/*", ["p_1_q/", "p__q/x", "p_1_q", "p_1_2_q/z"]),
    ("keyMatch4", "/{id}/x/{id}", ["/1/x/1", "/1/x/2", "/x/x/x", "/1/y/1"]),
    ("keyMatch4", "/{a}/{b}", ["/1/2", "/1/1", "/1"]),
    ("keyMatch4", "/{a}-{b}/{a}-{b}", ["/1-2/1-2", "/1-2/1-3", "/12/12"]),
    ("keyMatch5", "/a/{id}", ["/a/1?x=1", "/a/1", "/a/1/2", "/a/?x", "/a/1?y/z"]),
    ("keyMatch5", "/a/*", ["/a/b?c", "/a?b"]),
    ("keyMatch5", "/{a}-{b}", ["/1-2", "/12"]),
    ("regexMatch", "(GET)|(POST)", ["GET", "POST", "GETTING", "PUT", "aGET", ""]),
    ("regexMatch", "GET", ["GET", "GETS", "get"]),
    ("regexMatch", "^(GET|POST)$", ["GET", "POST", "GETS", "PUT"]),
    ("regexMatch", "^GET$", ["GET", "GETS"]),
    ("regexMatch", "G.T|P", ["GET", "G.T", "Px", "GT", "xGET", "xP"]),
    ("regexMatch", "^/a/[0-9]+$", ["/a/1", "/a/", "/a/1x", "x/a/1"]),
    ("regexMatch", "", ["", "x"]),
]


@pytest.mark.parametrize(("name", "pattern", "keys"), SAME)
def test_a_pattern_matches_what_pycasbins_function_matches(name: str, pattern: str, keys: list[str]):
    for key in keys:
        assert FUNCTIONS[name].bind(pattern)(key) is THEIRS[name](key, pattern), key


STRICTER = [
    ("keyMatch2", "/a|/b", "/anything", "an alternative of half the pattern"),
    ("keyMatch2", "/a|/b", "/b", "an alternative of half the pattern"),
    ("keyMatch2", "/report.json", "/reportXjson", "a dot for any character"),
    ("keyMatch2", "/a/b", "/a/b\n", "a line break at the end"),
    ("keyMatch2", "/a/*", "/a/b\n", "a line break at the end"),
    ("keyMatch2", "/a+", "/aaa", "a repetition"),
    ("keyMatch2", "/[ab]", "/a", "a class"),
    ("keyMatch3", "/a|/{x}", "/anything", "an alternative of half the pattern"),
    ("keyMatch3", "/{x}.json", "/aXjson", "a dot for any character"),
    ("keyMatch2", "/a/:id", "/a/1\n", "a line break at the end"),
    ("keyMatch2", "/:a/:b", "/a\n/1", "a line break within"),
    ("keyMatch3", "/{x}", "/a\n", "a line break at the end"),
    ("keyMatch3", "/{x}-{y}", "/a-b\n", "a line break at the end"),
    ("keyMatch3", "/{x}/b", "/a/b\n", "a line break at the end"),
    ("keyMatch4", "/{x}.json", "/aXjson", "a dot for any character"),
    ("keyMatch4", "/{x}/{x}/b", "/a/a/b\n", "a line break at the end"),
    ("keyMatch5", "/{x}|", "/a/b", "an alternative of half the pattern"),
    ("keyMatch5", "/a/b", "/a/b\n", "a line break at the end"),
    ("regexMatch", "^/a$", "/a\n", "a line break at the end"),
    ("regexMatch", "^(GET|POST)$", "GET\n", "a line break at the end"),
]


@pytest.mark.parametrize(("name", "pattern", "key", "why"), STRICTER)
def test_a_pattern_does_not_match_what_only_its_pasting_into_a_regular_expression_would(
    name: str, pattern: str, key: str, why: str
):
    assert THEIRS[name](key, pattern), why
    assert not FUNCTIONS[name].bind(pattern)(key), why


@pytest.mark.parametrize("name", ["keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5"])
@pytest.mark.parametrize("character", list(".|+?[](){}^$\\\n#&"))
def test_every_other_character_of_a_pattern_stands_for_itself(name: str, character: str):
    matches = FUNCTIONS[name].bind(f"/a{character}b/:x" if name == "keyMatch2" else f"/a{character}b")
    key = f"/a{character}b/1" if name == "keyMatch2" else f"/a{character}b"
    if name == "keyMatch5" and character == "?":
        assert not matches(key)  # what stands behind it is the query
        return
    assert matches(key)
    for other in ("/aXb", "/ab", "/a", "b", "/aab", f"{key}\n", f"x{key}"):
        assert not matches(other)
        assert not matches(f"{other}/1")


@pytest.mark.parametrize(
    ("name", "pattern", "problem"),
    [
        ("keyMatch", "/v1/*/public", "would be ignored"),
        ("keyMatch", "**", "would be ignored"),
        ("keyGet", "/*/x", "would be ignored"),
        ("keyMatch2", "/a*", "stands for what follows a slash"),
        ("keyMatch2", "domain.*", "stands for what follows a slash"),
        ("keyMatch2", "/**", "stands for what follows a slash"),
        ("keyMatch3", "*", "stands for what follows a slash"),
        ("keyMatch4", "/{a}*", "stands for what follows a slash"),
        ("keyMatch5", "a*", "stands for what follows a slash"),
        ("regexMatch", "(", "is not supported"),
        ("regexMatch", "*", "is not supported"),
        ("regexMatch", "(?=a)", "is not supported"),
        ("regexMatch", r"(a)\1", "is not supported"),
        ("regexMatch", "(a{1000}){1000}", "is not supported"),
        ("globMatch", "[", "is not closed"),
        ("globMatch", "[]", "is empty"),
        ("globMatch", "[a", "is not closed"),
        ("globMatch", "{a,b", "are not closed"),
        ("globMatch", "a\\", "ends in a backslash"),
        ("globMatch", "{a,b}" * 7, "more than 64 alternatives"),
    ],
)
def test_a_text_that_is_no_pattern_is_refused(name: str, pattern: str, problem: str):
    with pytest.raises(PatternError, match=problem):
        FUNCTIONS[name].bind(pattern)


@pytest.mark.parametrize("name", [name for name, known in FUNCTIONS.items() if known.signature.fewest == 2])
@pytest.mark.parametrize("key", [None, 3, True, b"/a", ["/a"], {"/a": 1}, 1.5])
@pytest.mark.parametrize("pattern", ["/a", "/a/*", "10.0.0.1"])
def test_what_is_no_text_is_an_error_never_a_silent_mismatch(name: str, key: object, pattern: str):
    if (name == "ipMatch" and pattern != "10.0.0.1") or (name == "via" and isinstance(key, list)):
        return
    with pytest.raises((TypeError, RuleError)):
        FUNCTIONS[name].bind(pattern)(key)


GETS = [
    ("keyGet", ("/foo/*",), "/foo/bar/x", "bar/x"),
    ("keyGet", ("/foo/*",), "/foo/", ""),
    ("keyGet", ("/foo/*",), "/other", ""),
    ("keyGet", ("/foo",), "/foo", ""),
    ("keyGet2", ("/:res/act", "res"), "/r1/act", "r1"),
    ("keyGet2", ("/:a/:b", "b"), "/1/2", "2"),
    ("keyGet2", ("/:a/:b", "c"), "/1/2", ""),
    ("keyGet2", ("/:a/*", "a"), "/1/2/3", "1"),
    ("keyGet2", ("/:a.json", "a.json"), "/1.json", "1.json"),
    ("keyGet2", ("/:a", "a"), "/1/2", ""),
    ("keyGet2", ("*", "a"), "/1", ""),
    ("keyGet3", ("project/proj_{project}_admin/", "project"), "project/proj_p1_admin/", "p1"),
    ("keyGet3", ("/{a}-{b}", "a"), "/1-2-3", "1"),
    ("keyGet3", ("/{a}-{b}", "b"), "/1-2-3", "2-3"),
    ("keyGet3", ("/{a}", "b"), "/1", ""),
]


@pytest.mark.parametrize(("name", "constants", "key", "found"), GETS)
def test_key_functions_give_the_part_that_a_name_stands_for(
    name: str, constants: tuple[str, ...], key: str, found: str
):
    assert FUNCTIONS[name].bind(*constants)(key) == found
    theirs = {"keyGet": util.key_get, "keyGet2": util.key_get2, "keyGet3": util.key_get3}[name]
    assert theirs(key, *constants) == found


def test_a_group_in_a_pattern_cannot_shift_what_a_name_stands_for():
    assert FUNCTIONS["keyGet2"].bind("/(x)/:id", "id")("/(x)/7") == "7"


@pytest.mark.parametrize(
    ("name", "pattern", "key"),
    [
        ("regexMatch", "ab*", "a"),
        ("regexMatch", "ab?c", "ac"),
        ("regexMatch", "ab{0,1}", "a"),
        ("regexMatch", "ab+", "abb"),
        ("regexMatch", "/a|/b", "/b"),
        ("regexMatch", "(?i)abc", "ABC"),
        ("regexMatch", r"\/a", "/a"),
        ("regexMatch", "[ab]c", "bc"),
        ("regexMatch", "^/a/.*", "/a/b"),
        ("globMatch", "a/**", "a"),
        ("globMatch", "a/**/", "a"),
        ("globMatch", "**/a", "a"),
        ("globMatch", "a/{b,c/d}", "a/c/d"),
        ("globMatch", r"a/\*", "a/*"),
        ("globMatch", "a[b]c", "abc"),
        ("globMatch", "a*/b", "ax/b"),
        ("keyMatch", "/a*", "/ab/c"),
        ("keyMatch5", "/a/{x}", "/a/1?b/c"),
    ],
)
def test_an_outline_never_rules_out_what_its_pattern_matches(name: str, pattern: str, key: str):
    function = FUNCTIONS[name]
    assert function.bind(pattern)(key)
    looked_up = key.partition("?")[0] if function.strips_query else key
    others = [(function.outline("/zz"), "other"), (function.outline("/zz/y"), "another")]
    assert "it" in Trie([(function.outline(pattern), "it"), *others], lambda _: False).find(looked_up)


TEXTS = st.text("ab/:{}*.?-", max_size=8)


@given(
    st.sampled_from(["keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5", "globMatch", "regexMatch"]),
    TEXTS,
    TEXTS,
)
def test_whatever_matches_fits_the_patterns_outline(name: str, pattern: str, key: str):
    function = FUNCTIONS[name]
    try:
        matches = function.bind(pattern)
    except PatternError:
        return
    shape = function.outline(pattern)
    # A second outline, so that the first is really laid out.
    trie = Trie(
        [(shape, "it"), *([] if shape == function.outline("/zz") else [(function.outline("/zz"), "no")])],
        lambda _: False,
    )
    looked_up = key.partition("?")[0] if function.strips_query else key
    assert not matches(key) or "it" in trie.find(looked_up)


@given(st.sampled_from(["keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5"]), TEXTS, TEXTS, TEXTS)
def test_a_pattern_that_covers_another_matches_whatever_that_one_does(name: str, outer: str, inner: str, key: str):
    try:
        wide, narrow = FUNCTIONS[name].bind(outer), FUNCTIONS[name].bind(inner)
    except PatternError:
        return
    if covers(name, outer, inner) and narrow(key):
        assert wide(key)
