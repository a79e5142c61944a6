"""Keeps key sets and trust bundles current: files and HTTPS URLs, polled in the background, never by a request.

What was good last stays in use while its source is out of reach, up to a stated age; then it is dropped, so that what
only it could verify is refused (I2).
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec

from authz.errors import AuthzError, ConfigError
from authz.stores.daemon_thread import in_daemon_thread
from authz.stores.https_fetch import Fetched, FetchError, HttpsFetcher
from authz.stores.reading import read_bytes

_T = TypeVar("_T")


class KeyStoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How key sets and trust bundles are kept current."""

    poll_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    """How often every source is read, in seconds. A key that its issuer withdraws is accepted up to that long."""
    timeout_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0
    """How long fetching one URL may take, in seconds."""
    max_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=67_108_864)] = 1_048_576
    """The largest key set or bundle, in bytes."""
    max_stale_seconds: Annotated[float, msgspec.Meta(ge=60, le=2_592_000)] = 86_400.0
    """How long the last good keys of a source that cannot be read are still used, in seconds; then they are dropped."""
    ca_file: str = ""
    """PEM file with the authorities that may vouch for the servers of the URLs; "": those of the system."""


class KeySource(msgspec.Struct, Generic[_T], frozen=True):
    """Where keys come from, and how they are read."""

    location: str
    """A file, or an https:// URL."""
    parse: Callable[[bytes], _T]
    """Makes the keys of the content, or raises ConfigError; called in a thread of its own."""


class _State(msgspec.Struct, Generic[_T]):
    """What is known of one source."""

    read: Callable[[str], Fetched]
    value: _T | None = None
    content: bytes = b""
    etag: str = ""
    good_at: float = 0.0
    """When it was read last, in monotonic seconds."""
    busy: bool = False
    """A read that took too long is still going on in its thread; no second one is begun."""


class KeyStore(Generic[_T]):
    """The current keys of every source by its name; one that has none (never read, or too old) is absent."""

    def __init__(
        self,
        sources: Mapping[str, KeySource[_T]],
        settings: KeyStoreSettings,
        on_change: Callable[[Mapping[str, _T]], None],
        on_failure: Callable[[str, str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """The callbacks, in the event loop's thread, get all current keys, and the name of a source with its problem.

        Raises:
            ConfigError: a URL that may not be used, or authorities that cannot be loaded.
        """
        self._sources = dict(sources)
        self._settings = settings
        self._on_change = on_change
        self._on_failure = on_failure
        self._monotonic = monotonic
        self._states = {name: _State[_T](read=self._reader(name, source)) for name, source in sources.items()}
        self._current: Mapping[str, _T] = {}
        self._asked = asyncio.Event()

    @property
    def current(self) -> Mapping[str, _T]:
        """The keys in force; a new mapping takes its place when anything changes."""
        return self._current

    async def run(self) -> None:
        """Read all sources now and then until cancelled."""
        while True:
            await self.refresh()
            try:
                async with asyncio.timeout(self._settings.poll_seconds):
                    await self._asked.wait()
            except TimeoutError:
                continue
            self._asked.clear()

    def refresh_now(self) -> None:
        """Have all sources read at once: for a signal handler of the event loop (SIGHUP)."""
        self._asked.set()

    async def refresh(self) -> None:
        """Read every source once, side by side; then drop what is too old, and tell of any change."""
        changed = await asyncio.gather(*(self._refresh_one(name) for name in self._states))
        dropped = [self._drop_if_stale(name) for name in self._states]
        if any(changed) or any(dropped):
            self._current = {name: state.value for name, state in self._states.items() if state.value is not None}
            self._on_change(self._current)

    async def _refresh_one(self, name: str) -> bool:
        """Whether the keys of this source are others now."""
        state = self._states[name]
        if state.busy:
            self._on_failure(name, "the read before is still going on")
            return False
        state.busy = True
        reading = in_daemon_thread(lambda: self._read(state, self._sources[name].parse))
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                read = await reading
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a source, the last good keys go on
            self._on_failure(name, _explain(error))
            return False
        state.good_at = self._monotonic()
        if read is None:
            return False
        state.value, state.content, state.etag = read
        return True

    @staticmethod
    def _read(state: _State[_T], parse: Callable[[bytes], _T]) -> tuple[_T, bytes, str] | None:
        """The keys with their content and ETag; None when they are those that are known."""
        try:
            fetched = state.read(state.etag)
            if fetched.content is None or (state.value is not None and fetched.content == state.content):
                return None
            return parse(fetched.content), fetched.content, fetched.etag
        finally:
            state.busy = False

    def _drop_if_stale(self, name: str) -> bool:
        state = self._states[name]
        if state.value is None or self._monotonic() - state.good_at <= self._settings.max_stale_seconds:
            return False
        state.value, state.content, state.etag = None, b"", ""
        self._on_failure(name, f"not read for max_stale_seconds ({self._settings.max_stale_seconds:g}): dropped")
        return True

    def _reader(self, name: str, source: KeySource[_T]) -> Callable[[str], Fetched]:
        settings = self._settings
        if "://" not in source.location:
            path = Path(source.location)
            return lambda _etag: Fetched(read_bytes(path, settings.max_bytes), "")
        try:
            return HttpsFetcher(
                source.location,
                ca_file=settings.ca_file,
                timeout_seconds=settings.timeout_seconds,
                max_bytes=settings.max_bytes,
            ).fetch
        except FetchError as error:
            raise ConfigError(f"{name}: {error}") from None


def _explain(error: Exception) -> str:
    if isinstance(error, AuthzError | FetchError):
        return str(error)
    return "not read in time" if isinstance(error, TimeoutError) else f"internal error: {type(error).__name__}"
