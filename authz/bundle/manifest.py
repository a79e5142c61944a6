"""The manifest of a bundle: which files it holds, which revision it is, and until when it may be used."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from authz.errors import ConfigError

FORMAT = 1
MANIFEST, SIGNATURES = "manifest.json", "signatures.json"
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_MAX_PATH_CHARS = 100
_MAX_REVISION = 2**53 - 1

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one file of the bundle must be."""

    sha256: Digest
    bytes: Annotated[int, msgspec.Meta(ge=1)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the signatures stand for."""

    format: int
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}\Z")]
    """Which policy this is, such as `payments-prod`; a server takes only the one that it is configured for."""
    revision: Annotated[int, msgspec.Meta(ge=1, le=_MAX_REVISION)]
    """Rises with each change; a server that has seen one takes none that is lower."""
    created: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    """Seconds since the epoch."""
    expires: Annotated[float, msgspec.Meta(gt=0, le=1e11)] | None = None
    """Likewise; from then on it is not taken any more."""
    model: str
    policies: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """In the order in which rules count."""
    inventory: str = ""
    catalogue: str = ""
    files: dict[str, FileEntry]

    @property
    def named(self) -> tuple[str, ...]:
        """Every file that has a part to play."""
        others = tuple(name for name in (self.inventory, self.catalogue) if name)
        return (self.model, *self.policies, *others)


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest, always in the same way."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest strictly.

    Raises:
        ConfigError: it is none, or contradicts itself.
    """
    document = parse_json(data, f"{where}: {MANIFEST}")
    if document.get("format") != FORMAT:
        raise ConfigError(f"{where}: {MANIFEST}: a format that this version does not know; it knows {FORMAT}")
    try:
        manifest = msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {MANIFEST}: {error}") from None
    for name in manifest.files:
        check_path(name, where)
    if len(set(manifest.named)) != len(manifest.named):
        raise ConfigError(f"{where}: {MANIFEST}: a file is named twice")
    if set(manifest.named) != set(manifest.files):
        odd = min(set(manifest.named) ^ set(manifest.files))
        raise ConfigError(f"{where}: {MANIFEST}: {odd!r} must be both listed in files and named for what it is")
    if manifest.expires is not None and manifest.expires <= manifest.created:
        raise ConfigError(f"{where}: {MANIFEST}: it expires before it was created")
    return manifest


def check_path(name: str, where: str) -> None:
    """Refuse a name that could lead out of the bundle or that readers differ about.

    Raises:
        ConfigError: it could.
    """
    if not _PATH.fullmatch(name) or len(name) > _MAX_PATH_CHARS or ".." in name:
        raise ConfigError(
            f"{where}: {name[:_MAX_PATH_CHARS]!r} is no name of a file here: letters, digits and ._-/ only, relative"
        )


def parse_json(data: bytes, where: str) -> Mapping[str, Any]:
    """Read a JSON object in which no key stands twice.

    Raises:
        ConfigError: it is none.
    """
    try:
        document = json.loads(data.decode("utf-8", "strict"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ConfigError(f"{where}: not JSON, or a key stands twice in one object") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("twice")
    return table


def _refuse(name: str) -> None:
    raise ValueError(name)
