"""What a serving process is among its siblings, and what it does for its supervisor while it serves."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from authz.audit.settings import AuditSettings
from authz.audit.shared import ProcessSharedSink
from authz.audit.sink import Sink, open_sink
from authz.control.feed import Feed
from authz.errors import AuthzError
from authz.identity.replay import NOBODY_ELSE, Claims
from authz.model import Outcome
from authz.stores.epoch import Counter, SharedEpoch
from authz.stores.epoch_watch import Apply, EpochWatch
from authz.stores.used_proofs import UsedProofs
from authz.transport.h2corn_server import NOTHING_HANDED
from authz.transport.listeners import Handed
from authz.transport.readiness import Readiness
from authz.transport.server import DataPlane
from authz.worker.connections import OpenConnections
from authz.worker.decisions import HostDecisions
from authz.worker.messages import (
    Ask,
    Begin,
    Channel,
    Failed,
    Follow,
    Lead,
    MoveOn,
    Reload,
    Reloaded,
    Reread,
    Seen,
    State,
    Stop,
    Told,
    ToWorker,
)

BEAT_SECONDS: Final = 0.025
"""How often a worker says that its event loop turns, and how many connections it has."""
TELL_SECONDS: Final = 1.0
"""How often it tells its metrics unasked: what a worker that is killed has counted since is lost."""
ORPHAN_SECONDS: Final = 10.0
"""How long a worker whose supervisor is gone may take to end, whatever its event loop does."""


@dataclass(frozen=True, slots=True)
class Served:
    """The parts of a serving process that its supervisor has a say in."""

    readiness: Readiness
    plane: DataPlane
    metrics: Callable[[], bytes]
    calls: Callable[[], int]
    """How many calls were answered since the start."""
    version: Callable[[], str]
    """Which policy is in force."""
    poll: Callable[[bool], None]
    """Told whether to watch the policy files."""
    reload: Callable[[], None]
    """Builds a snapshot anew."""
    reread: Callable[[], None]
    """Reads everything else anew: keys, TLS files, the audit file's name."""
    stopping: asyncio.Event


