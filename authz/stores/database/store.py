"""The shared state as the rest of the program sees it: every method awaits, and what it answers is durable.

Every method raises a `StoreRefusal` where the answer is no, and a `StoreTrouble` where the database could not do it;
then deny what depends on it (I2). Repeating an operation with the same ids is always safe.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from authz.stores.database import listing, schema
from authz.stores.database.approval_operations import ApprovalOperations
from authz.stores.database.changes import Changes, read_changes
from authz.stores.database.completing import COMPLETE, Complete
from authz.stores.database.connect import connect, prepare
from authz.stores.database.dialect import Database
from authz.stores.database.errors import NotFoundError, StoreError, UnavailableError
from authz.stores.database.feed import Feed
from authz.stores.database.issuing import ISSUE, Issue
from authz.stores.database.listing import GrantFilter, Listed, Page, RevocationFilter, TaskFilter
from authz.stores.database.reader import Reader
from authz.stores.database.records import (
    BreakGlass,
    Change,
    GrantRecord,
    Once,
    PolicyRevision,
    Replica,
    Revocation,
    SigningKey,
    Task,
    View,
)
from authz.stores.database.retention import COMPACT, Compact, Counts
from authz.stores.database.revoking import REVOKE, UNDO, Revoke, Undo, task_concerned
from authz.stores.database.seeing import SeenIdentities
from authz.stores.database.settings import StoreSettings
from authz.stores.database.spent import SpentStore
from authz.stores.database.switches import (
    ADD_KEY,
    APPLY_POLICY,
    END_BREAK_GLASS,
    REPORT,
    RETIRE_KEY,
    START_BREAK_GLASS,
    ApplyPolicy,
    EndBreakGlass,
    RetireKey,
    break_glass_in_force,
    policy_in_force,
)
from authz.stores.database.together import Together
from authz.stores.database.using import USE, Use
from authz.stores.database.view import Begin, read_view
from authz.stores.database.waiting import WaitingChanges
from authz.stores.database.work import Kind
from authz.stores.database.writer import GroupWriter, OnCommit
from authz.version import VERSION

P = TypeVar("P")
R = TypeVar("R")
_FIRST = Page()


def _ignore(*_: object, **__: object) -> None:
    """Nobody wants to know."""


class Store(ApprovalOperations):
    """The shared state. Belongs to one event loop; open it with `async with Store.opened(...)`."""

    def __init__(
        self,
        database: Database,
        settings: StoreSettings,
        *,
        clock: Callable[[], float] = time.time,
        on_commit: OnCommit = _ignore,
        report: Callable[..., None] = _ignore,
    ) -> None:
        """`on_commit` is called in another thread with the changes of each commit, before those who asked for them are
        answered: it is where a shared epoch moves. `report` gets a sentence and fields, as a logger does.
        """
        self.replica_id = secrets.token_hex(8)
        self.policy_version = ""
        """What this replica says of itself in `replicas`: set it when policies change."""
        self.applied_seq: int | None = None
        """Likewise: the last change that its view has taken up; None: whatever has arrived."""
        self._database = database
        self._settings = settings
        self._clock = clock
        self._started_at = clock()
        self._reader = Reader(database, settings)
        self._tasks = Together(self._reader, schema.tasks, Task)
        self._feed = Feed(database, settings, self._reader, report)
        self._on_commit = on_commit
        self._writer = GroupWriter(database, settings, clock, self._committed, report)
        self._report = report
        self.spending = SpentStore(self._do, self._reader.read, clock)
        """What was spent, and what is known of tasks."""
        self._keeping: list[asyncio.Task[None]] = []
        self.seen = SeenIdentities(self._do, self._reader.read)
        self.waiting = WaitingChanges(self._do, self._reader.read, settings.max_policy_bytes)

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls,
        settings: StoreSettings,
        base: Path,
        *,
        clock: Callable[[], float] = time.time,
        on_commit: OnCommit = _ignore,
        report: Callable[..., None] = _ignore,
    ) -> AsyncIterator["Store"]:
        """Open the store that the settings name; `base`: where relative paths start.

        Raises:
            ConfigError: the settings cannot be used. StoreTrouble: the database cannot.
        """
        database = await asyncio.to_thread(connect, settings, base)
        store = cls(database, settings, clock=clock, on_commit=on_commit, report=report)
        try:
            await store.start()
            yield store
        finally:
            await store.close()

    async def start(self) -> None:
        """Bring the schema up to date, and begin to write, to listen and to keep house.

        Raises:
            StoreTrouble: the database is out of reach, damaged, or of a newer program.
        """
        stopping = threading.Event()
        try:
            await asyncio.to_thread(prepare, self._database, self._settings, self._clock, stopping)
        finally:
            stopping.set()
        await self._feed.start()
        self._writer.start()
        self._keeping = [asyncio.create_task(self._report_itself()), asyncio.create_task(self._delete_old())]

    async def close(self) -> None:
        """Do what is asked already, and let go of the database."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await asyncio.to_thread(self._writer.close)
        await self._feed.close()
        await asyncio.to_thread(self._reader.close)
        await asyncio.to_thread(self._database.close)

    # How it is

    @property
    def store_id(self) -> str:
        """Which store this is: another one after a restore."""
        return self._feed.store_id

    @property
    def head(self) -> int:
        """The number of the last change that has arrived."""
        return self._feed.head

    @property
    def staleness_seconds(self) -> float:
        """How long ago it was last certain that nothing had changed that has not arrived here."""
        return self._feed.staleness_seconds

    @property
    def fresh(self) -> bool:
        """Whether that is within `max_staleness_seconds`; else deny what depends on the shared state (I2)."""
        return self.staleness_seconds <= self._settings.max_staleness_seconds

    @property
    def problem(self) -> str:
        """Why contact is lost, for operators; empty: it is not."""
        return self._feed.problem

    @property
    def backlog(self) -> int:
        """How many operations wait."""
        return self._writer.backlog

    def wake(self) -> None:
        """Look for changes at once, because another process says that there are some; from any thread."""
        self._feed.wake()

    # Grants and tasks

    async def issue(self, grant: GrantRecord, task: Task | None = None, once: Once | None = None) -> GrantRecord:
        """Record a grant, and open its task unless it is there; answer it as it stands."""
        return await self._do(ISSUE, Issue(grant, task), once)

    async def complete(self, task_id: str, by: str, once: Once | None = None) -> Task:
        """End a task with all its grants; one that has ended stays as it is."""
        return await self._do(COMPLETE, Complete(task_id, by), once)

    async def consume(self, grant_id: str, decision_id: str) -> bool:
        """Answer whether this decision may rest on the grant: of a grant for N uses exactly N may, ever.

        Raises:
            NotFoundError: no such grant. EndedError: it is over.
        """
        return await self._do(USE, Use(grant_id, decision_id), None)

    async def grant(self, grant_id: str) -> GrantRecord:
        """Answer a grant, or raise NotFoundError."""
        return await self._read(lambda connection: listing.one(connection, GrantRecord, schema.grants, grant_id))

    async def task(self, task_id: str) -> Task:
        """Answer a task, or raise NotFoundError."""
        return await self._tasks.get(task_id)

    async def grants(self, wanted: GrantFilter | None = None, page: Page = _FIRST) -> Listed[GrantRecord]:
        """Answer a page of grants, the last issued first."""
        return await self._read(lambda on: listing.list_grants(on, wanted or GrantFilter(), page))

    async def tasks(self, wanted: TaskFilter | None = None, page: Page = _FIRST) -> Listed[Task]:
        """Answer a page of tasks, the last opened first."""
        return await self._read(lambda on: listing.list_tasks(on, wanted or TaskFilter(), page))

    # Revocations and break-glass

    async def revoke(self, revocation: Revocation, once: Once | None = None) -> Revocation:
        """Record a revocation, with what it ends: a grant with those derived from it, or a task with all its grants."""
        about = (revocation.id, revocation.kind, revocation.value)
        task_id = await self._read(lambda connection: task_concerned(connection, *about))
        return await self._do(REVOKE, Revoke(revocation, task_id), once)

    async def undo(self, revocation_id: str, by: str, reason: str, once: Once | None = None) -> Revocation:
        """Take a revocation back; what another one covers stays revoked."""
        task_id = await self._read(lambda connection: task_concerned(connection, revocation_id, "", ""))
        return await self._do(UNDO, Undo(revocation_id, by, reason, task_id), once)

    async def revocation(self, revocation_id: str) -> Revocation:
        """Answer a revocation, or raise NotFoundError."""
        return await self._read(lambda on: listing.one(on, Revocation, schema.revocations, revocation_id))

    async def revocations(self, wanted: RevocationFilter | None = None, page: Page = _FIRST) -> Listed[Revocation]:
        """Answer a page of revocations, the last made first."""
        return await self._read(lambda on: listing.list_revocations(on, wanted or RevocationFilter(), page))

    async def start_break_glass(self, switch: BreakGlass, once: Once | None = None) -> BreakGlass:
        """Turn the emergency switch on."""
        return await self._do(START_BREAK_GLASS, switch, once)

    async def end_break_glass(self, switch_id: str, by: str, once: Once | None = None) -> BreakGlass:
        """Turn it off."""
        return await self._do(END_BREAK_GLASS, EndBreakGlass(switch_id, by), once)

    async def break_glass(self) -> BreakGlass | None:
        """Answer the switch that is on."""
        return await self._read(lambda connection: break_glass_in_force(connection, self._clock()))

    async def break_glass_history(self, page: Page = _FIRST) -> Listed[BreakGlass]:
        """Answer each time that it was used, the last first."""
        return await self._read(lambda connection: listing.list_break_glass(connection, page))

    # Signing keys

    async def add_key(self, key: SigningKey) -> SigningKey:
        """Publish the public half of a key."""
        return await self._do(ADD_KEY, key, None)

    async def retire_key(self, kid: str, at: float) -> SigningKey:
        """Have nothing signed with a key from a moment on."""
        return await self._do(RETIRE_KEY, RetireKey(kid, at), None)

    async def keys(self) -> Sequence[SigningKey]:
        """Answer the keys that are not over, the oldest first."""
        return await self._read(lambda connection: listing.list_keys(connection, self._clock()))

    # Policies

    async def apply_policy(
        self, revision: PolicyRevision, *, expected: int | None = None, once: Once | None = None
    ) -> PolicyRevision:
        """Put policies in force and answer the revision with its number. `expected`: what must be in force now."""
        asked = ApplyPolicy(revision, -1 if expected is None else expected, self._settings.max_policy_bytes)
        return await self._do(APPLY_POLICY, asked, once)

    async def policy(self, number: int | None = None) -> PolicyRevision:
        """Answer a revision; None: the one in force.

        Raises:
            NotFoundError: there is none.
        """
        if number is not None:
            table = schema.policy_revisions
            return await self._read(lambda connection: listing.one(connection, PolicyRevision, table, number))
        found = await self._read(policy_in_force)
        if found is None:
            raise NotFoundError("no policies were applied yet")
        return found

    async def policies(self, page: Page = _FIRST) -> Listed[PolicyRevision]:
        """Answer a page of revisions, the newest first."""
        return await self._read(lambda connection: listing.list_policies(connection, page))

    # Following

    async def view(self, begin: Begin | None = None) -> View:
        """Answer all that a replica must know to refuse what is over, at one moment.

        `begin`: what it answers is given the records one by one in another thread, instead of all of them in the view:
        a million need not be in memory at once. After a lost connection it is called again: what was read before may
        be undone by now.
        """
        return await self._reader.read(
            lambda connection: read_view(connection, self._clock(), begin), "load_timeout_seconds"
        )

    async def changes_since(self, seq: int, limit: int = 1_000) -> Changes:
        """Answer the changes after a number, as far as they are still there."""
        return await self._read(lambda connection: read_changes(connection, seq, limit))

    def watch(self, after: int, store_id: str = "") -> AsyncIterator[tuple[Change, ...]]:
        """Yield every change after a number, in order and without gaps, as it arrives; end when the store is closed.

        `store_id`: of the view that the number is from. On ChangesLostError, read the view again.
        """
        return self._feed.watch(after, store_id)

    async def replicas(self) -> Sequence[Replica]:
        """Answer every replica that has reported itself lately."""
        return await self._read(listing.list_replicas)

    async def compact(self) -> Counts:
        """Delete what is long over, a bounded number of rows; answer how many of each table."""
        return await self._do(COMPACT, Compact(self._settings.retention), None)

    async def _do(self, kind: Kind[P, R], payload: P, once: Once | None) -> R:
        timeout = self._settings.operation_timeout_seconds
        try:
            async with asyncio.timeout(timeout):
                return await self._writer.submit(kind, payload, once)
        except TimeoutError:
            raise UnavailableError(
                f"{self._writer.problem or self._database.name}: no answer within store.operation_timeout_seconds"
                f" ({timeout}); it may have been done: repeat it with the same ids"
            ) from None

    async def _read(self, query: Callable[[Connection], R]) -> R:
        return await self._reader.read(query)

    def _committed(self, changes: Sequence[Change]) -> None:
        try:
            self._on_commit(changes)
        finally:
            self._feed.wake()

    async def _report_itself(self) -> None:
        host = f"{socket.gethostname()}/{os.getpid()}"
        while True:
            with contextlib.suppress(StoreError):  # the feed tells what is wrong with the store
                await self._do(REPORT, self._itself(host), None)
            await asyncio.sleep(self._settings.heartbeat_seconds * 5)

    def _itself(self, host: str) -> Replica:
        return Replica(
            id=self.replica_id,
            host=host,
            version=VERSION,
            started_at=self._started_at,
            last_seen=self._clock(),
            applied_seq=self.head if self.applied_seq is None else self.applied_seq,
            policy_version=self.policy_version,
            staleness_seconds=self.staleness_seconds,
        )

    async def _delete_old(self) -> None:
        retention = self._settings.retention
        pause = retention.interval_seconds
        while True:
            await asyncio.sleep(min(pause, retention.interval_seconds))
            with contextlib.suppress(StoreError):
                counts = await self.compact()
                pause = 1.0 if max(counts.values()) >= retention.rows_per_run else retention.interval_seconds
