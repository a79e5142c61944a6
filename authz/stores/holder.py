"""Holds the snapshot in force, and replaces it whole when the files that it was built from change (I11)."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec

from authz.errors import AuthzError, ConfigError
from authz.stores.fingerprint import Fingerprint, Watch

_T = TypeVar("_T")


class ReloadSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How changed files come into force."""

    poll_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 1.0
    """How often the files are looked at, in seconds. A change is taken up once two looks in a row saw the same, so that
    files that are still being copied are left alone."""
    max_build_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    """How often a build is begun again because files changed while they were read."""


class SnapshotHolder(Generic[_T]):
    """The one reference through which every request sees its snapshot."""

    __slots__ = ("current",)

    def __init__(self, first: _T) -> None:
        self.current: _T = first
        """The snapshot in force: reading and replacing it are atomic."""


class Source(Generic[_T]):
    """Builds snapshots out of files, never out of a mixture of an old and a new state of them."""

    def __init__(
        self,
        build: Callable[[], _T],
        watched: Callable[[], Iterable[Path]],
        settings: ReloadSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`build` reads the files; `watched` names them and the directories that are searched, each time anew."""
        self._build = build
        self._watched = watched
        self._settings = settings
        self._clock = clock
        self._watch = Watch()
        self.built_from = Fingerprint({})
        """The state of the files of which the last snapshot was built."""

    def look(self) -> Fingerprint:
        """What the files hold now."""
        return self._watch.look(self._watched(), self._clock())

    def build(self) -> _T:
        """A snapshot of the files as they are now.

        Raises:
            ConfigError: the files changed during every attempt.
            AuthzError: whatever `build` raises.
        """
        for _ in range(self._settings.max_build_attempts):
            before = self.look()
            try:
                snapshot = self._build()
            except AuthzError:
                if self.look() == before:
                    raise
                continue
            if self.look() == before:
                self.built_from = before
                return snapshot
        raise ConfigError("the files keep changing while they are read")


class Reloader(Generic[_T]):
    """Watches the files in the background; `run` it as a task."""

    def __init__(
        self,
        holder: SnapshotHolder[_T],
        source: Source[_T],
        settings: ReloadSettings,
        on_reload: Callable[[_T], None],
        on_failure: Callable[[str], None],
    ) -> None:
        """`source` has built what `holder` holds. The callbacks run in the event loop's thread."""
        self._holder = holder
        self._source = source
        self._handled = self._last_look = source.built_from
        self._poll_seconds = settings.poll_seconds
        self._on_reload = on_reload
        self._on_failure = on_failure
        self.on_same: Callable[[], None] | None = None
        """Told of each look that found nothing new; with it, files are looked at also where others have them read."""
        self._asked = asyncio.Event()
        self._watches = True
        self._reloading = asyncio.Lock()

    def watch(self, on: bool) -> None:  # noqa: FBT001 - one question, one answer
        """Say whether to look for changes; without, files are read when `reload_now` says so."""
        self._watches = on

    async def run(self) -> None:
        """Poll until cancelled. Nothing that goes wrong with a file ends it."""
        while True:
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._asked.wait()
            except TimeoutError:
                if self._watches or self.on_same is not None:
                    await self.poll()
            else:
                self._asked.clear()
                await self.reload()

    def reload_now(self) -> None:
        """Have the files read at once, changed or not: for a signal handler of the event loop (SIGHUP)."""
        self._asked.set()

    async def poll(self) -> None:
        """Look once; reload what changed and has come to rest."""
        try:
            seen = await asyncio.to_thread(self._source.look)
        except Exception as error:  # noqa: BLE001 - a watcher that dies would leave an old policy in force for ever
            self._on_failure(_explain(error))
            return
        at_rest, self._last_look = seen == self._last_look, seen
        if seen == self._handled:
            if self.on_same is not None:
                self.on_same()
        elif at_rest and self._watches:
            await self.reload()

    async def reload(self) -> bool:
        """Build anew off the event loop and swap; on any error the snapshot in force stays. Answer whether it went."""
        async with self._reloading:
            return await self._reload()

    async def _reload(self) -> bool:
        try:
            snapshot = await asyncio.to_thread(self._source.build)
        except Exception as error:  # noqa: BLE001 - I11: whatever is wrong with the new one, the good one goes on
            # Not tried again before the files change once more.
            self._handled = self._last_look
            self._on_failure(_explain(error))
            return False
        self._handled = self._last_look = self._source.built_from
        self._holder.current = snapshot
        self._on_reload(snapshot)
        return True


def _explain(error: Exception) -> str:
    return str(error) if isinstance(error, AuthzError) else f"internal error: {type(error).__name__}"
