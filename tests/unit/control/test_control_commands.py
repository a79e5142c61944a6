"""The commands that give orders, against a running control plane."""

import asyncio
import json
import time

import pytest
from click.testing import CliRunner
from control_kit import BOB, PLANNER

from authz.budgets.demands import limit_counter
from authz.budgets.sharing import CALLS_OF, DENIALS_OF
from authz.cli.main import cli
from authz.stores.database.spending import Amount, Mark, Wanted

FREE = "p, alice, r.sub.operator == 'alice', *, *, allow,\n"


@pytest.fixture
def run(world):
    """Run a command as alice, over the Unix socket, in a thread of its own."""
    return runner(world)


@pytest.fixture
async def free(start):
    async with start(rules=FREE) as world:
        yield runner(world)


def runner(world):
    async def go(*words, stdin=None, code=0):
        command = [*words, "--server", world.unix]
        result = await asyncio.to_thread(CliRunner().invoke, cli, command, input=stdin)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    go.world = world
    return go


async def test_a_grant_from_the_asking_to_the_end(free):
    made = await free("grant", "issue", "--holder", PLANNER, "--purpose", "p", "--allow", "GET", "/v1/*", "--json")
    grant = json.loads(made.stdout)["grant"]
    listed = await free("grant", "list", "--active")
    assert listed.stdout.splitlines()[0].split() == ["GRANT", "STATE", "HOLDER", "TASK", "EXPIRES"]
    assert grant["id"] in listed.stdout
    shown = await free("grant", "show", grant["id"])
    assert "permits:   GET /v1/* at *" in shown.stdout
    token = json.loads(made.stdout)["token"]
    assert PLANNER in (await free("grant", "show", "--token", "-", stdin=token + "\n")).stdout
    await free("grant", "complete", grant["task"]["id"])
    assert "not active" in (await free("grant", "show", "--token", "-", stdin=token, code=1)).stdout
    assert "completed" in (await free("grant", "list")).stdout


async def test_the_token_alone_for_scripts(free):
    words = ("grant", "issue", "--holder", PLANNER, "--allow", "GET", "/v1/*", "--token-only")
    token = (await free(*words)).stdout.strip()
    assert token.count(".") == 2


async def test_a_scope_out_of_a_file(free, tmp_path):
    file = tmp_path / "scope.json"
    entry = {"type": "authz_access", "actions": ["GET"], "locations": ["*"], "resources": ["/v1/*"]}
    file.write_text(json.dumps([entry | {"conditions": [{"attribute": "obj.type", "in": ["account"]}]}]))
    made = await free("grant", "issue", "--holder", PLANNER, "--scope", str(file), "--json")
    [condition] = json.loads(made.stdout)["grant"]["permissions"][0]["conditions"]
    assert condition == {"attribute": "obj.type", "among": ["account"]}


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "other"},
        {"type": "authz_access", "restrict": "x"},
        {"type": "authz_access", "conditions": {"attribute": "obj.type"}},
        {"type": "authz_access", "conditions": [{"attribute": "obj.type", "not_in": ["a"]}]},
    ],
)
async def test_a_scope_file_that_says_what_is_not_understood_is_no_wider_grant(free, tmp_path, entry):
    file = tmp_path / "scope.json"
    file.write_text(json.dumps([entry]))
    result = await free("grant", "issue", "--holder", PLANNER, "--scope", str(file), code=1)
    assert "not authorization_details" in str(result.exception)


async def test_what_is_revoked_is_listed_and_undone(free):
    made = await free("revoke", "create", "principal", PLANNER, "--reason", "compromised", "--for", "1h", "--json")
    revocation = json.loads(made.stdout)["revocation"]
    assert PLANNER in (await free("revoke", "list")).stdout
    await free("revoke", "undo", revocation["id"], "--reason", "a mistake")
    assert (await free("revoke", "list")).stdout.strip() == "none"
    assert PLANNER in (await free("revoke", "list", "--all")).stdout


async def test_credentials_issued_before_a_moment(free):
    await free("revoke", "issued-before", "2026-01-31T12:00:00Z", "--reason", "leak")
    assert "issued-before" in (await free("revoke", "list")).stdout


async def test_a_lockdown_and_its_end(free):
    await free("revoke", "lockdown", "--for", "30m", "--except", BOB, "--reason", "incident")
    shown = (await free("revoke", "list")).stdout
    assert "LOCKDOWN" in shown
    assert BOB in shown
    await free("revoke", "end-lockdown", "--reason", "over")
    assert "LOCKDOWN" not in (await free("revoke", "list")).stdout


async def test_a_span_that_is_none(free):
    result = await free("revoke", "lockdown", "--for", "soon", "--reason", "x", code=1)
    assert "such as 30m" in str(result.exception)


async def test_keys_and_fleet(free):
    before = (await free("keys", "list")).stdout
    assert "signs" in before
    await free("keys", "rotate", "--reason", "yearly")
    assert "verifies" in (await free("keys", "list")).stdout
    async with asyncio.timeout(20):  # it reports itself at its first heartbeat
        while not await free.world.shared.store.replicas():
            await asyncio.sleep(0.05)
    assert "REPLICA" in (await free("fleet", "status")).stdout


