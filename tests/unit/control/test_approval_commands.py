"""`authz approval`, against a running control plane."""

import asyncio
import json

import pytest
from approval_kit import OPEN, Plane, Provider, configured, desk, inventory
from click.testing import CliRunner

from authz.cli.main import cli


@pytest.fixture
async def world(start, tmp_path):
    provider = Provider(tmp_path)
    files = {
        "policy.csv": "p, pay, True, /v1/payments*, *, allow, require_approval=payments;approval_uses=3\n",
        "inventory.toml": inventory(),
    }
    async with start(operators=configured(provider), rules=OPEN, files=files) as made:
        made.plane, made.desk, made.provider = Plane(made), desk(made), provider
        made.token = tmp_path / "token"
        made.token.write_text(provider.token() + "\n")
        made.token.chmod(0o600)
        yield made


async def run(world, *words, code=0, stdin=None, token=True, env=None):
    command = ["approval", *words, "--server", world.unix]
    environ = {"XDG_STATE_HOME": str(world.directory / "state-home"), "AUTHZ_TOKEN": None, "AUTHZ_TOKEN_FILE": None}
    if token:
        environ["AUTHZ_TOKEN_FILE"] = str(world.token)
    result = await asyncio.to_thread(CliRunner().invoke, cli, command, input=stdin, env=environ | (env or {}))
    assert result.exit_code == code, (result.output, result.exception)
    return result


async def test_a_human_looks_approves_and_the_call_passes(world):
    asked = await world.plane.ask(x_task_id="t-1", x_task_purpose="pay invoice 7")
    listed = await run(world, "list")
    assert asked.id in listed.stdout
    assert "amount=250, currency=EUR" in listed.stdout
    shown = (await run(world, "show", asked.id)).stdout
    for part in (
        "if you say yes  POST on bank.demo.internal/v1/payments",
        "amount = 250",
        "password = [masked]",
        "by              spiffe://demo.internal/ns/agents/sa/payer (agent)",
        "owner           carol@example.com",
        "t-1 pay invoice 7 (declared only)",
        "policies/policy.csv:1",
        "! First time",
        "you may approve or reject",
    ):
        assert part in shown, shown
    assert "hunter2" not in shown
    done = await run(world, "approve", asked.id, "--uses", "2", "--comment", "right", stdin="y\n")
    assert "approved, 2 times" in done.stdout
    assert [(await world.plane.ask(x_task_id="t-1", x_task_purpose="pay invoice 7")).allowed for _ in range(3)] == [
        True,
        True,
        False,
    ]
    assert json.loads((await run(world, "list", "--state", "spent", "--json")).stdout)["approvals"][0]["id"] == asked.id


async def test_who_does_not_confirm_has_not_approved(world):
    asked = await world.plane.ask()
    await run(world, "approve", asked.id, stdin="n\n", code=1)
    assert not (await world.plane.ask()).allowed


async def test_no_and_taking_back(world):
    first, second = await world.plane.ask(), await world.plane.ask(b"2")
    assert "rejected" in (await run(world, "reject", first.id, "--comment", "no")).stdout
    assert "withdrawn" in (await run(world, "withdraw", second.id, token=False)).stdout


async def test_without_a_token_nobody_approves(world):
    asked = await world.plane.ask()
    assert "there is no token" in str((await run(world, "approve", asked.id, "--yes", token=False, code=1)).exception)
    shown = await run(world, "show", asked.id, token=False)
    assert "not signed in: you may not decide this" in shown.stdout
    assert "authz login" in shown.stdout


async def test_a_token_that_others_may_read_is_not_used(world):
    world.token.chmod(0o644)
    failed = await run(world, "approve", "a-1", "--yes", code=1)
    assert "chmod 600" in str(failed.exception)


async def test_scripts_give_the_token_in_the_environment(world):
    asked = await world.plane.ask()
    await run(world, "approve", asked.id, "--yes", token=False, env={"AUTHZ_TOKEN": world.provider.token()})
    assert (await world.plane.ask()).allowed


async def test_who_may_not_is_told_why_and_ends_with_1(world):
    asked = await world.plane.ask()
    outsider = {"AUTHZ_TOKEN": world.provider.token(groups=["sec"])}
    failed = await run(world, "approve", asked.id, "--yes", token=False, env=outsider, code=1)
    assert "APPROVER_NOT_ALLOWED" in failed.stderr
    assert "only the group payments decides" in failed.stderr


async def test_nothing_that_a_caller_chose_steers_the_terminal(world):
    evil = "\x1b]0;owned\x07\x1b[2J\u202eexe.gnp\u2066"
    asked = await world.plane.ask(json.dumps({evil: evil}).encode(), x_task_id=evil, x_task_purpose=evil)
    for command in (("show", asked.id), ("list",)):
        printed = (await run(world, *command)).stdout
        assert not {"\x1b", "\x07", "\u202e", "\u2066"} & set(printed)
    assert "\\u001b" in (await run(world, "show", asked.id)).stdout
