"""Policies from a SQL table in the layout of Casbin's own adapters, so that other Casbin tools can write them.

The table (`casbin_rule`) has an integer `id`, the policy type `ptype` and the columns `v0` to `v5`; unused ones are
NULL, as pycasbin's adapter leaves them, or empty, as the Go adapters do. The model stays a file. The table is never
written to.
"""

import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec

from authz.errors import ConfigError, PolicyError
from authz.policy import perm, rows
from authz.policy.limits import PolicyLimits
from authz.policy.perm import Model
from authz.stores.policy_source import PolicyText
from authz.stores.reading import UnreadableError, read_text

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.sql import TableClause

_VALUES = ("v0", "v1", "v2", "v3", "v4", "v5")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f,\[\]()]*")
"""What certainly comes out of a line as it went in."""
_CHUNK = 200
_CHUNK_PAUSE_SECONDS = 0.0002
_MAX_URL_BYTES = 10_000


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SQL table with the rules, in the place of policy files; needs the extra `database` (SQLAlchemy)."""

    url: Annotated[str, msgspec.Meta(extra={"secret": True})] = ""
    """`postgresql://user:password@host/name` or `sqlite:///path`; from the environment as
    `AUTHZ__POLICY__DATABASE__URL`. A user that may only read is enough."""
    url_file: str = ""
    """A file that holds the URL instead, read anew at every connection."""
    table: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?\Z")] = (
        "casbin_rule"
    )
    """The table, or `schema.table`."""
    poll_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 5.0
    """How often the number of rows and the highest id are looked at, in seconds: to see rows added or removed."""
    recheck_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=86_400)] = 60.0
    """How often all rows are read and compared, in seconds: a row changed in its place, or replaced by another of the
    same id, is seen then."""
    timeout_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 10.0
    """How long connecting, and each statement, may take, in seconds."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        if bool(self.url) == bool(self.url_file):
            yield "", "give either url or url_file"


class _Held(msgspec.Struct, frozen=True):
    """What the table held, at one time."""

    rows: tuple[tuple[int, tuple[str | None, ...]], ...]
    """(id, (ptype, v0, ...))."""
    digest: bytes


