"""Changes of this server that wait for a second person."""

from starlette.responses import Response

from authz.console.visit import Visit
from authz.control.v1 import changes_pb2 as pb


async def listed(visit: Visit) -> Response:
    """What waits."""
    found = await visit.call("Changes", "List", pb.ListChangesRequest(), pb.ListChangesResponse)
    return await visit.page("changes.html", title="Changes", changes=found.changes, me=visit.caller.name)


async def confirm(visit: Visit) -> Response:
    """Confirm one: it is carried out."""
    await visit.form()
    visit.demand("operator")
    request = pb.ConfirmRequest(change_id=visit.request.path_params["id"])
    await visit.call("Changes", "Confirm", request, pb.ConfirmResponse)
    return visit.go("/changes")


async def reject(visit: Visit) -> Response:
    """Drop one."""
    form = await visit.form()
    visit.demand("operator")
    request = pb.RejectRequest(change_id=visit.request.path_params["id"], reason=form.get("reason", ""))
    await visit.call("Changes", "Reject", request, pb.RejectResponse)
    return visit.go("/changes")
