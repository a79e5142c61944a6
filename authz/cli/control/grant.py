"""`authz grant`: just-in-time grants."""

import json
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from authz.cli.control.server import Orders, enum, moment, orders_options, table
from authz.client import Connection, permission
from authz.control.v1 import grants_pb2 as pb
from authz.control.v1.common_pb2 import Permission, PermissionCondition, Task
from authz.errors import ConfigError

_MAX_DIGITS = 9
_allow = click.option(
    "--allow", nargs=2, multiple=True, metavar="ACTION RESOURCE", help="What it permits: GET '/v1/accounts/*'. Repeats."
)
_host = click.option("--host", "hosts", multiple=True, help="At which hosts; by default any. Repeats.")
_scope = click.option(
    "--scope",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of --allow: a JSON file with authorization_details (RFC 9396).",
)
_limit = click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="WHAT=HOW MUCH",
    help="What the task may spend in all: calls=100, resources=5, or an argument's sum: amount=99.95. Repeats.",
)
_token = click.option(
    "--token",
    "token_file",
    type=click.File("r"),
    default="-",
    show_default="standard input",
    help="A file with the token; never on the command line, where others see it.",
)
_only_token = click.option("--token-only", is_flag=True, help="Print the token alone.")


@click.group()
def grant() -> None:
    """Ask for just-in-time grants, look at them, and end them."""


@grant.command("issue")
@orders_options
@click.option("--holder", default="", help="For whom: a SPIFFE ID; by default the caller.")
@click.option("--task", "task_id", default="", help="The task's id; by default a new task.")
@click.option("--purpose", default="", help="What the task is for.")
@_allow
@_host
@_scope
@click.option("--ttl", type=int, help="Seconds that it lives; by default as the server says.")
@click.option("--uses", type=int, default=0, help="How often it may be used; by default without limit.")
@_limit
@click.option("--bind-certificate", is_flag=True, help="Bind it to the certificate of this call.")
@_only_token
def issue_command(  # noqa: PLR0913 - click hands over each by name
    orders: Orders,
    *,
    holder: str,
    task_id: str,
    purpose: str,
    allow: tuple[tuple[str, str], ...],
    hosts: tuple[str, ...],
    scope: Path | None,
    ttl: int | None,
    uses: int,
    limits: tuple[str, ...],
    bind_certificate: bool,
    token_only: bool,
) -> None:
    """Issue a grant for a task."""
    request = pb.IssueRequest(
        holder=holder,
        task=Task(id=task_id, purpose=purpose),
        permissions=_permissions(allow, hosts, scope),
        uses=uses,
        bind_certificate=bind_certificate,
        limits=_limits(limits),
    )
    if ttl is not None:
        request.ttl.seconds = ttl

    async def work(connection: Connection) -> None:
        _show_token(orders, await connection.call("Grants/Issue", request, pb.IssueResponse), token_only=token_only)

    orders.run(work)


@grant.command("exchange")
@orders_options
@_token
@_allow
@_host
@_scope
@click.option("--ttl", type=int, help="Seconds that it lives; by default as long as the first.")
@_limit
@click.option("--bind-certificate", is_flag=True, help="Bind it to the certificate of this call.")
@_only_token
def exchange_command(  # noqa: PLR0913 - click hands over each by name
    orders: Orders,
    *,
    token_file: TextIO,
    allow: tuple[tuple[str, str], ...],
    hosts: tuple[str, ...],
    scope: Path | None,
    ttl: int | None,
    limits: tuple[str, ...],
    bind_certificate: bool,
    token_only: bool,
) -> None:
    """Exchange a grant for a narrower one that you hold."""
    request = pb.ExchangeRequest(
        subject_token=token_file.read().strip(),
        permissions=_permissions(allow, hosts, scope),
        bind_certificate=bind_certificate,
        limits=_limits(limits),
    )
    if ttl is not None:
        request.ttl.seconds = ttl

    async def work(connection: Connection) -> None:
        answer = await connection.call("Grants/Exchange", request, pb.ExchangeResponse)
        _show_token(orders, answer, token_only=token_only)

    orders.run(work)


@grant.command("complete")
@orders_options
@click.argument("task_id")
@click.option("--outcome", default="", help="What came of it, for the record.")
def complete_command(orders: Orders, task_id: str, outcome: str) -> None:
    """End a task: all of its grants die."""

    async def work(connection: Connection) -> None:
        request = pb.CompleteRequest(task_id=task_id, outcome=outcome)
        answer = await connection.call("Grants/Complete", request, pb.CompleteResponse)
        orders.show(answer, f"task {task_id} is completed since {moment(answer, 'completed_at')}")

    orders.run(work)


@grant.command("revoke")
@orders_options
@click.argument("grant_id")
@click.option("--reason", required=True, help="Why, for the record.")
def revoke_command(orders: Orders, grant_id: str, reason: str) -> None:
    """Revoke one grant, and all that was derived from it."""

    async def work(connection: Connection) -> None:
        request = pb.RevokeRequest(grant_id=grant_id, reason=reason)
        answer = await connection.call("Grants/Revoke", request, pb.RevokeResponse)
        orders.show(answer, f"grant {grant_id} is revoked: revocation {answer.revocation_id}")

    orders.run(work)


