"""The kill switch: deny everybody but a few, at once and everywhere."""

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from authz.console.visit import Visit
from authz.control.faults import invalid
from authz.control.v1 import revocations_pb2 as pb
from authz.control.v1.common_pb2 import PageRequest

CONFIRM = "LOCKDOWN"
"""What has to be typed, so that no slip of a finger stops a company."""
_MAX_DIGITS = 6


async def page(visit: Visit) -> Response:
    """What is in force, and the forms."""
    request = pb.ListRevocationsRequest(page=PageRequest(size=visit.room.settings.page_size, token=visit.asked("page")))
    found = await visit.call("Revocations", "List", request, pb.ListRevocationsResponse)
    return await visit.page(
        "lockdown.html",
        title="Kill switch",
        lockdown=found.lockdown if found.HasField("lockdown") else None,
        revocations=found.revocations,
        next_page=found.next_page_token,
        kinds={number: name.removeprefix("REVOCATION_KIND_").lower() for name, number in pb.RevocationKind.items()},
        confirm=CONFIRM,
    )


async def start(visit: Visit) -> Response:
    """Begin it."""
    form = await visit.form()
    visit.demand("operator")
    _demand_typed(form)
    minutes = form.get("minutes", "")
    if not (minutes.isascii() and minutes.isdigit() and len(minutes) <= _MAX_DIGITS and int(minutes)):
        raise invalid({"minutes": "expected a whole number of minutes, at least 1"})
    until = Timestamp()
    until.FromMilliseconds(int((visit.room.clock() + 60 * int(minutes)) * 1_000))
    request = pb.StartLockdownRequest(
        except_principals=form.get("except", "").split(), reason=form.get("reason", ""), until=until
    )
    await visit.call("Revocations", "StartLockdown", request, pb.StartLockdownResponse)
    return visit.go("/lockdown")


async def end(visit: Visit) -> Response:
    """End it."""
    form = await visit.form()
    visit.demand("operator")
    _demand_typed(form)
    request = pb.EndLockdownRequest(lockdown_id=form.get("id", ""), reason=form.get("reason", ""))
    await visit.call("Revocations", "EndLockdown", request, pb.EndLockdownResponse)
    return visit.go("/lockdown")


def _demand_typed(form: dict[str, str]) -> None:
    if form.get("confirm", "").strip() != CONFIRM:
        raise invalid({"confirm": f"type {CONFIRM} to confirm; nothing was changed"})