class Worker:
    """One serving process: alone, or one of several."""

    def __init__(self, epoch: SharedEpoch, begin: Begin | None = None, channel: Channel | None = None) -> None:
        """`begin` and `channel`: what a supervisor said; without, this process is alone."""
        self.epoch = epoch
        self.watch = EpochWatch(epoch)
        self.orphaned = False
        """Whether the supervisor is gone."""
        self._begin = begin
        self._channel = channel
        self._leads = begin is None or begin.leads
        self._served: Served | None = None
        self._known = 0
        self._connections: OpenConnections | None = None
        self._decisions: HostDecisions | None = None
        self._log = structlog.get_logger("authz.worker")

    @classmethod
    def alone(cls) -> "Worker":
        """The only process of its server.

        Raises:
            AuthzError: the system has no room for an epoch.
        """
        memory, wakers = SharedEpoch.create(1).descriptors
        return cls(SharedEpoch(memory, wakers, 0))

    @property
    def counter(self) -> Counter:
        """The epoch, for the request path."""
        return self.epoch.counter

    @property
    def is_alone(self) -> bool:
        """Whether there is no supervisor."""
        return self._begin is None

    @property
    def handed(self) -> Handed:
        """The sockets that the supervisor has opened."""
        begin = self._begin
        return NOTHING_HANDED if begin is None else Handed(begin.listeners, share_port=begin.share_port)

    @property
    def signals(self) -> tuple[signal.Signals, ...]:
        """The signals that stop this process. Ctrl-C reaches supervisor and workers; the supervisor sees to it."""
        return (signal.SIGTERM, signal.SIGINT) if self._begin is None else (signal.SIGTERM,)

    def sink(self, settings: AuditSettings) -> Sink | None:
        """Where audit records go when several processes write there; None: there is only this one."""
        if self._begin is None:
            return None
        return ProcessSharedSink(open_sink(settings.destination, fsync=settings.fsync == "batch"), self._begin.guard)

    def used_proofs(self) -> Claims:
        """What knows the proofs that the siblings have used.

        Raises:
            AuthzError: what the supervisor handed down is of another version.
        """
        return NOBODY_ELSE if self._begin is None or self._begin.proofs < 0 else UsedProofs(self._begin.proofs)

    def subscribe(self, apply: Apply) -> None:
        """Have `apply` awaited after every rise of the epoch, before this process acknowledges it.

        To be called before `serving` is entered: what rose since `join` is applied then.
        """
        self.watch.subscribe(apply)

    def join(self) -> None:
        """To be called before anything is read that a rise of the epoch could make stale."""
        self._known = self.epoch.join()

    def exchange(self, decisions: Feed[Outcome]) -> Feed[Outcome]:
        """Answer the same feed; from now on what the siblings decide is told there, and theirs what is decided here."""
        channel = self._channel
        if channel is not None:
            self._decisions = HostDecisions(decisions, channel.send, lambda: channel.behind)
        return decisions

    def reloaded(self, version: str) -> None:
        """Say that a new policy is in force here."""
        if self._channel is None:
            self.epoch.advance()
        elif self._served is not None:
            self._tell_state()
            if self._leads:
                self._channel.send(Reloaded(version))

    @contextlib.asynccontextmanager
    async def serving(self, served: Served) -> AsyncIterator[None]:
        """Follow the epoch and the supervisor; to be entered just before the data plane starts."""
        self._served = served
        served.poll(self._leads)
        tasks: list[asyncio.Task[None]] = []
        if self._channel is not None:
            tasks += [
                asyncio.create_task(self._beat(served)),
                asyncio.create_task(self._listen(self._channel, served)),
                asyncio.create_task(self._tell(self._channel, served)),
            ]
            for task in tasks:
                task.add_done_callback(self._ended)
            unsubscribe = served.readiness.subscribe(self._tell_state)
            self._tell_state()
        await self.watch.start(self._known)
        try:
            yield
        finally:
            self.watch.stop()
            if self._decisions is not None:
                self._decisions.stop()
            for task in tasks:
                task.cancel()
            if self._channel is not None:
                unsubscribe()
                self._channel.send(Told(0, served.metrics()))

    def failed(self, problem: str) -> None:
        """Say that this process cannot go on."""
        if self._channel is not None:
            self._channel.send(Failed(problem))

    def guard_against_orphanhood(self, lifeline: int) -> None:
        """End when the supervisor does: it holds the other end of this pipe, so the kernel tells, however it died.

        In a thread: an event loop that hangs must not outlive its supervisor either.
        """
        loop = asyncio.get_running_loop()

        def wait() -> None:
            with contextlib.suppress(OSError):
                os.read(lifeline, 1)
            with contextlib.suppress(RuntimeError):  # the loop has ended: so does the process
                loop.call_soon_threadsafe(self._orphan)
            threading.Event().wait(ORPHAN_SECONDS)
            os._exit(os.EX_UNAVAILABLE)

        threading.Thread(target=wait, name="lifeline", daemon=True).start()

    def _ended(self, done: asyncio.Task[None]) -> None:
        """Say what ended a task of ours; without a beat the supervisor replaces this worker."""
        fault = None if done.cancelled() else done.exception()
        if fault is not None:
            self._log.error("a task of this worker failed", exc_info=fault)

    def _orphan(self) -> None:
        self.orphaned = True
        self._log.error("the supervisor is gone, so this worker ends")
        if self._served is None:  # not serving yet
            os._exit(os.EX_UNAVAILABLE)
        self._served.stopping.set()

    def _tell_state(self) -> None:
        if self._channel is not None and self._served is not None:
            self._channel.send(State(self._served.readiness.failing, self._served.version()))

    async def _beat(self, served: Served) -> None:
        while True:
            self._beat_once(served)
            await asyncio.sleep(BEAT_SECONDS)

    def _beat_once(self, served: Served) -> None:
        if self._connections is None and served.plane.addresses:
            self._connections = OpenConnections(served.plane.addresses)
        self.epoch.beat(self._connections.count() if self._connections else 0, served.calls())

    async def _tell(self, channel: Channel, served: Served) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if not channel.behind:
                channel.send(Told(0, served.metrics()))

    async def _listen(self, channel: Channel, served: Served) -> None:
        while True:
            message = await channel.receive_by_worker()
            if message is None:
                return  # the lifeline tells, too
            try:
                await self._obey(message, channel, served)
            except Exception as fault:  # noqa: BLE001 - one that fails must not make this worker deaf to the next
                self._log.error("an order of the supervisor failed", order=type(message).__name__, exc_info=fault)

    async def _obey(self, message: ToWorker, channel: Channel, served: Served) -> None:
        match message:
            case Ask(number):
                self._beat_once(served)  # so that what is counted here and there is of one moment
                channel.send(Told(number, served.metrics()))
            case Lead():
                self._leads = True
                served.poll(True)
            case Reload():
                served.reload()
            case Reread():
                served.reread()
            case MoveOn():
                await served.plane.move_on()
            case Follow() if self._decisions is not None:
                self._decisions.follow(message)
            case Seen() if self._decisions is not None:
                self._decisions.seen(message)
            case Stop():
                served.stopping.set()
            case Begin():
                raise AuthzError("a worker begins once")