class DatabaseSource:
    """The table that settings name. Implements `PolledSource`."""

    polled = True
    reached = True

    def __init__(  # noqa: PLR0913 - what it needs of the policy's settings, each by name
        self,
        settings: DatabaseSettings,
        base: Path,
        *,
        model: str,
        max_file_bytes: int,
        limits: PolicyLimits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`base`: where relative paths start. `max_file_bytes`: bounds the model, and all values of the table together.

        Raises:
            ConfigError: the URL cannot be used, or what it needs is not installed.
        """
        self._settings = settings
        self._base = base
        self._model = model
        self._max_bytes = max_file_bytes
        self._limits = limits
        self._monotonic = monotonic
        self._cheap: tuple[object, ...] | None = None
        self._read_at = 0.0
        self._held: _Held | None = None
        self._url()

    @property
    def poll_seconds(self) -> float:
        """How often to look."""
        return self._settings.poll_seconds

    def look(self) -> bool:
        """Ask the database whether the table changed; see `PolledSource`.

        Raises:
            ConfigError: it gives no answer. PolicyError: the table is too large.
        """
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - optional, and slow to import

        url = self._url()
        try:
            return self._look(_engine(url, self._settings.timeout_seconds, self._base))
        except SQLAlchemyError as error:
            raise ConfigError(f"{_place(url)}: {_explain(error)}") from None

    def read(self) -> PolicyText:
        """Answer the rules as they were read last; the model as it is now.

        Raises:
            PolicyError: in the model, or a row that no policy file could hold. ConfigError: no answer yet.
        """
        if self._held is None:
            self.look()
        held = self._held or _Held((), b"")
        text = self._text(self._model)
        model = perm.parse(text, self._model, self._limits)
        columns = {name: len(fields) for name, fields in model.policies.items()}
        columns |= {name: role.columns for name, role in model.roles.items()}
        if not held.rows:
            # An emptied table is more likely a mishap than a wish to deny everything.
            raise PolicyError(self._settings.table, 0, "the table holds no rows")
        return PolicyText(
            model_file=self._model,
            model=text,
            policies=tuple(self._policy(number, values, columns, model) for number, values in held.rows),
        )

    def watched(self) -> list[Path]:
        """Name the model's file."""
        return [self._base / self._model]

    def accepted(self) -> None:
        """Nothing to remember of a table."""

    def _look(self, engine: "Engine") -> bool:
        from sqlalchemy import func, select  # noqa: PLC0415 - likewise

        table = _table(self._settings.table)
        with engine.connect() as connection:
            cheap = tuple(connection.execute(select(func.count(), func.max(table.c.id)).select_from(table)).one())
            now = self._monotonic()
            if cheap == self._cheap and now - self._read_at < self._settings.recheck_seconds:
                return False
            wanted = select(table).order_by(table.c.id).limit(self._limits.max_rules + 1)
            result = connection.execution_options(yield_per=_CHUNK).execute(wanted)
            held = self._gather(result.partitions())
        changed = self._held is None or held.digest != self._held.digest
        self._held, self._cheap, self._read_at = held, cheap, now
        return changed

    def _gather(self, chunks: "Iterator[Sequence[Any]]") -> _Held:
        """Check types and bounds while reading, so that a table of any size costs no more than the bounds."""
        found: list[tuple[int, tuple[str | None, ...]]] = []
        digest = hashlib.sha256()
        size = 0
        for chunk in chunks:
            for number, *values in chunk:
                name = f"{self._settings.table}#{number}"
                if not isinstance(number, int) or not all(value is None or isinstance(value, str) for value in values):
                    raise PolicyError(name, 0, "the id must be an integer, the other columns text")
                size += sum(len(value) for value in values if value)
                if size > self._max_bytes:
                    raise PolicyError(name, 0, f"the table holds more than max_file_bytes ({self._max_bytes})")
                if len(found) >= self._limits.max_rules:
                    raise PolicyError(name, 0, f"more than {self._limits.max_rules} rows")
                digest.update(msgspec.json.encode((number, values)))
                found.append((number, tuple(values)))
            time.sleep(_CHUNK_PAUSE_SECONDS)  # a large table is read beside requests that must not wait
        return _Held(tuple(found), digest.digest())

    def _policy(
        self, number: int, values: tuple[str | None, ...], columns: dict[str, int], model: Model
    ) -> tuple[str, str]:
        """One row as a policy file of its own, so that errors and records name the row."""
        name = f"{self._settings.table}#{number}"
        ptype, *rest = values
        if not ptype:
            raise PolicyError(name, 0, "ptype is empty")
        cells = _used(rest, columns.get(ptype, 0))
        if None in cells:
            raise PolicyError(name, 0, "a column is NULL before one that is not")
        parts = [ptype, *(cell or "" for cell in cells)]
        line = ", ".join(parts)
        if not all(_PLAIN.fullmatch(part) and part == part.strip() for part in parts):
            self._check(name, line, parts, model)
        return name, line

    def _check(self, name: str, line: str, parts: list[str], model: Model) -> None:
        """Refuse a value that would be read as something else: rules are lines, in which a comma separates columns."""
        if "\n" in line:
            raise PolicyError(name, 0, "a value contains a line break")
        found = rows.parse([(name, line)], model, self._limits)
        if [[row.ptype, *row.cells] for row in found] != [parts]:
            raise PolicyError(name, 0, "a value starts or ends with a blank, or has a comma outside of brackets")

    def _text(self, file: str) -> str:
        try:
            return read_text(self._base / file, self._max_bytes)
        except UnreadableError as error:
            raise PolicyError(file, error.line, error.problem) from None

    def _url(self) -> "URL":
        settings = self._settings
        text = settings.url
        if settings.url_file:
            text = read_text(self._base / settings.url_file, _MAX_URL_BYTES).strip()
        return _parsed(text)


def _used(values: Sequence[str | None], expected: int) -> Sequence[str | None]:
    """The columns that count: as many as the model has, if what is behind them is empty; else all up to the last."""
    last = max((place for place, value in enumerate(values, 1) if value), default=0)
    if last <= expected:
        # Go adapters leave "" in columns that are not used, pycasbin's NULL: only "" can be an empty last column.
        while last < min(expected, len(values)) and values[last] == "":
            last += 1
    return values[:last]


def _parsed(text: str) -> "URL":
    try:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - optional
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ConfigError('policy.database needs SQLAlchemy: pip install "nhi-authz[database]"') from None
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "policy.database: the URL cannot be read (it is not shown, for it may hold a secret)"
        ) from None
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        try:
            import psycopg  # noqa: F401, PLC0415 - optional
        except ImportError:
            raise ConfigError('policy.database needs psycopg: pip install "nhi-authz[database]"') from None
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite") and url.database and url.database != ":memory:":
        return url
    raise ConfigError("policy.database: the URL must start with postgresql:// or be sqlite:/// and a file")


def _engine(url: "URL", timeout_seconds: float, base: Path) -> "Engine":
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 - optional

    if url.drivername.startswith("sqlite"):
        place = f"file:{quote(str(base / (url.database or '')))}?mode=ro"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(place, uri=True, timeout=timeout_seconds, check_same_thread=False)

        return create_engine("sqlite://", creator=connect, poolclass=NullPool)
    milliseconds = max(1, round(timeout_seconds * 1e3))
    options = {
        "connect_timeout": max(2, round(timeout_seconds)),  # libpq takes no less
        "options": f"-c statement_timeout={milliseconds} -c default_transaction_read_only=on",
        "application_name": "authz",
    }
    return create_engine(url, connect_args=options, poolclass=NullPool, hide_parameters=True)


def _table(name: str) -> "TableClause":
    from sqlalchemy import column, table  # noqa: PLC0415 - optional

    schema, _, plain = name.rpartition(".")
    return table(plain, *(column(each) for each in ("id", "ptype", *_VALUES)), schema=schema or None)


def _place(url: "URL") -> str:
    """Where the database is, without user and password."""
    if url.drivername.startswith("sqlite"):
        return f"policy.database {url.database}"
    return f"policy.database {url.host or 'local'}:{url.port or 5432}/{url.database or ''}"


def _explain(error: Exception) -> str:
    """What is wrong, without the texts of drivers, which may quote what they were given (I10)."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return f"cannot be read: {cause}"
    state = getattr(cause, "sqlstate", None)
    told = {"42P01": "there is no such table", "42703": "the table lacks a column", "42501": "reading is not permitted"}
    known = told.get(str(state)) or (f"SQLSTATE {state}" if state else type(cause or error).__name__)
    return f"cannot be read: {known}"
