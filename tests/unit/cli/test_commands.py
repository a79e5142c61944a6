"""The command line: answers for people and programs, exit codes, errors without tracebacks."""

import json
import pathlib
import subprocess
import sys

import pytest
from click.testing import CliRunner

from authz.cli.main import cli
from authz.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[3]
CAPTURES = ROOT / "tests" / "corpus" / "captures"
PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "authz.toml"
    policies = ROOT / "policies"
    file.write_text(
        f'[identity]\ntrust_domain = "demo.internal"\ninventory.file = "{policies}/inventory.toml"\n'
        f'[policy]\nmodel = "{policies}/model.conf"\npolicies = ["{policies}/policy.csv"]\n'
        f'[catalogue]\nfile = "{policies}/catalogue.toml"\n'
    )
    return str(file)


@pytest.fixture
def ask(tmp_path, config):
    def run(request, *options):
        file = tmp_path / "request.json"
        file.write_text(request if isinstance(request, str) else json.dumps(request))
        return CliRunner().invoke(cli, ["check", "-c", config, str(file), *options])

    return run


def test_an_allowed_request_exits_0_and_says_why(ask):
    result = ask({"path": "/v1/accounts/1", "principal": PLANNER}, "--trust-principal")
    assert result.exit_code == 0, result.output
    assert "ALLOWED" in result.output
    assert "policy.csv" in result.output
    assert f"x-authz-subject: {PLANNER}" in result.output


def test_a_denied_request_exits_1_with_reason_and_detail(ask):
    result = ask({"path": "/v1/accounts/1", "principal": PLANNER})
    assert result.exit_code == 1
    assert "principal_without_certificate" in result.output
    result = ask({"path": "/v1/../admin", "principal": PLANNER}, "--trust-principal", "--json")
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert told["allowed"] is False
    assert told["metadata"]["reason"] == "path_dot_segment"
    assert told["subject"]["id"] == PLANNER


def test_a_denial_can_be_explained_rule_by_rule(ask):
    result = ask({"path": "/v1/accounts/1", "principal": PLANNER, "method": "POST"}, "--trust-principal", "--explain")
    assert result.exit_code == 1
    assert "policy.csv:6 (allow): does not match" in result.output
    assert "fails" in result.output
    assert "r.act.method is 'POST'" in result.output
    told = json.loads(
        ask({"path": "/v1/accounts/1", "principal": PLANNER}, "--trust-principal", "--explain", "--json").output
    )
    assert any(near["rule"]["line"] == 6 for near in told["near"])


def test_a_captured_message_is_decided_as_of_its_time(config):
    file = str(CAPTURES / "000_get_h1_mtls.bin")
    result = CliRunner().invoke(cli, ["check", "-c", config, file, "--at", "1795483170", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["metadata"]["reason"] == "trust_domain_not_allowed"


def test_protobufs_own_json_is_understood(ask):
    result = ask({"attributes": {"request": {"http": {"method": "GET", "host": "h", "path": "//"}}}}, "--json")
    assert json.loads(result.output)["metadata"]["reason"] == "identity_missing"


def test_a_tcp_question_is_asked_as_the_network_filter_does(ask):
    billing = "spiffe://demo.internal/ns/payments/sa/billing"
    result = ask({"tcp": True, "principal": billing, "destination": "10.0.0.1:5432"}, "--trust-principal")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("request_text", "told"),
    [
        ('{"metod": "GET"}', "metod"),
        ('{"method": 3}', "method"),
        ("{", "not a request"),
        ('{"attributes": {"bogus": 1}}', "bogus"),
        ('{"source": "nowhere"}', "nowhere"),
        ('{"certificate": "absent.pem"}', "absent.pem"),
        ("\x00\xff not a message", "neither"),
    ],
)
def test_a_request_that_cannot_be_read_is_an_error_that_says_what(ask, request_text, told):
    result = ask(request_text)
    assert isinstance(result.exception, ConfigError)
    assert told in str(result.exception)


def test_config_show_prints_what_loads_again(config, tmp_path):
    shown = CliRunner().invoke(cli, ["config", "show", "-c", config, "--docs"])
    assert shown.exit_code == 0
    again = tmp_path / "again.toml"
    again.write_text(shown.output)
    assert CliRunner().invoke(cli, ["config", "show", "-c", str(again), "--docs"]).output == shown.output


def test_tls_files_are_relative_to_the_configuration(config):
    file = pathlib.Path(config)
    file.write_text(file.read_text() + '[server.tls]\ncertificate = "a.pem"\nkey = "/k.pem"\nclient_ca = "ca.pem"\n')
    shown = CliRunner().invoke(cli, ["config", "show", "-c", config]).output
    assert f'certificate = "{file.resolve().parent}/a.pem"' in shown
    assert 'key = "/k.pem"' in shown or "[masked]" in shown


def test_config_validate_reads_every_file(config):
    result = CliRunner().invoke(cli, ["config", "validate", "-c", config])
    assert result.exit_code == 0, result.output
    assert "5 rules" in result.output


def test_config_validate_finds_an_obligation_that_nothing_defines(config, tmp_path):
    policy = tmp_path / "policy.csv"
    policy.write_text("p, x, True, /v1/*, GET, allow, apply=nowhere\n")
    text = pathlib.Path(config).read_text().replace(f"{ROOT}/policies/policy.csv", str(policy))
    pathlib.Path(config).write_text(text)
    result = CliRunner().invoke(cli, ["config", "validate", "-c", config])
    assert "policy.csv:1" in str(result.exception)
    assert "nowhere" in str(result.exception)


def test_config_validate_warns_of_rules_that_change_nothing(config, tmp_path):
    policy = tmp_path / "policy.csv"
    policy.write_text("p, wide, True, /v1/*, GET, allow,\np, narrow, True, /v1/a, GET, allow,\n")
    text = pathlib.Path(config).read_text().replace(f"{ROOT}/policies/policy.csv", str(policy))
    pathlib.Path(config).write_text(text)
    result = CliRunner().invoke(cli, ["config", "validate", "-c", config])
    assert result.exit_code == 0
    assert "policy.csv:2: this rule changes no decision" in result.stderr


def test_an_environment_variable_goes_before_the_file(config, monkeypatch):
    monkeypatch.setenv("AUTHZ__SERVER__LISTEN", '["127.0.0.1:1"]')
    assert "127.0.0.1:1" in CliRunner().invoke(cli, ["config", "show", "-c", config]).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell):
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_AUTHZ_COMPLETE" in result.output


def test_version_is_told_to_people_and_programs():
    assert "authz" in CliRunner().invoke(cli, ["version"]).output
    assert "version" in json.loads(CliRunner().invoke(cli, ["version", "--json"]).output)


def test_an_expected_error_is_one_message_and_exit_code_2(tmp_path):
    file = tmp_path / "authz.toml"
    file.write_text("[identity]\ntrust_domian = 'x'\n")
    run = subprocess.run(
        [sys.executable, "-m", "authz.cli.main", "config", "show", "-c", str(file)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert run.returncode == 2
    assert "trust_domian" in run.stderr
    assert "trust_domain" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_configuration_that_ships_is_valid():
    result = CliRunner().invoke(cli, ["config", "validate", "-c", str(ROOT / "policies" / "authz.toml")])
    assert result.exit_code == 0, result.output
