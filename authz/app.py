"""The composition root: the one place where adapters meet, and the life of a serving process."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from authz.audit.shared_sink import ThreadSharedSink
from authz.audit.sink import Sink, open_sink
from authz.audit.trail import AuditTrail
from authz.composition import Composition
from authz.config.settings import Config
from authz.control.feed import Feed
from authz.control.records import Told
from authz.data_plane_parts import DataPlaneParts
from authz.decision.check import Checker
from authz.decision.probe import DoctorPoint
from authz.decision.snapshot import Snapshot
from authz.decision.spending import Spending
from authz.errors import AuthzError
from authz.keys import CurrentKeys, Keys, read_keys
from authz.live import LivePolicy, Trimming
from authz.loading import polled
from authz.model import Outcome
from authz.stores.collector import keep_passes_short
from authz.stores.holder import Reloader, Source
from authz.stores.key_files import KeyStore
from authz.stores.polling import Poller
from authz.telemetry.logs import configure_logging, resolve_format
from authz.telemetry.metrics import CONTENT_TYPE, Metrics
from authz.transport.admin import AdminApp, AdminServer
from authz.transport.h2corn_server import LogFormat
from authz.transport.pdp import DecisionPoint
from authz.transport.readiness import Readiness
from authz.transport.server import LISTENERS, DataPlane
from authz.turned_on import (
    TakesOrders,
    approvals_of,
    exchanging,
    shadowing,
    shared_budgets,
    shared_by_host,
    spend_of,
    spending_of,
    standing_of,
    taking_orders,
    watch_policy_age,
)
from authz.version import VERSION
from authz.worker.context import Served, Worker

if TYPE_CHECKING:
    from authz.shared_state import SharedState

AUDIT = "audit"
"""The readiness condition that holds while records are kept."""
_AUDIT_LOOK_SECONDS = 1.0


def run(config: Config, base: Path) -> None:
    """Serve in this process alone until told to stop; `base`: where relative paths in the configuration start.

    Raises:
        AuthzError: it cannot start, and why.
    """
    configure_logging(config.log)
    run_loop(config, serve(config, base, Worker.alone()))


def run_loop(config: Config, main: Coroutine[Any, Any, None]) -> None:
    """Run `main` in the event loop that suits the transport."""
    keep_passes_short()
    # grpc.aio is made for asyncio's own loop; h2corn gains from uvloop.
    run = uvloop.run if config.server.transport == "h2corn" else asyncio.run
    run(main)


async def serve(config: Config, base: Path, worker: Worker) -> None:
    """Start everything, wait for SIGTERM or SIGINT, and stop in the reverse order.

    Raises:
        AuthzError: it cannot start, or a listener ended by itself.
    """
    worker.join()
    log = structlog.get_logger("authz.app")
    metrics = Metrics(VERSION)
    composition = Composition(config, base, used=worker.used_proofs())
    keys = await _first_keys(composition)
    source = Source(composition.build_to_serve, composition.watched, config.reload)
    live = LivePolicy(composition, metrics, worker.reloaded)
    live.start(source.build())
    holder = live.holder
    readiness = Readiness((LISTENERS, AUDIT))
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in worker.signals:
        loop.add_signal_handler(number, stopping.set)
    sink = ThreadSharedSink(
        worker.sink(config.audit) or open_sink(config.audit.destination, fsync=config.audit.fsync == "batch")
    )
    async with contextlib.AsyncExitStack() as stack:
        trail = await stack.enter_async_context(_trail(config, metrics, readiness, sink))
        shadow = await stack.enter_async_context(shadowing(config, base, keys.follow, trail, sink, metrics))
        shared = await stack.enter_async_context(_shared(composition, base, worker, readiness, metrics))
        decisions = worker.exchange(Feed[Outcome](config.control.watch.queue_events))
        parts = composition.parts(
            holder,
            Told(shadow or trail, decisions),
            metrics,
            epoch=worker.counter,
            standing=standing_of(shared, composition),
            spend=spend_of(shared),
            spending=await stack.enter_async_context(_spending(composition, shared, metrics)),
            approvals=approvals_of(shared, lambda: holder.current.engine),
        )
        checker = Checker(parts)
        metrics.watch_cache(parts.cache)
        pdp: DecisionPoint = checker
        if config.doctor.enabled:
            pdp = DoctorPoint(config.doctor, parts, composition.codec, checker)
        log_format: LogFormat = "json" if resolve_format(config.log, sys.stderr) == "json" else "text"
        plane = DataPlane(config.server, pdp, readiness, metrics, log_format=log_format, handed=worker.handed)
        metrics.watch_inflight(lambda: plane.admission.inflight)
        await stack.enter_async_context(_admin(config, readiness, metrics, log_format))
        reloader = await stack.enter_async_context(_reloader(composition, live, source, metrics))
        await stack.enter_async_context(_keep_current(keys, composition, live))
        poller = await stack.enter_async_context(_polled(composition, reloader, metrics))
        ordered = partial(DataPlaneParts, composition, holder, reloader, trail, decisions, refresh_keys=keys.reread)
        orders = await stack.enter_async_context(taking_orders(base, shared, ordered))
        reread = partial(_reread, keys, trail, plane)
        reload = partial(_reload, keys, reloader, poller)
        served = Served(
            readiness=readiness,
            plane=plane,
            metrics=metrics.render,
            calls=metrics.calls,
            version=lambda: holder.current.version,
            poll=partial(_lead, reloader, orders),
            reload=reload,
            reread=reread,
            stopping=stopping,
        )
        await stack.enter_async_context(worker.serving(served))
        await orders.started()
        await plane.start()
        stack.push_async_callback(lambda: plane.stop(at_once=worker.orphaned))
        if worker.is_alone:  # else the supervisor says when
            loop.add_signal_handler(signal.SIGHUP, partial(_reread_all, reload, reread))
        log.info(
            "serving", version=VERSION, policy_version=holder.current.version, rules=holder.current.engine.rule_count
        )
        await _first_of(stopping, plane.failed)
        log.info("stopping", drain_delay_seconds=config.server.drain_delay_seconds)
    log.info("stopped")
    if plane.failed.is_set():
        raise AuthzError("the data plane ended by itself; the log says why")


@contextlib.asynccontextmanager
async def _shared(
    composition: Composition, base: Path, worker: Worker, readiness: Readiness, metrics: Metrics
) -> AsyncIterator["SharedState | None"]:
    """Open the state that replicas share, where anything rests on it, and tell there what identities are seen with."""
    metrics.watch_sharing(composition.sharing)
    async with (
        shared_by_host(composition.config, base, worker, readiness) as shared,
        exchanging(composition, shared),
    ):
        watching = asyncio.create_task(watch_policy_age(composition, readiness, standing_of(shared, composition)))
        try:
            yield shared
        finally:
            watching.cancel()


def _lead(reloader: Reloader[Snapshot], orders: TakesOrders, leads: bool) -> None:  # noqa: FBT001 - a callback's
    """Do, or leave to another process, what one process of a host does for all."""
    reloader.watch(leads)
    orders.lead(leads)


@contextlib.asynccontextmanager
async def _spending(
    composition: Composition, shared: "SharedState | None", metrics: Metrics
) -> AsyncIterator[Spending]:
    """Keep the accounts of this process, and share them with all others."""
    metrics.watch_ledger(composition.ledger)
    async with shared_budgets(composition.config, shared, composition.ledger) as sharing:
        yield spending_of(composition.config, composition.ledger, sharing)


@contextlib.asynccontextmanager
async def _admin(config: Config, readiness: Readiness, metrics: Metrics, log_format: LogFormat) -> AsyncIterator[None]:
    """Serve probes and metrics, where configuration says so."""
    if not config.admin.enabled:
        yield
        return
    admin = AdminServer(config.admin, AdminApp(readiness, metrics.render, CONTENT_TYPE), log_format=log_format)
    await admin.start()
    structlog.get_logger("authz.app").info("admin listening", address=admin.address)
    try:
        yield
    finally:
        await admin.stop()


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


@contextlib.asynccontextmanager
async def _trail(config: Config, metrics: Metrics, readiness: Readiness, sink: Sink) -> AsyncIterator[AuditTrail]:
    """Keep the audit trail, and tell by readiness whether it is kept."""
    log = structlog.get_logger("authz.audit")
    loop = asyncio.get_running_loop()

    def count(kind: str, records: int) -> None:
        # Called from the writer's thread too, and the metrics are for the loop's alone.
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody looks at the metrics any more
            loop.call_soon_threadsafe(metrics.audited, kind, records)

    trail = AuditTrail(config.audit, count=count, report=log.warning, sink=sink)
    trail.start()
    metrics.watch_audit_queue(lambda: trail.backlog)
    watching = asyncio.create_task(_watch_audit(trail, readiness))
    try:
        yield trail
    finally:
        watching.cancel()
        lost = await asyncio.to_thread(trail.close)
        if lost:
            log.error("records could not be written before the end", records=lost)


async def _watch_audit(trail: AuditTrail, readiness: Readiness) -> None:
    while True:
        if trail.healthy:
            readiness.hold(AUDIT)
        else:
            readiness.fail(AUDIT, "audit records cannot be kept")
        await asyncio.sleep(_AUDIT_LOOK_SECONDS)


@contextlib.asynccontextmanager
async def _reloader(
    composition: Composition, live: LivePolicy, source: Source[Snapshot], metrics: Metrics
) -> AsyncIterator[Reloader[Snapshot]]:
    """Watch the files in the background."""
    config = composition.config
    log = structlog.get_logger("authz.stores")
    trimming = Trimming(live)
    bounded = config.freshness.max_policy_age_seconds or config.freshness.classes
    elsewhere = polled(composition.policies.source)
    if elsewhere is not None and not elsewhere.reached:
        composition.policy_age.unknown()

    def reloaded(_: Snapshot) -> None:
        if elsewhere is None:
            composition.policy_age.looked()
        composition.policy_age.loaded()
        metrics.reloaded("snapshot", succeeded=True)
        snapshot = live.installed()
        trimming.begin()
        log.info("new files are in force", policy_version=snapshot.version, rules=snapshot.engine.rule_count)

    def refused(problem: str) -> None:
        composition.policy_age.failed()
        metrics.reloaded("snapshot", succeeded=False)
        log.error("changed files are refused, the old ones stay in force", problem=problem)

    reloader = Reloader(live.holder, source, config.reload, reloaded, refused)
    if elsewhere is None and bounded:
        reloader.on_same = composition.policy_age.looked
    running = asyncio.create_task(reloader.run())
    try:
        yield reloader
    finally:
        running.cancel()


class _KeyWatch:
    """The key store, and what happens when its keys change."""

    def __init__(self, composition: Composition) -> None:
        self.failures: dict[str, str] = {}
        self.on_change: Callable[[], object] = lambda: None
        self.also_tell: Callable[[CurrentKeys], None] = lambda _: None
        self._composition = composition
        self._log = structlog.get_logger("authz.keys")
        self.store = KeyStore[Keys](composition.key_sources, composition.config.keys, self._changed, self._failed)
        self.reread = self.store.refresh_now

    def follow(self, tell: Callable[[CurrentKeys], None]) -> None:
        """Have somebody else told the keys, too: now, and when they change."""
        tell(self.store.current)
        self.also_tell = tell

    def _changed(self, keys: CurrentKeys) -> None:
        self._composition.keys = keys
        self.on_change()
        self.also_tell(keys)

    def _failed(self, name: str, problem: str) -> None:
        self.failures[name] = problem
        self._log.error("keys cannot be read; the last good ones stay in force for a time", keys=name, problem=problem)


async def _first_keys(composition: Composition) -> _KeyWatch:
    """Read all keys before anything is decided."""
    keys = _KeyWatch(composition)
    await read_keys(keys.store, composition.key_sources, keys.failures)
    keys.failures.clear()
    return keys


@contextlib.asynccontextmanager
async def _keep_current(keys: _KeyWatch, composition: Composition, live: LivePolicy) -> AsyncIterator[None]:
    """Read the keys now and then; new ones are in force at once, whatever becomes of policy files meanwhile."""
    keys.on_change = live.renew
    running = asyncio.create_task(keys.store.run()) if composition.key_sources else None
    try:
        yield
    finally:
        if running is not None:
            running.cancel()


@contextlib.asynccontextmanager
async def _polled(
    composition: Composition, reloader: Reloader[Snapshot], metrics: Metrics
) -> AsyncIterator[Poller | None]:
    """Ask the source of policies now and then, where it is one that must be asked."""
    source = polled(composition.policies.source)
    if source is None:
        yield None
        return
    log = structlog.get_logger("authz.policy")

    def failed(problem: str) -> None:
        metrics.reloaded("policy", succeeded=False)
        log.error(
            "the source of policies gives none that can be used; the last good one stays in force", problem=problem
        )

    def changed() -> None:
        composition.policy_age.changed()
        reloader.reload_now()

    poller = Poller(source, changed, failed, composition.policy_age.looked)
    running = asyncio.create_task(poller.run())
    try:
        yield poller
    finally:
        running.cancel()


def _reload(keys: _KeyWatch, reloader: Reloader[Snapshot], poller: Poller | None) -> None:
    """Bring the snapshot to what the policy's source, the other files and the keys are now."""
    keys.store.refresh_now()
    reloader.reload_now()
    if poller is not None:
        poller.look_now()


def _reread_all(reload: Callable[[], None], reread: Callable[[], None]) -> None:
    """SIGHUP: read everything again."""
    reload()
    reread()


def _reread(keys: _KeyWatch, trail: AuditTrail, plane: DataPlane) -> None:
    """SIGHUP: read again what is not in the snapshot's files."""
    keys.store.refresh_now()
    trail.reopen()
    task = asyncio.ensure_future(plane.renew_certificates())
    task.add_done_callback(lambda done: done.exception())
