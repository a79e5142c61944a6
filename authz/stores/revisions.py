"""Remembers, across restarts, the highest revision of a bundle that was in force: an older one is a replay."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from authz.errors import ConfigError


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The highest revision so far, and what it was."""

    revision: int = 0
    digest: str = ""


class RevisionMemory:
    """The memory of one bundle's revisions, in a directory that survives restarts; several processes may share it."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._file = directory / f"{name}.revision.json"
        self._lock = directory / f"{name}.lock"
        self._copy = directory / f"{name}.bundle"

    def check(self, revision: int, digest: str, where: str) -> None:
        """Refuse a revision that is older than the highest seen, or the same with another content.

        Raises:
            ConfigError: it is, or the memory cannot be read.
        """
        seen = self._seen()
        if revision < seen.revision:
            raise ConfigError(
                f"{where}: revision {revision} is older than {seen.revision}, which was in force: a replay?"
            )
        if revision == seen.revision and digest != seen.digest:
            raise ConfigError(f"{where}: revision {revision} was in force with another content; raise the revision")

    def remember(self, revision: int, digest: str, copy: bytes | None) -> None:
        """Write down a revision that comes into force, with a copy to start from where its origin may be out of reach.

        Raises:
            ConfigError: it cannot be written down.
        """
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            with self._locked():
                self.check(revision, digest, str(self._file))
                if copy is not None:
                    _replace(self._copy, copy)
                if self._seen().revision != revision:
                    _replace(self._file, msgspec.json.encode(Seen(revision=revision, digest=digest)))
        except OSError as error:
            # Without this memory an old bundle could come back after a restart.
            raise ConfigError(f"{self._file}: cannot be written: {error.strerror or error}") from None

    def copy(self, max_bytes: int) -> bytes | None:
        """Answer the copy of the bundle that was in force last; None when there is none."""
        try:
            with self._copy.open("rb") as file:
                return file.read(max_bytes + 1)
        except OSError:
            return None

    def _seen(self) -> Seen:
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return Seen()
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be read: {error.strerror or error}") from None
        try:
            return msgspec.json.decode(content, type=Seen)
        except msgspec.DecodeError:
            advice = "restore it, or remove it to start again from whatever revision comes first"
            raise ConfigError(f"{self._file}: damaged, so a replay could not be told; {advice}") from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and have the disk confirm it."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except OSError:
        Path(fresh).unlink(missing_ok=True)
        raise
