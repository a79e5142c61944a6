"""Which policy is in force, and which were before."""

from starlette.responses import Response

from authz.console.visit import Visit
from authz.control.v1 import policies_pb2 as pb
from authz.control.v1.common_pb2 import PageRequest


async def page(visit: Visit) -> Response:
    """What is in force, and the revisions that were applied."""
    with_files = visit.asked("files") == "1"
    current = await visit.call("Policies", "Current", pb.CurrentRequest(with_files=with_files), pb.CurrentResponse)
    wanted = PageRequest(size=visit.room.settings.page_size, token=visit.asked("page"))
    history = await visit.call("Policies", "History", pb.HistoryRequest(page=wanted), pb.HistoryResponse)
    return await visit.page(
        "policy.html",
        title="Policy",
        current=current,
        with_files=with_files,
        revisions=history.revisions,
        next_page=history.next_page_token,
    )
