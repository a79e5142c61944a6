"""Grants: what machines may do right now, and the button that ends it."""

from urllib.parse import quote

from starlette.responses import Response

from authz.console.visit import Visit
from authz.control.faults import not_found
from authz.control.v1 import grants_pb2 as pb
from authz.control.v1.common_pb2 import PageRequest


async def listed(visit: Visit) -> Response:
    """Grants, the last issued first."""
    with_ended = visit.asked("ended") == "1"
    request = pb.ListGrantsRequest(
        holder=visit.asked("holder").strip(),
        task_id=visit.asked("task").strip(),
        active_only=not with_ended,
        page=PageRequest(size=visit.room.settings.page_size, token=visit.asked("page")),
    )
    found = await visit.call("Grants", "List", request, pb.ListGrantsResponse)
    return await visit.page(
        "grants.html",
        title="Grants",
        grants=found.grants,
        selected=request,
        with_ended=with_ended,
        next_page=found.next_page_token,
        states=state_names(),
    )


async def one(visit: Visit) -> Response:
    """One grant, with the form that revokes it."""
    grant = await _find(visit)
    return await visit.page("grant.html", title="One grant", grant=grant, states=state_names())


async def revoke(visit: Visit) -> Response:
    """Revoke it."""
    form = await visit.form()
    visit.demand("operator")
    grant_id = visit.request.path_params["id"]
    request = pb.RevokeRequest(grant_id=grant_id, reason=form.get("reason", ""))
    await visit.call("Grants", "Revoke", request, pb.RevokeResponse)
    return visit.go(f"/grants/{quote(grant_id, safe='')}")


async def _find(visit: Visit) -> pb.Grant:
    grant_id = visit.request.path_params["id"]
    found = await visit.call("Grants", "List", pb.ListGrantsRequest(grant_id=grant_id), pb.ListGrantsResponse)
    if not found.grants:
        raise not_found("grant", grant_id)
    grant: pb.Grant = found.grants[0]
    return grant


def state_names() -> dict[int, str]:
    """Answer what a grant's state is called."""
    return {number: name.removeprefix("GRANT_STATE_").lower() for name, number in pb.GrantState.items()}
