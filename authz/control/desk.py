"""Where every call of the control plane is judged, put on record and carried out, whatever protocol it came by."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final, Protocol

import msgspec
from google.protobuf.message import Message

from authz.control.caller import Caller
from authz.control.charter import SECOND_PERSON, Charter, Question
from authz.control.faults import Code, ControlError, of_store, precondition, try_later
from authz.control.method import Call, Method, Stream
from authz.control.pending import PendingChanges
from authz.control.records import Records
from authz.errors import Reason
from authz.model import AccessRequest, Asked, CheckCall, Decision, Effect, Outcome
from authz.stores.database.errors import StoreError


class Standing(Protocol):
    """Knows which callers are revoked."""

    def refuses(self, caller: Caller, now: float) -> Reason | None:
        """Answer why this caller may not act at all; None when nothing speaks against it."""


class Charters(Protocol):
    """Holds the policy in force."""

    @property
    def current(self) -> Charter:
        """It."""


class DeskParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a desk is made of."""

    charters: Charters
    records: Records
    standing: Standing
    pending: PendingChanges
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    new_id: Callable[[], str]
    no_record_no_act: bool = True
    """Whether what cannot be put on record is not done (I9)."""


_ON_RECORD: ContextVar[bool] = ContextVar("authz_control_call_on_record", default=False)
"""Whether the call that is being served stands in a record already."""
_REASONS: Final = {
    Code.UNAUTHENTICATED: Reason.IDENTITY_MISSING,
    Code.PERMISSION_DENIED: Reason.IDENTITY_MISSING,
    Code.INVALID_ARGUMENT: Reason.REQUEST_MALFORMED,
    Code.OUT_OF_RANGE: Reason.REQUEST_TOO_LARGE,
}
"""Why a call was not even judged; whatever else went wrong is no refusal of it."""


