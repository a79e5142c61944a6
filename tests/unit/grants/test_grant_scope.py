"""The scope of a grant: what it covers, and what is narrower."""

import pytest
from grant_kit import request, scope

from authz.grants.condition import Condition
from authz.grants.scope import (
    MAX_CONDITIONS,
    MAX_DETAILS,
    MAX_PATTERNS,
    Scope,
    access,
    compile_scope,
    narrower,
    parse_scope,
)
from authz.model import Asked, Target

ENTRY = {
    "type": "authz_access",
    "actions": ["GET", "mcp:tools/*"],
    "locations": ["*.prod.example"],
    "resources": ["/v1/{id}", "/v2/*"],
    "conditions": [{"attribute": "act.args.amount", "min": 0, "max": 100.5}, {"attribute": "obj.type", "in": ["a", 1]}],
}


def entry(actions=("GET",), locations=("*",), resources=("/*",), *conditions):
    return access(actions, locations, resources, [Condition(**condition) for condition in conditions])


def covers(detail, **asked):
    return compile_scope(Scope((detail,)))(request(**asked))


@pytest.mark.parametrize(
    ("action", "asked", "fits"),
    [
        ("GET", "GET", True),
        ("GET", "GETS", False),
        ("GET", "get", False),
        ("*", "anything", True),
        ("*", "", True),
        ("mcp:tools/*", "mcp:tools/call", True),
        ("mcp:tools/*", "mcp:toolsx", False),
        ("mcp:tools/call:pay", "mcp:tools/call:pay", True),
        ("mcp:tools/call:pay", "mcp:tools/call:pay2", False),
        ("pkg.Svc/*", "pkg.Svc/Do", True),
        ("pkg.*", "pkg.Svc/Do", True),
        ("GET", "*", False),
    ],
)
def test_an_action_is_named_whole_or_by_its_beginning(action, asked, fits):
    assert covers(entry([action]), action=asked) is fits


@pytest.mark.parametrize(
    ("location", "host", "fits"),
    [
        ("a.example", "a.example", True),
        ("a.example", "b.a.example", False),
        ("*.example", "a.example", True),
        ("*.example", "b.a.example", True),
        ("*.example", "example", False),
        ("*.example", "evilexample", False),
        ("*", "anything", True),
        ("*", "", True),
        ("a.example", "*", False),
    ],
)
def test_a_host_is_named_whole_or_by_its_last_labels(location, host, fits):
    assert covers(entry(locations=[location]), host=host) is fits


@pytest.mark.parametrize(
    ("resource", "path", "fits"),
    [
        ("/v1/a", "/v1/a", True),
        ("/v1/a", "/v1/a/", True),
        ("/v1/a", "/v1/a/b", False),
        ("/v1/a", "/v1/ab", False),
        ("/v1/a/*", "/v1/a", True),
        ("/v1/a/*", "/v1/a/b/c", True),
        ("/v1/a/*", "/v1/ab", False),
        ("/v1/{id}", "/v1/a", True),
        ("/v1/{id}", "/v1/a/b", False),
        ("/v1/{id}/*", "/v1/a/b", True),
        ("/", "/", True),
        ("/", "/a", False),
        ("/*", "/", True),
        ("tcp:5432", "tcp:5432", True),
        ("tcp:5432", "tcp:54321", False),
        ("tcp:*", "tcp:54321", True),
        ("tcp:*", "/tcp:1", False),
        ("/*", "tcp:1", False),
    ],
)
def test_a_path_is_read_as_the_catalogue_reads_it(resource, path, fits):
    assert covers(entry(resources=[resource]), path=path) is fits


def test_a_request_must_fit_one_entry_whole():
    two = Scope((entry(["GET"], ["a.example"], ["/a"]), entry(["PUT"], ["b.example"], ["/b"])))
    fits = compile_scope(two)
    assert fits(request("GET", "a.example", "/a"))
    assert fits(request("PUT", "b.example", "/b"))
    for asked in (("PUT", "a.example", "/a"), ("GET", "b.example", "/a"), ("GET", "a.example", "/b")):
        assert not fits(request(*asked))


def test_any_of_an_entrys_actions_hosts_and_paths_will_do():
    fits = compile_scope(Scope((entry(["GET", "PUT"], ["a.example", "b.example"], ["/a", "/b/{x}", "/c/*"]),)))
    for asked in (("GET", "a.example", "/a"), ("PUT", "b.example", "/b/1"), ("PUT", "a.example", "/c/d")):
        assert fits(request(*asked))


def test_an_attribute_that_is_no_text_is_covered_by_nothing():
    for obj in ({"host": "h", "path": 7}, {"host": None, "path": "/"}):
        assert not compile_scope(Scope((entry(["*"]),)))(Asked(Target(), obj, "http", "GET", {}))


def test_all_conditions_must_hold_on_what_policies_see():
    detail = entry(
        ["*"],
        ["*"],
        ["/*"],
        {"attribute": "act.args.order.amount", "max": 100},
        {"attribute": "obj.labels.team", "among": ("pay",)},
    )
    ok = {"args": {"order": {"amount": 100}}, "labels": {"team": "pay"}}
    assert covers(detail, **ok)
    assert not covers(detail, **ok | {"args": {"order": {"amount": 100.01}}})
    assert not covers(detail, **ok | {"labels": {"team": "hr"}})
    assert not covers(detail, **ok | {"labels": {}})
    assert not covers(detail, **ok | {"args": {"order": 5}})
    assert not covers(detail, **ok | {"args": None})


