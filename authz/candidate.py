"""The candidate policy of shadow mode: loaded and kept current like the live one, and never in its way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import structlog
from msgspec.structs import replace

from authz.audit.sink import Sink
from authz.audit.trail import AuditTrail
from authz.composition import Composition
from authz.config.settings import Config
from authz.decision.snapshot import Snapshot
from authz.errors import AuthzError, ConfigError
from authz.keys import CurrentKeys
from authz.loading import polled
from authz.shadow.trail import ShadowTrail
from authz.stores.daemon_thread import in_daemon_thread
from authz.stores.history import HistorySettings
from authz.stores.holder import Reloader, SnapshotHolder, Source
from authz.stores.polling import Poller
from authz.stores.quiet import Pacer
from authz.telemetry.metrics import Metrics

_NONE_KEPT = HistorySettings(keep=0, max_rules=0)


class CandidatePolicy:
    """Holds the candidate; None until it loads. `run` it as a task of the event loop."""

    def __init__(self, config: Config, base: Path, metrics: Metrics) -> None:
        """`base`: where relative paths start.

        Raises:
            ConfigError: settings contradict themselves. A policy that does not load is only reported.
        """
        self._metrics = metrics
        self._log = structlog.get_logger("authz.shadow")
        self._composition = candidate_composition(config, base)
        self._composition.policies.pause = Pacer().step_aside
        self._source: Source[Snapshot | None] = Source(self._build, self._watched, config.reload)
        self._holder: SnapshotHolder[Snapshot | None] = SnapshotHolder(None)
        self._reloader = Reloader(self._holder, self._source, config.reload, self._loaded, self._failed)

    @property
    def current(self) -> Snapshot | None:
        """The candidate; None while it does not load."""
        return self._holder.current

    def use_keys(self, keys: CurrentKeys) -> None:
        """Resolve callers with these keys, as the live policy does."""
        self._composition.keys = keys
        if self._holder.current is not None:
            self._holder.current = self._composition.assemble()

    async def run(self) -> None:
        """Load it, and load it again when it changes, until cancelled."""
        self._reloader.reload_now()
        source = polled(self._composition.policies.source)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reloader.run())
            if source is not None:
                group.create_task(Poller(source, self._reloader.reload_now, self._failed).run())

    def _build(self) -> Snapshot:
        return self._composition.build_snapshot()  # what only looks on remembers no revision

    def _watched(self) -> Iterable[Path]:
        return self._composition.watched()

    def _loaded(self, _: Snapshot | None) -> None:
        self._composition.commit()
        snapshot = self._holder.current = self._composition.assemble()
        self._metrics.reloaded("shadow", succeeded=True)
        self._log.info("a candidate decides beside the live policy", policy_version=snapshot.version)
        trimming = in_daemon_thread(lambda: self._composition.policies.trim([]))
        trimming.add_done_callback(_ended)

    def _failed(self, problem: str) -> None:
        self._metrics.reloaded("shadow", succeeded=False)
        self._log.error("the candidate does not load", problem=problem)


def candidate_composition(config: Config, base: Path) -> Composition:
    """Answer what builds the candidate: everything as in the live one, but for the policy.

    Raises:
        ConfigError: there is none, or its settings contradict themselves.
    """
    if config.shadow is None:
        raise ConfigError("there is no candidate: shadow is not set")
    return Composition(replace(config, policy=replace(config.shadow.policy, history=_NONE_KEPT)), base)


@contextlib.asynccontextmanager
async def shadowing(  # noqa: PLR0913, PLR0917 - what it brings together
    config: Config,
    base: Path,
    follow_keys: Callable[[Callable[[CurrentKeys], None]], None],
    trail: AuditTrail,
    sink: Sink,
    metrics: Metrics,
) -> AsyncIterator[ShadowTrail]:
    """Have the candidate decide beside the live policy; `follow_keys`: has it told the keys, now and when they change.

    Raises:
        ConfigError: there is no candidate, or its settings contradict themselves.
    """
    if config.shadow is None:
        raise ConfigError("there is no candidate: shadow is not set")
    candidate = CandidatePolicy(config, base, metrics)
    follow_keys(candidate.use_keys)
    report = structlog.get_logger("authz.shadow").warning
    shadow = ShadowTrail(trail, candidate, sink, config.shadow, config.audit, report=report)
    metrics.watch_shadow(lambda: shadow.counts)
    running = asyncio.create_task(candidate.run())
    shadow.start()
    try:
        yield shadow
    finally:
        running.cancel()
        await asyncio.to_thread(shadow.close)


def _ended(done: "asyncio.Future[None]") -> None:
    """Freeing what is not needed any more may fail; then it is freed later, all at once."""
    with contextlib.suppress(AuthzError, asyncio.CancelledError):
        done.exception()
