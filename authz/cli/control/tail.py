"""`authz tail`: decisions as they are made."""

import json

import click

from authz.cli.control.server import Orders, as_dict, moment, orders_options
from authz.client import Connection
from authz.control.v1 import decisions_pb2 as pb


@click.command("tail")
@orders_options
@click.option("--effect", type=click.Choice(["allow", "deny"]), help="Only these.")
@click.option("--reason", "reasons", multiple=True, help="Only with this reason. Repeats.")
@click.option("--subject", default="", help="Only of this subject; a * at its end stands for any ending.")
@click.option("--path", default="", help="Only on this path; a * at its end stands for any ending.")
def tail_command(orders: Orders, effect: str | None, reasons: tuple[str, ...], subject: str, path: str) -> None:
    """Follow decisions as the processes of the host make them, until Ctrl-C."""
    request = pb.TailRequest(effect=effect or "", reasons=reasons, subject=subject, path=path)

    async def work(connection: Connection) -> None:
        async for event in connection.stream("Decisions/Tail", request, pb.TailResponse):
            click.echo(json.dumps(as_dict(event)) if orders.as_json else _line(event))

    orders.run(work)


def _line(event: pb.TailResponse) -> str:
    made = event.decision
    if not event.HasField("decision"):
        return f"(skipped {event.skipped})"
    skipped = f"(skipped {event.skipped}) " if event.skipped else ""
    told = f"{moment(made, 'at')} {made.effect.upper():5} {made.reason:24} {made.subject or '-'}"
    return f"{skipped}{told} {made.method} {made.host}{made.path}"