def test_a_scope_is_read_back_as_it_was_written():
    read = parse_scope([ENTRY])
    assert parse_scope(read.to_claim()) == read
    assert read.details[0].conditions[0].max == 100.5


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"type": "payment"}, "type"),
        ({"type": None}, "type"),
        ({"privileges": ["x"]}, "privileges"),
        ({"actions": []}, "actions"),
        ({"actions": ["x"] * (MAX_PATTERNS + 1)}, "actions"),
        ({"actions": "GET"}, "actions"),
        ({"actions": ["G*"]}, "action"),
        ({"actions": ["a*b"]}, "action"),
        ({"actions": ["**"]}, "action"),
        ({"actions": [":**"]}, "action"),
        ({"actions": [""]}, "action"),
        ({"actions": ["GET\n"]}, "action"),
        ({"actions": ["G T"]}, "action"),
        ({"actions": ["x" * 257]}, "action"),
        ({"locations": []}, "locations"),
        ({"locations": ["A.example"]}, "lower case"),
        ({"locations": ["a.example:443"]}, "port"),
        ({"locations": ["https://a.example"]}, "host"),
        ({"resources": []}, "resources"),
        ({"resources": ["v1"]}, "slash"),
        ({"resources": ["/v1/*/x"]}, "segment"),
        ({"resources": ["/v1//x"]}, "segment"),
        ({"resources": ["/v1/../x"]}, "segment"),
        ({"conditions": [{"attribute": "obj.type", "in": ["a"], "not": 1}]}, "not"),
        ({"conditions": [{"attribute": "obj.type", "in": ["a"]}] * 2}, "one for each"),
        (
            {"conditions": [{"attribute": f"act.args.a{n}", "max": 1} for n in range(MAX_CONDITIONS + 1)]},
            "conditions",
        ),
    ],
)
def test_what_is_not_known_or_means_nothing_is_refused(change, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse_scope([ENTRY | change])


@pytest.mark.parametrize("claim", [None, {}, "x", [], [None], [[]], [ENTRY] * (MAX_DETAILS + 1)])
def test_a_scope_is_an_array_of_some_entries(claim):
    with pytest.raises(ValueError, match=r"."):
        parse_scope(claim)


@pytest.mark.parametrize("name", ["type", "actions", "locations", "resources"])
def test_a_member_that_is_missing_is_no_member_that_means_all(name):
    with pytest.raises(ValueError, match=name):
        parse_scope([{key: value for key, value in ENTRY.items() if key != name}])


WIDE = entry(["GET", "mcp:*"], ["*.example"], ["/v1/*"], {"attribute": "act.args.n", "min": 1, "max": 9})


@pytest.mark.parametrize(
    ("child", "within"),
    [
        (WIDE, True),
        (entry(["GET"], ["a.example"], ["/v1/{x}"], {"attribute": "act.args.n", "min": 2, "max": 8}), True),
        (entry(["mcp:x/*"], ["*.b.example"], ["/v1/a/*"], {"attribute": "act.args.n", "among": (1, 9)}), True),
        (entry(["PUT"], ["a.example"], ["/v1/a"], {"attribute": "act.args.n", "min": 1, "max": 9}), False),
        (entry(["GET", "PUT"], ["a.example"], ["/v1/a"], {"attribute": "act.args.n", "min": 1, "max": 9}), False),
        (entry(["*"], ["a.example"], ["/v1/a"], {"attribute": "act.args.n", "min": 1, "max": 9}), False),
        (entry(["GET"], ["*"], ["/v1/a"], {"attribute": "act.args.n", "min": 1, "max": 9}), False),
        (entry(["GET"], ["a.other"], ["/v1/a"], {"attribute": "act.args.n", "min": 1, "max": 9}), False),
        (entry(["GET"], ["a.example"], ["/*"], {"attribute": "act.args.n", "min": 1, "max": 9}), False),
        (entry(["GET"], ["a.example"], ["/v1/a", "/v2"], {"attribute": "act.args.n", "min": 1, "max": 9}), False),
        (entry(["GET"], ["a.example"], ["/v1/a"]), False),
        (entry(["GET"], ["a.example"], ["/v1/a"], {"attribute": "act.args.m", "min": 1, "max": 9}), False),
        (entry(["GET"], ["a.example"], ["/v1/a"], {"attribute": "act.args.n", "min": 1}), False),
        (entry(["GET"], ["a.example"], ["/v1/a"], {"attribute": "act.args.n", "min": 0, "max": 9}), False),
        (entry(["GET"], ["a.example"], ["/v1/a"], {"attribute": "act.args.n", "among": (1, 10)}), False),
        (entry(["GET"], ["a.example"], ["/v1/a"], {"attribute": "act.args.n", "among": (1, "2")}), False),
    ],
)
def test_an_entry_is_narrower_when_each_part_is(child, within):
    assert narrower(Scope((child,)), Scope((WIDE,))) is within


def test_every_entry_must_lie_within_one_of_the_others():
    parent = Scope((entry(["GET"], ["a.example"]), entry(["PUT"], ["b.example"])))
    assert narrower(Scope((entry(["PUT"], ["b.example"], ["/x"]), entry(["GET"], ["a.example"], ["/y"]))), parent)
    assert not narrower(Scope((entry(["GET"], ["a.example"]), entry(["GET"], ["b.example"]))), parent)


def test_a_condition_more_makes_it_narrower_and_one_less_wider():
    bare = scope(entry())
    bound = scope(entry(["GET"], ["*"], ["/*"], {"attribute": "obj.type", "among": ("a",)}))
    assert narrower(bound, bare)
    assert not narrower(bare, bound)
