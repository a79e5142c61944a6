"""The service `Revocations`: what is not accepted any more, and the emergency switch."""

import hashlib
from collections.abc import AsyncIterator

import msgspec

from authz.control.backing import Backing, new_id
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.faults import ControlError, precondition
from authz.control.fields import Fields, seconds_of, timestamp
from authz.control.method import Call, Method, Methods, Stream
from authz.control.pages import read_page
from authz.control.v1 import revocations_pb2 as pb
from authz.grants.changes import RevocationKind, check_value
from authz.model import Attributes
from authz.stores.database.errors import NotFoundError
from authz.stores.database.listing import Page as StorePage
from authz.stores.database.listing import RevocationFilter
from authz.stores.database.records import BreakGlass, Change, CutOffKind, Revocation
from authz.stores.database.records import RevocationKind as StoredKind

_KINDS: dict[int, StoredKind] = {
    pb.REVOCATION_KIND_GRANT: "grant",
    pb.REVOCATION_KIND_TASK: "task",
    pb.REVOCATION_KIND_PRINCIPAL: "principal",
    pb.REVOCATION_KIND_CERTIFICATE: "credential",
    pb.REVOCATION_KIND_TRUST_DOMAIN: "trust_domain",
    pb.REVOCATION_KIND_ISSUED_BEFORE: "issued_before",
}
_CUT_OFFS: dict[int, CutOffKind] = {
    pb.CUT_OFF_UNSPECIFIED: "",
    pb.CUT_OFF_EVERYBODY: "everybody",
    pb.CUT_OFF_PRINCIPAL: "principal",
    pb.CUT_OFF_ISSUER: "issuer",
}
_KIND_OF = {name: number for number, name in _KINDS.items()}
_CUT_OFF_OF = {name: number for number, name in _CUT_OFFS.items()}
_MAX_EXCEPTED = 1_000
SIGNALS = "signals"
"""The transport of a caller that is another system, by its security events."""


