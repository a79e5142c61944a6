"""What happens to grants after they were issued: completed, revoked, listed, watched."""

import asyncio
from collections.abc import AsyncIterator

from authz.control.backing import Backing, new_id
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.fields import timestamp
from authz.control.grant_shapes import told
from authz.control.method import Call, Method, Methods, Stream
from authz.control.pages import read_page
from authz.control.v1 import grants_pb2 as pb
from authz.grants.changes import RevocationKind, check_value
from authz.grants.grant import Task
from authz.model import Attributes
from authz.stores.database.errors import NotFoundError
from authz.stores.database.listing import GrantFilter
from authz.stores.database.listing import Page as StorePage
from authz.stores.database.records import Change, Revocation

_EVENTS = {
    "grant_issued": pb.GrantEvent.KIND_ISSUED,
    "grant_ended": pb.GrantEvent.KIND_REVOKED,
    "task_completed": pb.GrantEvent.KIND_COMPLETED,
    "task_revoked": pb.GrantEvent.KIND_REVOKED,
}


class GrantLife:
    """The part of `authz.control.v1.Grants` that follows and ends what was issued."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._settings = backing.settings
        self._store = backing.store
        self._clock = backing.clock

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "Complete": Method(pb.CompleteRequest, self._ask_complete, self._complete),
            "Revoke": Method(pb.RevokeRequest, self._ask_revoke, self._revoke),
            "List": Method(pb.ListGrantsRequest, self._ask_one_or_list, self._list),
            "Watch": Stream(pb.WatchGrantsRequest, self._ask_list, self._watch),
        }

    async def _ask_complete(self, request: pb.CompleteRequest, _: Caller) -> Question:
        fields = self._backing.fields(request.idempotency_key)
        fields.checked("task_id", lambda: Task(request.task_id))
        fields.text("outcome", request.outcome)
        fields.settle()
        try:
            task = await self._store.task(request.task_id)
        except NotFoundError:
            return Question(f"/tasks/{request.task_id}", {"type": "task", "id": request.task_id})
        about: Attributes = {
            "type": "task",
            "id": task.id,
            "author": task.owner,
            "task": {"id": task.id, "purpose": task.purpose},
            "value": request.outcome,
        }
        return Question(f"/tasks/{task.id}", about)

    async def _complete(self, request: pb.CompleteRequest, call: Call) -> pb.CompleteResponse:
        task = await self._store.complete(request.task_id, call.caller.name)
        await self._backing.settle()
        return pb.CompleteResponse(completed_at=timestamp(task.ended_at or call.now))

    async def _ask_revoke(self, request: pb.RevokeRequest, _: Caller) -> Question:
        fields = self._backing.fields(request.idempotency_key)
        fields.checked("grant_id", lambda: check_value(RevocationKind.GRANT, request.grant_id))
        fields.text("reason", request.reason, required=True)
        fields.settle()
        about: Attributes = {"type": "grant", "id": request.grant_id, "value": request.reason}
        try:
            record = await self._store.grant(request.grant_id)
        except NotFoundError:
            return Question("/grants/", about)
        return Question(f"/grants/{record.holder}", {**about, "holder": record.holder})

    async def _revoke(self, request: pb.RevokeRequest, call: Call) -> pb.RevokeResponse:
        revocation = await self._store.revoke(
            Revocation(
                id=new_id("r"),
                kind="grant",
                value=request.grant_id,
                reason=request.reason,
                author=call.caller.name,
                created_at=call.now,
            ),
            self._backing.once(call, request.idempotency_key, request),
        )
        await self._backing.settle()
        return pb.RevokeResponse(revocation_id=revocation.id)

    # List and Watch

    async def _ask_list(self, request: pb.ListGrantsRequest | pb.WatchGrantsRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        if request.holder:
            fields.workload("holder", request.holder)
        if request.task_id:
            fields.checked("task_id", lambda: Task(request.task_id))
        fields.settle()
        about: Attributes = {"type": "grant", "holder": request.holder, "task": {"id": request.task_id, "purpose": ""}}
        return Question(f"/grants/{request.holder}", about)

    async def _ask_one_or_list(self, request: pb.ListGrantsRequest, caller: Caller) -> Question:
        if not request.grant_id:
            return await self._ask_list(request, caller)
        fields = self._backing.fields()
        fields.checked("grant_id", lambda: check_value(RevocationKind.GRANT, request.grant_id))
        fields.settle()
        try:
            holder = (await self._store.grant(request.grant_id)).holder
        except NotFoundError:
            holder = ""
        return Question(f"/grants/{holder}", {"type": "grant", "id": request.grant_id, "holder": holder})

    async def _list(self, request: pb.ListGrantsRequest, call: Call) -> pb.ListGrantsResponse:
        if request.grant_id:
            one = await self._store.grant(request.grant_id)
            return pb.ListGrantsResponse(grants=[told(one, await self._purpose(one.task_id), call.now)])
        page = read_page(request.page, self._settings, "grants", request.holder, request.task_id, request.active_only)
        wanted = GrantFilter(
            holder=request.holder,
            task_id=request.task_id,
            state="active" if request.active_only else None,
            expires_after=call.now if request.active_only else None,
        )
        found = await self._store.grants(wanted, StorePage(page.after, page.size))
        # At once, for the store answers those who ask together by one query.
        purposes = await asyncio.gather(*(self._purpose(record.task_id) for record in found.items))
        return pb.ListGrantsResponse(
            grants=[told(record, purpose, call.now) for record, purpose in zip(found.items, purposes, strict=True)],
            next_page_token=page.token(found.next_page) if found.next_page else "",
        )

    async def _watch(self, request: pb.WatchGrantsRequest, call: Call) -> AsyncIterator[pb.GrantEvent]:
        after, store_id = self._store.head, self._store.store_id
        yield pb.GrantEvent(kind=pb.GrantEvent.KIND_WATCHING, at=timestamp(call.now))
        async for changes in self._store.watch(after, store_id):
            for change in changes:
                event = await self._event(change, request)
                if event is not None:
                    yield event

    async def _event(self, change: Change, request: pb.WatchGrantsRequest) -> pb.GrantEvent | None:
        kind = _EVENTS.get(change.kind)
        if kind is None:
            return None
        event = pb.GrantEvent(kind=kind, at=timestamp(change.at))
        if change.kind.startswith("task"):
            if request.task_id not in {"", change.about}:
                return None
            if request.holder:
                of_task = GrantFilter(holder=request.holder, task_id=change.about)
                if not (await self._store.grants(of_task, StorePage(size=1))).items:
                    return None
            event.task_id = change.about
            return event
        try:
            record = await self._store.grant(change.about)
        except NotFoundError:  # it was deleted meanwhile, long after its end
            return None
        if request.holder not in {"", record.holder} or request.task_id not in {"", record.task_id}:
            return None
        event.grant.CopyFrom(told(record, await self._purpose(record.task_id), self._clock()))
        event.grant_id, event.task_id = record.id, record.task_id
        return event

    async def _purpose(self, task_id: str) -> str:
        try:
            return (await self._store.task(task_id)).purpose
        except NotFoundError:
            return ""
