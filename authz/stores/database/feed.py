"""Follows the list of changes, and knows how long ago that was confirmed to be up to date."""

import asyncio
import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from authz.stores.database.changes import Changes, read_changes, together
from authz.stores.database.dialect import Database
from authz.stores.database.errors import ChangesLostError
from authz.stores.database.reader import Reader
from authz.stores.database.records import Change
from authz.stores.database.settings import StoreSettings

_PAGE = 1_000
_REMEMBERED = 4_096
"""Changes kept in memory for those who watch, so that each need not ask the database."""


class Feed:
    """One thread that listens and reads; what it reads is handed to the event loop, where everything else happens."""

    def __init__(
        self,
        database: Database,
        settings: StoreSettings,
        reader: Reader,
        report: Callable[..., None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.head = 0
        """The last change that has arrived here."""
        self.store_id = ""
        self.problem = ""
        """Why contact is lost; empty: it is not."""
        self._database = database
        self._settings = settings
        self._reader = reader
        self._report = report
        self._monotonic = monotonic
        self._confirmed = -math.inf
        self._recent: deque[Change] = deque(maxlen=_REMEMBERED)
        self._generation = 0
        self._moved = asyncio.Event()
        self._closing = threading.Event()
        self._wake_lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread: threading.Thread | None = None

    @property
    def staleness_seconds(self) -> float:
        """How long ago it was last certain that nothing had changed that has not arrived here."""
        return self._monotonic() - self._confirmed

    async def start(self) -> None:
        """Read where the list is now, and follow it from there."""
        asked = self._monotonic()
        page = await self._reader.read(lambda connection: read_changes(connection, 0, 1))
        self.store_id, self.head, self._confirmed = page.store_id, page.head, asked
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop, page), name="authz-store-feed", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have it look at once; from any thread."""
        with self._wake_lock:
            if self._wake_write >= 0:
                with contextlib.suppress(BlockingIOError):  # enough wake-ups lie there unread
                    os.write(self._wake_write, b"\0")

    async def close(self) -> None:
        """Stop; whoever watches has seen the last change."""
        self._closing.set()
        self.wake()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self._settings.statement_timeout_seconds + 1)
        self._tell()
        with self._wake_lock:
            if self._wake_write >= 0 and (self._thread is None or not self._thread.is_alive()):
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_write = -1

    async def watch(self, after: int, store_id: str = "") -> AsyncIterator[tuple[Change, ...]]:
        """Yield every change after a number, in order and without gaps, as it arrives; end when the feed is closed.

        Raises:
            ChangesLostError: some cannot be told any more, or they are of another store than `store_id`.
        """
        generation = self._generation
        if store_id not in {"", self.store_id}:
            raise ChangesLostError("the database is another one than before")
        while not self._closing.is_set():
            moved = self._moved
            if generation != self._generation or after > self.head:
                raise ChangesLostError("the database was replaced, or its list of changes was cut")
            if after == self.head:
                await moved.wait()
                continue
            found = await self._after(after)
            if generation == self._generation:
                yield found
                after = found[-1].seq

    async def _after(self, after: int) -> tuple[Change, ...]:
        recent = self._recent
        if recent and recent[0].seq <= after + 1:
            start = after + 1 - recent[0].seq
            return together([recent[at] for at in range(start, min(len(recent), start + _PAGE))], _PAGE)
        page = await self._reader.read(lambda connection: read_changes(connection, after, _PAGE))
        if not page.complete or not page.changes:
            raise ChangesLostError(f"changes after {after} were deleted: store.retention.changes_seconds is over")
        return page.changes

    # The feed's thread

    def _run(self, loop: asyncio.AbstractEventLoop, first: Changes) -> None:
        pause = self._settings.retry_min_seconds
        seen = first
        while not self._closing.is_set():
            try:
                seen = self._follow(loop, seen)
            except Exception as error:  # noqa: BLE001 - a feed that ends would leave what is revoked in force
                trouble = self._database.trouble(error)
                problem = str(trouble) if trouble else f"internal error: {type(error).__name__}"
                if not self.problem:
                    self._report("the feed of changes is lost; trying again", problem=problem)
                    pause = self._settings.retry_min_seconds
                self.problem = problem
                self._closing.wait(pause)
                pause = min(pause * 2, self._settings.retry_max_seconds)
                seen = self._seen

    def _follow(self, loop: asyncio.AbstractEventLoop, seen: Changes) -> Changes:
        """Read and wait in turn on one connection, until closed."""
        self._seen = seen
        connection = self._database.engine.connect()
        try:
            # Listening begins before the first look, so that nothing falls between the two.
            waker = self._database.dialect.waker(connection, self._wake_read, self._settings.poll_seconds)
            try:
                while not self._closing.is_set():
                    asked = self._monotonic()
                    with connection.begin():
                        page = read_changes(connection, self._seen.head, _PAGE)
                    self._seen = self._hand_over(loop, page, asked)
                    if self.problem:
                        self._report("the feed of changes is back")
                        self.problem = ""
                    if page.head == self._seen.head:
                        waker.wait(self._settings.heartbeat_seconds)
                        self._drain()
            finally:
                waker.close()
        finally:
            connection.invalidate()  # it listens, or is broken: nobody else's
            connection.close()
        return self._seen

    def _hand_over(self, loop: asyncio.AbstractEventLoop, page: Changes, asked: float) -> Changes:
        """Give a page to the event loop; answer it as what has been seen, up to the last change read."""
        lost = page.store_id != self._seen.store_id or not page.complete
        last = page.changes[-1].seq if page.changes and not lost else page.head
        caught_up = last == page.head
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._take, page, last, lost, asked if caught_up else None)
        return Changes(page.store_id, last, (), complete=True)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4_096):
                pass

    # The event loop

    def _take(self, page: Changes, last: int, lost: bool, asked: float | None) -> None:  # noqa: FBT001 - called by the loop
        if lost:
            self._generation += 1
            self._recent.clear()
            self.store_id = page.store_id
        else:
            self._recent.extend(page.changes)
        if asked is not None:
            self._confirmed = asked
        if lost or last != self.head:
            self.head = last
            self._tell()

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