class Revocations:
    """Serves `authz.control.v1.Revocations`."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._settings = backing.settings
        self._store = backing.store

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "Create": Method(pb.CreateRevocationRequest, self._ask_create, self._create),
            "Undo": Method(pb.UndoRequest, self._ask_undo, self._undo, can_wait=True),
            "List": Method(pb.ListRevocationsRequest, self._ask_list, self._list),
            "Watch": Stream(pb.WatchRevocationsRequest, self._ask_watch, self._watch),
            "StartLockdown": Method(pb.StartLockdownRequest, self._ask_start, self._start),
            "EndLockdown": Method(pb.EndLockdownRequest, self._ask_end, self._end, can_wait=True),
        }

    async def _ask_create(self, request: pb.CreateRevocationRequest, _: Caller) -> Question:
        fields = self._backing.fields(request.idempotency_key)
        kind = _KINDS.get(request.kind, "")
        fields.demand("kind", bool(kind), "expected what is revoked: a grant, a task, a principal, ...")
        if kind == "issued_before":
            self._check_cut_off(fields, request)
        elif kind:
            fields.checked("value", lambda: check_value(RevocationKind(kind), request.value))
            fields.demand("cut_off", not request.cut_off, "only of REVOCATION_KIND_ISSUED_BEFORE")
            fields.demand("before", not request.HasField("before"), "only of REVOCATION_KIND_ISSUED_BEFORE")
        fields.text("reason", request.reason, required=True)
        if request.HasField("expires_at"):
            fields.demand("expires_at", seconds_of(request.expires_at) > self._backing.clock(), "is over already")
        fields.settle()
        about: Attributes = {"type": "revocation", "kind": kind, "value": request.value}
        return Question(f"/revocations/{kind}/{request.value}", about)

    def _check_cut_off(self, fields: Fields, request: pb.CreateRevocationRequest) -> None:
        fields.demand("cut_off", bool(_CUT_OFFS.get(request.cut_off)), "expected whose credentials are meant")
        if fields.demand("before", request.HasField("before"), "expected a moment"):
            # What is yet to be issued cannot be judged: such a moment would shut everybody out for good.
            fields.demand("before", seconds_of(request.before) <= self._backing.clock(), "is in the future")
        if request.cut_off == pb.CUT_OFF_EVERYBODY:
            fields.demand("value", not request.value, "must be empty: everybody is meant")
        elif request.cut_off == pb.CUT_OFF_PRINCIPAL:
            fields.checked("value", lambda: check_value(RevocationKind.PRINCIPAL, request.value))
        else:
            fields.text("value", request.value, required=True)

    async def _create(self, request: pb.CreateRevocationRequest, call: Call) -> pb.CreateRevocationResponse:
        revocation = Revocation(
            id=_id(call, request.idempotency_key),
            kind=_KINDS[request.kind],
            value=request.value,
            cut_off=_CUT_OFFS[request.cut_off],
            before=seconds_of(request.before) if request.HasField("before") else None,
            reason=request.reason,
            author=call.caller.name,
            created_at=call.now,
            expires_at=seconds_of(request.expires_at) if request.HasField("expires_at") else None,
        )
        once = self._backing.once(call, request.idempotency_key, request)
        kept = await self._store.revoke(revocation, once)
        await self._backing.settle()
        return pb.CreateRevocationResponse(revocation=told(kept))

    async def _ask_undo(self, request: pb.UndoRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.identifier("revocation_id", request.revocation_id)
        fields.text("reason", request.reason, required=True)
        fields.settle()
        about: Attributes = {"type": "revocation", "id": request.revocation_id}
        try:
            found = await self._store.revocation(request.revocation_id)
        except NotFoundError:
            return Question(f"/revocations/{request.revocation_id}", about)
        about |= {"kind": found.kind, "value": found.value, "author": found.author}
        return Question(f"/revocations/{found.kind}/{found.value}", about)

    async def _undo(self, request: pb.UndoRequest, call: Call) -> pb.UndoResponse:
        by = f"{call.caller.name} with {call.approver}" if call.approver else call.caller.name
        undone = await self._store.undo(request.revocation_id, by, request.reason)
        await self._backing.settle()
        return pb.UndoResponse(revocation=told(undone))

    async def _ask_list(self, request: pb.ListRevocationsRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.demand("kind", request.kind in {0, *_KINDS}, "not one that is known")
        fields.settle()
        return Question("/revocations/", {"type": "revocation", "kind": _KINDS.get(request.kind, "")})

    async def _list(self, request: pb.ListRevocationsRequest, call: Call) -> pb.ListRevocationsResponse:
        page = read_page(request.page, self._settings, "revocations", request.kind, request.with_ended)
        wanted = RevocationFilter(kind=_KINDS.get(request.kind), in_force_at=None if request.with_ended else call.now)
        found = await self._store.revocations(wanted, StorePage(page.after, page.size))
        switch = await self._store.break_glass()
        return pb.ListRevocationsResponse(
            revocations=[told(each) for each in found.items],
            next_page_token=page.token(found.next_page) if found.next_page else "",
            lockdown=lockdown(switch) if switch else None,
        )

    async def _ask_watch(self, _: pb.WatchRevocationsRequest, __: Caller) -> Question:
        return Question("/revocations/", {"type": "revocation"})

    async def _watch(self, _: pb.WatchRevocationsRequest, call: Call) -> AsyncIterator[pb.RevocationEvent]:
        after, store_id = self._store.head, self._store.store_id
        yield pb.RevocationEvent(kind=pb.RevocationEvent.KIND_WATCHING, at=timestamp(call.now))
        async for changes in self._store.watch(after, store_id):
            for change in changes:
                event = event_of(change)
                if event is not None:
                    yield event

    async def _ask_start(self, request: pb.StartLockdownRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.count("except_principals", request.except_principals, _MAX_EXCEPTED)
        for number, principal in enumerate(request.except_principals[:_MAX_EXCEPTED]):
            fields.workload(f"except_principals[{number}]", principal)
        fields.text("reason", request.reason, required=True)
        seconds = seconds_of(request.until) - self._backing.clock() if request.HasField("until") else 0.0
        limit = self._settings.max_lockdown_seconds
        fields.demand("until", seconds > 0, "expected a moment that is yet to come")
        fields.demand("until", seconds <= limit, f"later than control.max_lockdown_seconds ({limit:g}) from now")
        fields.settle()
        about: Attributes = {"type": "lockdown", "resources": tuple(request.except_principals), "ttl": seconds}
        return Question("/lockdown", {**about, "value": request.reason})

    async def _start(self, request: pb.StartLockdownRequest, call: Call) -> pb.StartLockdownResponse:
        switch = BreakGlass(
            id=new_id("l"),
            author=call.caller.name,
            reason=request.reason,
            allow=tuple(request.except_principals),
            started_at=call.now,
            until=seconds_of(request.until),
        )
        started = await self._store.start_break_glass(switch)
        await self._backing.settle()
        return pb.StartLockdownResponse(lockdown=lockdown(started))

    async def _ask_end(self, request: pb.EndLockdownRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.text("reason", request.reason, required=True)
        if request.lockdown_id:
            fields.identifier("lockdown_id", request.lockdown_id)
        fields.settle()
        switch = None if request.lockdown_id else await self._store.break_glass()
        meant = switch.id if switch else request.lockdown_id  # a second person confirms the end of this one
        return Question("/lockdown", {"type": "lockdown", "id": meant, "value": request.reason})

    async def _end(self, request: pb.EndLockdownRequest, call: Call) -> pb.EndLockdownResponse:
        switch = await self._store.break_glass()
        if switch is None or request.lockdown_id not in {"", switch.id}:
            raise _no_lockdown(request.lockdown_id)
        by = f"{call.caller.name} with {call.approver}" if call.approver else call.caller.name
        ended = await self._store.end_break_glass(switch.id, by)
        await self._backing.settle()
        return pb.EndLockdownResponse(lockdown=lockdown(ended))


def _id(call: Call, key: str) -> str:
    """A new id; for an event of another system one that it always gives, so that it is taken once, however late."""
    if call.caller.transport != SIGNALS:
        return new_id("r")
    return f"s-{hashlib.sha256(f'{call.caller.name} {key}'.encode()).hexdigest()[:32]}"


def _no_lockdown(lockdown_id: str) -> ControlError:
    message = f"lockdown {lockdown_id} is not in force" if lockdown_id else "no lockdown is in force"
    return precondition("NO_LOCKDOWN", "lockdown", message)


def told(revocation: Revocation) -> pb.Revocation:
    """Answer a revocation as the protocol shows it."""
    return pb.Revocation(
        id=revocation.id,
        kind=pb.RevocationKind.Name(_KIND_OF[revocation.kind]),
        value=revocation.value,
        cut_off=pb.CutOff.Name(_CUT_OFF_OF[revocation.cut_off]),
        before=timestamp(revocation.before or 0.0),
        reason=revocation.reason,
        author=revocation.author,
        created_at=timestamp(revocation.created_at),
        expires_at=timestamp(revocation.expires_at or 0.0),
        undone_at=timestamp(revocation.undone_at or 0.0),
        undone_by=revocation.undone_by,
    )


def lockdown(switch: BreakGlass) -> pb.Lockdown:
    """Answer a lockdown as the protocol shows it."""
    return pb.Lockdown(
        id=switch.id,
        except_principals=switch.allow,
        reason=switch.reason,
        author=switch.author,
        started_at=timestamp(switch.started_at),
        until=timestamp(switch.until),
    )


def event_of(change: Change) -> pb.RevocationEvent | None:
    """Answer what a change of the store means to those who watch revocations; None: nothing."""
    event = pb.RevocationEvent(at=timestamp(change.at))
    match change.kind:
        case "revoked":
            event.kind = pb.RevocationEvent.KIND_CREATED
            event.revocation.CopyFrom(told(msgspec.convert(change.data["revocation"], Revocation)))
        case "revocation_undone":
            event.kind = pb.RevocationEvent.KIND_UNDONE
            event.revocation.CopyFrom(told(msgspec.convert(change.data["revocation"], Revocation)))
        case "break_glass_started":
            event.kind = pb.RevocationEvent.KIND_LOCKDOWN_STARTED
            event.lockdown.CopyFrom(lockdown(msgspec.convert(change.data["switch"], BreakGlass)))
        case "break_glass_ended":
            event.kind = pb.RevocationEvent.KIND_LOCKDOWN_ENDED
            event.lockdown.id = change.about
        case _:
            return None
    return event
