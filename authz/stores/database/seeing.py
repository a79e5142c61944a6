"""Sightings of identities: written in batches by every process, and read by the others."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, RowMapping, case, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from authz.stores.database.schema import sightings
from authz.stores.database.work import Do, Kind, Read, Work, each, read

IDENTITY: Final = "identity"
"""The kind of a row that tells that an identity was seen at all."""


class SightingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what an identity was seen with, from when to when."""

    identity: str
    kind: str
    value: str
    first_seen: float
    last_seen: float
    not_before: float = 0.0
    not_after: float = 0.0


class See(msgspec.Struct, frozen=True):
    """Sightings to keep. After `gap_seconds` without any, what is seen counts as seen for the first time."""

    rows: tuple[SightingRow, ...]
    gap_seconds: float


class Cursor(msgspec.Struct, frozen=True):
    """After which row to read on."""

    written_at: float = 0.0
    key: tuple[str, str, str] = ("", "", "")


def _see(work: Work, asked: See) -> int:
    rows = {(row.identity, row.kind, row.value): row for row in asked.rows}  # a statement may name a row once only
    if not rows:
        return 0
    values = [msgspec.structs.asdict(rows[key]) | {"written_at": work.now} for key in sorted(rows)]
    insert = sqlite.insert if work.connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(sightings)
    new, old = statement.excluded, sightings.c
    anew = (old.kind != IDENTITY) & (new.first_seen >= old.last_seen + asked.gap_seconds)
    earlier = case((new.first_seen < old.first_seen, new.first_seen), else_=old.first_seen)
    kept = {
        "first_seen": case((anew, new.first_seen), else_=earlier),
        "last_seen": case((new.last_seen > old.last_seen, new.last_seen), else_=old.last_seen),
        "not_before": new.not_before,
        "not_after": new.not_after,
        "written_at": new.written_at,
    }
    upsert = statement.on_conflict_do_update(index_elements=list(sightings.primary_key), set_=kept)
    work.connection.execute(upsert, values)
    return len(values)


SEE: Kind[See, int] = Kind("see", int, lambda _: ["sightings"], each(_see))


class SeenIdentities:
    """What was seen of identities: the part of the store that keeps it."""

    def __init__(self, do: Do, read: Read) -> None:
        self._do = do
        self._read = read

    async def see(self, rows: Sequence[SightingRow], gap_seconds: float) -> int:
        """Keep what identities were seen with; what is known of them already is prolonged."""
        return await self._do(SEE, See(tuple(rows), gap_seconds), None)

    async def after(self, place: Cursor, limit: int) -> tuple[Sequence[SightingRow], Cursor]:
        """Answer what was written after a place, in that order, and where to go on."""
        return await self._read(lambda connection: read_sightings(connection, place, limit))

    async def last_seen(self, after: str, limit: int) -> Sequence[SightingRow]:
        """Answer when identities were seen, in the order of their ids, those after one."""
        return await self._read(lambda connection: last_seen(connection, after, limit))

    async def since(self) -> float | None:
        """Answer when the first identity was seen; None: none was."""
        return await self._read(watched_since)


def read_sightings(connection: Connection, after: Cursor, limit: int) -> tuple[Sequence[SightingRow], Cursor]:
    """Answer what was written after a place, in that order, and the place where that ends."""
    c = sightings.c
    place = (c.written_at, c.identity, c.kind, c.value)
    later = (c.written_at > after.written_at) | (
        (c.written_at == after.written_at) & (tuple_(*place[1:]) > tuple_(*after.key))
    )
    rows = connection.execute(select(sightings).where(later).order_by(*place).limit(limit)).mappings().all()
    if not rows:
        return (), after
    last = rows[-1]
    return _records(rows), Cursor(last["written_at"], (last["identity"], last["kind"], last["value"]))


def last_seen(connection: Connection, after: str, limit: int) -> Sequence[SightingRow]:
    """Answer when identities were seen, in the order of their ids, those after one."""
    c = sightings.c
    query = select(sightings).where(c.kind == IDENTITY, c.identity > after).order_by(c.identity).limit(limit)
    return _records(connection.execute(query).mappings().all())


def watched_since(connection: Connection) -> float | None:
    """Answer when the first identity was seen; None: none was yet."""
    found = connection.execute(select(func.min(sightings.c.first_seen)).where(sightings.c.kind == IDENTITY)).scalar()
    return None if found is None else float(found)


def _records(rows: Sequence[RowMapping]) -> Sequence[SightingRow]:
    return [read(SightingRow, row) for row in rows]