class Desk:
    """Judges calls and carries them out."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self.pending = parts.pending

    def begin(self) -> None:
        """Say that a call is served from here on; each is served in a task of its own."""
        _ON_RECORD.set(False)

    def refuse(self, action: str, error: ControlError, caller: Caller | None, path: str = "") -> None:
        """Put a call on record that came to an end before it was judged: from nobody known, or not readable."""
        reason = _REASONS.get(error.code)
        if reason is None or _ON_RECORD.get():
            return
        if error.reason in Reason.__members__ and error.code is Code.UNAUTHENTICATED:
            reason = Reason[error.reason]
        _ON_RECORD.set(True)
        self._parts.records.offer(
            Outcome(
                decision_id=self._parts.new_id(),
                decision=Decision(effect=Effect.DENY, reason=reason, detail=error.reason),
                call=CheckCall(layer="control", method=action, path=path),
                subject=caller.subject if caller is not None else None,
                request=None,
                time=self._parts.clock(),
                latency_seconds=0.0,
            )
        )

    async def call(self, action: str, method: Method[Any], request: Message, caller: Caller) -> Message:
        """Serve a method that answers once.

        Raises:
            ControlError: it is not allowed, waits for a second person, or fails.
        """
        question = await self.question(method, request, caller)
        decision_id, decision = self.judge(action, question, caller)
        group = second_person(action, decision)
        call = Call(caller, action, decision_id, self._parts.clock())
        if group:
            if not method.can_wait:
                raise precondition("SECOND_PERSON_NOT_POSSIBLE", action, f"{action} cannot wait for a second person")
            change = await self.pending.add(call, question.summary, group, request)
            raise precondition(
                "SECOND_PERSON_REQUIRED",
                f"changes/{change.id}",
                f"change {change.id} waits for a second person of the group {group!r} (authz change confirm)",
                {"change_id": change.id, "group": group},
            )
        return await self.carry_out(method, request, call)

    async def stream(
        self, action: str, method: Stream[Any], request: Message, caller: Caller
    ) -> AsyncIterator[Message]:
        """Serve a method that goes on; what has changed since is asked before each answer (I4).

        Raises:
            ControlError: it is not allowed, or not any more.
        """
        question = await self.question(method, request, caller)
        decision_id, decision = self.judge(action, question, caller)
        if second_person(action, decision):
            raise precondition("SECOND_PERSON_NOT_POSSIBLE", action, f"{action} cannot wait for a second person")
        async with aclosing(method.run(request, Call(caller, action, decision_id, self._parts.clock()))) as answers:  # type: ignore[type-var]
            async for answer in answers:
                _, _, decision = self._decide(action, question, caller)
                if not decision.allowed:
                    raise _denied(action, decision, decision_id, question)
                yield answer

    async def question(self, method: Method[Any] | Stream[Any], request: Message, caller: Caller) -> Question:
        """Answer what policy is asked.

        Raises:
            ControlError: the request is not as it must be, or what it is about cannot be looked up.
        """
        try:
            return await method.ask(request, caller)
        except StoreError as error:
            raise of_store(error) from None

    def judge(self, action: str, question: Question, caller: Caller) -> tuple[str, Decision]:
        """Decide a call and put it on record, before anything is done; answer the record's id with the decision.

        Raises:
            ControlError: denied, or the record cannot be kept.
        """
        started = self._parts.monotonic()
        asked, request, decision = self._decide(action, question, caller)
        if question.note:
            decision = msgspec.structs.replace(decision, detail=decision.detail or question.note)
        decision_id = self._parts.new_id()
        _ON_RECORD.set(True)
        kept = self._parts.records.offer(
            Outcome(
                decision_id=decision_id,
                decision=decision,
                call=CheckCall(layer="control", method=action, path=question.path),
                subject=caller.subject,
                request=request,
                asked=asked,
                time=self._parts.clock(),
                latency_seconds=self._parts.monotonic() - started,
            )
        )
        if not decision.allowed:
            raise _denied(action, decision, decision_id, question)
        if not kept and self._parts.no_record_no_act:  # I9
            raise try_later(Code.UNAVAILABLE, "AUDIT_UNAVAILABLE", "audit records cannot be kept")
        return decision_id, decision

    def _decide(self, action: str, question: Question, caller: Caller) -> tuple[Asked, AccessRequest, Decision]:
        now = self._parts.clock()
        asked, request, decision = self._parts.charters.current.ask(caller, action, question, now)
        refusal, detail = self._parts.standing.refuses(caller, now), ""
        if refusal is None and caller.subject.expires <= now:  # a stream outlives no certificate (I4)
            refusal = Reason.CERTIFICATE_EXPIRED
        objection = question.objection
        if refusal is None and decision.allowed and objection is not None:
            refusal, detail = objection.reason, objection.why  # last, so that whom policy refuses learns nothing of it
        if refusal is not None:
            decision = Decision(
                effect=Effect.DENY, reason=refusal, policy_version=decision.policy_version, detail=detail
            )
        return asked, request, decision

    async def carry_out(self, method: Method[Any], request: Message, call: Call) -> Message:
        """Do what was allowed."""
        run: Awaitable[Message] = method.run(request, call)
        try:
            return await run
        except StoreError as error:
            raise of_store(error) from None


def second_person(action: str, decision: Decision) -> str:
    """Answer the group that a second person must be of; "": nobody has to confirm.

    Raises:
        ControlError: rules name several groups, of which one person's word would leave out the others.
    """
    groups = sorted({value for name, value in decision.obligations if name == SECOND_PERSON})
    if len(groups) > 1:
        told = ", ".join(groups)
        raise precondition("SECOND_PERSON_AMBIGUOUS", action, f"rules want second persons of several groups: {told}")
    return groups[0] if groups else ""


def _denied(action: str, decision: Decision, decision_id: str, question: Question) -> ControlError:
    objection, told = question.objection, ""
    if objection is not None and decision.reason is objection.reason:
        if objection.error is not None:
            return objection.error
        told = f" ({objection.why})"
    code = Code.UNAVAILABLE if decision.reason.http_status == 503 else Code.PERMISSION_DENIED  # noqa: PLR2004 - HTTP's
    return ControlError(
        code,
        decision.reason.name,
        f"{action}: {decision.reason.summary}" + told,
        metadata={"action": action, "decision_id": decision_id},
    )
