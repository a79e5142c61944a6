"""Where lines go: a file that may be rotated under us, or standard output.

A sink takes whole lines off the front of the list that it is given as they are written, so that after a failure the
rest can be tried again. A line that was cut short is ended before anything else is written, so that the rest of the
trail stays readable.
"""

import os
import select
import stat
from pathlib import Path
from typing import Protocol

_FILE_MODE = 0o640
_STDOUT = 1
_FULL_PIPE_MILLISECONDS = 1000
"""How long a reader that does not keep up is waited for, where the descriptor does not wait by itself."""


class Sink(Protocol):
    """Takes lines. One thread uses it at a time, except for `name`."""

    @property
    def name(self) -> str:
        """What to call it in a message."""

    def open(self) -> None:
        """Be ready to write. Raises OSError when it cannot be."""

    def write(self, lines: list[bytes]) -> None:
        """Write the lines, taking off the list those that are written whole. Raises OSError, leaving the rest."""

    def reopen(self) -> None:
        """Let go of a file that was moved away: the next write opens a new one."""

    def close(self) -> None:
        """Let go of everything."""


def open_sink(destination: str, *, fsync: bool) -> Sink:
    """Answer the sink that the setting `destination` names, not yet open."""
    return DescriptorSink(_STDOUT, "stdout") if destination == "stdout" else FileSink(destination, fsync=fsync)


class DescriptorSink:
    """A descriptor that somebody else owns."""

    def __init__(self, descriptor: int, name: str, *, torn: bool = False) -> None:
        self.name = name
        self.torn = torn  # what was written last ends within a line
        self._fd = descriptor

    def open(self) -> None:
        """Nothing to do: it is open, or never will be."""

    def write(self, lines: list[bytes]) -> None:
        """Write the lines; see `Sink`."""
        data = memoryview(b"\n" + b"".join(lines) if self.torn else b"".join(lines))
        ended = int(self.torn)  # bytes up to the end of the last whole line
        written = 0
        try:
            while written < len(data):
                written += _write_some(self._fd, data[written:])
        finally:
            whole = 0
            while whole < len(lines) and ended + len(lines[whole]) <= written:
                ended += len(lines[whole])
                whole += 1
            del lines[:whole]
            if written:
                self.torn = written != ended

    def reopen(self) -> None:
        """Nothing to do: only its owner could."""

    def close(self) -> None:
        """Nothing to do: it is not ours."""


class FileSink:
    """A file that is appended to, one write per batch, so that several processes may share it."""

    def __init__(self, path: str, *, fsync: bool) -> None:
        self.name = path
        self._fsync = fsync
        self._fd = -1
        self._writer = DescriptorSink(-1, path)
        self._identity = (0, 0)
        self._regular = False

    def open(self) -> None:
        """Open, or make, the file. A pipe without a reader is an error, not a wait."""
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(self.name, flags, _FILE_MODE)
        status = os.fstat(fd)
        self._fd, self._identity = fd, (status.st_dev, status.st_ino)
        self._regular = stat.S_ISREG(status.st_mode)
        torn = self._last_byte(status.st_size) != b"\n" if self._regular and status.st_size else self._writer.torn
        self._writer = DescriptorSink(fd, self.name, torn=torn)

    def write(self, lines: list[bytes]) -> None:
        """Write the lines; see `Sink`. With `fsync`, they count as written when the disk has confirmed them."""
        if self._fd < 0 or self._moved():
            self.open()
        todo = list(lines) if self._fsync and self._regular else lines
        try:
            self._writer.write(todo)
            if todo is not lines:
                os.fsync(self._fd)
                lines.clear()
        except OSError:
            self.close()  # opened anew, the file tells how it ends
            raise

    def reopen(self) -> None:
        """Open by name again at the next write."""
        self.close()

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _moved(self) -> bool:
        try:
            status = Path(self.name).stat()
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def _last_byte(self, size: int) -> bytes:
        try:
            fd = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError:
            return b""  # may be appended to, not read: an empty line more does no harm
        try:
            return os.pread(fd, 1, size - 1)
        finally:
            os.close(fd)


def _write_some(fd: int, data: memoryview) -> int:
    """Write as much as is taken at once, waiting a while for a reader that does not keep up."""
    try:
        written = os.write(fd, data)
    except BlockingIOError:
        room = select.poll()
        room.register(fd, select.POLLOUT)
        if not room.poll(_FULL_PIPE_MILLISECONDS):
            raise
        written = os.write(fd, data)
    if not written:
        raise OSError("nothing was written")
    return written
