"""Policies from a signed bundle, in a file or at an HTTPS URL."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from authz.bundle.archive import ArchiveLimits
from authz.bundle.bundle import Bundle, open_bundle
from authz.bundle.signing import read_public_key
from authz.errors import ConfigError
from authz.stores.https_fetch import FetchError, HttpsFetcher
from authz.stores.policy_source import PolicyText
from authz.stores.reading import decode_text, read_bytes
from authz.stores.revisions import RevisionMemory

_MAX_KEY_BYTES = 10_000


class BundleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed bundle in the place of model and policy files; inventory and catalogue may come in it, too."""

    location: Annotated[str, msgspec.Meta(min_length=1)]
    """A file, or an `https://` URL."""
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}\Z")]
    """The name that the bundle must have, so that one made for another place is refused."""
    trusted_keys: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=16)]
    """PEM files of the Ed25519 public keys, any one of which may vouch for the bundle; two while keys are changed."""
    state_directory: Annotated[str, msgspec.Meta(min_length=1)]
    """Where the highest revision is remembered, so that an older bundle is refused after a restart too; and a copy of
    what was fetched last, to start from while the URL cannot be reached."""
    poll_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    """How often the URL is asked (with its ETag) for another bundle, in seconds. A file is watched like all files."""
    timeout_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 30.0
    """How long fetching it may take, in seconds."""
    ca_file: str = ""
    """PEM file with the authorities that may vouch for the URL's server; "": those of the system."""
    limits: ArchiveLimits = ArchiveLimits()
    """How large it may be."""


class BundleSource:
    """The bundle that settings name. Implements `PolicySource`, or `PolledSource` where it is fetched."""

    def __init__(self, settings: BundleSettings, base: Path, clock: Callable[[], float] = time.time) -> None:
        """`base`: the directory at which relative paths start.

        Raises:
            ConfigError: the URL or the authorities cannot be used.
        """
        self._settings = settings
        self._base = base
        self._clock = clock
        self._memory = RevisionMemory(base / settings.state_directory, settings.name)
        self._fetch = self._fetcher() if "://" in settings.location else None
        self._fetched: bytes | None = None
        self._etag = ""
        self._opened: tuple[Bundle, bytes] | None = None
        self.reached = True
        """False: what is read is a copy of earlier, because nobody could be asked yet."""

    @property
    def polled(self) -> bool:
        """Whether it must be asked for changes, rather than watched."""
        return self._fetch is not None

    @property
    def poll_seconds(self) -> float:
        """How often to look."""
        return self._settings.poll_seconds

    def look(self) -> bool:
        """Fetch the bundle if it is another one than before; see `PolledSource`.

        Raises:
            ConfigError: it could not be had, or may not be used.
        """
        if self._fetch is None:
            return False
        try:
            answer = self._fetch.fetch(self._etag)
        except FetchError as error:
            raise ConfigError(f"{self._settings.location}: {error}") from None
        self.reached = True
        if answer.content is None:
            return False
        self._open(answer.content)
        changed = answer.content != self._fetched
        self._fetched, self._etag = answer.content, answer.etag
        return changed

    def read(self) -> PolicyText:
        """Open the bundle as it is now, or as it was fetched last.

        Raises:
            ConfigError: it is missing, or may not be used; it says why.
        """
        data = self._data()
        bundle = self._open(data)
        self._opened = bundle, data
        manifest = bundle.manifest

        def named(file: str) -> str:
            return f"{manifest.name}@{manifest.revision}/{file}"

        def text(file: str) -> str:
            return decode_text(bundle.files[file], Path(named(file)))

        def part(file: str) -> tuple[str, bytes] | None:
            return (named(file), bundle.files[file]) if file else None

        return PolicyText(
            model_file=named(manifest.model),
            model=text(manifest.model),
            policies=tuple((named(file), text(file)) for file in manifest.policies),
            inventory=part(manifest.inventory),
            catalogue=part(manifest.catalogue),
            revision=manifest.revision,
            expires=manifest.expires or 0.0,
        )

    def watched(self) -> list[Path]:
        """Name the files: the keys, and the bundle unless it is fetched."""
        files = self._settings.trusted_keys if self.polled else (*self._settings.trusted_keys, self._settings.location)
        return [self._base / file for file in files]

    def accepted(self) -> None:
        """Remember the revision that is about to come into force.

        Raises:
            ConfigError: it could not be remembered.
        """
        if self._opened is not None:
            bundle, data = self._opened
            self._memory.remember(bundle.manifest.revision, bundle.digest, data if self.polled else None)

    def _data(self) -> bytes:
        limit = self._settings.limits.max_bytes
        if self._fetch is None:
            return read_bytes(self._base / self._settings.location, limit)
        if self._fetched is None:
            try:
                self.look()
            except ConfigError:
                copy = self._memory.copy(limit)
                if copy is None:
                    raise
                self._fetched = copy
                self.reached = False
        if self._fetched is None:
            raise ConfigError(f"{self._settings.location}: nothing was fetched")
        return self._fetched

    def _open(self, data: bytes) -> Bundle:
        settings = self._settings
        where = settings.location
        bundle = open_bundle(data, self._keys(), settings.limits, where, self._clock())
        if bundle.manifest.name != settings.name:
            raise ConfigError(f"{where}: this is the bundle {bundle.manifest.name!r}, not {settings.name!r}")
        self._memory.check(bundle.manifest.revision, bundle.digest, where)
        return bundle

    def _keys(self) -> list[Ed25519PublicKey]:
        files = self._settings.trusted_keys
        return [read_public_key(read_bytes(self._base / file, _MAX_KEY_BYTES), file) for file in files]

    def _fetcher(self) -> HttpsFetcher:
        settings = self._settings
        try:
            return HttpsFetcher(
                settings.location,
                ca_file=str(self._base / settings.ca_file) if settings.ca_file else "",
                timeout_seconds=settings.timeout_seconds,
                max_bytes=settings.limits.max_bytes,
                accept="application/octet-stream, */*",
            )
        except FetchError as error:
            raise ConfigError(f"policy.bundle.location: {error}") from None
