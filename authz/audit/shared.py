"""A sink that several processes write to in turns, so that no line ends up within another.

Appending to a file is atomic, but a pipe takes at most 4096 bytes at a time undivided, and a process that is killed
leaves a line cut short of which the next writer cannot know. So they share a lock, which the kernel takes from whoever
dies, and one byte that says whether the last one got to the end of its lines.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from authz.audit.sink import Sink

_TORN: Final = 1


def make_guard() -> int:
    """Make the memory that the sinks of all workers share, and answer its descriptor. Raises OSError."""
    descriptor = os.memfd_create("authz-audit", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor


class ProcessSharedSink:
    """Another sink, used by one process at a time."""

    def __init__(self, sink: Sink, guard: int) -> None:
        """`guard`: what `make_guard` answered, once for all processes."""
        self._sink = sink
        self._guard = guard
        self._flag = mmap.mmap(guard, mmap.PAGESIZE)

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self._sink.name

    def open(self) -> None:
        """Be ready to write; see `Sink`."""
        with self._turn():
            self._sink.open()

    def write(self, lines: list[bytes]) -> None:
        """Write the lines; see `Sink`. Waits while another process writes: for ever, only if that one is stopped, which
        its supervisor does not let it be for long.
        """
        with self._turn():
            # An empty line ends what somebody left unfinished.
            todo = [b"\n", *lines] if self._flag[0] == _TORN else lines.copy()
            self._flag[0] = _TORN
            try:
                self._sink.write(todo)
                self._flag[0] = 0
            finally:
                del lines[: max(0, len(lines) - len(todo))]

    def reopen(self) -> None:
        """Let go of a file that was moved away; see `Sink`."""
        self._sink.reopen()

    def close(self) -> None:
        """Let go of the destination."""
        self._sink.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        fcntl.lockf(self._guard, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._guard, fcntl.LOCK_UN)
