"""PostgreSQL: one database for a fleet; changes are announced with NOTIFY."""

import hashlib
import selectors
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from authz.errors import ConfigError
from authz.stores.database.dialect import Waker
from authz.stores.database.errors import (
    CorruptError,
    FullError,
    ReadOnlyError,
    SchemaError,
    StoreTrouble,
    UnavailableError,
)
from authz.stores.database.settings import StoreSettings

CHANNEL = "authz_changes"
_SCHEMA_LOCK = "authz schema"
_OPTIONS = "-c statement_timeout={ms} -c lock_timeout={ms} -c idle_in_transaction_session_timeout={idle_ms}"

_FULL = {"53100"}
_READ_ONLY = {"25006"}
_CORRUPT = {"XX001", "XX002"}
_NO_TABLES = {"42P01", "3F000"}
_REFUSED = {"3D000", "42501"}
_STOOD_STILL = {"25P03", "25P04"}
"""The server ended a transaction in which it heard nothing, or nothing new, for too long: this process stood still."""
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58")
"""Connection lost, rolled back, out of resources, object in use or locked, operator's intervention, system error."""


def make_postgresql_engine(url: URL, settings: StoreSettings) -> Engine:
    """Answer the engine; nothing is connected yet.

    Raises:
        ConfigError: the driver is not installed, or the URL cannot be used.
    """
    milliseconds = int(settings.statement_timeout_seconds * 1000)
    given = url.query.get("options", "")
    ours = _OPTIONS.format(ms=milliseconds, idle_ms=2 * milliseconds)
    arguments: dict[str, Any] = {
        "connect_timeout": settings.connect_timeout_seconds,
        "application_name": "authz",
        "options": f"{ours} {given if isinstance(given, str) else ' '.join(given)}".strip(),
        # A peer that is gone without a word is noticed.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": milliseconds,
    }
    arguments = {name: value for name, value in arguments.items() if name == "options" or name not in url.query}
    try:
        return create_engine(
            url.difference_update_query(["options"]),
            pool_size=settings.readers + 2,
            max_overflow=1,
            pool_timeout=settings.operation_timeout_seconds,
            hide_parameters=True,
            use_native_hstore=False,
            connect_args=arguments,
        )
    except ModuleNotFoundError:
        raise ConfigError('store.url: PostgreSQL needs its driver: pip install "nhi-authz[postgresql]"') from None
    except ArgumentError:  # quotes what it was given
        raise ConfigError("store.url: not a URL that PostgreSQL's driver can use") from None


class PostgresqlDialect:
    """What is special about PostgreSQL."""

    def take_locks(self, connection: Connection, keys: Sequence[str]) -> None:
        """Hold an advisory lock for each key, in one order for everybody, so that no two writers wait in a circle."""
        numbers = sorted({_number(key) for key in keys})
        if numbers:
            # unnest keeps the order of the array.
            statement = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
            connection.execute(statement, {"keys": numbers}).all()

    def lock_schema(self, connection: Connection) -> None:
        """Hold the one lock for changing the schema."""
        self.take_locks(connection, [_SCHEMA_LOCK])

    def announce(self, connection: Connection, seq: int) -> None:
        """Notify at commit."""
        connection.execute(text("SELECT pg_notify(:channel, :seq)"), {"channel": CHANNEL, "seq": str(seq)}).all()

    def begin_snapshot(self, connection: Connection) -> None:
        """Read one moment, and only read."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def waker(self, connection: Connection, wake: int, poll_seconds: float) -> Waker:  # noqa: ARG002 - nothing to poll
        """Answer what listens."""
        with connection.begin():
            connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        return _Listener(connection, wake)

    def trouble(self, error: BaseException) -> StoreTrouble | None:
        """Answer what an SQLSTATE means (PostgreSQL, appendix A)."""
        import psycopg  # noqa: PLC0415 - an extra, which is there once this dialect is in use

        if not isinstance(error, psycopg.Error):
            return None
        state, said = error.sqlstate, _said(error)
        if state is None:
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                return UnavailableError(f"the database cannot be reached: {said}")
            return None
        return _of_state(state, said)

    def check(self, connection: Connection) -> Sequence[str]:
        """Nothing: pg_amcheck is for that."""
        del connection
        return []


def _of_state(state: str, said: str) -> StoreTrouble | None:
    if state in _FULL:
        return FullError(f"no room: {said}")
    if state in _READ_ONLY:
        return ReadOnlyError(f"read-only: {said}; is it a standby?")
    if state in _CORRUPT:
        return CorruptError(f"damaged: {said}")
    if state in _NO_TABLES:
        return SchemaError(f"its tables are not there: {said}")
    if state in _REFUSED or state.startswith("28"):
        return StoreTrouble(f"access refused: {said}")
    if state in _STOOD_STILL or state.startswith(_TRANSIENT_CLASSES):
        return UnavailableError(said)
    return None


def _said(error: Any) -> str:
    """Answer the first line of a message: the further ones quote values."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return str(text).splitlines()[0][:300]


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"authz").digest(), "big", signed=True)


class _Listener:
    """Waits for a notification."""

    def __init__(self, connection: Connection, wake: int) -> None:
        driver: Any = connection.connection.driver_connection
        self._driver = driver
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ)
        self._selector.register(driver.fileno(), selectors.EVENT_READ)

    def wait(self, seconds: float) -> None:
        """Return at once for what came with the answer to a query; else when the server sends something."""
        if not self._drain() and self._selector.select(seconds):
            self._drain()

    def close(self) -> None:
        """Wait no more."""
        self._selector.close()

    def _drain(self) -> bool:
        return bool(list(self._driver.notifies(timeout=0)))
