"""The addresses that are listened on, and the sockets of our own that stand there."""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from authz.errors import ConfigError

_MAX_UNIX_PATH_BYTES = 107
"""sockaddr_un holds 108, one of them a final NUL."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a Unix socket's path, or an IP address and port (0: the kernel picks one)."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or ipaddress.ip_address(self.host).is_loopback


def parse_address(text: str) -> Address:
    """Answer the address that a setting names: "127.0.0.1:9191", "[::1]:9191", "unix:/run/authz.sock".

    Host names are refused: what they resolve to, and whether it is this machine alone, can change.

    Raises:
        ConfigError: it is none of these.
    """
    kind, _, path = text.partition("unix:")
    if not kind and path:
        if not path.startswith("/") or "\0" in path or len(path.encode()) > _MAX_UNIX_PATH_BYTES:
            raise ConfigError(
                f"listen address {text!r}: the socket's path must be absolute and at most {_MAX_UNIX_PATH_BYTES} bytes"
            )
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    host = "127.0.0.1" if host == "localhost" else host
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:  # noqa: PLR2004 - the last port
        raise ConfigError(
            f"listen address {text!r}: expected an IP address and port such as 127.0.0.1:9191 or [::1]:9191, "
            "or unix:/absolute/path"
        )
    return Address(host=str(ip), port=int(port))


def demand_safe(addresses: Iterable[Address], *, encrypted: bool, allow_plaintext: bool, section: str) -> None:
    """Return if nobody else can read or forge what passes here.

    Raises:
        ConfigError: an address that others reach would be served without TLS.
    """
    for address in addresses:
        if not (encrypted or allow_plaintext or address.loopback):
            tls = f"configure [{section}.tls], " if section == "server" else ""
            raise ConfigError(
                f"{section}.listen: {address} can be reached from other machines, and would be served without TLS: "
                f"{tls}listen on 127.0.0.1 or a Unix socket, or set {section}.allow_plaintext = true "
                "if the network in between is trusted"
            )


@dataclass(frozen=True, slots=True)
class Handed:
    """What a supervisor hands to a worker, so that several processes listen on one address."""

    listeners: Mapping[str, int] = field(default_factory=dict)
    """Descriptors of sockets that listen already, by address."""
    share_port: bool = False
    """Whether to bind TCP ports that other workers bind, too (SO_REUSEPORT)."""


class Listener:
    """One listening socket, ours until closed; servers get duplicates of its descriptor."""

    def __init__(self, address: Address, backlog: int, unix_mode: int, handed: int | None = None) -> None:
        """Bind and listen; or take over `handed`, a socket that listens already: its file stays its maker's.

        Raises:
            ConfigError: the address is not to be had.
        """
        self._unix: UnixPath | None = None
        self.address = address
        if handed is not None:
            self.socket = socket.socket(fileno=handed)
            self.socket.setblocking(False)
            return
        if address.path:
            self.socket = bind_unix(address.path, unix_mode)
            self._unix = UnixPath(address.path)
        else:
            self.socket = bind_tcp(address)
            self.address = Address(host=address.host, port=self.socket.getsockname()[1])
        try:
            self.socket.listen(backlog)
            self.socket.setblocking(False)
        except OSError as error:
            self.close()
            raise unusable(address, error) from None

    @property
    def bind(self) -> str:
        """The descriptor as h2corn wants it named."""
        return f"fd://{self.socket.fileno()}"

    def close(self) -> None:
        """Stop listening, and remove the socket file if it is still ours."""
        if self._unix is not None:
            self._unix.remove()
        self.socket.close()


class UnixPath:
    """A socket file that this process made."""

    def __init__(self, path: str) -> None:
        """Remember which file it is."""
        self._path = Path(path)
        self._made: tuple[int, int] | None = _identity(self._path)

    def remove(self) -> None:
        """Remove the file, once, unless somebody else has put another in its place."""
        made, self._made = self._made, None  # a later file may be given the same inode
        with contextlib.suppress(OSError):
            if made is not None and _identity(self._path) == made:
                self._path.unlink()


def clear_stale(path: str) -> None:
    """Make way at a Unix socket's path: remove the file of a server that is gone.

    Raises:
        ConfigError: what is there is no socket, or somebody listens on it.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(Address(path=path), error) from None
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"listen address unix:{path}: there is something that is not a socket; remove it or move away"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(path)
    if code != errno.ECONNREFUSED:
        raise ConfigError(f"listen address unix:{path}: somebody listens there already; stop it or move away")
    try:
        Path(path).unlink()
    except OSError as error:
        raise unusable(Address(path=path), error) from None


def bind_unix(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket, in place of one that a server which is gone has left.

    Raises:
        ConfigError: the path is not to be had.
    """
    clear_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        Path(path).chmod(mode)  # nobody can connect before listen(), so there is no moment of wider permissions
    except OSError as error:
        made.close()
        raise unusable(Address(path=path), error) from None
    return made


def bind_tcp(address: Address, *, share_port: bool = False) -> socket.socket:
    """Bind a TCP socket; `share_port`: others that ask for the same may bind its port, too.

    Raises:
        ConfigError: the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # "::" must not mean IPv4, too
        if share_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address.host, address.port))
    except OSError as error:
        made.close()
        raise unusable(address, error) from None
    return made


def unusable(address: Address, error: OSError) -> ConfigError:
    """Answer the error to raise about an address that the system does not give."""
    return ConfigError(f"listen address {address}: {error.strerror or error}")


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
