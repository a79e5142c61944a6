"""`authz report`: what a security team asks about the identities that call."""

import click

from authz.cli.control.server import Orders, enum, moment, orders_options, table
from authz.client import Connection
from authz.control.v1 import reports_pb2 as pb

_SECONDS_PER_DAY = 86_400


@click.group()
def report() -> None:
    """Report on the identities that call."""


@report.command("shared-identities")
@orders_options
@click.option(
    "--unused-days", type=click.FloatRange(min=0, min_open=True), help="Days without a call; default: as configured."
)
@click.option("--max", "max_entries", type=click.IntRange(min=0), default=0, help="Most entries of each kind.")
def shared_identities_command(orders: Orders, unused_days: float | None, max_entries: int) -> None:
    """Show identities that several workloads use, or none; exit 1 when one is shared or a certificate overdue."""

    async def work(connection: Connection) -> None:
        request = pb.SharedIdentitiesRequest(max_entries=max_entries)
        if unused_days is not None:
            request.unused_for.FromMilliseconds(int(unused_days * _SECONDS_PER_DAY * 1_000))
        answer = await connection.call("Reports/SharedIdentities", request, pb.SharedIdentitiesResponse)
        orders.show(answer, _told(answer))
        if answer.shared or answer.overdue:
            raise click.exceptions.Exit(1)

    orders.run(work)


def _told(answer: pb.SharedIdentitiesResponse) -> str:
    shared = [
        (each.identity, each.owner or "-", _of(each.certificates), _of(each.addresses), _of(each.task_owners))
        for each in answer.shared
    ]
    overdue = [
        (
            each.identity,
            each.certificate[:16],
            enum(each, "problem", "PROBLEM_"),
            moment(each, "not_before"),
            moment(each, "not_after"),
        )
        for each in answer.overdue
    ]
    unregistered = [
        (each.identity, moment(each, "first_seen"), moment(each, "last_seen")) for each in answer.unregistered
    ]
    unused = [(each.identity, each.owner or "-", moment(each, "last_seen")) for each in answer.unused]
    parts = (
        "Shared: in use at once / expected",
        table(("IDENTITY", "OWNER", "CERTIFICATES", "ADDRESSES", "TASK OWNERS"), shared),
        "Certificates that overlive",
        table(("IDENTITY", "CERTIFICATE", "PROBLEM", "FROM", "UNTIL"), overdue),
        "Not in the inventory",
        table(("IDENTITY", "FIRST SEEN", "LAST SEEN"), unregistered),
        f"In the inventory and not used (calls are known since {moment(answer, 'watched_since')})",
        table(("ENTRY", "OWNER", "LAST SEEN"), unused),
    )
    lines = [f"{title}\n{rows}" for title, rows in zip(parts[::2], parts[1::2], strict=True)]
    if answer.truncated:
        lines.append("There is more: ask with --max.")
    return "\n\n".join(lines)


def _of(usage: pb.Usage) -> str:
    return f"{usage.at_once} / {usage.expected}"
