"""Group commit: one thread does what many callers ask in one transaction, and answers them once it is committed."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from authz.stores.database.answers import keep, kept, repeat
from authz.stores.database.dialect import WRITES, Database
from authz.stores.database.errors import OverloadedError, StoreError, StoreTrouble, UnavailableError
from authz.stores.database.records import Change, Once
from authz.stores.database.settings import StoreSettings
from authz.stores.database.work import Kind, Work

P = TypeVar("P")
R = TypeVar("R")

OnCommit = Callable[[Sequence[Change]], None]
"""Told of each commit's changes in the writer's thread, before anybody who asked for them is answered."""


class _Asked:
    """One operation that waits."""

    __slots__ = ("deadline", "future", "kind", "once", "payload")

    def __init__(
        self, kind: Kind[Any, Any], payload: Any, once: Once | None, future: "asyncio.Future[Any]", deadline: float
    ) -> None:
        self.kind = kind
        self.payload = payload
        self.once = once
        self.future = future
        self.deadline = deadline

    def locks(self) -> list[str]:
        once = [f"once:{self.once.scope}:{self.once.key}"] if self.once else []
        return [*self.kind.locks(self.payload), *once]


class GroupWriter:
    """The one that writes. Everything but `submit`, which the event loop calls, runs in its own thread."""

    def __init__(
        self,
        database: Database,
        settings: StoreSettings,
        clock: Callable[[], float],
        on_commit: OnCommit,
        report: Callable[..., None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._on_commit = on_commit
        self._report = report
        self._queue: deque[_Asked] = deque()
        self._some = threading.Condition()
        self._closing = threading.Event()
        self.problem = ""
        """Why the database cannot be written to, while it is tried again; empty: it can."""
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="authz-store-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Do what waits, if the database lets us at once, and stop."""
        self._closing.set()
        with self._some:
            self._some.notify()
        if self._thread.is_alive():
            self._thread.join(self._settings.statement_timeout_seconds + 1)

    @property
    def backlog(self) -> int:
        """How many operations wait."""
        return len(self._queue)

    def submit(self, kind: Kind[P, R], payload: P, once: Once | None) -> "asyncio.Future[R]":
        """Answer a future of the result. Cancelling it takes the operation back unless it is under way.

        Raises:
            OverloadedError: too many wait. UnavailableError: the store is closed.
        """
        if self._closing.is_set():
            raise UnavailableError("the store is closed")
        if len(self._queue) >= self._settings.queue_operations:
            raise OverloadedError(f"store.queue_operations ({self._settings.queue_operations}) wait already")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + self._settings.operation_timeout_seconds
        asked = _Asked(kind, payload, once, future, deadline)
        with self._some:
            self._queue.append(asked)
            self._some.notify()
        return future

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._write(group)
            except Exception as error:  # noqa: BLE001 - the writer must not end: everything would wait for ever
                self._report("the store's writer failed", error=type(error).__name__)
                self._drop_connection()
                self._answer(group, [StoreTrouble(f"internal error: {type(error).__name__}")] * len(group))
        self._drop_connection()

    def _next_group(self) -> list[_Asked]:
        """Wait for operations and answer as many as may go together; none: we are closing and all is done."""
        with self._some:
            while not self._queue and not self._closing.is_set():
                self._some.wait()
            if self._queue and self._settings.group_wait_seconds:
                self._some.wait_for(self._is_full, self._settings.group_wait_seconds)
            group: list[_Asked] = []
            keys: set[tuple[str, str]] = set()
            while self._queue and len(group) < self._settings.group_operations:
                once = self._queue[0].once
                if once and (once.scope, once.key) in keys:
                    break  # the answer of the first must be there before the second asks
                asked = self._queue.popleft()
                if once:
                    keys.add((once.scope, once.key))
                group.append(asked)
        return group

    def _is_full(self) -> bool:
        return len(self._queue) >= self._settings.group_operations or self._closing.is_set()

    def _write(self, group: list[_Asked]) -> None:
        """Commit the group; while the database is away, try again for as long as somebody waits."""
        pause = self._settings.retry_min_seconds
        while group := self._still_wanted(group):
            try:
                results, changes = self._commit(group)
            except Exception as error:  # noqa: BLE001 - whatever it was, those who wait are told
                self._drop_connection()
                trouble = self._database.trouble(error)
                if trouble is None and len(group) > 1:
                    # One of them does not go; the others have no part in it.
                    for asked in group:
                        self._write([asked])
                    return
                if trouble is None or not trouble.transient or self._closing.is_set():
                    self._refuse(group, trouble, error)
                    return
                if not self.problem:
                    self._report("the store cannot be written to; trying again", problem=str(trouble))
                self.problem = str(trouble)
                self._expire(group, trouble, pause)
                self._closing.wait(pause)
                pause = min(pause * 2, self._settings.retry_max_seconds)
            else:
                if self.problem:
                    self.problem = ""
                    self._report("the store can be written to again")
                self._committed(group, results, changes)
                return

    def _refuse(self, group: list[_Asked], trouble: StoreTrouble | None, error: Exception) -> None:
        if trouble is None and not isinstance(error, StoreError):
            self._report("an operation of the store failed", error=type(error).__name__)
            trouble = StoreTrouble(f"internal error: {type(error).__name__}")  # the driver's message may quote values
        self._answer(group, [trouble or error] * len(group))

    def _still_wanted(self, group: list[_Asked]) -> list[_Asked]:
        return [asked for asked in group if not asked.future.done()]

    def _expire(self, group: list[_Asked], trouble: StoreTrouble, pause: float) -> None:
        late = [asked for asked in group if asked.deadline <= time.monotonic() + pause]
        self._answer(late, [trouble] * len(late))
        group[:] = [asked for asked in group if asked not in late]

    def _commit(self, group: Sequence[_Asked]) -> tuple[list[Any], list[Change]]:
        connection = self._connection
        if connection is None:
            connection = self._database.engine.connect().execution_options(**{WRITES: True})
            self._connection = connection
        with connection.begin():
            self._database.dialect.take_locks(connection, [key for asked in group for key in asked.locks()])
            work = Work(connection, self._clock(), self._settings.max_record_bytes)
            results = self._perform(work, group)
            changes = work.number_changes()
            if changes:
                self._database.dialect.announce(connection, changes[-1].seq)
        return results, changes

    def _perform(self, work: Work, group: Sequence[_Asked]) -> list[Any]:
        """Do the operations, those of one kind together: nobody waits for one before asking another."""
        results: list[Any] = [None] * len(group)
        by_kind: dict[str, list[int]] = {}
        found = kept(work, [asked.once for asked in group if asked.once])
        for at, asked in enumerate(group):
            if asked.once and (before := found.get((asked.once.scope, asked.once.key))):
                results[at] = repeat(asked.kind, asked.once, before)
            else:
                by_kind.setdefault(asked.kind.name, []).append(at)
        to_keep: list[tuple[Once, str, Any]] = []
        for places in by_kind.values():
            kind = group[places[0]].kind
            for at, result in zip(places, kind.run(work, [group[at].payload for at in places]), strict=True):
                results[at] = result
                if once := group[at].once:
                    to_keep.append((once, kind.name, result))
        keep(work, to_keep, self._settings.max_record_bytes)
        return results

    def _committed(self, group: list[_Asked], results: list[Any], changes: list[Change]) -> None:
        if changes:
            try:
                self._on_commit(changes)
            except Exception as error:  # noqa: BLE001 - it is committed: those who wait must not be told otherwise
                self._report("telling of a commit failed", error=type(error).__name__)
        self._answer(group, results)

    def _answer(self, group: Sequence[_Asked], results: Sequence[Any]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        for asked, result in zip(group, results, strict=True):
            loops.setdefault(asked.future.get_loop(), []).append((asked.future, result))
        for loop, pairs in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody awaits any more
                loop.call_soon_threadsafe(_settle, pairs)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()


def _settle(pairs: Sequence[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, result in pairs:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
