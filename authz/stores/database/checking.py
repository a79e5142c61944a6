"""Whether a store is sound: the database by its own checks, and what is in it by what must always hold."""

from collections.abc import Iterator

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, func, select
from sqlalchemy.sql import exists

from authz.stores.database.dialect import Database
from authz.stores.database.migrations import version_of
from authz.stores.database.reader import read_once
from authz.stores.database.schema import (
    VERSION,
    approval_uses,
    approvals,
    changes,
    counters,
    facts,
    grants,
    metadata,
    name_of,
    policy_revisions,
    tasks,
    uses,
)


class Condition(msgspec.Struct, frozen=True):
    """How a store is."""

    name: str
    schema_version: int
    store_id: str
    seq: int
    rows: dict[str, int]
    """How many there are in each table."""
    problems: tuple[str, ...]
    """What is wrong; empty: it is sound."""


def check(database: Database) -> Condition:
    """Answer how the store is, at one moment; it is not changed.

    Raises:
        StoreTrouble: it cannot be read at all.
    """
    return read_once(database, lambda connection: _check(database, connection))


def _check(database: Database, connection: Connection) -> Condition:
    version = version_of(connection)
    if version != VERSION:
        what = (
            f"the schema has version {version}, this program needs {VERSION}" if version else "there is no store here"
        )
        return Condition(database.name, version, "", 0, {}, (what,))
    rows = {
        name_of(table): _count(connection, select(func.count()).select_from(table)) for table in metadata.sorted_tables
    }
    store_id = connection.execute(select(facts.c.value).where(facts.c.name == "store_id")).scalar() or ""
    seq = connection.execute(select(counters.c.value).where(counters.c.name == "changes")).scalar() or 0
    problems = (*database.dialect.check(connection), *_contradictions(connection, store_id, seq))
    return Condition(database.name, version, store_id, seq, rows, problems)


def _contradictions(connection: Connection, store_id: str, seq: int) -> Iterator[str]:
    """Yield what cannot be: it is not by our doing, so somebody or something else has changed the tables."""
    if not store_id:
        yield "it does not say which store it is"
    first, last, count = connection.execute(
        select(func.min(changes.c.seq), func.max(changes.c.seq), func.count())
    ).one()
    if count and (last != seq or last - first + 1 != count):
        yield f"changes {first} to {last} are {count}, and the last is to be {seq}"
    newest, revisions = connection.execute(select(func.max(policy_revisions.c.number), func.count())).one()
    if revisions and newest < revisions:
        yield f"{revisions} policy revisions, the newest of which is {newest}"
    counted = select(func.count()).where(uses.c.grant_id == grants.c.id).scalar_subquery()
    still_counted = exists().where(uses.c.grant_id == grants.c.id)
    used = select(func.count()).where(approval_uses.c.approval_id == approvals.c.id).scalar_subquery()
    miscounted = approvals.c.used < used  # the uses of old ones are deleted first
    if found := _count(connection, select(func.count()).select_from(approvals).where(miscounted)):
        yield f"{found} approvals whose uses are not as many as counted"
    for what, wrong in (
        (
            "grants that were used more often than they may be",
            (grants.c.max_uses > 0) & (grants.c.used > grants.c.max_uses),
        ),
        ("grants whose uses are not as many as counted", still_counted & (grants.c.used < counted)),
        ("active grants of a task that is over", _active_of_ended()),
    ):
        if found := _count(connection, select(func.count()).select_from(grants).where(wrong)):
            yield f"{found} {what}"


def _active_of_ended() -> ColumnElement[bool]:
    return (grants.c.state == "active") & exists().where(tasks.c.id == grants.c.task_id, tasks.c.state != "open")


def _count(connection: Connection, query: Select[int]) -> int:
    count: int = connection.execute(query).scalar_one()
    return count
