"""What a supervisor and its workers say to each other: one tagged message a frame, over a socket pair.

Both ends are this program; nobody else can reach the socket. A frame is a length of four bytes and MessagePack.
"""

import asyncio
import contextlib
import io
import socket
from typing import Final, TypeAlias

import msgspec

from authz.control.selection import Selection
from authz.worker.brief import Brief

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_PREFIX_BYTES: Final = 4
_BEHIND_BYTES: Final = 1024 * 1024


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class Begin(_Message, frozen=True):
    """To a worker, first of all: what it is."""

    index: int
    config: bytes
    """The configuration as JSON: that of the supervisor, whatever its file says by now."""
    base: str
    leads: bool
    epoch: tuple[int, tuple[int, ...]]
    listeners: dict[str, int]
    """Descriptors of listening sockets, by the address that the configuration names."""
    share_port: bool
    guard: int
    """The descriptor of the memory through which audit sinks take turns."""
    proofs: int
    """The descriptor of the memory of proofs that were used; -1: none are read."""


class Lead(_Message, frozen=True):
    """To a worker: watch the policy files for all, from now on."""


class Reload(_Message, frozen=True):
    """To a worker: build a snapshot of the files as they are now."""


class Reread(_Message, frozen=True):
    """To a worker: read keys and TLS files again, open the audit file again (SIGHUP)."""


class MoveOn(_Message, frozen=True):
    """To a worker: ask its clients to connect anew, so that connections spread."""


class Ask(_Message, frozen=True):
    """To a worker: tell the metrics."""

    number: int


class Stop(_Message, frozen=True):
    """To a worker: end in order."""


class State(_Message, frozen=True):
    """From a worker: which readiness conditions do not hold, and which policy is in force."""

    failing: dict[str, str]
    version: str


class Reloaded(_Message, frozen=True):
    """From the worker that leads: new files are in force here, so the others may take them."""

    version: str


class Told(_Message, frozen=True):
    """From a worker: its metrics, as Prometheus text. `number` 0: not asked for."""

    number: int
    text: bytes


class Follow(_Message, frozen=True):
    """From the worker that takes orders, and on to the others: which decisions are followed, by names for who does."""

    selections: dict[str, Selection]


class Seen(_Message, frozen=True):
    """From a worker, and on to the one that takes orders: decisions that are followed, and how many more there were."""

    name: str
    decisions: tuple[Brief, ...]
    missed: dict[str, dict[str, int]]
    """By effect and reason."""


class Failed(_Message, frozen=True):
    """From a worker: it cannot start, and why."""

    problem: str


ToWorker: TypeAlias = Begin | Lead | Reload | Reread | MoveOn | Ask | Follow | Seen | Stop
ToSupervisor: TypeAlias = State | Reloaded | Told | Follow | Seen | Failed


class Channel:
    """One end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over the streams."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        """Speak through a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    @property
    def behind(self) -> bool:
        """Whether the other end does not take what is sent, so that what can wait should."""
        return self._writer.transport.get_write_buffer_size() > _BEHIND_BYTES

    def send(self, message: ToWorker | ToSupervisor) -> None:
        """Hand over one message; whether it arrives is seen by what comes back, or does not."""
        if not self._writer.is_closing():
            body = msgspec.msgpack.encode(message)
            self._writer.write(len(body).to_bytes(_PREFIX_BYTES, "big") + body)

    async def receive_by_worker(self) -> ToWorker | None:
        """The next message; None: the supervisor is gone."""
        body = await self._frame()
        return None if body is None else msgspec.msgpack.decode(body, type=ToWorker)

    async def receive_by_supervisor(self) -> ToSupervisor | None:
        """The next message; None: the worker is gone."""
        body = await self._frame()
        return None if body is None else msgspec.msgpack.decode(body, type=ToSupervisor)

    async def close(self) -> None:
        """Speak no more; return once the kernel has what was sent, or the other end is gone."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _frame(self) -> bytes | None:
        try:
            length = int.from_bytes(await self._reader.readexactly(_PREFIX_BYTES), "big")
            if length > MAX_FRAME_BYTES:
                return None
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None


def read_begin(end: socket.socket) -> Begin:
    """Wait for the first message of a supervisor, before there is an event loop.

    Raises:
        EOFError: the supervisor is gone.
    """
    with end.makefile("rb", buffering=0) as stream:
        length = int.from_bytes(_exactly(stream, _PREFIX_BYTES), "big")
        return msgspec.msgpack.decode(_exactly(stream, min(length, MAX_FRAME_BYTES)), type=Begin)


def _exactly(stream: io.RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise EOFError("the supervisor is gone")
        data += part
    return data
