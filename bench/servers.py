"""The servers under test: authz in one of its setups, the do-nothing floor, and peers that somebody else runs."""

import http.client
import os
import re
import shutil
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.processes import Process, ProcessError, free_port, listens, resident_bytes, tree
from bench.world import AUDIT, PRINCIPALS, ROOT, Identities, Setup, configuration

RECORDS_SECONDS = 20.0
"""Longest wait for records of calls that were answered."""
_DECISION, _CACHED = b'{"event":"decision"', b',"cached":true,'
_CHUNK = 1 << 24


@dataclass(frozen=True, slots=True)
class Records:
    """What an audit trail tells of."""

    decisions: int
    cached: int


def read_records(path: Path) -> Records:
    """Count the calls in an audit file, and those of them that were answered from the decision cache."""
    decisions = cached = 0
    with path.open("rb") as file:
        rest = b""
        while chunk := file.read(_CHUNK):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            lines = whole + newline
            decisions += lines.count(_DECISION)
            cached += lines.count(_CACHED)
    return Records(decisions, cached)


@dataclass(slots=True, kw_only=True)
class Server:
    """One endpoint of a benchmark."""

    name: str
    address: str
    expect: int | None = None
    """The answer that it gives to everything; None: it decides."""
    tls: tuple[str, ...] = ()
    process: Process | None = None
    directory: Path | None = None
    setup: Setup | None = None
    floor: "Server | None" = field(default=None, repr=False)
    """The do-nothing server of the same kind."""
    ready: bool = False

    @property
    def pids(self) -> list[int]:
        """Its processes; none where somebody else runs it, unless they are known."""
        return self.process.pids if self.process else []

    def job(self) -> dict[str, Any]:
        """What the load generator must know of it."""
        return {"address": self.address, "expect": self.expect, "tls": self.tls, "pids": self.pids}

    def wait(self) -> None:
        """Return once it listens; servers start side by side until they are waited for."""
        if self.process and not self.ready:
            address = self.address.replace("{worker}", str(self.setup.workers - 1 if self.setup else 0))
            self.process.wait(lambda: listens(address), f"{self.name} listened")
            self.ready = True

    def demand_alive(self) -> None:
        """Raise ProcessError when it has ended."""
        if self.process:
            self.process.demand_alive()

    def resident_bytes(self) -> int:
        """Memory of all its processes."""
        return resident_bytes(self.pids)

    def forget_records(self) -> None:
        """Empty the audit trail, some hundred MB after a minute of load; the server goes on at its new end."""
        if self.directory is not None:
            os.truncate(self.directory / AUDIT, 0)

    def records(self, calls: int) -> "Records | None":
        """What the trail says since then, once it tells of so many calls; None where there is no trail.

        Raises:
            ProcessError: it never does, or it tells of more.
        """
        if self.directory is None:
            return None
        end = time.monotonic() + RECORDS_SECONDS
        while True:
            found = read_records(self.directory / AUDIT)
            if found.decisions == calls:
                return found
            if found.decisions > calls or time.monotonic() > end:
                raise ProcessError(f"{self.name}: {calls} calls, and {found.decisions} on record")
            time.sleep(0.05)

    def get(self, path: str) -> str:
        """What its admin listener says."""
        assert self.directory is not None
        connection = _UnixConnection(str(self.directory / "admin.sock"))
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


class Servers:
    """Starts servers in a directory, each once, and ends all of them."""

    def __init__(self, directory: Path, identities: Identities) -> None:
        self._directory = directory
        self._identities = identities
        self._running: dict[str, Server] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def authz(self, setup: Setup, principals: int = PRINCIPALS) -> Server:
        """authz in this setup, as nearly as this version allows, with its floor beside it."""
        key = f"{setup}{principals}"
        if key not in self._running:
            directory, address = self._place(setup.listen)
            config = directory / "authz.toml"
            config.write_text(configuration(setup, self._identities, directory, address, principals=principals))
            server = Server(
                name=f"authz ({setup.name})",
                address=address,
                tls=self._identities.client_tls if setup.listen == "mtls" else (),
                directory=directory,
                setup=setup,
                floor=self.floor(
                    setup.transport, "unix" if setup.listen == "unix-each" else setup.listen, setup.workers
                ),
            )
            self._running[key] = server
            self._start(server, [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(config)])
        return self._running[key]

    def floor(self, transport: str, listen: str, workers: int) -> Server:
        """A do-nothing server."""
        workers = 1 if transport == "grpc.aio" else workers
        key = f"floor {transport} {listen} {workers}"
        if key not in self._running:
            directory, address = self._place(listen)
            server = Server(
                name=f"do-nothing ({Setup(transport=transport, listen=listen, workers=workers, cache=True).name})",
                address=address,
                expect=0,
                tls=self._identities.client_tls if listen == "mtls" else (),
            )
            tls = self._identities.server_tls if listen == "mtls" else ()
            command = [sys.executable, "-m", "bench.do_nothing", transport, address, str(workers), *tls]
            self._running[key] = server
            self._start(server, command, directory)
        return self._running[key]

    def stop(self, server: Server) -> None:
        """End one."""
        for key, one in list(self._running.items()):
            if one is server:
                del self._running[key]
                self._end(one)

    def stop_all(self) -> None:
        """End all."""
        while self._running:
            self._end(self._running.popitem()[1])

    def _end(self, server: Server) -> None:
        if server.process:
            server.process.stop()
        if server.directory:
            shutil.rmtree(server.directory, ignore_errors=True)  # an audit file of a minute is a few hundred MB

    def _place(self, listen: str) -> tuple[Path, str]:
        self._count += 1
        directory = self._directory / f"server-{self._count}"
        directory.mkdir()
        if not listen.startswith("unix"):
            return directory, f"127.0.0.1:{free_port()}"
        return directory, f"unix:{directory}/{'pdp-{worker}' if listen == 'unix-each' else 'pdp'}.sock"

    def _start(self, server: Server, command: list[str], directory: Path | None = None) -> None:
        log = (directory or server.directory or self._directory) / "log"
        server.process = Process(command, log, {"PYTHONPATH": str(ROOT)})


def peer(text: str) -> Server:
    """A server that somebody else runs: NAME=ADDRESS, or NAME=ADDRESS@PID to have its CPU time taken, too.

    Raises:
        ValueError: it is not of that form, or nobody listens there.
    """
    found = re.fullmatch(r"([A-Za-z0-9._-]+)=(unix:[^@]+|[^@]+:[0-9]+)(?:@([0-9]+))?", text)
    if found is None:
        raise ValueError(f"{text!r} is not NAME=HOST:PORT, NAME=unix:PATH, or either with @PID")
    if not listens(found[2]):
        raise ValueError(f"nobody listens at {found[2]}")
    return Peer(name=found[1], address=found[2], pid=int(found[3] or 0))


@dataclass(slots=True, kw_only=True)
class Peer(Server):
    """A server that was there before us and stays."""

    pid: int = 0

    @property
    def pids(self) -> list[int]:
        """Its processes, if they are known."""
        return tree(self.pid) if self.pid else []


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)
