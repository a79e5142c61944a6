"""Tells whether watched files changed: cheap to ask every second, and not fooled by how files are replaced."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

_RECENT_SECONDS = 3.0
"""A change within the clock tick of the one before leaves the same times; so what changed lately is read again."""

_Stat: TypeAlias = tuple[int, ...]


class _Seen(msgspec.Struct, frozen=True):
    stat: _Stat | None
    """Device, inode, size, mtime and ctime of what the path leads to, links followed; None: nothing is there."""
    content: bytes
    """A hash of a file's bytes, or of the names in a directory."""
    settled: bool
    """Whether the stat alone tells that the content is still this."""


class Fingerprint(msgspec.Struct, frozen=True):
    """What a set of paths held at one time; equal if and only if their content is."""

    content: Mapping[str, bytes]


class Watch:
    """Remembers what it saw, so that only what may have changed is read again. Not for two threads at once."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def look(self, paths: Iterable[Path], now: float) -> Fingerprint:
        """The fingerprint of these paths; `now` in seconds since the epoch, as file times are."""
        self._seen = {path: self._one(path, now) for path in paths}
        return Fingerprint({str(path): seen.content for path, seen in self._seen.items()})

    def _one(self, path: Path, now: float) -> _Seen:
        try:
            found = path.stat()
        except OSError as error:
            return _Seen(None, f"error {error.errno}".encode(), settled=True)
        # ctime too: a tool that restores mtime after writing cannot restore ctime.
        stat = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        before = self._seen.get(path)
        if before is not None and before.settled and before.stat == stat:
            return before
        changed = max(found.st_mtime, found.st_ctime)
        return _Seen(stat, _content(path), settled=changed < now - _RECENT_SECONDS)


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            names = sorted(os.fsencode(each.name) for each in path.iterdir())
            return hashlib.sha256(b"\0".join(names)).digest()
        if not path.is_file():
            return b"special"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return f"error {error.errno}".encode()
