"""Changes that wait for a second person (four eyes): who asked for what, who may confirm it, until when."""

import base64
import secrets
from collections.abc import Callable

import msgspec
from google.protobuf.message import Message

from authz.control.caller import Caller, Callers
from authz.control.faults import Code, ControlError, not_found, of_store, try_later
from authz.control.method import Call
from authz.control.settings import ChangeSettings
from authz.model import Kind
from authz.stores.database.errors import NotFoundError, StoreError
from authz.stores.database.records import WaitingChange
from authz.stores.database.store import Store

_ID_BYTES = 12


class PendingChange(msgspec.Struct, frozen=True):
    """One change that waits."""

    id: str
    action: str
    author: str
    group: str
    summary: str
    caller: dict[str, str]
    request: bytes
    created: float
    expires: float


class PendingChanges:
    """What waits, in the shared store: it outlives a restart, and any replica can have it carried out."""

    def __init__(self, settings: ChangeSettings, store: Store, callers: Callers, clock: Callable[[], float]) -> None:
        """`callers` finds out anew who asked."""
        self._settings = settings
        self._store = store
        self._callers = callers
        self._clock = clock

    async def add(self, call: Call, summary: str, group: str, request: Message) -> PendingChange:
        """Keep a change until somebody confirms it.

        Raises:
            ControlError: too many wait, or it cannot be kept.
        """
        now, caller = self._clock(), call.caller
        change = WaitingChange(
            id=secrets.token_hex(_ID_BYTES),
            action=call.action,
            author=caller.name,
            group=group,
            summary=summary,
            caller={"transport": caller.transport, "operator": caller.operator, "certificate": caller.pem},
            request=base64.b64encode(request.SerializeToString()).decode(),
            decision_id=call.decision_id,
            created_at=now,
            expires_at=now + self._settings.ttl_seconds,
        )
        try:
            kept = await self._store.waiting.add(change, self._settings.max_pending)
        except StoreError as error:
            raise of_store(error) from None
        if not kept:
            raise try_later(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CHANGES", "too many changes wait to be confirmed", 60.0)
        return _read(change)

    async def waiting(self) -> list[PendingChange]:
        """What waits, the oldest first.

        Raises:
            StoreError: it cannot be looked up.
        """
        return [_read(each) for each in await self._store.waiting.all(self._clock())]

    async def find(self, change_id: str) -> PendingChange:
        """Answer a change that waits.

        Raises:
            ControlError: it does not. StoreError: it cannot be looked up.
        """
        for change in await self.waiting():
            if change.id == change_id:
                return change
        raise not_found("change", change_id)

    async def take(self, change: PendingChange) -> None:
        """Take a change out: it is carried out, or dropped, once, whoever else tries to on whatever replica.

        Raises:
            ControlError: somebody else was faster. StoreError: it cannot be done.
        """
        try:
            await self._store.waiting.take(change.id)
        except NotFoundError:
            raise not_found("change", change.id) from None

    def author(self, change: PendingChange) -> Caller:
        """Find out who asked, as if they came now: whoever is no operator any more is none, with the groups of today.

        Raises:
            ControlError: they would not be accepted.
        """
        try:
            caller = self._callers.again(change.caller, self._clock())
        except ControlError as error:
            problem = f"who asked for it is not accepted any more: {error.message}"
            raise ControlError(
                Code.PERMISSION_DENIED, "AUTHOR_NOT_ACCEPTED", problem, metadata={"change_id": change.id}
            ) from None
        if caller.name != change.author:
            raise ControlError(
                Code.PERMISSION_DENIED,
                "AUTHOR_NOT_ACCEPTED",
                "who asked for it goes by another name now: ask for it again",
                metadata={"change_id": change.id},
            )
        return caller


def _read(kept: WaitingChange) -> PendingChange:
    return PendingChange(
        id=kept.id,
        action=kept.action,
        author=kept.author,
        group=kept.group,
        summary=kept.summary,
        caller=kept.caller,
        request=base64.b64decode(kept.request),
        created=kept.created_at,
        expires=kept.expires_at,
    )


def second_person_refused(change: PendingChange, caller: Caller) -> ControlError | None:
    """Answer why the caller may not confirm the change: a machine (I8), the author, or nobody of the group."""
    if caller.subject.kind is not Kind.HUMAN or not caller.operator:
        reason, problem = "APPROVER_NOT_HUMAN", "only a human confirms a change"
    elif caller.name == change.author:
        reason, problem = "APPROVER_IS_AUTHOR", "who asked for a change cannot confirm it"
    elif change.group not in caller.groups:
        reason, problem = "APPROVER_NOT_IN_GROUP", f"only the group {change.group!r} confirms this change"
    else:
        return None
    return ControlError(Code.PERMISSION_DENIED, reason, problem, metadata={"change_id": change.id})
