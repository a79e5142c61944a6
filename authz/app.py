"""The composition root: the one place where adapters meet, and the life of a serving process."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
import uvloop

from authz.audit.trail import AuditTrail
from authz.composition import Composition
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.decision.probe import DoctorPoint
from authz.decision.snapshot import Snapshot
from authz.errors import AuthzError
from authz.keys import CurrentKeys, Keys, read_keys
from authz.stores.holder import Reloader, SnapshotHolder, Source
from authz.stores.key_files import KeyStore
from authz.telemetry.logs import configure_logging, resolve_format
from authz.telemetry.metrics import CONTENT_TYPE, Metrics
from authz.transport.admin import AdminApp, AdminServer
from authz.transport.h2corn_server import LogFormat
from authz.transport.pdp import DecisionPoint
from authz.transport.readiness import Readiness
from authz.transport.server import LISTENERS, DataPlane
from authz.version import VERSION

AUDIT = "audit"
"""The readiness condition that holds while records are kept."""
_AUDIT_LOOK_SECONDS = 1.0


def run(config: Config, base: Path) -> None:
    """Serve until told to stop; `base`: where relative paths in the configuration start.

    Raises:
        AuthzError: it cannot start, and why.
    """
    configure_logging(config.log)
    # grpc.aio is made for asyncio's own loop; h2corn gains from uvloop.
    if config.server.transport == "h2corn":
        uvloop.run(serve(config, base))
    else:
        asyncio.run(serve(config, base))


async def serve(config: Config, base: Path) -> None:
    """Start everything, wait for SIGTERM or SIGINT, and stop in the reverse order.

    Raises:
        AuthzError: it cannot start, or a listener ended by itself.
    """
    log = structlog.get_logger("authz.app")
    metrics = Metrics(VERSION)
    composition = Composition(config, base)
    keys = await _first_keys(composition)
    source = Source(composition.build_snapshot, composition.watched, config.reload)
    holder = SnapshotHolder(source.build())
    readiness = Readiness((LISTENERS, AUDIT))
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        trail = await stack.enter_async_context(_trail(config, metrics, readiness))
        parts = composition.parts(holder, trail, metrics)
        checker = Checker(parts)
        pdp: DecisionPoint = checker
        if config.doctor.enabled:
            pdp = DoctorPoint(config.doctor, parts, composition.codec, checker)
        log_format: LogFormat = "json" if resolve_format(config.log, sys.stderr) == "json" else "text"
        plane = DataPlane(config.server, pdp, readiness, metrics, log_format=log_format)
        metrics.watch_inflight(lambda: plane.admission.inflight)
        if config.admin.enabled:
            app = AdminApp(readiness, metrics.render, CONTENT_TYPE)
            admin = AdminServer(config.admin, app, log_format=log_format)
            await admin.start()
            stack.push_async_callback(admin.stop)
            log.info("admin listening", address=admin.address)
        reloader = await stack.enter_async_context(_reloader(config, holder, source, metrics))
        await stack.enter_async_context(_keep_current(keys, composition, reloader))
        await plane.start()
        stack.push_async_callback(plane.stop)
        loop.add_signal_handler(signal.SIGHUP, _reread, reloader, keys, trail, plane)
        _announce(holder.current, metrics)
        log.info(
            "serving", version=VERSION, policy_version=holder.current.version, rules=holder.current.engine.rule_count
        )
        await _first_of(stopping, plane.failed)
        log.info("stopping", drain_delay_seconds=config.server.drain_delay_seconds)
    log.info("stopped")
    if plane.failed.is_set():
        raise AuthzError("the data plane ended by itself; the log says why")


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


@contextlib.asynccontextmanager
async def _trail(config: Config, metrics: Metrics, readiness: Readiness) -> AsyncIterator[AuditTrail]:
    """Keep the audit trail, and tell by readiness whether it is kept."""
    log = structlog.get_logger("authz.audit")
    loop = asyncio.get_running_loop()

    def count(kind: str, records: int) -> None:
        # Called from the writer's thread too, and the metrics are for the loop's alone.
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody looks at the metrics any more
            loop.call_soon_threadsafe(metrics.audited, kind, records)

    trail = AuditTrail(config.audit, count=count, report=log.warning)
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
    config: Config, holder: SnapshotHolder[Snapshot], source: Source[Snapshot], metrics: Metrics
) -> AsyncIterator[Reloader[Snapshot]]:
    """Watch the files in the background."""
    log = structlog.get_logger("authz.stores")

    def reloaded(snapshot: Snapshot) -> None:
        metrics.reloaded("snapshot", succeeded=True)
        _announce(snapshot, metrics)
        log.info("new files are in force", policy_version=snapshot.version, rules=snapshot.engine.rule_count)

    def refused(problem: str) -> None:
        metrics.reloaded("snapshot", succeeded=False)
        log.error("changed files are refused, the old ones stay in force", problem=problem)

    reloader = Reloader(holder, source, config.reload, reloaded, refused)
    running = asyncio.create_task(reloader.run())
    try:
        yield reloader
    finally:
        running.cancel()


class _KeyWatch:
    """The key store, and what happens when its keys change."""

    def __init__(self, composition: Composition) -> None:
        self.failures: dict[str, str] = {}
        self.on_change: Callable[[], None] = lambda: None
        self._composition = composition
        self._log = structlog.get_logger("authz.keys")
        self.store = KeyStore[Keys](composition.key_sources, composition.config.keys, self._changed, self._failed)

    def _changed(self, keys: CurrentKeys) -> None:
        self._composition.keys = keys
        self.on_change()

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
async def _keep_current(keys: _KeyWatch, composition: Composition, reloader: Reloader[Snapshot]) -> AsyncIterator[None]:
    """Read the keys now and then, and have a snapshot built of new ones."""
    keys.on_change = reloader.reload_now
    running = asyncio.create_task(keys.store.run()) if composition.key_sources else None
    try:
        yield
    finally:
        if running is not None:
            running.cancel()


def _announce(snapshot: Snapshot, metrics: Metrics) -> None:
    metrics.snapshot(snapshot.version)


def _reread(reloader: Reloader[Snapshot], keys: _KeyWatch, trail: AuditTrail, plane: DataPlane) -> None:
    """SIGHUP: read everything again."""
    reloader.reload_now()
    keys.store.refresh_now()
    trail.reopen()
    task = asyncio.ensure_future(plane.renew_certificates())
    task.add_done_callback(lambda done: done.exception())
