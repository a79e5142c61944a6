"""`authz policy lint`: exit codes, what people and programs are shown."""

import json
import pathlib

import pytest
from click.testing import CliRunner

from authz.cli.main import cli

ROOT = pathlib.Path(__file__).parents[3]
POLICIES = ROOT / "policies"


@pytest.fixture
def lint(tmp_path):
    def run(text, *options, with_config=True):
        (tmp_path / "p.csv").write_text(text)
        config = tmp_path / "authz.toml"
        config.write_text(
            f'[identity]\ntrust_domain = "demo.internal"\n'
            f'[policy]\nmodel = "{POLICIES}/model.conf"\npolicies = ["p.csv"]\n'
            f'[catalogue]\nfile = "{POLICIES}/catalogue.toml"\n'
        )
        named = (
            ["-c", str(config)] if with_config else ["--model", str(POLICIES / "model.conf"), str(tmp_path / "p.csv")]
        )
        return CliRunner().invoke(cli, ["policy", "lint", *named, *options])

    return run


CLEAN = "p, a, r.sub.registered, /x, GET, allow,\n"
WARNED = "p, a, r.sub.labels.a == 'b', /x, GET, allow,\n"
BROKEN = "p, a, r.sub.nope == 'b', /x, GET, allow,\n"


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (CLEAN, (), 0),
        (WARNED, (), 1),
        (WARNED, ("--fail-on", "error"), 0),
        (BROKEN, (), 1),
        (BROKEN, ("--fail-on", "error"), 1),
    ],
)
def test_the_exit_code_says_how_bad_it_is(lint, text, options, code):
    assert lint(text, *options).exit_code == code


def test_the_shipped_policies_are_clean():
    result = CliRunner().invoke(cli, ["policy", "lint", "-c", str(POLICIES / "authz.toml"), "--show", "warning"])
    assert (result.exit_code, result.stdout) == (0, "")


def test_people_see_the_line_and_a_caret_below_what_is_meant(lint):
    lines = lint("\n" + BROKEN).stdout.splitlines()
    assert lines[0] == "p.csv:2:7: error: no request has r.sub.nope: r.sub has no 'nope' [unknown-attribute]"
    assert lines[1][lines[2].index("^") : lines[2].rindex("^") + 1] == "r.sub.nope"


def test_a_long_line_is_cut_around_its_fault(lint):
    text = f"p, a, r.sub.id == '{'x' * 300}' && r.sub.nope == 'b' && r.sub.path == '{'y' * 300}', /x, GET, allow,"
    lines = lint(text).stdout.splitlines()
    assert len(lines[1]) < 130
    assert lines[1][lines[2].index("^") : lines[2].rindex("^") + 1] == "r.sub.nope"


def test_nothing_in_a_policy_reaches_the_terminal_as_a_command(lint):
    result = lint("p, a, r.sub.id == '\x1b[2J', /x, GET, allow,\n")
    assert result.exit_code == 1
    assert "\x1b" not in result.output


def test_programs_get_every_field(lint):
    told = json.loads(lint(BROKEN, "--json").stdout)
    assert told["counts"] == {"error": 1, "warning": 0, "info": 0}
    (finding,) = told["findings"]
    assert finding | {"message": "", "advice": ""} == {
        "severity": "error",
        "code": "unknown-attribute",
        "file": "p.csv",
        "line": 1,
        "column": 7,
        "end": 16,
        "message": "",
        "advice": "",
    }


def test_what_only_the_configuration_can_tell_is_found_too(lint):
    result = lint("p, a, r.sub.registered, /x, GET, allow, apply=nowhere\n")
    assert result.exit_code == 1
    assert "p.csv:1: error: obligation `apply=nowhere`" in result.stdout
    assert lint("p, a, r.sub.registered, /x, GET, allow, apply=nowhere\n", with_config=False).exit_code == 0


def test_the_catalogue_of_the_configuration_is_used(lint):
    text = "p, a, r.sub.registered, /v1/*, GET, allow,\n"
    assert "wildcard-over-sensitive" in lint(text).stdout
    assert "tcp:5432" in lint("p, a, r.sub.registered, *, *, allow,\n").stdout
    assert "tcp:5432" not in lint("p, a, r.sub.registered, *, *, allow,\n", "--sensitive", "secret").stdout
    assert lint(text, with_config=False).exit_code == 0


def test_attributes_are_known_without_a_configuration_where_the_model_names_whole_objects(lint, tmp_path):
    assert lint(BROKEN, with_config=False).exit_code == 1
    result = CliRunner().invoke(
        cli, ["policy", "lint", "--model", str(POLICIES / "basic/model.conf"), str(POLICIES / "basic/policy.csv")]
    )
    assert result.exit_code == 0, result.output


def test_what_cannot_be_read_exits_2(lint, tmp_path):
    result = CliRunner().invoke(cli, ["policy", "lint"])
    assert result.exit_code == 2
    (tmp_path / "empty.csv").write_text("")
    result = CliRunner().invoke(
        cli, ["policy", "lint", "--model", str(POLICIES / "model.conf"), str(tmp_path / "empty.csv")]
    )
    assert "the file is empty" in str(result.exception)


def test_so_many_findings_are_shown_and_the_rest_counted(lint):
    result = lint(BROKEN.replace("nope", "nix") + BROKEN)
    assert result.stdout.count("p.csv:") == 2
    result = lint(BROKEN * 5, "--max-findings", "2")
    assert "... and 7 more" in result.stdout


DELEGATION = POLICIES / "delegation"


def _delegation(tmp_path, change=lambda text: text):
    for name in ("model.conf", "inventory.toml", "authz.toml"):
        (tmp_path / name).write_text((DELEGATION / name).read_text().replace("../catalogue", "catalogue"))
    (tmp_path / "catalogue.toml").write_text((DELEGATION.parent / "catalogue.toml").read_text())
    (tmp_path / "policy.csv").write_text(change((DELEGATION / "policy.csv").read_text()))
    return CliRunner().invoke(cli, ["policy", "lint", "--config", str(tmp_path / "authz.toml")])


def test_the_rules_about_delegation_are_read_with_the_names_that_they_see(tmp_path):
    assert _delegation(tmp_path).exit_code == 0
    wrong = _delegation(tmp_path, lambda text: text.replace("r2.delegator.owner", "r2.delegator.ownr"))
    assert wrong.exit_code == 1
    assert "r2.delegator has no 'ownr'" in wrong.output
    wrong = _delegation(tmp_path, lambda text: text.replace("r2.delegate.depth > 3", "r2.delegate.depth > '3'"))
    assert "[type-mismatch]" in wrong.output


def test_rules_that_the_server_does_not_ask_are_told(tmp_path):
    _delegation(tmp_path)
    config = (tmp_path / "authz.toml").read_text().replace("section = 2", "section = 0")
    (tmp_path / "authz.toml").write_text(config)
    found = CliRunner().invoke(cli, ["policy", "lint", "--config", str(tmp_path / "authz.toml")])
    assert "[never-asked]" in found.output
