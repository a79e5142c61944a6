"""From settings to a database whose schema is right."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from authz.errors import ConfigError
from authz.stores.database.dialect import Database, Dialect
from authz.stores.database.errors import StoreTrouble
from authz.stores.database.migrations import migrate
from authz.stores.database.postgresql import PostgresqlDialect, make_postgresql_engine
from authz.stores.database.settings import StoreSettings
from authz.stores.database.sqlite import SqliteDialect, make_sqlite_engine
from authz.stores.database.url import database_url


def connect(settings: StoreSettings, base: Path, *, create: bool = True) -> Database:
    """Answer the database that the settings name; nothing is read yet. `base`: where relative paths start.

    Raises:
        ConfigError: the settings cannot be used, or there is no file and none is to be made.
    """
    url = database_url(settings, base)
    if not create and url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise ConfigError(f"{url.database}: there is no store yet")
    if url.get_backend_name() == "sqlite":
        engine, name = make_sqlite_engine(url, settings), url.database or ""
    else:
        engine, name = make_postgresql_engine(url, settings), url.set(password=None, query={}).render_as_string()
    dialect: Dialect = SqliteDialect() if url.get_backend_name() == "sqlite" else PostgresqlDialect()
    return Database(engine, dialect, name)


def prepare(
    database: Database,
    settings: StoreSettings,
    clock: Callable[[], float] = time.time,
    stopping: threading.Event | None = None,
) -> None:
    """Bring the schema up to date; a database that is not up yet is waited for, `operation_timeout_seconds` long.

    Raises:
        StoreTrouble: it stays out of reach, is damaged or of a newer program.
    """
    until = time.monotonic() + settings.operation_timeout_seconds
    pause = settings.retry_min_seconds
    pausing = stopping or threading.Event()
    while True:
        try:
            migrate(database, clock())
        except StoreTrouble as error:
            if not error.transient or time.monotonic() + pause > until or pausing.wait(pause):
                raise
            pause = min(pause * 2, settings.retry_max_seconds)
        else:
            return