async def test_tasks_are_shown_with_what_they_did_and_go_on_after_a_suspension(free):
    issue = ("grant", "issue", "--holder", PLANNER, "--task", "t-1", "--purpose", "pay", "--allow", "GET", "/v1/*")
    made = await free(*issue, "--limit", "calls=5", "--limit", "amount=9.5")
    assert "limits:    calls=5 amount=9.5 for the task" in made.stdout
    store = free.world.shared.store
    now = time.time()
    totals = ((CALLS_OF + "t-1", 3), (DENIALS_OF + "t-1", 2))
    counted = [Amount(name, 0, "", amount, now + 60) for name, amount in totals]
    await store.spending.share(counted, 0)
    wanted = [
        Wanted(limit_counter("t-1", what), amount, limit, 0, 0, "", now + 60)
        for what, amount, limit in (("calls", 3, 5), ("sum:amount", 7_250_000, 9_500_000))
    ]
    assert (await store.spending.spend(wanted)).refused == -1
    await store.spending.mark(Mark("t-1", "label", "restricted", now, now + 60))
    await store.spending.mark(Mark("t-1", "suspended", "", now, now + 60))
    row = (await free("task", "list", "--suspended")).stdout.splitlines()[1].split()
    assert row == ["t-1", "suspended", "3", "2", "restricted", "operator:alice"]
    shown = (await free("task", "show", "t-1")).stdout
    assert "task:      t-1 (pay)" in shown
    assert "spent:     calls=3 resources=0 amount=7.25" in shown
    assert "may go on" in (await free("task", "resume", "t-1", "--reason", "looked at")).stdout
    assert (await free("task", "list")).stdout.splitlines()[1].split()[1] == "open"
    assert "NOT_FOUND" in str((await free("task", "resume", "t-1", "--reason", "again", code=1)).exception)
    assert "NOT_FOUND" in str((await free("task", "show", "t-2", code=1)).exception)


@pytest.mark.parametrize("limit", ["calls", "calls=-1", "resources=many", "calls=\u0663"])
async def test_a_limit_that_is_none(free, limit):
    words = ("grant", "issue", "--holder", PLANNER, "--allow", "GET", "/v1/*")
    assert limit in (await free(*words, "--limit", limit, code=2)).output


async def test_policies_are_applied_and_rolled_back(free):
    file = free.world.directory / "new.csv"
    file.write_text("p, anybody, True, *, *, allow,\n")
    name = f"policies/policy.csv={file}"
    assert "it would load: 1 rules" in (await free("policy", "apply", name, "--reason", "x", "--dry-run")).stdout
    assert "revision 1 is in force" in (await free("policy", "apply", name, "--reason", "first")).stdout
    file.write_text("p, nobody, True, *, *, deny,\n")
    await free("policy", "apply", name, "--reason", "second")
    assert "revision 3" in (await free("policy", "rollback", "1", "--reason", "back")).stdout
    history = (await free("policy", "history")).stdout.splitlines()
    assert [line.split()[0] for line in history] == ["REVISION", "3", "2", "1"]
    assert "1 rules" in (await free("policy", "current")).stdout
    file.write_text("p, bad, r.sub. ==, *, *, allow,\n")
    result = await free("policy", "apply", name, "--reason", "x", code=1)
    assert "policies/policy.csv:1" in result.stderr


async def test_a_change_that_waits_says_what_to_run(run):
    made = await run("revoke", "create", "principal", PLANNER, "--reason", "x", "--json")
    revocation = json.loads(made.stdout)["revocation"]["id"]
    result = await run("revoke", "undo", revocation, "--reason", "a mistake", code=1)
    [command] = [line.strip() for line in result.stderr.splitlines() if "authz change confirm" in line]
    change = command.split()[-1]
    world = run.world
    bob = world.pki.issue(BOB, "bob-cli")
    words = ["change", "list", "--server", world.target, "--ca", world.pki.ca, "--server-name", "localhost"]
    words += ["--cert", bob["certificate"], "--key", bob["key"]]
    listed = await asyncio.to_thread(CliRunner().invoke, cli, words)
    assert change in listed.stdout
    confirmed = await asyncio.to_thread(CliRunner().invoke, cli, ["change", "confirm", change, *words[2:]])
    assert "control:revocations.undo, asked for by operator:alice" in confirmed.stdout


async def test_a_denial_exits_1_and_names_the_decision(run):
    result = await run("policy", "rollback", "1", "--reason", "x", code=1)
    assert "SECOND_PERSON" in result.stderr or "waits for a second person" in result.stderr
    result = await run("grant", "issue", "--holder", PLANNER, "--allow", "GET", "/v1/*", code=1)
    assert "NO_MATCHING_RULE" in result.stderr
    assert "decision" in result.stderr


async def test_validating_the_configuration_looks_at_the_control_plane_too(world):
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["config", "validate", "-c", str(world.file)])
    assert "rules for the control plane" in result.stdout
    (world.policies / "control.csv").write_text("p, bad, r.sub. ==, *, *, allow,\n")
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["config", "validate", "-c", str(world.file)])
    assert "control.csv:1" in str(result.exception)


async def test_a_server_that_is_not_there_is_one_message():
    result = await asyncio.to_thread(
        CliRunner().invoke, cli, ["keys", "list", "--server", "unix:/nowhere/x.sock", "--timeout", "60"]
    )
    assert result.exit_code == 1
    assert "connect" in str(result.exception)
