"""SQLite: one file with a write-ahead log, one writer at a time, any number of readers and processes of one host."""

import os
import selectors
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from authz.errors import ConfigError
from authz.stores.database.dialect import WRITES, Waker
from authz.stores.database.errors import CorruptError, FullError, ReadOnlyError, StoreTrouble, UnavailableError
from authz.stores.database.settings import StoreSettings

_PRIMARY_CODE = 0xFF
_TROUBLES: dict[int, tuple[type[StoreTrouble], str]] = {
    sqlite3.SQLITE_BUSY: (UnavailableError, "locked by another process"),
    sqlite3.SQLITE_LOCKED: (UnavailableError, "locked by another connection"),
    sqlite3.SQLITE_IOERR: (UnavailableError, "the file system does not read or write"),
    sqlite3.SQLITE_CANTOPEN: (UnavailableError, "cannot be opened: look at the directory and who may write to it"),
    sqlite3.SQLITE_FULL: (FullError, "no room: the disk is full"),
    sqlite3.SQLITE_READONLY: (ReadOnlyError, "read-only: look at who may write to the file and its directory"),
    sqlite3.SQLITE_PERM: (ReadOnlyError, "may not be written"),
    sqlite3.SQLITE_CORRUPT: (CorruptError, "damaged: restore it from a backup (authz store restore)"),
    sqlite3.SQLITE_NOTADB: (CorruptError, "not a SQLite database: restore it from a backup (authz store restore)"),
}


def make_sqlite_engine(url: URL, settings: StoreSettings) -> Engine:
    """Answer the engine; the file is made with mode 0600 where it is missing.

    Raises:
        ConfigError: the file cannot be made.
    """
    path = Path(url.database or "")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except PermissionError:
        pass  # SQLite says it better, and a file that may only be read can still be checked
    except OSError as error:
        if error.errno is None or not path.exists():
            raise ConfigError(f"store: {path}: {error.strerror or error}") from None
    engine = create_engine(
        url,
        pool_size=settings.readers + 2,
        max_overflow=1,
        hide_parameters=True,
        connect_args={"timeout": settings.statement_timeout_seconds, "check_same_thread": False},
    )
    event.listen(engine, "connect", _configure(settings))
    event.listen(engine, "begin", _begin)
    return engine


def _configure(settings: StoreSettings) -> Any:
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, and which
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise sqlite3.OperationalError("this file system cannot hold a write-ahead log")
        cursor.execute(f"PRAGMA synchronous = {settings.synchronous.upper()}")
        for pragma in ("foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute("PRAGMA journal_size_limit = 67108864").fetchall()
        cursor.close()

    return configure


def _begin(connection: Connection) -> None:
    # A transaction that begins by reading and then writes fails at once when another has written meanwhile.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class SqliteDialect:
    """What is special about SQLite."""

    def take_locks(self, connection: Connection, keys: Sequence[str]) -> None:
        """BEGIN IMMEDIATE holds everything already."""

    def lock_schema(self, connection: Connection) -> None:
        """Likewise."""

    def announce(self, connection: Connection, seq: int) -> None:
        """The version of the data says it."""

    def begin_snapshot(self, connection: Connection) -> None:
        """Every transaction reads one moment."""

    def waker(self, connection: Connection, wake: int, poll_seconds: float) -> Waker:
        """Answer what looks at the version of the data."""
        return _DataVersion(connection, wake, poll_seconds)

    def trouble(self, error: BaseException) -> StoreTrouble | None:
        """Answer what one of SQLite's error codes means."""
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            # Raised by the module, or by us, and not by SQLite: a closed connection, no write-ahead log.
            return UnavailableError(str(error)) if isinstance(error, sqlite3.OperationalError) else None
        kind, text = _TROUBLES.get(code & _PRIMARY_CODE, (None, ""))
        return kind(text) if kind else None

    def check(self, connection: Connection) -> Sequence[str]:
        """Answer what SQLite's own checks find."""
        found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(100)")]
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(100)
        return [line for line in found if line != "ok"] + [
            f"a row of {row[0]} belongs to one of {row[2]} that is not there" for row in broken
        ]


class _DataVersion:
    """Waits until another connection, in this process or another, has committed."""

    def __init__(self, connection: Connection, wake: int, poll_seconds: float) -> None:
        driver: Any = connection.connection.driver_connection
        self._cursor: sqlite3.Cursor = driver.cursor()
        self._poll_seconds = poll_seconds
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ)
        self._seen = self._version()

    def wait(self, seconds: float) -> None:
        """Look every so often, and at once when woken."""
        until = time.monotonic() + seconds
        while True:
            seen = self._version()
            if seen != self._seen:
                self._seen = seen
                return
            left = until - time.monotonic()
            if left <= 0:
                return
            if self._selector.select(min(left, self._poll_seconds)):
                return

    def close(self) -> None:
        """Wait no more."""
        self._selector.close()

    def _version(self) -> int:
        return int(self._cursor.execute("PRAGMA data_version").fetchone()[0])
