"""`authz revoke`: what is not accepted any more, and the lockdown."""

import datetime as dt
import re

import click

from authz.cli.control.server import Orders, enum, moment, orders_options, table
from authz.client import Connection
from authz.control.v1 import revocations_pb2 as pb
from authz.errors import ConfigError

_KINDS = {
    "grant": pb.REVOCATION_KIND_GRANT,
    "task": pb.REVOCATION_KIND_TASK,
    "principal": pb.REVOCATION_KIND_PRINCIPAL,
    "certificate": pb.REVOCATION_KIND_CERTIFICATE,
    "trust-domain": pb.REVOCATION_KIND_TRUST_DOMAIN,
}
_CUT_OFFS = {
    "everybody": pb.CUT_OFF_EVERYBODY,
    "principal": pb.CUT_OFF_PRINCIPAL,
    "issuer": pb.CUT_OFF_ISSUER,
}
_SPAN = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_reason = click.option("--reason", required=True, help="Why, for the record.")


@click.group()
def revoke() -> None:
    """Revoke, take that back, and lock down."""


@revoke.command("create")
@orders_options
@click.argument("kind", type=click.Choice(list(_KINDS)))
@click.argument("value")
@_reason
@click.option("--for", "span", default="", help="How long: 90s, 30m, 12h, 7d; by default for good.")
def create_command(orders: Orders, kind: str, value: str, reason: str, span: str) -> None:
    """Revoke a grant, task, principal (SPIFFE ID), certificate (SHA-256) or trust domain."""
    request = pb.CreateRevocationRequest(kind=pb.RevocationKind.Name(_KINDS[kind]), value=value, reason=reason)
    if span:
        request.expires_at.FromDatetime(_after(span))
    _create(orders, request)


@revoke.command("issued-before")
@orders_options
@click.argument("when", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--of", "cut_off", type=click.Choice(list(_CUT_OFFS)), default="everybody", show_default=True)
@click.option("--value", default="", help="The principal or issuer.")
@_reason
def issued_before_command(orders: Orders, when: dt.datetime, cut_off: str, value: str, reason: str) -> None:
    """Revoke every credential issued before WHEN (2026-01-31T12:00:00Z)."""
    request = pb.CreateRevocationRequest(
        kind=pb.REVOCATION_KIND_ISSUED_BEFORE, cut_off=pb.CutOff.Name(_CUT_OFFS[cut_off]), value=value, reason=reason
    )
    request.before.FromDatetime(when.astimezone(dt.UTC) if when.tzinfo else when.replace(tzinfo=dt.UTC))
    _create(orders, request)


def _create(orders: Orders, request: pb.CreateRevocationRequest) -> None:
    async def work(connection: Connection) -> None:
        answer = await connection.call("Revocations/Create", request, pb.CreateRevocationResponse)
        orders.show(answer, f"revoked: {answer.revocation.id}")

    orders.run(work)


@revoke.command("undo")
@orders_options
@click.argument("revocation_id")
@_reason
def undo_command(orders: Orders, revocation_id: str, reason: str) -> None:
    """Take a revocation back."""

    async def work(connection: Connection) -> None:
        request = pb.UndoRequest(revocation_id=revocation_id, reason=reason)
        answer = await connection.call("Revocations/Undo", request, pb.UndoResponse)
        orders.show(answer, f"undone: {answer.revocation.id}")

    orders.run(work)


@revoke.command("list")
@orders_options
@click.option("--all", "with_ended", is_flag=True, help="Also those that are over.")
@click.option("--limit", default=100, show_default=True, help="The most that are listed.")
def list_command(orders: Orders, limit: int, *, with_ended: bool) -> None:
    """List what is revoked, newest first, and the lockdown in force."""

    async def work(connection: Connection) -> None:
        found = pb.ListRevocationsResponse()
        while len(found.revocations) < limit:
            request = pb.ListRevocationsRequest(with_ended=with_ended)
            request.page.size, request.page.token = limit - len(found.revocations), found.next_page_token
            page = await connection.call("Revocations/List", request, pb.ListRevocationsResponse)
            found.revocations.extend(page.revocations)
            found.next_page_token = page.next_page_token
            if page.HasField("lockdown"):
                found.lockdown.CopyFrom(page.lockdown)
            if not page.next_page_token:
                break
        orders.show(found, _shown(found))

    orders.run(work)


def _shown(found: pb.ListRevocationsResponse) -> str:
    rows = [
        (
            each.id,
            enum(each, "kind", "REVOCATION_KIND_"),
            each.value or enum(each, "cut_off", "CUT_OFF_"),
            moment(each, "expires_at"),
            each.author,
            each.reason,
        )
        for each in found.revocations
    ]
    lines = [table(("REVOCATION", "KIND", "VALUE", "UNTIL", "AUTHOR", "REASON"), rows)]
    if found.HasField("lockdown"):
        down = found.lockdown
        lines.append(
            f"\nLOCKDOWN {down.id} by {down.author} until {moment(down, 'until')}: {down.reason}\n"
            f"  excepted: {', '.join(down.except_principals) or 'nobody'}"
        )
    return "\n".join(lines)


@revoke.command("lockdown")
@orders_options
@click.option("--for", "span", required=True, help="How long at most: 30m, 4h.")
@click.option("--except", "excepted", multiple=True, help="A SPIFFE ID that may still call. Repeats.")
@_reason
def lockdown_command(orders: Orders, span: str, excepted: tuple[str, ...], reason: str) -> None:
    """Break glass: deny all but those named, at once."""
    request = pb.StartLockdownRequest(except_principals=excepted, reason=reason)
    request.until.FromDatetime(_after(span))

    async def work(connection: Connection) -> None:
        answer = await connection.call("Revocations/StartLockdown", request, pb.StartLockdownResponse)
        orders.show(answer, f"locked down until {moment(answer.lockdown, 'until')}: {answer.lockdown.id}")

    orders.run(work)


@revoke.command("end-lockdown")
@orders_options
@_reason
def end_lockdown_command(orders: Orders, reason: str) -> None:
    """End the lockdown."""

    async def work(connection: Connection) -> None:
        request = pb.EndLockdownRequest(reason=reason)
        answer = await connection.call("Revocations/EndLockdown", request, pb.EndLockdownResponse)
        orders.show(answer, f"the lockdown {answer.lockdown.id} is over")

    orders.run(work)


def _after(span: str) -> dt.datetime:
    found = _SPAN.fullmatch(span)
    if found is None:
        raise ConfigError(f"--for {span!r}: expected a number and s, m, h or d, such as 30m")
    seconds = int(found[1]) * _SECONDS[found[2]]
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
