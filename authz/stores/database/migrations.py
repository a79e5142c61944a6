"""Brings the schema up to date when a program starts, one process at a time."""

import secrets
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, Table, func, insert, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from authz.stores.database.dialect import WRITES, Database, cause
from authz.stores.database.errors import SchemaError
from authz.stores.database.schema import (
    VERSION,
    approval_uses,
    approval_votes,
    approvals,
    counters,
    facts,
    marks,
    metadata,
    pending_changes,
    schema_versions,
    sightings,
    spent,
)

Step = Callable[[Connection], None]


def _add_tables(*tables: Table) -> Step:
    return lambda connection: metadata.create_all(connection, tables=tables)


def _add_spending(connection: Connection) -> None:
    _add_tables(spent, marks)(connection)
    connection.execute(text("ALTER TABLE grants ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'"))


STEPS: Mapping[int, Step] = {
    2: _add_tables(sightings, pending_changes),
    3: _add_spending,
    4: _add_tables(approvals, approval_votes, approval_uses),
}
"""How a database comes to each version from the one before; an empty one is made at the newest at once."""


def migrate(database: Database, now: float, *, steps: Mapping[int, Step] = STEPS, newest: int = VERSION) -> int:
    """Bring the schema to the newest version, whole or not at all, and answer the version that it had (0: none).

    Raises:
        SchemaError: a newer program has been here, or the way from the old version is not known.
        StoreTrouble: the database cannot do it.
    """
    try:
        with database.engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            database.dialect.lock_schema(connection)
            return _migrate(database.name, connection, now, steps, newest)
    except Exception as error:
        trouble = database.trouble(error)
        if trouble is None and isinstance(error, SQLAlchemyError):
            # A statement that does not fit: tables of these names, but not ours.
            trouble = SchemaError(f"{database.name}: the schema is not as expected: {type(cause(error)).__name__}")
        if trouble is None:
            raise
        raise trouble from None


def version_of(connection: Connection) -> int:
    """Answer the version of the schema; 0: there is none."""
    if not inspect(connection).has_table(schema_versions.name):
        return 0
    return int(connection.execute(select(func.max(schema_versions.c.version))).scalar() or 0)


def _migrate(name: str, connection: Connection, now: float, steps: Mapping[int, Step], newest: int) -> int:
    found = version_of(connection)
    if found > newest:
        raise SchemaError(
            f"{name}: the database has schema {found}, this program knows {newest} at most: it was used by a newer"
            " program; run that one, or restore a backup of before"
        )
    if found == 0:
        metadata.create_all(connection)
        connection.execute(insert(facts), {"name": "store_id", "value": secrets.token_hex(16)})
        connection.execute(insert(counters), {"name": "changes", "value": 0})
        connection.execute(insert(schema_versions), {"version": newest, "applied_at": now})
        return 0
    for version in range(found + 1, newest + 1):
        if version not in steps:
            raise SchemaError(f"{name}: the database has schema {found}, from which no way leads to {newest}")
        steps[version](connection)
        connection.execute(insert(schema_versions), {"version": version, "applied_at": now})
    return found