@grant.command("list")
@orders_options
@click.option("--holder", default="", help="Whose.")
@click.option("--task", "task_id", default="", help="For which task.")
@click.option("--active", is_flag=True, help="Only those that can be used now.")
@click.option("--limit", default=100, show_default=True, help="The most that are listed.")
def list_command(orders: Orders, holder: str, task_id: str, limit: int, *, active: bool) -> None:
    """List grants, newest first."""

    async def work(connection: Connection) -> None:
        found = pb.ListGrantsResponse()
        while len(found.grants) < limit:
            request = pb.ListGrantsRequest(holder=holder, task_id=task_id, active_only=active)
            request.page.size, request.page.token = limit - len(found.grants), found.next_page_token
            page = await connection.call("Grants/List", request, pb.ListGrantsResponse)
            found.grants.extend(page.grants)
            found.next_page_token = page.next_page_token
            if not page.next_page_token:
                break
        orders.show(found, _table(list(found.grants)))

    orders.run(work)


@grant.command("show")
@orders_options
@click.argument("grant_id", required=False)
@click.option("--token", "token_file", type=click.File("r"), help="A file with a token: is it good now? - is stdin.")
def show_command(orders: Orders, grant_id: str | None, token_file: TextIO | None) -> None:
    """Show a grant by its id, or ask whether a token is good now."""
    if (grant_id is None) == (token_file is None):
        raise click.UsageError("give the id of a grant, or --token")

    async def work(connection: Connection) -> None:
        if token_file is not None:
            introspect = pb.IntrospectRequest(token=token_file.read().strip())
            answer = await connection.call("Grants/Introspect", introspect, pb.IntrospectResponse)
            orders.show(answer, _details(answer.grant) if answer.active else "not active")
            if not answer.active:
                sys.exit(1)
            return
        request = pb.ListGrantsRequest(grant_id=grant_id or "")
        found = (await connection.call("Grants/List", request, pb.ListGrantsResponse)).grants[0]
        orders.show(found, _details(found))

    orders.run(work)


def _permissions(allow: tuple[tuple[str, str], ...], hosts: tuple[str, ...], scope: Path | None) -> list[Permission]:
    if scope is None:
        return [permission([action], [resource], locations=hosts or ("*",)) for action, resource in allow]
    if allow or hosts:
        raise click.UsageError("--scope says all that --allow and --host would")
    try:
        return [_permission(entry) for entry in json.loads(scope.read_text("utf-8"))]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{scope}: not authorization_details: {error}") from None


def _limits(limits: tuple[str, ...]) -> pb.TaskLimits | None:
    made = pb.TaskLimits()
    for text in limits:
        what, separator, amount = text.partition("=")
        if not separator:
            raise click.UsageError(f"--limit {text}: expected WHAT=HOW MUCH, such as calls=100 or amount=99.95")
        if what in {"calls", "resources"}:
            if not amount.isascii() or not amount.isdigit() or len(amount) > _MAX_DIGITS:
                raise click.UsageError(f"--limit {text}: {what} are a whole number")
            setattr(made, what, int(amount))
        else:
            made.sums[what] = amount  # the server looks at what it means
    return made if limits else None


def _permission(entry: dict[str, object]) -> Permission:
    """Read one object; the server looks at what its parts mean."""
    known = {"type", "actions", "locations", "resources", "conditions"}
    if entry.keys() - known:
        raise ValueError(f"unknown members: {', '.join(sorted(entry.keys() - known))}")
    if entry.get("type") != "authz_access":
        raise ValueError("the type must be authz_access")
    made = Permission(
        **{name: entry.get(name, ()) for name in ("actions", "locations", "resources")}  # type: ignore[arg-type] # checked by protobuf
    )
    conditions = entry.get("conditions", [])
    if not isinstance(conditions, list):
        raise TypeError("conditions must be an array")  # left out, it would be a wider grant
    made.conditions.extend(_condition(each) for each in conditions)
    return made


def _condition(entry: dict[str, Any]) -> PermissionCondition:
    unknown = entry.keys() - {"attribute", "in", "min", "max"}
    if unknown:
        raise ValueError(f"unknown members of a condition: {', '.join(sorted(unknown))}")
    made = PermissionCondition(attribute=entry["attribute"], min=entry.get("min"), max=entry.get("max"))
    for value in entry.get("in", []):
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        made.among.add(**{kind: value})
    return made


def _show_token(orders: Orders, answer: pb.IssueResponse | pb.ExchangeResponse, *, token_only: bool) -> None:
    if token_only:
        click.echo(answer.token)
    else:
        orders.show(answer, f"{_details(answer.grant)}\nheader:    {answer.header}\ntoken:     {answer.token}")


def _details(shown: pb.Grant) -> str:
    lines = [
        f"grant:     {shown.id}",
        f"state:     {enum(shown, 'state', 'GRANT_STATE_')}",
        f"holder:    {shown.holder}",
        f"task:      {shown.task.id}" + (f" ({shown.task.purpose})" if shown.task.purpose else ""),
        f"expires:   {moment(shown, 'expires_at')}",
        f"uses:      {shown.uses or 'any number'}",
        *([f"limits:    {_shown(shown.limits)}"] if shown.HasField("limits") else []),
        f"issued by: {shown.issued_by}",
    ]
    if shown.delegators:
        lines.append(f"for:       {', '.join(shown.delegators)}")
    lines.extend(
        f"permits:   {' '.join(each.actions)} {' '.join(each.resources)} at {' '.join(each.locations)}"
        for each in shown.permissions
    )
    return "\n".join(lines)


def _shown(limits: pb.TaskLimits) -> str:
    counts = [f"{name}={getattr(limits, name)}" for name in ("calls", "resources") if getattr(limits, name)]
    return " ".join([*counts, *(f"{name}={amount}" for name, amount in sorted(limits.sums.items()))]) + " for the task"


def _table(grants: list[pb.Grant]) -> str:
    rows = [
        (each.id, enum(each, "state", "GRANT_STATE_"), each.holder, each.task.id, moment(each, "expires_at"))
        for each in grants
    ]
    return table(("GRANT", "STATE", "HOLDER", "TASK", "EXPIRES"), rows)
