"""Reading the list of changes. Its numbers have no gaps, so that whoever follows it knows when something is missing."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from authz.stores.database.errors import SchemaError
from authz.stores.database.records import Change
from authz.stores.database.schema import changes, counters, facts
from authz.stores.database.work import read


class Changes(msgspec.Struct, frozen=True):
    """Changes after a number."""

    store_id: str
    head: int
    """The last change that there is, or a later one of those here."""
    changes: tuple[Change, ...]
    complete: bool
    """Whether those here follow on from the number asked for; else some were deleted, or it is of another store."""


def read_head(connection: Connection) -> tuple[str, int]:
    """Answer which store this is, and the number of its last change."""
    last = select(counters.c.value).where(counters.c.name == "changes").scalar_subquery()
    query = select(facts.c.value, last).where(facts.c.name == "store_id")
    row = connection.execute(query).first()
    if row is None or row[1] is None:
        raise SchemaError("the database does not say which store it is: it is not one, or is damaged")
    return row[0], row[1]


def together(found: Sequence[Change], limit: int) -> tuple[Change, ...]:
    """Answer a page of changes that does not end between an undone revocation and another of the same that still holds.

    Taken up one without the other, it would let in for a moment what is revoked.
    """
    if len(found) == limit > 1 and found[-1].kind == "revocation_undone":
        return tuple(found[:-1])
    return tuple(found)


def read_changes(connection: Connection, after: int, limit: int) -> Changes:
    """Answer at most `limit` changes after the number."""
    store_id, head = read_head(connection)
    if after == head:
        return Changes(store_id, head, (), complete=True)
    query = select(changes).where(changes.c.seq > after).order_by(changes.c.seq).limit(limit)
    found = together([read(Change, row) for row in connection.execute(query).mappings()], limit)
    complete = after < head and bool(found) and found[0].seq == after + 1
    return Changes(store_id, max(head, found[-1].seq if found else 0), found, complete)
