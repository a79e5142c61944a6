"""The listening sockets of several workers, and which worker gets the next connection.

A proxy keeps few connections and sends thousands of calls on each, so chance would leave workers idle. Each worker has
a listening socket of its own, and the supervisor, which has made them all, says whose turn it is: on TCP by a program
of one instruction that the kernel runs for the port's sockets (SO_ATTACH_REUSEPORT_CBPF, open to everybody), on Unix
sockets by making the public name a link to that worker's socket. The sockets outlive a worker, so the one that replaces
it takes them over.

When many connections may come within a moment, faster than anybody can count them, they are scattered instead: on TCP
by a random number of the kernel's, on Unix sockets through one socket that all workers accept from.
"""

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from authz.transport.listeners import (
    Address,
    UnixPath,
    bind_tcp,
    bind_unix,
    clear_stale,
    demand_safe,
    parse_address,
    unusable,
)
from authz.transport.settings import WORKER, ServerSettings

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_RETURN: Final = 0x06
_SCATTER: Final = ((0x20, (1 << 32) - 0x1000 + 56), (0x94, 0), (0x16, 0))
"""Load a random number, take it modulo the number of sockets (put in the place of 0), return the result."""
SCATTERED: Final = -1
"""In place of a worker's index: nobody's turn, or everybody's."""
_MAX_DRAINED: Final = 10_000


def listen_of(listen: Sequence[str], index: int) -> tuple[str, ...]:
    """Answer where the worker of that index listens, by what `server.listen` says."""
    return tuple(text.replace(WORKER, str(index)) for text in listen)


class Steered:
    """One address, and a socket for each worker."""

    def __init__(self, address: Address, settings: ServerSettings, workers: int) -> None:
        """Listen for every worker (on grpc.aio, which opens its own sockets, only reserve the address).

        Raises:
            ConfigError: the address is not to be had.
        """
        self._adopts = settings.transport == "h2corn"
        self._settings = settings
        self.sockets: list[socket.socket] = []
        self._files: list[UnixPath] = []
        self._public = address.path
        self._linked: UnixPath | None = None
        self._turn: int | None = None
        self._workers = workers
        self.shared: socket.socket | None = None
        """The Unix socket that all workers accept from."""
        self.address = address
        """As clients know it, with the port that the kernel picked."""
        try:
            if address.path:
                clear_stale(address.path)
                self.own = [Address(path=f"{address.path}.{index}") for index in range(workers)]
                self.all = Address(path=f"{address.path}.all")
                for one in (*self.own, self.all):
                    parse_address(str(one))  # not too long
                if self._adopts:
                    self.sockets = [self._open_unix(one) for one in self.own]
                    self.shared = self._open_unix(self.all)
            else:
                self._open_tcp(address, workers)
        except BaseException:
            self.close()
            raise

    def steer(self, index: int) -> None:
        """Give new connections to the worker of that index, or scatter them."""
        if index == self._turn:
            return
        if self._public:
            if not self._link(self.own[index] if index != SCATTERED else self.all if self._adopts else self.own[0]):
                return
        elif self._adopts:
            scatter = [
                (code, operand or (self._workers if code == _SCATTER[1][0] else 0)) for code, operand in _SCATTER
            ]
            _attach(self.sockets[0], [(_RETURN, index)] if index != SCATTERED else scatter)
        self._turn = index

    def descriptors(self, index: int) -> dict[str, int]:
        """The open sockets of the worker of that index, by address."""
        if not self._adopts:
            return {}
        found = {str(self.own[index]): self.sockets[index].fileno()}
        if self.shared is not None:
            found[str(self.all)] = self.shared.fileno()
        return found

    def release(self) -> None:
        """Let go of the sockets: workers that hold them go on."""
        for one in (*self.sockets, *([self.shared] if self.shared else [])):
            one.close()
        self.sockets, self.shared = [], None

    def close(self) -> None:
        """Let go of everything, and remove the files."""
        self.release()
        if self._linked is not None:
            self._linked.remove()
        for file in self._files:
            file.remove()

    def _open_unix(self, one: Address) -> socket.socket:
        made = bind_unix(one.path, self._settings.unix_socket_mode)
        self._files.append(UnixPath(one.path))
        _listen(made, one, self._settings.backlog)
        return made

    def _open_tcp(self, address: Address, workers: int) -> None:
        # First alone: sharing a port with a server that is there already would take half of its calls.
        with bind_tcp(address) as probe:
            self.address = Address(host=address.host, port=probe.getsockname()[1])
        self.own = [self.address] * workers
        for _ in range(workers if self._adopts else 1):
            made = bind_tcp(self.address, share_port=True)
            self.sockets.append(made)
            if self._adopts:
                _listen(made, address, self._settings.backlog)

    def _link(self, to: Address) -> bool:
        """Make the public name another name of that socket; answer whether there is one."""
        new = f"{self._public}.new"
        with contextlib.suppress(FileNotFoundError):
            Path(new).unlink()
        try:
            os.link(to.path, new)
            os.rename(new, self._public)  # noqa: PTH104 - atomic: there is always one
            self._linked = UnixPath(self._public)
        except FileNotFoundError:
            return False  # grpc.aio has not opened it yet
        except OSError as error:
            raise unusable(self.address, error) from None
        return True


