"""`authz keys` and `authz fleet`."""

import click

from authz.cli.control.server import Orders, moment, orders_options, table
from authz.client import Connection
from authz.control.v1 import fleet_pb2, keys_pb2


@click.group()
def keys() -> None:
    """The keys that sign grants."""


@keys.command("rotate")
@orders_options
@click.option("--reason", required=True, help="Why, for the record.")
def rotate_command(orders: Orders, reason: str) -> None:
    """Sign with a new key; the old one verifies as long as its grants can live."""

    async def work(connection: Connection) -> None:
        request = keys_pb2.RotateRequest(reason=reason)
        answer = await connection.call("Keys/Rotate", request, keys_pb2.RotateResponse)
        orders.show(answer, f"signing with {answer.key.id} ({answer.key.algorithm})")

    orders.run(work)


@keys.command("list")
@orders_options
def list_command(orders: Orders) -> None:
    """List the keys that sign or verify."""

    async def work(connection: Connection) -> None:
        answer = await connection.call("Keys/List", keys_pb2.ListKeysRequest(), keys_pb2.ListKeysResponse)
        rows = [
            (
                key.id,
                key.algorithm,
                "verifies" if key.HasField("retired_at") else "signs",
                moment(key, "created_at"),
                moment(key, "verifies_until"),
            )
            for key in answer.keys
        ]
        orders.show(answer, table(("KEY", "ALGORITHM", "STATE", "CREATED", "VERIFIES UNTIL"), rows))

    orders.run(work)


@click.group()
def fleet() -> None:
    """The replicas that share one store."""


@fleet.command("status")
@orders_options
def status_command(orders: Orders) -> None:
    """Show each replica's policy and how old what it knows is; exit 1 when they differ or one is not ready."""

    async def work(connection: Connection) -> None:
        answer = await connection.call("Fleet/Status", fleet_pb2.StatusRequest(), fleet_pb2.StatusResponse)
        rows = [
            (
                f"{each.id}{'*' if each.id == answer.self else ''}",
                each.host,
                each.version,
                each.policy_version or "-",
                str(each.sequence),
                f"{each.staleness.ToMilliseconds() / 1000:.1f}s",
                "ready" if each.ready else "NOT READY",
            )
            for each in answer.replicas
        ]
        shown = table(("REPLICA", "HOST", "VERSION", "POLICY", "SEQUENCE", "STALE", "STATE"), rows)
        orders.show(answer, shown if answer.uniform else f"{shown}\n\nThe replicas decide under different policies.")
        if not answer.uniform or not all(each.ready for each in answer.replicas):
            raise click.exceptions.Exit(1)

    orders.run(work)
