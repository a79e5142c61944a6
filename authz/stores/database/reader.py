"""Reading in threads of its own, so that the event loop never waits for the database."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection

from authz.stores.database.dialect import Database
from authz.stores.database.errors import StoreError, StoreTrouble, UnavailableError
from authz.stores.database.settings import StoreSettings

T = TypeVar("T")


class Reader:
    """Runs queries; each sees one moment."""

    def __init__(self, database: Database, settings: StoreSettings) -> None:
        self._database = database
        self._settings = settings
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(settings.readers, thread_name_prefix="authz-store-reader")

    def close(self) -> None:
        """Start no more, and wait for those under way, which `statement_timeout_seconds` ends."""
        self._closing.set()
        self._threads.shutdown(cancel_futures=True)

    async def read(self, query: Callable[[Connection], T], limit: str = "operation_timeout_seconds") -> T:
        """Answer what the query does; a database that is away is tried again. `limit`: the setting that bounds it.

        Raises:
            StoreTrouble: it could not be read in time. StoreRefusal: what the query raises.
        """
        seconds: float = getattr(self._settings, limit)
        until = time.monotonic() + seconds
        if self._closing.is_set():
            raise UnavailableError("the store is closed")
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._attempts, query, until)
        try:
            async with asyncio.timeout(seconds):
                return await running
        except TimeoutError:
            raise UnavailableError(f"{self._database.name}: no answer within store.{limit} ({seconds})") from None

    def _attempts(self, query: Callable[[Connection], T], until: float) -> T:
        pause = self._settings.retry_min_seconds
        while True:
            try:
                return read_once(self._database, query)
            except StoreTrouble as trouble:
                if not trouble.transient or time.monotonic() + pause > until or self._closing.wait(pause):
                    raise
                pause = min(pause * 2, self._settings.retry_max_seconds)


def read_once(database: Database, query: Callable[[Connection], T]) -> T:
    """Answer what the query does in one transaction of one moment.

    Raises:
        StoreTrouble: the database could not be read. StoreRefusal: what the query raises.
    """
    try:
        with database.engine.connect() as connection, connection.begin():
            database.dialect.begin_snapshot(connection)
            return query(connection)
    except StoreError:
        raise
    except Exception as error:
        trouble = database.trouble(error)
        if trouble is None:
            raise
        raise trouble from None
