"""`[actions]` in a configuration file: what is refused there, and what a server then reads."""

import json

import pytest
from click.testing import CliRunner

from authz.cli.main import cli

CONFIG = """\
[identity]
trust_domain = "demo.internal"
anonymous = "policy"
[policy]
model = "model.conf"
policies = ["policy.csv"]
"""
MODEL = """\
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = rule
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = eval(p.rule)
"""
ROUTE = '[[actions.routes]]\ndecoder = "{}"\npath = "/mcp"\n'
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "pay", "arguments": {"amount": 3}}}
QUESTION = {
    "method": "POST",
    "path": "/mcp",
    "headers": {"content-type": "application/json"},
    "body": json.dumps(CALL),
}


@pytest.fixture
def run(tmp_path):
    def invoke(command, actions, rule="r.act.tool == 'pay' && r.act.args.amount < 5"):
        (tmp_path / "authz.toml").write_text(CONFIG + actions)
        (tmp_path / "model.conf").write_text(MODEL)
        (tmp_path / "policy.csv").write_text(f"p, {rule}\n")
        (tmp_path / "q.json").write_text(json.dumps(QUESTION))
        arguments = {
            "validate": ["config", "validate"],
            "check": ["check", str(tmp_path / "q.json")],
        }[command]
        return CliRunner().invoke(cli, [*arguments, "-c", str(tmp_path / "authz.toml")])

    return invoke


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (ROUTE.format("mpc"), "there is no decoder 'mpc'; known: "),
        ('[actions.mcp.x]\nsource = "both"\n' + ROUTE.format("x"), "check_request.metadata_namespaces"),
        ('[actions.mcp.x]\ntools = ["a b"]\n', "is no name of a tool"),
        ('[actions.plugins.x]\nentry_point = "none-such"\n' + ROUTE.format("x"), "no installed package has"),
        ("[actions.limits]\nmax_batch = 0\n", "max_batch"),
        ('[[actions.routes]]\ndecoder = "mcp"\npath = "mcp"\n', "a path starts with a slash"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(run, actions, said):
    result = run("validate", actions)
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_a_body_decides_a_check_on_the_command_line(run):
    assert run("check", ROUTE.format("mcp")).output.startswith("ALLOWED")
    assert run("check", ROUTE.format("mcp"), "r.act.args.amount > 5").output.startswith("DENIED")


def test_without_a_route_nothing_is_read(run):
    assert run("check", "", "r.act.name == 'POST' && r.act.kind == '' && r.act.tool == ''").output.startswith("ALLOWED")


def test_a_decoder_that_the_proxy_names(run):
    assert run("check", "[actions]\ncontext_key = 'd'\n", "r.act.name == 'POST'").output.startswith("ALLOWED")
