"""A store as one text file: JSON lines of one moment, with a digest, that either database can be filled from."""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from authz.errors import ConfigError
from authz.stores.database.bulk import insert_rows
from authz.stores.database.changes import read_head
from authz.stores.database.dialect import WRITES, Database
from authz.stores.database.errors import ConflictError
from authz.stores.database.reader import read_once
from authz.stores.database.records import Revocation
from authz.stores.database.schema import (
    VERSION,
    approvals,
    counters,
    facts,
    metadata,
    name_of,
    policy_revisions,
    replicas,
    schema_versions,
)
from authz.stores.database.work import Work

FORMAT = "authz-store-1"
_AT_ONCE = 100
_MAX_LINE_BYTES = 128 << 20
"""So many of the largest records, or one of the largest policy revision, fit into a line."""
_TABLES = [table for table in metadata.sorted_tables if table not in {schema_versions, facts, counters, replicas}]
"""In the order in which their rows can be added."""


class Summary(msgspec.Struct, frozen=True):
    """What a backup holds."""

    store_id: str
    seq: int
    made_at: float
    rows: dict[str, int]
    sha256: str


def back_up(database: Database, target: Path, now: float) -> Summary:
    """Write everything that the store holds at one moment to a new file, mode 0600, while it goes on being used.

    Raises:
        ConfigError: the file is there already or cannot be written. StoreTrouble: the store cannot be read.
    """
    if target.exists():
        raise ConfigError(f"{target}: is there already")
    try:
        descriptor, name = tempfile.mkstemp(prefix=".authz-backup-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                summary = read_once(database, lambda connection: _write(connection, file, now))
                file.flush()
                os.fsync(file.fileno())
            os.link(name, target)  # whole or not at all, and never over another
        finally:
            Path(name).unlink()
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror or error}") from None
    return summary


def restore(database: Database, source: Path, now: float, cut_off_issuer: str = "") -> Summary:
    """Fill an empty store from a backup, all of it or nothing. It is another store then: every replica reads it anew.

    `cut_off_issuer`: have every grant of this issuer refused that was issued before now, because what was revoked or
    completed after the backup is forgotten.

    Raises:
        ConfigError: the file is not a whole backup. ConflictError: the store is not empty. StoreTrouble: it cannot be
        written.
    """
    summary = verify(source)
    try:
        with database.engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            database.dialect.lock_schema(connection)
            _refuse_unless_empty(database, connection)
            _fill(connection, source, summary)
            _end_approvals(connection, now)
            if cut_off_issuer:
                _cut_off(database, connection, now, cut_off_issuer)
    except (SQLAlchemyError, KeyError, TypeError, ValueError) as error:
        trouble = database.trouble(error)
        if trouble is None:
            raise ConfigError(f"{source}: does not fit: {type(error).__name__}") from None
        raise trouble from None
    return summary


def verify(source: Path) -> Summary:
    """Read a backup to its end and answer what it holds.

    Raises:
        ConfigError: it is not one, is of another schema, was cut off or changed.
    """
    digest = hashlib.sha256()
    rows = dict.fromkeys(map(name_of, _TABLES), 0)
    head: dict[str, Any] = {}
    for number, (line, entry) in enumerate(_lines(source), 1):
        if number == 1:
            head = entry
            if head.get("format") != FORMAT or head.get("schema") != VERSION:
                raise ConfigError(f"{source}:1: not a backup that this program reads ({FORMAT}, schema {VERSION})")
        elif "sha256" in entry:
            if entry != {"sha256": digest.hexdigest(), "rows": rows}:
                raise ConfigError(f"{source}:{number}: the digest does not fit: it was changed")
            return Summary(str(head["store_id"]), int(head["seq"]), float(head["made_at"]), rows, entry["sha256"])
        elif entry.get("table") not in rows or not isinstance(entry.get("rows"), list):
            raise ConfigError(f"{source}:{number}: not what a backup holds")
        else:
            rows[entry["table"]] += len(entry["rows"])
        digest.update(line)
    raise ConfigError(f"{source}: was cut off: its last line is missing")


def _write(connection: Connection, file: BinaryIO, now: float) -> Summary:
    store_id, seq = read_head(connection)
    digest = hashlib.sha256()
    rows: dict[str, int] = {}

    def put(entry: Mapping[str, Any]) -> None:
        line = msgspec.json.encode(entry) + b"\n"
        digest.update(line)
        file.write(line)

    put({"format": FORMAT, "schema": VERSION, "store_id": store_id, "seq": seq, "made_at": now})
    for table in _TABLES:
        at_once = 1 if table is policy_revisions else _AT_ONCE
        found = connection.execution_options(yield_per=at_once).execute(select(table)).mappings()
        name = name_of(table)
        rows[name] = 0
        for some in found.partitions(at_once):
            rows[name] += len(some)
            put({"table": name, "rows": [{str(name): value for name, value in row.items()} for row in some]})
    sha256 = digest.hexdigest()
    file.write(msgspec.json.encode({"sha256": sha256, "rows": rows}) + b"\n")
    return Summary(store_id, seq, now, rows, sha256)


def _lines(source: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    try:
        with source.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES):
                number += 1
                entry = msgspec.json.decode(line, type=dict[str, Any])
                yield line, entry
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror or error}") from None
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        raise ConfigError(f"{source}:{number}: not a line of a backup") from None


def _refuse_unless_empty(database: Database, connection: Connection) -> None:
    for table in _TABLES:
        if connection.execute(select(func.count()).select_from(table)).scalar():
            raise ConflictError(f"{database.name}: not empty ({table.name}): restore into a new database")


def _fill(connection: Connection, source: Path, summary: Summary) -> None:
    tables = {name_of(table): table for table in _TABLES}
    for _, entry in _lines(source):
        if "table" in entry:
            insert_rows(connection, tables[entry["table"]], entry["rows"])
    connection.execute(update(counters).where(counters.c.name == "changes").values(value=summary.seq))
    connection.execute(update(facts).where(facts.c.name == "store_id").values(value=secrets.token_hex(16)))


def _end_approvals(connection: Connection, now: float) -> None:
    """Take back what waits and what is approved: it may have been used, or taken back, after the backup (I4)."""
    live = approvals.c.state.in_(("open", "approved"))
    ended = {"state": "withdrawn", "ended_at": now, "ended_by": "authz store restore"}
    why = "the store was restored: what became of it after the backup is not known"
    connection.execute(update(approvals).where(live).values(ended | {"ended_why": why}))


def _cut_off(database: Database, connection: Connection, now: float, issuer: str) -> None:
    work = Work(connection, now, _MAX_LINE_BYTES)
    revocation = Revocation(
        id=f"restore-{secrets.token_hex(8)}",
        kind="issued_before",
        value=issuer,
        cut_off="issuer",
        before=now,
        reason="the store was restored: what was revoked after the backup is not known",
        author="authz store restore",
        created_at=now,
    )
    work.insert(metadata.tables["revocations"], [revocation])
    work.change("revoked", revocation.id, revocation=msgspec.to_builtins(revocation))
    changes = work.number_changes()
    database.dialect.announce(connection, changes[-1].seq)
