"""Whatever scopes and requests there are: narrower means narrower, and a path has one meaning (I7)."""

import re
from itertools import product

from grant_kit import request
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.grants.condition import Condition
from authz.grants.scope import Scope, access, compile_scope, narrower, parse_scope
from authz.resource_pattern import parse_path, path_segments

# Few words, so that patterns and requests meet; pools, so that drawing is cheap.
WORDS = ["a", "b", "ab"]
words = st.sampled_from(WORDS)
PARTS = [parts for length in range(4) for parts in product([*WORDS, "{x}"], repeat=length)]
PATTERNS = ["tcp:1", "tcp:*", "/*"] + [
    "/" + "/".join(parts) + end for parts in PARTS if parts and parts.count("{x}") < 2 for end in ("", "/*")
]
PATHS = ["tcp:1", "tcp:2", "/"] + [
    "/" + "/".join(parts) + end for parts in PARTS if parts and "{x}" not in parts for end in ("", "/")
]
HOSTS = [".".join(parts) for length in (1, 2, 3) for parts in product(WORDS, repeat=length)]
hosts, paths, path_patterns = st.sampled_from(HOSTS), st.sampled_from(PATHS), st.sampled_from(PATTERNS)
host_patterns = st.sampled_from(["*", *HOSTS, *(f"*.{host}" for host in HOSTS)])
numbers = st.integers(-2, 3) | st.sampled_from([0.5, -1.5])
values = numbers | st.booleans() | words | st.none() | st.just({"x": 1})
action_patterns = st.sampled_from(["GET", "PUT", "m:a", "m:b", "m:a/x", "m:*", "m:a/*", "*"])
actions = st.sampled_from(["GET", "PUT", "m:a", "m:b", "m:a/x", "m:", "x"])


DEMANDS = [
    *({"among": among} for among in [("a",), ("a", "b"), (1, 2), (True,), (0, "a"), (False, 0)]),
    *({"min": n} for n in (-1, 0, 0.5)),
    *({"max": n} for n in (0, 0.5, 2)),
    {"min": 0, "max": 2},
    {"min": 1, "max": 1},
    {"among": (0, 1, 2), "max": 1},
]
conditions = st.dictionaries(st.sampled_from(["act.args.n", "obj.type"]), st.sampled_from(DEMANDS), max_size=2).map(
    lambda found: tuple(Condition(attribute, **demands) for attribute, demands in found.items())
)


details = st.builds(
    access,
    st.lists(action_patterns, min_size=1, max_size=3),
    st.lists(host_patterns, min_size=1, max_size=2),
    st.lists(path_patterns, min_size=1, max_size=2),
    conditions,
)
scopes = st.builds(lambda found: Scope(tuple(found)), st.lists(details, min_size=1, max_size=2))
requests = st.builds(
    lambda action, host, path, n, kind: request(action, host, path, args={"n": n}, type=kind),
    actions, hosts, paths, values, values,
)  # fmt: skip


@st.composite
def narrowed(draw):
    """A scope, and another that is likely to lie within it."""
    parent = draw(scopes)
    wide = draw(st.sampled_from(parent.details))
    child = access(
        draw(st.lists(st.sampled_from(wide.actions) | action_patterns, min_size=1, max_size=2)),
        draw(st.lists(st.sampled_from(wide.locations) | host_patterns, min_size=1, max_size=1)),
        draw(st.lists(st.sampled_from(wide.resources) | path_patterns, min_size=1, max_size=1)),
        draw(st.just(wide.conditions) | conditions),
    )
    return Scope((child,)), parent


@given(narrowed() | st.tuples(scopes, scopes), st.lists(requests, min_size=1, max_size=30))
def test_what_a_narrower_scope_covers_the_wider_one_covers_too(pair, asked):
    child, parent = pair
    if narrower(child, parent):
        inner, outer = compile_scope(child), compile_scope(parent)
        assert all(outer(one) for one in asked if inner(one))


@given(scopes)
def test_a_scope_is_no_wider_than_itself(scope):
    assert narrower(scope, scope)


@given(scopes, scopes, scopes)
def test_narrower_than_the_narrower_is_narrower(a, b, c):
    if narrower(a, b) and narrower(b, c):
        assert narrower(a, c)


@given(scopes, details, requests)
def test_an_entry_more_takes_nothing_away(scope, detail, asked):
    if compile_scope(scope)(asked):
        assert compile_scope(Scope((*scope.details, detail)))(asked)


@given(scopes)
def test_a_scope_reads_back(scope):
    assert parse_scope(scope.to_claim()) == scope


def oracle(pattern, path):
    """The meaning of a path pattern as a regular expression, written independently."""
    if pattern.startswith("tcp:"):
        return pattern == path or (pattern == "tcp:*" and path.startswith("tcp:"))
    text = re.sub(r"\\\{[a-z]+\\\}", "[^/]+", re.escape(pattern.removesuffix("*").removesuffix("/")))
    tail = "(?:/.*)?" if pattern.endswith("*") else "/?"
    return not path.startswith("tcp:") and re.fullmatch(text + tail, path) is not None


@given(path_patterns, paths)
def test_a_path_pattern_means_the_same_everywhere(pattern, path):
    expected = oracle(pattern, path)
    assert parse_path(pattern).matches(path_segments(path)) is expected
    scope = Scope((access(["*"], ["*"], [pattern]),))
    assert compile_scope(scope)(request(path=path)) is expected


@given(path_patterns, path_patterns, st.lists(paths, max_size=20))
def test_a_path_within_another_means_no_more(inner, outer, asked):
    if parse_path(inner).within(parse_path(outer)):
        assert all(oracle(outer, path) for path in asked if oracle(inner, path))


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    )
)
def test_anything_else_in_its_place_is_refused_in_order(claim):
    try:
        parse_scope(claim)
    except ValueError:
        return
    raise AssertionError(claim)
