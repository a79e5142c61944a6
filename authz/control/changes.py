"""The service `Changes`: what waits for a second person, and that person's word on it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.any_pb2 import Any as Packed

from authz.control.caller import Caller
from authz.control.charter import Objection, Question
from authz.control.desk import Desk, second_person
from authz.control.faults import Code, ControlError
from authz.control.fields import Fields, timestamp
from authz.control.method import Call, Method, Methods, read
from authz.control.pending import PendingChange, second_person_refused
from authz.control.settings import ControlSettings
from authz.control.v1 import changes_pb2 as pb
from authz.control.v1.common_pb2 import Change
from authz.errors import Reason
from authz.model import Attributes


class Changes:
    """Serves `authz.control.v1.Changes`."""

    def __init__(self, settings: ControlSettings, desk: Desk, actions: Mapping[str, Method[Any]]) -> None:
        """`actions`: the methods that can wait, by the names of their actions."""
        self._settings = settings
        self._desk = desk
        self._actions = actions

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "List": Method(pb.ListChangesRequest, self._ask_list, self._list),
            "Confirm": Method(pb.ConfirmRequest, self._ask_confirm, self._confirm),
            "Reject": Method(pb.RejectRequest, self._ask_reject, self._reject),
        }

    async def _ask_list(self, _: pb.ListChangesRequest, __: Caller) -> Question:
        return Question("/changes", {"type": "change"})

    async def _ask_confirm(self, request: pb.ConfirmRequest, caller: Caller) -> Question:
        fields = Fields(self._settings.max_text_characters)
        return await self._about(request.change_id, fields, lambda change: second_person_refused(change, caller))

    async def _ask_reject(self, request: pb.RejectRequest, caller: Caller) -> Question:
        fields = Fields(self._settings.max_text_characters)
        fields.text("reason", request.reason)
        return await self._about(request.change_id, fields, lambda change: _dropping_refused(change, caller))

    async def _about(
        self, change_id: str, fields: Fields, refused: Callable[[PendingChange], ControlError | None]
    ) -> Question:
        fields.identifier("change_id", change_id)
        fields.settle()
        # What is not there is asked about, too: who may not know learns nothing.
        change = next((each for each in await self._desk.pending.waiting() if each.id == change_id), None)
        about: Attributes = {"type": "change", "id": change_id}
        if change is None:
            return Question(f"/changes/{change_id}", about)
        about |= {"author": change.author, "action": change.action}
        error = refused(change)
        objection = Objection(Reason.SECOND_PERSON_REFUSED, error.reason, error) if error is not None else None
        return Question(f"/changes/{change_id}", about, objection)

    async def _list(self, _: pb.ListChangesRequest, __: Call) -> pb.ListChangesResponse:
        return pb.ListChangesResponse(changes=[told(change) for change in await self._desk.pending.waiting()])

    async def _confirm(self, request: pb.ConfirmRequest, call: Call) -> pb.ConfirmResponse:
        change = await self._desk.pending.find(request.change_id)
        refused = second_person_refused(change, call.caller)  # I8
        if refused is not None:
            raise refused
        method = self._actions.get(change.action)
        if method is None:  # kept by a server of another version
            raise _outdated(change, "this server knows no such action that can wait")
        # Whoever asked must still be allowed to, and may have lost that meanwhile.
        author, order = self._desk.pending.author(change), read(method.request, change.request)
        question = await self._desk.question(method, order, author)
        note = f"change {change.id}, confirmed by {call.caller.name}"
        decision_id, decision = self._desk.judge(change.action, replace(question, note=note), author)
        group = second_person(change.action, decision)
        if question.summary != change.summary or group not in {"", change.group}:
            raise _outdated(change, "what the change is about, or who has to confirm it, is not what it was")
        await self._desk.pending.take(change)
        done = Call(author, change.action, decision_id, call.now, approver=call.caller.name)
        response = await self._desk.carry_out(method, order, done)
        packed = Packed()
        packed.Pack(response)
        return pb.ConfirmResponse(change=told(change), response=packed)

    async def _reject(self, request: pb.RejectRequest, call: Call) -> pb.RejectResponse:
        change = await self._desk.pending.find(request.change_id)
        refused = _dropping_refused(change, call.caller)
        if refused is not None:
            raise refused
        await self._desk.pending.take(change)
        return pb.RejectResponse(change=told(change))


def _dropping_refused(change: PendingChange, caller: Caller) -> ControlError | None:
    if caller.name == change.author or change.group in caller.groups:
        return None
    return ControlError(
        Code.PERMISSION_DENIED, "NOT_IN_GROUP", "only the author and those who may confirm it drop a change"
    )


def _outdated(change: PendingChange, why: str) -> ControlError:
    return ControlError(
        Code.ABORTED,
        "CHANGE_OUTDATED",
        f"{why}: drop it, and ask for it again",
        metadata={"change_id": change.id},
    )


def told(change: PendingChange) -> Change:
    """Answer a change as the protocol shows it."""
    return Change(
        id=change.id,
        action=change.action,
        author=change.author,
        group=change.group,
        summary=change.summary,
        created_at=timestamp(change.created),
        expires_at=timestamp(change.expires),
    )
