"""`authz policy apply`, `rollback`, `history`, `current`: the policy of a running server."""

from pathlib import Path

import click

from authz.cli.control.server import Orders, moment, orders_options, table
from authz.client import Connection
from authz.control.v1 import policies_pb2 as pb
from authz.errors import ConfigError

_reason = click.option("--reason", required=True, help="Why, for the record.")


async def _version(connection: Connection) -> str:
    return (await connection.call("Policies/Current", pb.CurrentRequest(), pb.CurrentResponse)).policy_version


@click.command("apply")
@orders_options
@click.argument("files", nargs=-1, required=True, metavar="NAME=FILE...")
@_reason
@click.option("--expected", default="", help="The policy version that must be in force; by default the one that is.")
@click.option("--dry-run", is_flag=True, help="Only say whether it would load.")
def apply_command(orders: Orders, files: tuple[str, ...], reason: str, expected: str, *, dry_run: bool) -> None:
    """Put files in force on a running server: NAME as its configuration names it, FILE as it is here."""
    sent = [_file(each) for each in files]

    async def work(connection: Connection) -> None:
        checked = await connection.call("Policies/Validate", pb.ValidateRequest(files=sent), pb.ValidateResponse)
        for problem in checked.problems:
            kind = "warning" if problem.warning else "error"
            click.echo(f"{kind}: {problem.file}:{problem.line}: {problem.message}", err=True)
        if not checked.valid:
            raise ConfigError("it would not load")
        if dry_run:
            orders.show(checked, f"it would load: {checked.rules} rules")
            return
        request = pb.ApplyRequest(files=sent, reason=reason, expected_version=expected or await _version(connection))
        answer = await connection.call("Policies/Apply", request, pb.ApplyResponse)
        orders.show(answer, f"revision {answer.revision} is in force: policy version {answer.policy_version}")

    orders.run(work)


@click.command("rollback")
@orders_options
@click.argument("revision", type=int)
@_reason
def rollback_command(orders: Orders, revision: int, reason: str) -> None:
    """Put an earlier revision in force again on a running server."""

    async def work(connection: Connection) -> None:
        request = pb.RollbackRequest(revision=revision, reason=reason, expected_version=await _version(connection))
        answer = await connection.call("Policies/Rollback", request, pb.RollbackResponse)
        orders.show(answer, f"revision {answer.revision} is in force: policy version {answer.policy_version}")

    orders.run(work)


@click.command("history")
@orders_options
@click.option("--limit", default=20, show_default=True, help="The most that are listed.")
def history_command(orders: Orders, limit: int) -> None:
    """List the revisions that were applied to a running server, newest first."""

    async def work(connection: Connection) -> None:
        request = pb.HistoryRequest()
        request.page.size = limit
        answer = await connection.call("Policies/History", request, pb.HistoryResponse)
        rows = [
            (
                str(each.revision),
                moment(each, "applied_at"),
                each.author,
                each.approver or "-",
                each.policy_version[:16],
                each.reason,
            )
            for each in answer.revisions
        ]
        orders.show(answer, table(("REVISION", "APPLIED", "AUTHOR", "APPROVER", "POLICY", "REASON"), rows))

    orders.run(work)


@click.command("current")
@orders_options
def current_command(orders: Orders) -> None:
    """Say which policy is in force on a running server."""

    async def work(connection: Connection) -> None:
        answer = await connection.call("Policies/Current", pb.CurrentRequest(), pb.CurrentResponse)
        shown = f"policy version {answer.policy_version}, {answer.rules} rules, since {moment(answer, 'loaded_at')}"
        orders.show(answer, f"{shown}; snapshot version {answer.version}")

    orders.run(work)


def _file(text: str) -> pb.PolicyFile:
    name, equals, path = text.partition("=")
    if not equals:
        name = path = text
    try:
        return pb.PolicyFile(name=name, text=Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
