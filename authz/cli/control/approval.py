"""`authz approval`: what waits for a human, and that human's word."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import click

from authz.audit.redact import plain
from authz.cli.control.server import Orders, as_dict, enum, moment, orders_options, table
from authz.cli.sign_in.cache import default_file, read_token
from authz.client import Connection
from authz.control.v1 import approvals_pb2 as pb

_CHARS = 1_024
_STATES = ("open", "approved", "rejected", "expired", "spent", "withdrawn")
_token = click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    envvar="AUTHZ_TOKEN_FILE",
    help="Your OpenID token; also AUTHZ_TOKEN_FILE, or the token itself in AUTHZ_TOKEN. [default: of authz login]",
)


def bearer(token_file: Path | None, *, required: bool = True) -> str:
    """The token of who speaks: of the file that is named, of the environment, else of `authz login`.

    Raises:
        ConfigError: there is none, or others may read it.
    """
    if token_file is None and (given := os.environ.get("AUTHZ_TOKEN", "").strip()):
        return given
    path = token_file or default_file()
    if not required and token_file is None and not path.exists():
        return ""
    return read_token(path)


@click.group()
def approval() -> None:
    """Look at what waits for a human, and approve or reject it. Sign in first: authz login."""


@approval.command("list")
@orders_options
@_token
@click.option("--state", type=click.Choice([*_STATES, "all"]), default="open", show_default=True, help="Which.")
@click.option("--group", default="", help="Only what this group decides.")
@click.option("--principal", default="", help="Only of this requester.")
@click.option("--task", "task_id", default="", help="Only of this task.")
@click.option("--mine", is_flag=True, help="Only what you may decide.")
@click.option("--limit", default=100, show_default=True, help="The most that are listed.")
def list_command(  # noqa: PLR0913 - click hands over each by name
    orders: Orders,
    *,
    token_file: Path | None,
    state: str,
    group: str,
    principal: str,
    task_id: str,
    mine: bool,
    limit: int,
) -> None:
    """List requests, the last opened first."""
    word = "UNSPECIFIED" if state == "all" else state.upper()
    request = pb.ListApprovalsRequest(
        state=f"APPROVAL_STATE_{word}", group=group, principal=principal, task_id=task_id, mine=mine
    )

    async def work(connection: Connection) -> None:
        found = pb.ListApprovalsResponse()
        while len(found.approvals) < limit:
            request.page.size, request.page.token = limit - len(found.approvals), found.next_page_token
            page = await connection.call("Approvals/List", request, pb.ListApprovalsResponse)
            found.approvals.extend(page.approvals)
            found.next_page_token, found.open = page.next_page_token, page.open
            if not page.next_page_token:
                break
        orders.show(found, f"{_table(found.approvals)}\n{found.open} wait in all")

    orders.run(work, bearer(token_file, required=mine))


@approval.command("show")
@orders_options
@_token
@click.argument("approval_id")
def show_command(orders: Orders, *, token_file: Path | None, approval_id: str) -> None:
    """Show one with all that helps to decide, and what you may do about it."""

    async def work(connection: Connection) -> None:
        request = pb.GetApprovalRequest(approval_id=approval_id)
        card = await connection.call("Approvals/Get", request, pb.GetApprovalResponse)
        orders.show(card, _card(card))

    orders.run(work, bearer(token_file, required=False))


@approval.command("approve")
@orders_options
@_token
@click.argument("approval_id")
@click.option("--uses", type=int, default=0, help="How often it may be used. [default: once]")
@click.option("--for-task", is_flag=True, help="For as long as the task lasts, where the rule permits it.")
@click.option("--comment", default="", help="For the record.")
@click.option("--digest", default="", help="The binding that you were shown; another one is refused.")
@click.option("--yes", is_flag=True, help="Do not show it and ask first.")
def approve_command(  # noqa: PLR0913 - click hands over each by name
    orders: Orders,
    *,
    token_file: Path | None,
    approval_id: str,
    uses: int,
    for_task: bool,
    comment: str,
    digest: str,
    yes: bool,
) -> None:
    """Say yes. Shows what would be done first, unless --yes."""

    async def work(connection: Connection) -> None:
        binding = digest
        if not yes:
            get = pb.GetApprovalRequest(approval_id=approval_id)
            card = await connection.call("Approvals/Get", get, pb.GetApprovalResponse)
            click.echo(_card(card), err=True)
            click.confirm("\nApprove exactly this?", abort=True, err=True)
            binding = binding or card.approval.binding_sha256
        request = pb.ApproveRequest(
            approval_id=approval_id, uses=uses, for_task=for_task, comment=comment, binding_sha256=binding
        )
        answer = await connection.call("Approvals/Approve", request, pb.ApproveResponse)
        orders.show(answer, _outcome(answer.approval))

    orders.run(work, bearer(token_file))


@approval.command("reject")
@orders_options
@_token
@click.argument("approval_id")
@click.option("--comment", required=True, help="Why, for the record.")
def reject_command(orders: Orders, *, token_file: Path | None, approval_id: str, comment: str) -> None:
    """Say no. The same call is refused until the request would have lapsed."""

    async def work(connection: Connection) -> None:
        request = pb.RejectApprovalRequest(approval_id=approval_id, comment=comment)
        answer = await connection.call("Approvals/Reject", request, pb.RejectApprovalResponse)
        orders.show(answer, _outcome(answer.approval))

    orders.run(work, bearer(token_file))


@approval.command("withdraw")
@orders_options
@_token
@click.argument("approval_id")
@click.option("--comment", default="", help="Why, for the record.")
def withdraw_command(orders: Orders, *, token_file: Path | None, approval_id: str, comment: str) -> None:
    """Take a request, or what is left of an approval, back."""

    async def work(connection: Connection) -> None:
        request = pb.WithdrawRequest(approval_id=approval_id, comment=comment)
        answer = await connection.call("Approvals/Withdraw", request, pb.WithdrawResponse)
        orders.show(answer, _outcome(answer.approval))

    orders.run(work, bearer(token_file, required=False))


@approval.command("watch")
@orders_options
@click.option("--group", default="", help="Only what this group decides.")
@click.option("--principal", default="", help="Only of this requester.")
def watch_command(orders: Orders, *, group: str, principal: str) -> None:
    """Follow what happens, until Ctrl-C."""

    async def work(connection: Connection) -> None:
        request = pb.WatchApprovalsRequest(group=group, principal=principal)
        async for event in connection.stream("Approvals/Watch", request, pb.ApprovalEvent):
            if orders.as_json:
                click.echo(json.dumps(as_dict(event)))
            else:
                click.echo(f"{moment(event, 'at')} {enum(event, 'kind', 'KIND_'):9} {_line(event.approval)}".rstrip())

    orders.run(work)


def _shown(text: str) -> str:
    """A text as a terminal may be given it: the server escapes it already, and this does not rest on that."""
    return plain(text, _CHARS)


def _state(shown: pb.Approval) -> str:
    return enum(shown, "state", "APPROVAL_STATE_")


def _amounts(shown: pb.Approval) -> str:
    return ", ".join(f"{each.name}={each.value}" for each in shown.action.amounts)


def _table(approvals: Iterable[pb.Approval]) -> str:
    rows = [
        tuple(
            map(
                _shown,
                (
                    each.id,
                    _state(each),
                    each.action.name,
                    f"{each.action.host}{each.action.path}",
                    _amounts(each) or "-",
                    each.requester.principal,
                    " and ".join(each.demand.groups),
                    moment(each, "expires_at"),
                ),
            )
        )
        for each in approvals
    ]
    return table(("APPROVAL", "STATE", "ACTION", "ON", "AMOUNT", "BY", "DECIDED BY", "UNTIL"), rows)


def _line(shown: pb.Approval) -> str:
    if not shown.id:
        return ""
    on = f"{shown.action.host}{shown.action.path}"
    return _shown(f"{shown.id} {shown.action.name} {on} {_amounts(shown)} by {shown.requester.principal}")


def _outcome(shown: pb.Approval) -> str:
    state = _state(shown)
    if state == "open":
        return (
            f"{shown.id}: your word counts; {shown.missing} more {'has' if shown.missing == 1 else 'have'} to approve"
        )
    if state == "approved":
        uses = "as often as the task needs" if shown.for_task else f"{shown.uses} time{'s' if shown.uses != 1 else ''}"
        return f"{shown.id}: approved, {uses}, until {moment(shown, 'expires_at')}"
    return f"{shown.id}: {state}"


def _card(card: pb.GetApprovalResponse) -> str:
    """What would be done, who asks for whom, how unusual it is, what was before, and what you may do: in this order."""
    shown, risk, viewer = card.approval, card.risk, card.viewer
    action, who, demand, resource = shown.action, shown.requester, shown.demand, shown.resource
    lines = [
        f"{shown.id}  {_state(shown).upper()}  until {moment(shown, 'expires_at')}",
        "",
        f"if you say yes  {action.name} on {action.host}{action.path}",
        *(f"    {each.name} = {each.value}" for each in (*action.query, *action.arguments)),
        *([f"    and {action.arguments_left_out} more arguments"] if action.arguments_left_out else ()),
        f"    body {action.body_bytes} bytes, sha256 {action.arguments_sha256}",
        *_if("resource", " ".join(filter(None, (resource.type, resource.id)))),
        *_if("sensitivity", " ".join(filter(None, (resource.sensitivity, resource.environment)))),
        f"by              {who.principal} ({who.kind})",
        *_if("owner", who.owner),
        f"for             {who.origin}",
        *_if("chain", " -> ".join(who.chain) if len(who.chain) > 1 else ""),
        *_if("task", _task(who)),
        *_if("grant", who.grant_id),
        f"rule            {demand.rule}: {demand.rule_text}",
        f"decided by      {demand.persons} of {' and '.join(demand.groups)}; {shown.missing} missing",
        *(_said(vote) for vote in shown.votes),
        "",
        *(f"! {warning}" for warning in risk.warnings),
        *_if("task so far", _counts(risk)),
        *(
            f"before          {enum(each, 'state', 'APPROVAL_STATE_')} {each.about} {' '.join(each.by)}"
            for each in risk.earlier
        ),
        "",
        f"you             {viewer.name or 'not signed in'}: {_may(viewer)}",
        *(f"    {reason}" for reason in viewer.reasons),
    ]
    return "\n".join(map(_shown, lines))


def _task(who: pb.ApprovalRequester) -> str:
    if not (who.task.id or who.task.purpose):
        return ""
    return f"{who.task.id} {who.task.purpose}" + (" (declared only)" if who.task_declared else "")


def _if(name: str, value: str) -> list[str]:
    return [f"{name:15} {value}"] if value.strip() else []


def _said(vote: pb.ApprovalVote) -> str:
    return f"    {vote.name} ({vote.person}) said {'yes' if vote.approved else 'no'}: {vote.comment or '-'}"


def _counts(risk: pb.ApprovalRisk) -> str:
    counts = [f"{count} {state}" for state, count in sorted(risk.task_requests.items())]
    return ", ".join([*counts, f"{risk.task_passed} passed", f"{risk.task_grants} grants"]) if counts else ""


def _may(viewer: pb.ApprovalViewer) -> str:
    may = [name for name, holds in (("approve", viewer.may_approve), ("reject", viewer.may_reject)) if holds]
    return f"you may {' or '.join(may)}" if may else "you may not decide this"
