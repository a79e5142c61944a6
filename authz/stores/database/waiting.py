"""Orders that wait for a second person: any replica can have one carried out, and it is carried out once."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, select

from authz.stores.database.errors import NotFoundError
from authz.stores.database.records import WaitingChange
from authz.stores.database.schema import pending_changes
from authz.stores.database.work import Do, Kind, Read, Work, each, read


class Wait(msgspec.Struct, frozen=True):
    """An order to keep, unless `most` wait already."""

    change: WaitingChange
    most: int
    max_bytes: int


class Take(msgspec.Struct, frozen=True):
    """An order to take out."""

    id: str


class WaitingChanges:
    """What waits: the part of the store that keeps it."""

    def __init__(self, do: Do, read: Read, max_bytes: int) -> None:
        """`max_bytes`: of the largest message."""
        self._do = do
        self._read = read
        self._max_bytes = 2 * max_bytes  # as text it takes a third more, and the rest is small

    async def add(self, change: WaitingChange, most: int) -> bool:
        """Keep an order; answer whether there was room for it."""
        return await self._do(WAIT, Wait(change, most, self._max_bytes), None)

    async def take(self, change_id: str) -> WaitingChange:
        """Take an order out: of all who ask, on whatever replica, one gets it.

        Raises:
            NotFoundError: it does not wait, or somebody else was faster.
        """
        return await self._do(TAKE, Take(change_id), None)

    async def all(self, now: float) -> Sequence[WaitingChange]:
        """Answer what waits, the oldest first."""
        return await self._read(lambda connection: _waiting(connection, now))


def _waiting(connection: Connection, now: float) -> Sequence[WaitingChange]:
    c = pending_changes.c
    query = select(pending_changes).where(c.expires_at > now).order_by(c.created_at, c.id)
    return [read(WaitingChange, row) for row in connection.execute(query).mappings()]


def _wait(work: Work, asked: Wait) -> bool:
    c = pending_changes.c
    if work.connection.execute(select(c.id).where(c.id == asked.change.id)).first() is not None:
        return True  # kept already: whoever asks did not hear our answer
    number = work.connection.execute(select(func.count()).where(c.expires_at > work.now)).scalar_one()
    if number >= asked.most:
        return False
    if refusal := work.unfit(asked.change, asked.max_bytes):
        raise refusal
    work.insert(pending_changes, [asked.change])
    return True


def _take(work: Work, asked: Take) -> WaitingChange:
    c = pending_changes.c
    found = select(pending_changes).where(c.id == asked.id, c.expires_at > work.now)
    row = work.connection.execute(found).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no change {asked.id}")
    work.connection.execute(delete(pending_changes).where(c.id == asked.id))
    return read(WaitingChange, row)


WAIT: Kind[Wait, bool] = Kind("wait", bool, lambda _: ["pending-changes"], each(_wait))
TAKE: Kind[Take, WaitingChange] = Kind("take", WaitingChange, lambda _: ["pending-changes"], each(_take))
