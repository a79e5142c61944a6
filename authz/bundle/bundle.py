"""A bundle, put together or opened: nothing of it is used before a trusted key vouches for all of it."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from authz.bundle.archive import ArchiveLimits, pack, unpack
from authz.bundle.manifest import MANIFEST, SIGNATURES, FileEntry, Manifest, check_path, encode_manifest, parse_manifest
from authz.bundle.signing import Signature, check_signed, encode_signatures, key_id, parse_signatures, sign
from authz.errors import ConfigError


class Bundle(msgspec.Struct, frozen=True):
    """What an opened bundle holds."""

    manifest: Manifest
    digest: str
    """SHA-256 of the manifest, and so of everything."""
    files: Mapping[str, bytes]
    key: str
    """The id of the trusted key that vouches for it."""


def seal(manifest: Manifest, files: Mapping[str, bytes], keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """Pack files and manifest, signed with each key; the manifest's `files` are filled in.

    Raises:
        ConfigError: a file is missing, empty, or has a name that no bundle takes.
    """
    entries = {}
    for name in manifest.named:
        check_path(name, "bundle")
        if name in (MANIFEST, SIGNATURES):
            raise ConfigError(f"bundle: a file cannot be called {name}")
        if not files.get(name):
            raise ConfigError(f"bundle: {name!r} is missing or empty")
        entries[name] = FileEntry(sha256=hashlib.sha256(files[name]).hexdigest(), bytes=len(files[name]))
    encoded = encode_manifest(msgspec.structs.replace(manifest, files=entries))
    parse_manifest(encoded, "bundle")
    signatures = encode_signatures([sign(encoded, key) for key in keys])
    return pack({MANIFEST: encoded, SIGNATURES: signatures, **{name: files[name] for name in entries}})


def add_signature(data: bytes, key: Ed25519PrivateKey, limits: ArchiveLimits, where: str) -> bytes:
    """Sign a bundle once more, in the place of what the same key signed before.

    Raises:
        ConfigError: it is no bundle, or what it holds is not what its manifest says.
    """
    files = unpack(data, limits, where)
    encoded, manifest = _manifest(files, where)
    _check_files(manifest, files, where)
    kept = [each for each in _signatures(files, where) if each.key != key_id(key.public_key())]
    signatures = encode_signatures([*kept, sign(encoded, key)])
    parse_signatures(signatures, where)
    return pack({**files, MANIFEST: encoded, SIGNATURES: signatures})


def open_bundle(
    data: bytes, trusted: Sequence[Ed25519PublicKey], limits: ArchiveLimits, where: str, now: float
) -> Bundle:
    """Open a bundle for which a trusted key vouches and whose time is not over.

    Raises:
        ConfigError: unsigned, signed by others, changed, cut off, expired, or no bundle at all; it says which.
    """
    files = unpack(data, limits, where)
    if MANIFEST not in files:
        raise ConfigError(f"{where}: no bundle: it has no {MANIFEST}")
    # Signatures first: nothing that nobody vouches for is looked into further than that.
    key = check_signed(files[MANIFEST], _signatures(files, where), trusted, where)
    encoded, manifest = _manifest(files, where)
    _check_files(manifest, files, where)
    if manifest.expires is not None and now >= manifest.expires:
        raise ConfigError(f"{where}: expired {_span(now - manifest.expires)} ago (revision {manifest.revision})")
    content = {name: files[name] for name in manifest.files}
    return Bundle(manifest=manifest, digest=hashlib.sha256(encoded).hexdigest(), files=content, key=key)


def _manifest(files: Mapping[str, bytes], where: str) -> tuple[bytes, Manifest]:
    if MANIFEST not in files:
        raise ConfigError(f"{where}: no bundle: it has no {MANIFEST}")
    return files[MANIFEST], parse_manifest(files[MANIFEST], where)


def _signatures(files: Mapping[str, bytes], where: str) -> "tuple[Signature, ...]":
    if SIGNATURES not in files:
        raise ConfigError(f"{where}: not signed: it has no {SIGNATURES}")
    return parse_signatures(files[SIGNATURES], where)


def _check_files(manifest: Manifest, files: Mapping[str, bytes], where: str) -> None:
    for name in files:
        if name not in manifest.files and name not in (MANIFEST, SIGNATURES):
            raise ConfigError(f"{where}: {name!r} is not in the manifest")
    for name, entry in manifest.files.items():
        content = files.get(name)
        if content is None:
            raise ConfigError(f"{where}: {name!r} is missing: cut off, or packed wrongly")
        if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ConfigError(f"{where}: {name!r} is not what was signed: its size or SHA-256 differs")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
