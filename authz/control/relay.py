"""A Unix socket whose clients are known: the kernel says as which user each connection was made (SO_PEERCRED).

gRPC does not hand on the credentials of a peer. So the socket is ours: each connection is joined to one of our own to a
private socket on which gRPC listens, in a directory that only this user can enter; the name that our end is bound to is
what gRPC reports as the peer, and it leads back to the user. A name that we did not give is nobody.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import struct
import tempfile
from pathlib import Path

from authz.transport.listeners import Address, Listener

_CREDENTIALS = struct.Struct("3i")
_CHUNK = 64 * 1024
_PREFIX = "unix:"


class Relay:
    """One public Unix socket in front of one private one."""

    def __init__(self, address: Address, *, backlog: int, mode: int, max_connections: int) -> None:
        """Bind, without serving yet.

        Raises:
            ConfigError: the address is not to be had.
        """
        self._listener = Listener(address, backlog, mode)
        self._directory = tempfile.TemporaryDirectory(prefix="authz-control-")  # mode 0700
        self._inside = Path(self._directory.name)
        self._users: dict[str, int] = {}
        self._numbers = itertools.count()
        self._joined: set[asyncio.Task[None]] = set()
        self._max_connections = max_connections
        self._accepting: asyncio.Task[None] | None = None

    @property
    def private(self) -> Address:
        """Where gRPC is to listen."""
        return Address(path=str(self._inside / "grpc"))

    @property
    def address(self) -> Address:
        """Where clients connect."""
        return self._listener.address

    def user(self, peer: str) -> int | None:
        """Answer the user at the other end of gRPC's peer "unix:..."; None: no connection of ours."""
        return self._users.get(peer.removeprefix(_PREFIX)) if peer.startswith(_PREFIX) else None

    def start(self) -> None:
        """Accept connections; gRPC listens by now."""
        self._accepting = asyncio.create_task(self._accept())

    async def stop(self) -> None:
        """Accept no more, cut what is left, and give the address back."""
        tasks = [*self._joined, *((self._accepting,) if self._accepting else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()
        self._directory.cleanup()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                outer, _ = await loop.sock_accept(self._listener.socket)
            except OSError:  # the client has gone already, or there are no descriptors left for a moment
                await asyncio.sleep(0.01)
                continue
            if len(self._joined) >= self._max_connections:
                outer.close()
                continue
            task = asyncio.create_task(self._join(outer))
            self._joined.add(task)
            task.add_done_callback(self._joined.discard)

    async def _join(self, outer: socket.socket) -> None:
        raw = outer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(raw)
        name = str(self._inside / f"c{next(self._numbers)}")
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inner.setblocking(False)
        outer.setblocking(False)
        try:
            inner.bind(name)
            self._users[name] = user & 0xFFFF_FFFF
            await asyncio.get_running_loop().sock_connect(inner, self.private.path)
            await _pump_both(outer, inner)
        except OSError:
            pass  # one side has gone
        finally:
            outer.close()
            inner.close()
            # Last: as long as gRPC could see the connection, its name belongs to this user.
            self._users.pop(name, None)
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108 - Path.unlink is no faster, and this does not block


async def _pump_both(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends; HTTP/2 has no use for a half-closed connection."""
    pumps = [asyncio.create_task(_pump(one, other)), asyncio.create_task(_pump(other, one))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _CHUNK):
        await loop.sock_sendall(sink, data)
