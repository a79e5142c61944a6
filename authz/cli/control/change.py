"""`authz change`: what waits for a second person."""

import click

from authz.cli.control.server import Orders, moment, orders_options, table
from authz.client import Connection
from authz.control.v1 import changes_pb2 as pb


@click.group()
def change() -> None:
    """Look at changes that wait for a second person, and confirm or reject them."""


@change.command("list")
@orders_options
def list_command(orders: Orders) -> None:
    """List what waits."""

    async def work(connection: Connection) -> None:
        answer = await connection.call("Changes/List", pb.ListChangesRequest(), pb.ListChangesResponse)
        rows = [
            (each.id, each.action, each.author, each.group, moment(each, "expires_at"), each.summary)
            for each in answer.changes
        ]
        orders.show(answer, table(("CHANGE", "ACTION", "AUTHOR", "GROUP", "UNTIL", "ABOUT"), rows))

    orders.run(work)


@change.command("confirm")
@orders_options
@click.argument("change_id")
def confirm_command(orders: Orders, change_id: str) -> None:
    """Have a change carried out. You must be of its group, and not its author."""

    async def work(connection: Connection) -> None:
        request = pb.ConfirmRequest(change_id=change_id)
        answer = await connection.call("Changes/Confirm", request, pb.ConfirmResponse)
        orders.show(answer, f"done: {answer.change.action}, asked for by {answer.change.author}")

    orders.run(work)


@change.command("reject")
@orders_options
@click.argument("change_id")
@click.option("--reason", default="", help="Why, for the record.")
def reject_command(orders: Orders, change_id: str, reason: str) -> None:
    """Drop a change."""

    async def work(connection: Connection) -> None:
        request = pb.RejectRequest(change_id=change_id, reason=reason)
        answer = await connection.call("Changes/Reject", request, pb.RejectResponse)
        orders.show(answer, f"dropped: {answer.change.action}")

    orders.run(work)
