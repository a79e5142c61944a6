"""What SQLite and PostgreSQL do differently; everything else is one code path."""

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from authz.stores.database.errors import StoreTrouble

WRITES = "authz_writes"
"""The execution option of a connection whose transactions write from the start."""


class Waker(Protocol):
    """Waits for changes of other connections, of this process and others."""

    def wait(self, seconds: float) -> None:
        """Return when something may have changed, or after so many seconds, or when `wake` was readable."""

    def close(self) -> None:
        """Let go of what it waits on."""


class Dialect(Protocol):
    """One kind of database. Every method is called in a thread that may block."""

    def take_locks(self, connection: Connection, keys: Sequence[str]) -> None:
        """Hold these keys until the transaction ends, so that no other writer is at them."""

    def lock_schema(self, connection: Connection) -> None:
        """Keep every other process from changing the schema until the transaction ends."""

    def announce(self, connection: Connection, seq: int) -> None:
        """Have everybody who waits woken when the transaction commits."""

    def begin_snapshot(self, connection: Connection) -> None:
        """Have everything that the transaction reads be of one moment."""

    def waker(self, connection: Connection, wake: int, poll_seconds: float) -> Waker:
        """Answer what waits on this connection; `wake`: a file descriptor that becomes readable to end a wait."""

    def trouble(self, error: BaseException) -> StoreTrouble | None:
        """Answer what the error of a driver means; None: a fault of the statement, not of the database."""

    def check(self, connection: Connection) -> Sequence[str]:
        """Answer what is wrong with the database itself, as far as it can tell."""


class Database:
    """A database: its engine, what is special about it, and a name that may be shown."""

    def __init__(self, engine: Engine, dialect: Dialect, name: str) -> None:
        self.engine = engine
        self.dialect = dialect
        self.name = name

    def trouble(self, error: BaseException) -> StoreTrouble | None:
        """Answer what an error of SQLAlchemy or of the driver under it means; None: a fault of the statement."""
        found = self.dialect.trouble(cause(error))
        if found is not None:
            found.args = (f"{self.name}: {found}",)
        return found

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


def cause(error: BaseException) -> BaseException:
    """Answer the driver's own error under SQLAlchemy's."""
    original: Any = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else None
    return original if isinstance(original, BaseException) else error
