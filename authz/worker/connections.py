"""How many connections this process has open on the addresses that it serves."""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterable
from typing import Final

from authz.errors import ConfigError
from authz.transport.listeners import parse_address

_DESCRIPTORS: Final = "/proc/self/fd"
_RECOUNT_SECONDS: Final = 1.0


class OpenConnections:
    """Counts by looking at the descriptors, since no transport tells."""

    def __init__(self, addresses: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Count those of clients of `addresses`."""
        parsed = [parse_address(text) for text in addresses]
        self._paths = {address.path for address in parsed if address.path}
        self._ports = {address.port for address in parsed if not address.path}
        self._clock = clock
        self._open = -1
        self._stale_at = 0.0
        self._count = 0

    def count(self) -> int:
        """Answer how many are open now. Looks closely (about 10 us a descriptor) only when the number of descriptors
        has changed, or once a second.

        Raises:
            ConfigError: there is no /proc.
        """
        now = self._clock()
        try:
            # The size is how many there are; before Linux 6.2 it is 0.
            number = os.stat(_DESCRIPTORS).st_size or len(os.listdir(_DESCRIPTORS))  # noqa: PTH116, PTH208 - cheap
            if number != self._open or now >= self._stale_at:
                self._open, self._stale_at = number, now + _RECOUNT_SECONDS
                self._count = sum(map(self._is_client, map(int, os.listdir(_DESCRIPTORS))))  # noqa: PTH208 - no paths
        except OSError as error:
            raise ConfigError(f"workers need /proc to count their connections: {error.strerror or error}") from None
        return self._count

    def _is_client(self, descriptor: int) -> bool:
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                return False
            copy = os.dup(descriptor)
        except OSError:  # closed meanwhile
            return False
        try:
            # By number, not through a socket object of the event loop: only read, nothing is set.
            with socket.socket(fileno=copy) as one:
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return False
                one.getpeername()
                name = one.getsockname()
        except OSError:
            return False
        if isinstance(name, tuple):
            return name[1] in self._ports
        return name in self._paths
