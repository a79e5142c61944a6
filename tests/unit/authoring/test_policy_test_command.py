"""`authz policy test`: what passes, what fails and why, coverage, reports, running again."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from author_world import BILLING, PLANNER, AuthorWorld

from authz.authoring.schema import json_schema
from authz.authoring.watch import again_and_again
from authz.errors import ConfigError

AUTHZ = [sys.executable, "-m", "authz.cli.main"]
ROOT = Path(__file__).parents[3]
READS = f"""\
cases:
  - name: reads
    request: {{principal: "{PLANNER}", path: /v1/a/1}}
    expect: {{effect: allow, reason: allowed, rule: reads, obligations: {{apply: mark}}}}
"""


@pytest.fixture
def world(tmp_path):
    return AuthorWorld(tmp_path / "p")


def test_cases_beside_the_policy_are_found_and_pass(world):
    world.write("some_test.yaml", READS)
    world.write("tests/more.yaml", READS)
    world.write("other.yaml", "not: cases")
    result = world.test()
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 passed in ")


def test_a_failing_case_says_what_was_expected_what_came_and_why(world):
    world.write("a_test.yaml", READS.replace("path: /v1", "method: PUT, path: /v1"))
    result = world.test()
    assert result.exit_code == 1
    assert "a_test.yaml:2: reads" in result.output
    assert "effect: expected allow, got deny (no_matching_rule)" in result.output
    assert "rule: expected reads, got no rule" in result.output
    assert "obligations: expected apply=mark, got none" in result.output
    assert "fails keyMatch(r.act.method, 'GET')   [r.act.method is 'PUT']" in result.output
    assert "0 passed, 1 failed" in result.output


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        ("{effect: allow, rule: 'policy.csv:1'}", None),
        ("{effect: allow, rule: 'policy.csv:2'}", "rule: expected policy.csv:2, got reads (policy.csv:1)"),
        ("{effect: allow, rule: null}", "rule: expected no rule, got reads"),
        ("{effect: allow, obligations: {}}", "obligations: expected none, got apply=mark"),
        ("{effect: deny}", "effect: expected deny, got allow (allowed)"),
        ("{effect: allow, reason: no_matching_rule}", "reason: expected no_matching_rule, got allowed"),
        ("{effect: deny, status: 403}", "status: expected 403, got none"),
    ],
)
def test_each_part_of_an_expectation_counts(world, expect, told):
    text = READS.replace("{effect: allow, reason: allowed, rule: reads, obligations: {apply: mark}}", expect)
    world.write("a_test.yaml", text)
    result = world.test()
    assert result.exit_code == (0 if told is None else 1)
    assert told is None or told in result.output


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("rule: reads", "rule: raeds"), "no rule is called `raeds`"),
        (("expect", "attributes: {env: {huor: 3}}\n    expect"), "did you mean `hour`?"),
        (("expect", "attributes: {sub: {kind: robot}}\n    expect"), "'robot' is none of workload"),
    ],
)
def test_a_case_that_can_show_nothing_is_an_error(world, change, told):
    world.write("a_test.yaml", READS.replace(*change))
    result = world.test()
    assert isinstance(result.exception, ConfigError)
    assert "a_test.yaml:2: " in str(result.exception)
    assert told in str(result.exception)


def test_no_cases_at_all_is_an_error(world):
    result = world.test()
    assert isinstance(result.exception, ConfigError)
    assert "*_test.yaml" in str(result.exception)
    world.write("a_test.yaml", READS)
    assert isinstance(world.test("--only", "nothing like it").exception, ConfigError)


def test_attributes_are_seen_as_given_and_a_given_caller_needs_no_proof(world):
    world.write(
        "a_test.yaml",
        f"""\
cases:
  - name: given
    attributes: {{sub: {{id: "{PLANNER}"}}, obj: {{path: /v1/a/2}}}}
    request: {{path: /elsewhere}}
    expect: allow
  - name: a given kind is the caller's kind
    attributes: {{sub: {{id: "{PLANNER}", kind: agent}}, obj: {{path: /v1/a/secret}}}}
    expect: {{effect: deny, rule: never, reason: denied_by_rule}}
  - name: proof is asked for where a case says so
    request: {{principal: "{PLANNER}", path: /v1/a/1}}
    proved: false
    expect: {{effect: deny, reason: principal_without_certificate}}
  - name: the inventory is asked
    request: {{principal: "{BILLING}", path: /v1/a/1}}
    expect: {{effect: deny, reason: no_matching_rule}}
""",
    )
    result = world.test()
    assert result.exit_code == 0, result.output


def test_rules_see_the_time_of_the_case(tmp_path):
    world = AuthorWorld(tmp_path / "p", policy="p, night, r.env.hour < 6, /*, *, allow,\n")
    world.write(
        "a_test.yaml",
        f"""\
defaults: {{request: {{principal: "{PLANNER}"}}}}
cases:
  - {{name: night, at: "2026-01-02T03:00:00Z", expect: allow}}
  - {{name: day, at: "2026-01-02T12:00:00Z", expect: deny}}
