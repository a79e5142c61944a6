"""Ports for servers that must be told theirs before they start."""

import itertools
import os
import random
import socket

# Below the range that kernels hand out by themselves (from 32768 on Linux), so that no client's end takes one in the
# moment between the look and the server's start; and each process of a parallel run tries others.
_FIRST, _EACH, _PROCESSES = 16_000, 1_000, 16
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_OFFSETS = itertools.count(random.SystemRandom().randrange(_EACH))


def free_port() -> int:
    """A TCP port on loopback on which nobody listens."""
    for _ in range(_EACH):
        port = _FIRST + _PROCESS * _EACH + next(_OFFSETS) % _EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port on loopback")
