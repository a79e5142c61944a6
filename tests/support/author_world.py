"""A policy of a few lines with what belongs to it, in a directory of its own, and the command line on it."""

import json
from pathlib import Path

from click.testing import CliRunner

from authz.cli.main import cli

MODEL = """\
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = name, rule, path, method, eft, obligations
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = keyMatch(r.obj.path, p.path) && keyMatch(r.act.method, p.method) && eval(p.rule)
"""
PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"
BILLING = "spiffe://demo.internal/ns/payments/sa/billing"
POLICY = f"""\
p, reads, r.sub.id == '{PLANNER}', /v1/a/*, GET, allow, apply=mark
p, never, r.sub.kind == 'agent' && r.obj.path == '/v1/a/secret', *, *, deny,
"""
CONFIG = """\
[identity]
trust_domain = "demo.internal"
inventory.file = "inventory.toml"
agents = ["spiffe://demo.internal/ns/agents/*"]
[policy]
model = "model.conf"
policies = ["policy.csv"]
[response.mutations.mark]
set_request_headers = { "x-marked" = "yes" }
"""
INVENTORY = f'[workloads."{BILLING}"]\nowner = "team-payments"\nenvironment = "prod"\n'


class AuthorWorld:
    """Files to change, commands to run."""

    def __init__(self, directory: Path, *, policy: str = POLICY, config: str = CONFIG):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.config = self.write("authz.toml", config)
        self.write("model.conf", MODEL)
        self.write("inventory.toml", INVENTORY)
        self.write("policy.csv", policy)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
        return path

    def run(self, *arguments: object, stdin: str | None = None):
        return CliRunner().invoke(cli, ["policy", *map(str, arguments)], input=stdin)

    def test(self, *arguments: object):
        return self.run("test", "-c", self.config, *arguments)

    def told(self, *arguments: object, stdin: str | None = None):
        result = self.run(*arguments, "--json", stdin=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return json.loads(result.stdout)
