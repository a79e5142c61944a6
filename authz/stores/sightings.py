"""Has the processes that share a store tell one another what identities were seen with."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable

import structlog

from authz.identity.sharing import SharingTracker
from authz.identity.sightings import Sighted
from authz.stores.database.errors import StoreError
from authz.stores.database.seeing import Cursor, SightingRow
from authz.stores.database.store import Store

_OVERLAP_SECONDS = 30.0
"""So much of what was read before is read again: clocks of replicas differ, and a commit may come late."""


class SightingExchange:
    """Writes what this process saw, and takes in what others did. For the event loop of both."""

    def __init__(self, tracker: SharingTracker, store: Store, clock: Callable[[], float]) -> None:
        self._tracker = tracker
        self._store = store
        self._clock = clock
        self._read_to = 0.0
        self._store_id = ""
        self._log = structlog.get_logger("authz.sharing")

    async def run(self) -> None:
        """Exchange now and then, until cancelled; what could not be told is told later."""
        every = self._tracker.settings.exchange_seconds
        try:
            while True:
                with contextlib.suppress(StoreError):  # the feed tells what is wrong with the store
                    await self.exchange()
                await asyncio.sleep(every * random.uniform(0.9, 1.1))  # noqa: S311 - only to come apart from others
        finally:
            with contextlib.suppress(StoreError):
                await asyncio.shield(self.tell())

    async def exchange(self) -> None:
        """Tell, then take in.

        Raises:
            StoreError: it could not be done.
        """
        await self.tell()
        await self.take_in()

    async def tell(self) -> None:
        """Write what is new here.

        Raises:
            StoreError: it could not be kept.
        """
        tracker = self._tracker
        news = tracker.news(tracker.settings.max_exchange_rows)
        if not news:
            return
        try:
            await self._store.seen.see([_row(each) for each in news], tracker.settings.window_seconds)
        except BaseException:
            tracker.untold(news)
            raise

    async def take_in(self) -> None:
        """Read what others wrote lately.

        Raises:
            StoreError: it could not be read.
        """
        settings = self._tracker.settings
        if self._store.store_id != self._store_id:  # another store, such as one restored: read it from the beginning
            self._store_id, self._read_to = self._store.store_id, 0.0
        start = max(self._read_to, self._clock() - settings.window_seconds) - _OVERLAP_SECONDS
        place, more = Cursor(start), True
        while more:
            rows, place = await self._store.seen.after(place, settings.max_exchange_rows)
            self._tracker.merge(_sighted(rows), self._clock())
            more = len(rows) == settings.max_exchange_rows
            await asyncio.sleep(0)
        self._read_to = max(self._read_to, min(place.written_at, self._clock()))


def _row(each: Sighted) -> SightingRow:
    return SightingRow(
        identity=each.identity,
        kind=each.kind,
        value=each.value,
        first_seen=each.first_seen,
        last_seen=each.last_seen,
        not_before=each.not_before,
        not_after=each.not_after,
    )


def _sighted(rows: Iterable[SightingRow]) -> Iterable[Sighted]:
    for row in rows:
        yield Sighted(row.identity, row.kind, row.value, row.first_seen, row.last_seen, row.not_before, row.not_after)
