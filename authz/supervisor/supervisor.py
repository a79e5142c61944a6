"""Starts workers, watches over them, and is the one server that the outside sees: signals, probes, metrics.

It decides nothing and holds no policy, so there is little in it that could fail. When it does end, by whatever signal,
its workers end, too.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from authz.audit.shared import make_guard
from authz.config.settings import Config
from authz.errors import AuthzError
from authz.stores.epoch import SharedEpoch
from authz.stores.used_proofs import make_used_proofs
from authz.supervisor.balance import Balance
from authz.supervisor.child import Child
from authz.supervisor.overview import Overview
from authz.telemetry.logs import resolve_format
from authz.telemetry.metrics import CONTENT_TYPE
from authz.transport.admin import AdminApp, AdminServer
from authz.transport.steering import SCATTERED, WorkerSockets
from authz.version import VERSION
from authz.worker.decisions import without_decisions
from authz.worker.messages import (
    Begin,
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
    ToSupervisor,
)

POLICIES: Final = "policies"
"""The readiness condition that fails while workers hold different policies for long."""
_LOOK_SECONDS: Final = 0.5
_SCATTER_SECONDS: Final = 2.0
"""How long connections are scattered after clients were asked to connect anew: they may all come at once."""
_SPARE_SECONDS: Final = 5.0
"""Beyond what its settings allow: how long a worker may take to end before it is made to."""


class Supervisor:
    """Runs a server in several worker processes; made and run once."""

    def __init__(self, config: Config, base: Path, workers: int) -> None:
        """Prepare; `base`: where relative paths in the configuration start."""
        self._config = config
        self._settings = config.supervisor
        self._base = base
        self._workers = workers
        self._log = structlog.get_logger("authz.supervisor")
        self._children: dict[int, Child] = {}
        self._leader = 0
        self._balance = Balance(self._settings.rebalance_seconds if config.server.transport == "h2corn" else 0.0)
        self._crashes: deque[float] = deque()
        self._started = False
        self._stopping = asyncio.Event()
        self._fatal = ""
        self._differ_since: float | None = None
        self._enforcing: set[asyncio.Task[None]] = set()
        self._enforced = 0
        self._scatter_until = 0.0
        self._reloaded_at = 0.0
        self._followed = Follow({})

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            AuthzError: it cannot start, or workers crash too often.
        """
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            self._sockets = WorkerSockets(self._config.server, self._workers)
            stack.callback(self._sockets.close)
            self._epoch = SharedEpoch.create(self._workers)
            stack.callback(self._epoch.close)
            self._enforced = self._epoch.current
            self._guard = make_guard()
            stack.callback(os.close, self._guard)
            wimse = self._config.identity.wimse
            self._proofs = make_used_proofs(wimse.max_proofs * self._workers) if wimse.enabled else -1
            if self._proofs >= 0:
                stack.callback(os.close, self._proofs)
            self._lifeline, ours = os.pipe()
            stack.callback(os.close, self._lifeline)
            stack.callback(os.close, ours)
            self._overview = Overview(self._workers, self._epoch)
            self._overview.ask = lambda index, message: self._children[index].send(message)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopping.set)
            loop.add_signal_handler(signal.SIGHUP, self._reread)
            await self._start_admin(stack)
            loop.add_reader(self._epoch.waker, self._woken)
            stack.callback(loop.remove_reader, self._epoch.waker)
            keeping = [asyncio.create_task(self._keep(index)) for index in range(self._workers)]
            looking = asyncio.create_task(self._look())
            stack.callback(looking.cancel)
            for task in (*keeping, looking):
                task.add_done_callback(self._faulty)
            self._log.info("supervising", version=VERSION, workers=self._workers, addresses=self._sockets.addresses)
            await self._stopping.wait()
            await self._stop(keeping)
        if self._fatal:
            raise AuthzError(self._fatal)

    async def _start_admin(self, stack: contextlib.AsyncExitStack) -> None:
        if not self._config.admin.enabled:
            return
        app = AdminApp(self._overview.readiness, self._overview.render, CONTENT_TYPE)
        json = resolve_format(self._config.log, sys.stderr) == "json"
        admin = AdminServer(self._config.admin, app, log_format="json" if json else "text")
        await admin.start()
        stack.push_async_callback(admin.stop)
        self._log.info("admin listening", address=admin.address)

    # One worker after another, in one place

    async def _keep(self, index: int) -> None:
        backoff = first = self._settings.restart_backoff_seconds
        while not self._stopping.is_set():
            child = self._children[index] = Child(index)
            if index != self._leader and self._followed.selections:
                child.send(self._followed)
            begun = time.monotonic()
            try:
                code = await child.run(self._begin(index), self._inherited(index), self._lifeline, self._hear(index))
            except OSError as error:  # no room for a process
                child.problem, code = f"a worker cannot be started: {error.strerror or error}", os.EX_OSERR
            self._buried(index)
            if self._stopping.is_set():
                return
            self._judge(child, code)
            backoff = first if time.monotonic() - begun > self._settings.crash_window_seconds else backoff
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff):
                    await self._stopping.wait()
            backoff = min(backoff * 2, self._settings.max_restart_backoff_seconds)

    def _begin(self, index: int) -> Begin:
        server = replace(self._config.server, listen=self._sockets.listen(index), workers=1)
        config = replace(self._config, server=server, admin=replace(self._config.admin, enabled=False))
        return Begin(
            index=index,
            config=msgspec.json.encode(config),
            base=str(self._base),
            leads=index == self._leader,
            epoch=self._epoch.descriptors,
            listeners=self._sockets.descriptors(index),
            share_port=True,
            guard=self._guard,
            proofs=self._proofs,
        )

    def _inherited(self, index: int) -> tuple[int, ...]:
        memory, wakers = self._epoch.descriptors
        proofs = (self._proofs,) if self._proofs >= 0 else ()
        return (memory, *wakers, self._guard, *proofs, *self._sockets.descriptors(index).values())

    def _buried(self, index: int) -> None:
        """See to it that nobody waits for a worker that has ended, or is sent to it."""
        self._overview.gone(index, self._epoch.pulse(index))
        self._epoch.forget(index)
        self._overview.changed(index, None)
        self._steer()
        if self._serving():
            self._sockets.turn_away(index)
        if index == self._leader:  # and with it, those who followed decisions there
            self._follow(Follow({}))
        if index == self._leader and (others := self._serving()):
            self._leader = min(others)
            self._children[self._leader].send(Lead())

    def _judge(self, child: Child, code: int) -> None:
        """Say and count why a worker ended that was not told to; end it all when that is too often."""
        cause = child.killed or ("could_not_start" if child.problem else "crashed")
        self._overview.replaced(cause)
        told = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._log.error(
            "a worker ended", worker=child.index, pid=child.pid, cause=cause, how=told, problem=child.problem
        )
        if child.problem and not (self._started and self._serving()):
            self._give_up(child.problem)
        if child.problem:
            return  # a file is broken by now: the others go on with what they have
        now = time.monotonic()
        self._crashes.append(now)
        while self._crashes[0] < now - self._settings.crash_window_seconds:
            self._crashes.popleft()
        if len(self._crashes) > self._settings.max_crashes:
            self._give_up(
                f"workers ended {len(self._crashes)} times within {self._settings.crash_window_seconds:g} s, "
                f"lastly by {told}; the log says more"
            )

    def _faulty(self, done: asyncio.Task[None]) -> None:
        """End it all when a task of ours has failed: a supervisor that only seems to watch would be worse."""
        fault = None if done.cancelled() else done.exception()
        if fault is not None:
            self._log.critical("the supervisor failed", exc_info=fault)
            self._give_up(str(fault) if isinstance(fault, AuthzError) else f"internal error: {type(fault).__name__}")

    def _give_up(self, problem: str) -> None:
        self._fatal = self._fatal or problem
        self._stopping.set()

    # What workers say

    def _hear(self, index: int) -> Callable[[ToSupervisor], None]:
        def hear(message: ToSupervisor) -> None:
            match message:
                case Told():
                    self._overview.told(index, message)
                case State():
                    self._overview.changed(index, message)
                    self._steer()
                    self._agree()
                    self._started = self._started or len(self._serving()) == self._workers
                case Reloaded(version):
                    self._take_up(index, version)
                case Follow() if index == self._leader:
                    self._follow(message)
                case Seen():
                    leader = self._children[self._leader]
                    leader.send(without_decisions(message) if leader.behind else message)

        return hear

    def _follow(self, followed: Follow) -> None:
        """Have all but the one that takes orders tell it which decisions they make."""
        self._followed = followed
        for other, child in self._children.items():
            if other != self._leader:
                child.send(followed)

    def _take_up(self, index: int, version: str) -> None:
        """New files are in force in one worker: what was remembered goes, and the others take them, too."""
        self._raise_epoch()
        self._log.info("a worker took new files, the others follow", worker=index, policy_version=version)
        for other, child in self._children.items():
            if other != index:
                self._reload(child)

    def _raise_epoch(self) -> None:
        try:
            self._epoch.advance()
        except AuthzError as error:  # until its holder is found to hang, and killed
            self._log.error("the epoch is raised later", problem=str(error))
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._raise_epoch)

    def _reload(self, child: Child) -> None:
        self._reloaded_at = time.monotonic()
        child.send(Reload())

    def _agree(self) -> None:
        """Have everything read once more while workers hold different policies or keys."""
        versions = {index: child.state.version for index, child in self._children.items() if child.state}
        now = time.monotonic()
        if len(set(versions.values())) <= 1:
            self._differ_since = None
            self._overview.readiness.hold(POLICIES)
            return
        self._differ_since = self._differ_since or now
        if now - self._differ_since > self._settings.converge_seconds:
            self._overview.readiness.fail(POLICIES, "workers hold different policies")
        if now - max(self._differ_since, self._reloaded_at) > self._settings.converge_seconds / 3:
            for child in self._children.values():
                self._reload(child)

    def _reread(self) -> None:
        """SIGHUP: everything anew, in all workers; policies first in one, and in the others if that took them."""
        self._raise_epoch()
        for index, child in self._children.items():
            child.send(Reread())
            if index == self._leader:
                child.send(Reload())

    # What workers do

    def _serving(self) -> dict[int, int]:
        """The workers that serve, and how many connections each has."""
        pulses = {index: self._epoch.pulse(index) for index in range(self._workers)}
        return {index: pulse.connections for index, pulse in pulses.items() if pulse.serving}

    def _woken(self) -> None:
        self._epoch.woken()
        self._steer()
        if (epoch := self._epoch.current) > self._enforced:
            self._enforced = epoch
            task = asyncio.create_task(self._enforce(epoch))
            self._enforcing.add(task)
            task.add_done_callback(self._enforcing.discard)

    async def _enforce(self, epoch: int) -> None:
        """Kill who does not acknowledge in time, so that no invalidation waits longer."""
        for late in await self._epoch.wait_applied(epoch, self._settings.acknowledge_seconds):
            child = self._children[late.index]
            if child.pid == late.pid:
                child.kill("not_acknowledged")
        if not await self._epoch.wait_applied(epoch, self._settings.acknowledge_seconds):
            self._log.info("an invalidation is in force in every worker", epoch=epoch)

    def _steer(self) -> None:
        """Say who gets the next connection: who has the fewest; scattered, when many may come at once."""
        if not self._sockets.steers or self._stopping.is_set():
            return
        serving = self._serving()
        at_once = not any(serving.values()) or time.monotonic() < self._scatter_until
        if at_once and len(serving) == self._workers:
            self._sockets.steer(SCATTERED)
        elif (turn := self._balance.next(serving)) is not None:
            self._sockets.steer(turn)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            for index, child in self._children.items():
                self._look_at(child, self._epoch.pulse(index).beat, now)
            self._agree()
            self._steer()
            fullest = self._balance.overfull(self._serving(), now)
            if fullest is not None:
                self._log.info("connections are uneven, so some are to move on", worker=fullest)
                self._scatter_until = now + _SCATTER_SECONDS
                self._steer()
                self._children[fullest].send(MoveOn())

    def _look_at(self, child: Child, beat: float, now: float) -> None:
        if self._epoch.pulse(child.index).serving:
            if now - beat > self._settings.hang_seconds:
                child.kill("hung")
        elif child.pid and now - child.since > self._settings.start_seconds:
            child.kill("not_started_in_time")

    # The end

    async def _stop(self, keeping: list[asyncio.Task[None]]) -> None:
        server = self._config.server
        self._overview.readiness.drain()
        self._log.info("stopping", drain_delay_seconds=server.drain_delay_seconds)
        self._sockets.release()
        for child in self._children.values():
            child.send(Stop())
        draining = server.drain_delay_seconds + server.goaway_seconds + server.drain_timeout_seconds
        allowed = draining + self._config.audit.shutdown_seconds
        _, late = await asyncio.wait(keeping, timeout=allowed + _SPARE_SECONDS)
        for task in late:
            task.cancel()  # which kills
        await asyncio.gather(*keeping, return_exceptions=True)
        self._log.info("stopped")
