"""Reads a configured file: a regular file, within a bound, and in UTF-8 where it is text."""

import os
import stat
from pathlib import Path

from authz.errors import ConfigError


class UnreadableError(ConfigError):
    """A file that cannot be used; `line` is from 1, or 0 for the whole file."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")
        self.line = line
        self.problem = problem


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of a file that is not empty.

    An empty file is refused: it is what a write that was cut off leaves behind, never what somebody meant.

    Raises:
        UnreadableError: it is missing, unreadable, no regular file, empty or too large.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableError(path, 0, "not a regular file")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableError(path, 0, f"cannot be read: {error.strerror or type(error).__name__}") from None
    if len(content) > max_bytes:
        raise UnreadableError(path, 0, f"larger than max_file_bytes ({max_bytes})")
    if not content:
        raise UnreadableError(path, 0, "the file is empty")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """Open without blocking: a FIFO would otherwise wait for a writer that may never come."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def read_text(path: Path, max_bytes: int) -> str:
    """The content of a text file.

    Raises:
        UnreadableError: as `read_bytes`, or it is not UTF-8, with the line.
    """
    return decode_text(read_bytes(path, max_bytes), path)


def decode_text(content: bytes, path: Path) -> str:
    """The text in a file's content.

    Raises:
        UnreadableError: it is not UTF-8, with the line.
    """
    try:
        return content.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(path, line, "not UTF-8") from None