class WorkerSockets:
    """All addresses of all workers."""

    def __init__(self, settings: ServerSettings, workers: int) -> None:
        """Open them.

        Raises:
            ConfigError: an address is none, not safe, or not to be had.
        """
        self._adopts = settings.transport == "h2corn"
        self._steered: list[Steered] = []
        shared = [parse_address(text) for text in settings.listen if WORKER not in text]
        demand_safe(
            shared, encrypted=settings.tls is not None, allow_plaintext=settings.allow_plaintext, section="server"
        )
        self._apart = [
            [parse_address(text) for text in listen_of(settings.listen, index) if text not in settings.listen]
            for index in range(workers)
        ]
        try:
            for address in shared:
                self._steered.append(Steered(address, settings, workers))
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where clients find the server."""
        apart = [str(address) for one in self._apart for address in one]
        return (*(str(one.address) for one in self._steered), *apart)

    @property
    def steers(self) -> bool:
        """Whether it matters whose turn it is."""
        return bool(self._steered)

    def listen(self, index: int) -> tuple[str, ...]:
        """Where the worker of that index is to listen."""
        own = [str(one.own[index]) for one in self._steered]
        shared = [str(one.all) for one in self._steered if one.shared]
        return (*own, *shared, *map(str, self._apart[index]))

    def descriptors(self, index: int) -> dict[str, int]:
        """The open sockets of that worker, by address."""
        return {address: number for one in self._steered for address, number in one.descriptors(index).items()}

    def steer(self, index: int) -> None:
        """Give new connections to the worker of that index, or scatter them."""
        for one in self._steered:
            one.steer(index)

    def turn_away(self, index: int) -> None:
        """Close what waits for a worker that has died: the clients connect again, and reach another."""
        if not self._adopts:
            return
        for one in self._steered:
            if one.sockets:
                _drain(one.sockets[index])

    def release(self) -> None:
        """Let go of the sockets: workers that hold them go on."""
        for one in self._steered:
            one.release()

    def close(self) -> None:
        """Let go of everything."""
        for one in self._steered:
            one.close()


def _listen(made: socket.socket, address: Address, backlog: int) -> None:
    try:
        made.listen(backlog)
        made.setblocking(False)
    except OSError as error:
        raise unusable(address, error) from None


def _attach(one: socket.socket, program: Sequence[tuple[int, int]]) -> None:
    """Have the kernel run a program of classic BPF whenever it asks which socket of the port gets a connection."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", code, 0, 0, operand) for code, operand in program))
    pointer = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, pointer)


def _drain(listening: socket.socket) -> None:
    for _ in range(_MAX_DRAINED):
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        connection.close()
