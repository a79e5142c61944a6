"""What the store answers about approvals; the rest of it is in store.py."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from authz.approvals.approval import Approval
from authz.approvals.risk import History
from authz.approvals.view import Known
from authz.stores.database import listing, schema
from authz.stores.database.approval_history import count_open, read_history
from authz.stores.database.approving import (
    ASK,
    DECIDE,
    WITHDRAW,
    Ask,
    Asked,
    Decide,
    Told,
    Withdraw,
    read_known,
    read_votes,
)
from authz.stores.database.listing import ApprovalFilter, Listed, Page
from authz.stores.database.records import Once
from authz.stores.database.settling import SETTLE, Settle, Settled
from authz.stores.database.work import Kind

P = TypeVar("P")
R = TypeVar("R")
_FIRST = Page()


class ApprovalOperations(ABC):
    """The operations on approvals, over the store's way to do and to read."""

    _clock: Callable[[], float]

    @abstractmethod
    async def _do(self, kind: Kind[P, R], payload: P, once: Once | None) -> R:
        """Do one operation, durably."""

    @abstractmethod
    async def _read(self, query: Callable[[Connection], R]) -> R:
        """Read at one moment."""

    async def ask(self, asked: Ask) -> Asked:
        """Take one use of an approval for a decision, or open a request for it: of N uses exactly N are taken, ever."""
        return await self._do(ASK, asked, None)

    async def settle(self, wanted: Settle) -> Settled:
        """Count all that one decision rests on, together or not at all; open a request where a human is asked."""
        return await self._do(SETTLE, wanted, None)

    async def decide(self, word: Decide, once: Once | None = None) -> Told:
        """Record one person's word, and what comes of it.

        Raises:
            NotFoundError: no such request. EndedError: it waits no more. ConflictError: they have spoken already, it
            is about something else, or their group was heard.
        """
        return await self._do(DECIDE, word, once)

    async def withdraw(self, asked: Withdraw) -> Told:
        """Take a request, or what is left of an approval, back."""
        return await self._do(WITHDRAW, asked, None)

    async def approval(self, approval_id: str) -> Told:
        """Answer a request with what was said about it, or raise NotFoundError."""

        def read(connection: Connection) -> Told:
            found = listing.one(connection, Approval, schema.approvals, approval_id)
            return Told(found, tuple(read_votes(connection, [approval_id]).get(approval_id, ())))

        return await self._read(read)

    async def approvals(self, wanted: ApprovalFilter | None = None, page: Page = _FIRST) -> Listed[Told]:
        """Answer a page of requests with what was said about them, the last opened first."""

        def read(connection: Connection) -> Listed[Told]:
            found = listing.list_approvals(connection, wanted or ApprovalFilter(), page, self._clock())
            votes = read_votes(connection, [each.id for each in found.items])
            return Listed(tuple(Told(each, tuple(votes.get(each.id, ()))) for each in found.items), found.next_page)

        return await self._read(read)

    async def approval_history(self, approval: Approval) -> History:
        """Answer what is known that is like this request."""
        return await self._read(lambda connection: read_history(connection, approval, self._clock()))

    async def known_approvals(self) -> Sequence[tuple[str, Known]]:
        """Answer all that is not over, as a view holds it."""
        return await self._read(lambda connection: read_known(connection, self._clock()))

    async def open_approvals(self) -> int:
        """Answer how many requests wait."""
        return await self._read(lambda connection: count_open(connection, self._clock()))