""",
    )
    result = world.test()
    assert result.exit_code == 0, result.output
    assert "warning" not in result.stderr
    world.write("b_test.yaml", "cases: [{name: whenever, expect: deny}]")
    assert "the policy depends on the time" in world.test().stderr


def test_coverage_names_what_was_not_tried_with_file_and_line(world, tmp_path):
    world.write("a_test.yaml", READS)
    result = world.test("--coverage", "--coverage-json", tmp_path / "c.json")
    assert "policy.csv:2: never matched" in result.output
    assert "policy.csv:2: never failed: r.sub.kind == 'agent'" in result.output
    assert "policy.csv:2: never held: r.obj.path == '/v1/a/secret'" in result.output
    assert "policy.csv:1: never failed: keyMatch(r.act.method, 'GET')" in result.output
    assert "keyMatch(r.obj.path, '*')" not in result.output
    # Of the first rule three conditions held and none failed; of the second one held, the other failed.
    assert "coverage: 1 of 2 rules matched (50.0 %), 5 of 10 ways of their conditions (50.0 %)" in result.output
    told = json.loads((tmp_path / "c.json").read_text())
    assert told["matched_percent"] == 50
    assert told["rules"][0]["decided"] == 1
    assert told["rules"][1]["unmatched"] == 1


def test_a_request_that_is_asked_again_counts_again(world, tmp_path):
    world.write("a_test.yaml", READS)
    world.write("b_test.yaml", READS)
    world.test("--coverage-json", tmp_path / "c.json")
    told = json.loads((tmp_path / "c.json").read_text())
    assert (told["rules"][0]["matched"], told["rules"][0]["decided"]) == (2, 2)


def test_a_condition_behind_one_that_never_held_was_not_reached(world):
    world.write("a_test.yaml", READS.replace("path: /v1/a/1", "path: /other").replace(
        "{effect: allow, reason: allowed, rule: reads, obligations: {apply: mark}}", "deny"))  # fmt: skip
    assert "never held (never reached): keyMatch(r.act.method, 'GET')" in world.test("--coverage").output


def test_too_little_coverage_fails(world):
    world.write("a_test.yaml", READS)
    assert world.test("--min-coverage", "50").exit_code == 0
    result = world.test("--min-coverage", "50.1")
    assert result.exit_code == 1
    assert "coverage 50.0 % is below 50.1 %" in result.stderr


def test_junit_holds_each_case_with_file_and_line(world, tmp_path):
    world.write("a_test.yaml", READS + '  - {name: "odd \\x1b[1m <&", expect: allow}\n')
    assert world.test("--junit", tmp_path / "j.xml").exit_code == 1
    root = ET.fromstring((tmp_path / "j.xml").read_bytes())
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    passed, failed = root.iter("testcase")
    assert (passed.get("name"), passed.get("line"), list(passed)) == ("reads", "2", [])
    assert "expected allow, got deny" in failed.find("failure").get("message")
    assert "identity_missing" in failed.find("failure").text


def test_several_processes_answer_as_one_does(world):
    # A fork is made by a process of its own: pytest's has threads.
    world.write("a_test.yaml", READS.replace("path: /v1/a/1}", "path: /v1/a/1}\n    matrix: {path: [" + ", ".join(
        f"/v1/a/{n}" for n in range(40)) + ", /b]}"))  # fmt: skip
    told = []
    for jobs in ("1", "3"):
        run = subprocess.run(
            [*AUTHZ, "policy", "test", "-c", world.config, "--jobs", jobs, "--json", "--coverage"],
            capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
        )  # fmt: skip
        assert run.returncode == 1, run.stderr
        told.append(json.loads(run.stdout))
    for result in (result for each in told for result in each["results"]):
        result.pop("why", None)  # it holds the time
    assert told[0] == told[1]
    assert [result["name"] for result in told[0]["results"] if result.get("mismatches")] == ["reads [path=/b]"]
    assert told[0]["coverage"]["rules"][0]["matched"] == 40


def test_what_changes_is_run_again_once_it_rests_and_errors_do_not_end_it(tmp_path):
    file = tmp_path / "f"
    file.write_text("1")
    seen, told, waits = [], [], iter(range(100))

    def run():
        seen.append(file.read_text())
        if seen[-1] == "2":
            raise ConfigError("broken")

    def wait():
        number = next(waits)
        if number in (1, 4):
            file.write_text("half")
        if number in (2, 5):
            file.write_text(str(number))
        if number == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again_and_again(run, lambda: [file], wait, lambda: 0.0, told.append)
    assert seen == ["1", "2", "5"]
    assert told == ["authz: broken"]


def test_the_schema_is_printed_and_the_documented_one_is_this_one(world):
    assert json.loads(world.run("test", "--schema").output) == json_schema()
    documented = json.loads((ROOT / "docs" / "policy-tests.schema.json").read_text())
    assert documented == json_schema(), "run `make docs`"


def test_the_shipped_policy_passes_its_cases_and_every_way_of_its_conditions_is_tried():
    shipped = AuthorWorld.__new__(AuthorWorld)
    result = shipped.run("test", "-c", ROOT / "policies" / "authz.toml", "--coverage", "--min-coverage", "100")
    assert result.exit_code == 0, textwrap.indent(result.output, "  ")


def test_the_shipped_policy_for_mcp_passes_its_cases_and_the_linter():
    shipped, config = AuthorWorld.__new__(AuthorWorld), ROOT / "policies" / "mcp" / "authz.toml"
    for command in ("test", "lint"):
        result = shipped.run(command, "-c", config)
        assert result.exit_code == 0, textwrap.indent(result.output, "  ")
        assert "warning" not in result.output
