"""`authz policy explain`: the whole reasoning, and no secret in it; `authz policy bench`: what it measures."""

import json

import pytest
from author_world import CONFIG, PLANNER, POLICY, AuthorWorld

from authz.authoring.tree import Item, drawn
from authz.errors import ConfigError


@pytest.fixture
def world(tmp_path):
    return AuthorWorld(tmp_path)


def explain(world, request, *options):
    file = world.write("request.json", json.dumps(request))
    return world.run("explain", file, "-c", world.config, "--trust-principal", *options)


def test_an_allow_is_explained_from_the_caller_to_the_upstream(world):
    result = explain(world, {"principal": PLANNER, "path": "/v1/a/1"})
    assert result.exit_code == 0, result.output
    lines = [line.strip("│├─└ ") for line in result.output.splitlines()]
    for expected in (
        "ALLOWED: allowed",
        f"identity: {PLANNER} (agent)",
        "proved by principal",
        "inventory: does not know it",
        "target: GET localhost /v1/a/1",
        "r.act.method is 'GET'",
        "rules: 2, of which 2 were candidates; the nearest:",
        "policy.csv:1 (allow): matches",
        "holds keyMatch(r.act.method, 'GET')",
        "fails r.obj.path == '/v1/a/secret'   [r.obj.path is '/v1/a/1']",
        "combined by some(where (p.eft == allow)) && !some(where (p.eft == deny))",
        "policy.csv:1 says allow, and decides",
        "apply=mark",
        "with x-marked: yes",
    ):
        assert expected in lines


def test_a_deny_that_beats_an_allow_shows_both(world):
    output = explain(world, {"principal": PLANNER, "path": "/v1/a/secret"}).output
    assert "policy.csv:1 says allow\n" in output
    assert "policy.csv:2 says deny, and decides" in output
    assert "the client gets 403" in output


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"path": "/v1/a/1"}, "identity: refused"),
        ({"path": "/v1/../a", "principal": PLANNER}, "target: refused, path_dot_segment"),
    ],
)
def test_what_was_refused_before_the_rules_says_where(world, request_, told):
    result = explain(world, request_)
    assert result.exit_code == 0
    assert told in result.output
    assert "rules:" not in result.output


def test_a_rule_that_errs_is_told(world):
    world.write("policy.csv", "p, odd, r.sub.labels.team == 'a', /*, *, allow,\n")
    output = explain(world, {"principal": PLANNER, "path": "/x"}).output
    assert "DENIED: rule_error" in output
    assert "policy.csv:1 says errs: the request has no attribute 'team' there, and decides" in output


def test_rules_that_the_index_leaves_out_are_marked(world):
    many = "".join(f"p, r{n}, r.sub.id == 'spiffe://demo.internal/s{n}', /x{n}, GET, allow,\n" for n in range(50))
    world.write("policy.csv", many)
    output = explain(world, {"principal": "spiffe://demo.internal/s7", "path": "/x7"}).output
    assert "rules: 50, of which 1 were candidates; the nearest:" in output
    assert "policy.csv:8 (allow): matches\n" in output
    assert "does not match, left out by the index" in output


def test_values_of_headers_that_carry_credentials_are_not_shown(world):
    world.write("authz.toml", CONFIG + '[attributes]\nexpose_headers = ["x-api-key", "x-team"]\n')
    world.write(
        "policy.csv", "p, k, r.env.headers['x-api-key'] == 'k' && r.env.headers['x-team'] == 't', /*, *, allow,\n"
    )
    for option in ((), ("--json",)):
        output = explain(
            world, {"principal": PLANNER, "path": "/x", "headers": {"x-api-key": "hunter2", "x-team": "blue"}}, *option
        ).output
        assert "hunter2" not in output
        assert "blue" in output


def test_a_test_case_is_explained_by_its_name(world):
    world.write(
        "a_test.yaml", f'cases: [{{name: one, request: {{principal: "{PLANNER}", path: /v1/a/1}}, expect: deny}}]'
    )
    assert "ALLOWED" in world.run("explain", "--case", "one", "-c", world.config).output
    assert isinstance(world.run("explain", "--case", "two", "-c", world.config).exception, ConfigError)
    assert world.run("explain", "-c", world.config).exit_code == 2


def test_the_json_form_tells_the_same(world):
    told = json.loads(explain(world, {"principal": PLANNER, "path": "/v1/a/1"}, "--json").stdout)
    assert (told["effect"], told["rules"], told["rule"]["line"]) == ("allow", 2, 1)
    assert told["identity"]["id"] == PLANNER
    assert ["r.act.method", "'GET'"] in told["attributes"]
    assert [voice["decides"] for voice in told["voices"]] == [True]
    assert told["client"]["upstream_headers"]["x-marked"] == "yes"
    assert told["near"][0]["conditions"][0] == {"text": "keyMatch(r.obj.path, '/v1/a/*')", "state": "holds",
                                               "seen": [["r.obj.path", "'/v1/a/1'"]], "error": ""}  # fmt: skip


def test_a_tree_is_drawn():
    tree = Item("a", [Item("b", [Item("c")]), Item("d", [Item("e")])])
    assert drawn(tree) == "a\n├─ b\n│  └─ c\n└─ d\n   └─ e"


def test_bench_measures_the_cases_and_names_what_is_always_scanned(world):
    many = "".join(f"p, r{n}, r.sub.id == 'spiffe://demo.internal/s{n}', /x{n}, GET, allow,\n" for n in range(20))
    world.write("policy.csv", POLICY.replace("apply=mark", "") + many + "p, late, r.env.hour > 22, *, *, deny,\n")
    one = f'{{name: one, request: {{principal: "{PLANNER}", path: /v1/a/1}}, expect: deny}}'
    world.write("a_test.yaml", f"cases: [{one}, {{name: two, expect: deny}}]")
    told = world.told("bench", "-c", world.config, "--seconds", "0.05")
    assert (told["requests"], told["rules"]) == (2, 23)
    # The second case is refused before the rules: the engine is asked the first only.
    assert told["engine"]["count"] >= 1
    assert told["check"]["count"] >= 2
    assert 0 < told["engine"]["median"] <= told["engine"]["p99"] <= told["engine"]["most"]
    assert "policy.csv:23" in told["always_scanned"]
    assert "policy.csv:5" not in told["always_scanned"]
    assert told["candidates_mean"] < 10
    words = world.run("bench", "-c", world.config, "--seconds", "0.05").output
    assert "rules alone" in words
    assert "whole check" in words
    assert "policy.csv:23" in words


def test_bench_takes_one_request_and_needs_some(world):
    file = world.write("request.json", json.dumps({"principal": PLANNER, "path": "/v1/a/1"}))
    assert world.told("bench", file, "-c", world.config, "--seconds", "0.05")["requests"] == 1
    assert isinstance(world.run("bench", "-c", world.config).exception, ConfigError)
