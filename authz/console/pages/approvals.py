"""What waits for a human's word: the inbox, the card that one is decided by, and the word itself."""

from typing import Final
from urllib.parse import quote

from starlette.responses import Response

from authz.console.visit import Visit
from authz.control.faults import Code, ControlError, invalid
from authz.control.v1 import approvals_pb2 as pb
from authz.control.v1.common_pb2 import PageRequest

STATES: Final = {number: name.removeprefix("APPROVAL_STATE_").lower() for name, number in pb.ApprovalState.items()}
_NUMBERS: Final = {name: number for number, name in STATES.items()}
_MAX_DIGITS = 6


async def inbox(visit: Visit) -> Response:
    """The requests, the last opened first; what waits, unless another state is asked for."""
    state = visit.asked("state", "open")
    number = _NUMBERS.get(state, pb.APPROVAL_STATE_UNSPECIFIED)
    request = pb.ListApprovalsRequest(
        state=pb.ApprovalState.Name(number),
        principal=visit.asked("principal").strip(),
        task_id=visit.asked("task").strip(),
        group=visit.asked("group").strip(),
        mine=visit.asked("mine") == "1",
        page=PageRequest(size=visit.room.settings.page_size, token=visit.asked("page")),
    )
    try:
        found = await visit.call("Approvals", "List", request, pb.ListApprovalsResponse)
    except ControlError as error:
        if error.reason != "APPROVALS_OFF":
            raise
        return await visit.page("approvals_off.html", title="Approvals")
    return await visit.page(
        "approvals.html",
        title="Approvals",
        approvals=found.approvals,
        open=found.open,
        selected=request,
        state=state if number else "",
        states=STATES,
        next_page=found.next_page_token,
    )


async def card(visit: Visit) -> Response:
    """All that helps to decide one of them."""
    request = pb.GetApprovalRequest(approval_id=visit.request.path_params["id"])
    found = await visit.call("Approvals", "Get", request, pb.GetApprovalResponse)
    return await visit.page(
        "approval.html",
        title="One approval",
        approval=found.approval,
        risk=found.risk,
        viewer=found.viewer,
        why_not=_why_not(visit, found.viewer),
        states=STATES,
    )


async def approve(visit: Visit) -> Response:
    """Say yes."""
    form = await visit.form()
    visit.demand("approver")
    if form.get("confirm") != "yes":
        raise invalid({"confirm": "tick that you mean exactly this call; nothing was approved"})
    for_task = form.get("for_task") == "yes"
    uses = form.get("uses", "1") or "1"
    if not (uses.isascii() and uses.isdigit() and len(uses) <= _MAX_DIGITS and int(uses)):
        raise invalid({"uses": "expected a whole number, at least 1"})
    digest = form.get("binding", "")
    if not digest:
        raise ControlError(Code.INVALID_ARGUMENT, "NOT_A_FORM", "the form does not say what was shown")
    request = pb.ApproveRequest(
        approval_id=visit.request.path_params["id"],
        uses=0 if for_task else int(uses),
        for_task=for_task,
        comment=form.get("comment", ""),
        binding_sha256=digest,
    )
    await visit.call("Approvals", "Approve", request, pb.ApproveResponse)
    return _back(visit)


async def reject(visit: Visit) -> Response:
    """Say no."""
    form = await visit.form()
    visit.demand("approver")
    request = pb.RejectApprovalRequest(approval_id=visit.request.path_params["id"], comment=form.get("comment", ""))
    await visit.call("Approvals", "Reject", request, pb.RejectApprovalResponse)
    return _back(visit)


async def withdraw(visit: Visit) -> Response:
    """Take it back."""
    form = await visit.form()
    visit.demand("approver")
    request = pb.WithdrawRequest(approval_id=visit.request.path_params["id"], comment=form.get("comment", ""))
    await visit.call("Approvals", "Withdraw", request, pb.WithdrawResponse)
    return _back(visit)


def _back(visit: Visit) -> Response:
    return visit.go(f"/approvals/{quote(visit.request.path_params['id'], safe='')}")


def _why_not(visit: Visit, viewer: pb.ApprovalViewer) -> list[str]:
    """Why this human may not decide, in words; nothing where they may."""
    reasons = [] if visit.may("approver") else ["this needs the role approver, which none of your groups gives"]
    if not (viewer.may_approve or viewer.may_reject):
        reasons += [reason.partition(": ")[2] or reason for reason in viewer.reasons]
    return reasons
