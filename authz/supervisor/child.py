"""One worker process as its supervisor sees it."""

import asyncio
import contextlib
import os
import signal
import site
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

import authz
from authz.worker.messages import Begin, Channel, Failed, State, ToSupervisor, ToWorker

_MODULE: Final = "authz.supervisor.worker"


class Child:
    """A worker process from its start to its end."""

    def __init__(self, index: int) -> None:
        """The worker of that index, not started yet."""
        self.index = index
        self.pid = 0
        self.since = 0.0
        """When it was started, by the monotonic clock."""
        self.state: State | None = None
        """What it said last; None: nothing yet."""
        self.problem = ""
        """Why it could not start, if it said so."""
        self.killed = ""
        """Why the supervisor killed it, if it did."""
        self._channel: Channel | None = None
        self._waiting: list[ToWorker] = []  # said before there was anybody to hear it

    async def run(
        self, begin: Begin, descriptors: Sequence[int], lifeline: int, on: Callable[[ToSupervisor], None]
    ) -> int:
        """Start the process, hand what it says to `on`, and answer how it ended: its code, or minus its signal."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # no module is taken from the directory that the server was started in
                "-m",
                _MODULE,
                str(theirs.fileno()),
                str(lifeline),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lifeline, *descriptors),
                env=_environment(os.environ),
            )
        self.since = time.monotonic()
        structlog.get_logger("authz.supervisor").info("worker started", worker=self.index, worker_pid=process.pid)
        channel = await Channel.over(ours)
        self.pid, self._channel = process.pid, channel
        try:
            for said in (begin, *self._waiting):
                channel.send(said)
            while (message := await channel.receive_by_supervisor()) is not None:
                if isinstance(message, State):
                    self.state = message
                elif isinstance(message, Failed):
                    self.problem = message.problem
                on(message)
            return await process.wait()
        finally:
            if process.returncode is None:  # cancelled
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            self._channel = None
            await channel.close()

    @property
    def behind(self) -> bool:
        """Whether it does not take what is sent, so that what can be left out should."""
        return self._channel is not None and self._channel.behind

    def send(self, message: ToWorker) -> None:
        """Say something to it, at once or when it has begun; nothing, if it has ended."""
        if self._channel is not None:
            self._channel.send(message)
        elif not self.pid:
            self._waiting.append(message)

    def kill(self, why: str) -> None:
        """End it at once: SIGKILL ends a stopped process, too."""
        if self._channel is not None and not self.killed:
            self.killed = why
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The same, and this very package to be found where it is not installed."""
    root = str(Path(authz.__file__).parents[1])
    known = {*site.getsitepackages(), site.getusersitepackages()}
    path = [part for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if root not in known and root not in path:
        path.insert(0, root)
    return {**environ, **({"PYTHONPATH": os.pathsep.join(path)} if path else {})}
