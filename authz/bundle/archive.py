"""Reads and writes the tar archive of a bundle, in memory, and takes nothing in it on trust.

An archive is plain files by name, no more: no links, devices or directories with a meaning, no name twice, no name that
leads elsewhere, and never more bytes than settings allow, however small it was packed.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from typing import Annotated

import msgspec

from authz.bundle.manifest import check_path
from authz.errors import ConfigError

_GZIP = b"\x1f\x8b"
_BLOCK = 512
_CHUNK = 1 << 20


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on a bundle (I12)."""

    max_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=1_073_741_824)] = 33_554_432
    """The largest bundle as it is stored or fetched, in bytes."""
    max_unpacked_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=4_294_967_296)] = 134_217_728
    """The largest bundle once decompressed, in bytes."""
    max_files: Annotated[int, msgspec.Meta(ge=3, le=100_000)] = 1_000
    """The most files in a bundle, manifest and signatures included."""
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=1_073_741_824)] = 67_108_864
    """The largest file in a bundle, in bytes."""


def unpack(data: bytes, limits: ArchiveLimits, where: str) -> dict[str, bytes]:
    """Answer the files of an archive.

    Raises:
        ConfigError: it is cut off, no archive, beyond a limit, or holds what a bundle may not hold.
    """
    if len(data) > limits.max_bytes:
        raise ConfigError(f"{where}: larger than max_bytes ({limits.max_bytes})")
    plain = _decompressed(data, limits, where) if data.startswith(_GZIP) else data
    if len(plain) > limits.max_unpacked_bytes:
        raise ConfigError(f"{where}: larger than max_unpacked_bytes ({limits.max_unpacked_bytes}) when unpacked")
    if len(plain) < 2 * _BLOCK or len(plain) % _BLOCK or any(plain[-2 * _BLOCK :]):
        raise ConfigError(f"{where}: no tar archive, or one that is cut off")
    try:
        return _files(plain, limits, where)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError, RecursionError) as error:
        raise ConfigError(f"{where}: no tar archive, or a damaged one: {type(error).__name__}") from None


def pack(files: Mapping[str, bytes]) -> bytes:
    """Write an archive: the same files give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 0
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def _decompressed(data: bytes, limits: ArchiveLimits, where: str) -> bytes:
    """The content, never more of it than one chunk over the limit."""
    stream = zlib.decompressobj(wbits=31)
    plain = bytearray()
    left = data
    try:
        while not stream.eof:
            got = stream.decompress(left, _CHUNK)
            left = stream.unconsumed_tail
            plain += got
            if len(plain) > limits.max_unpacked_bytes:
                raise ConfigError(
                    f"{where}: larger than max_unpacked_bytes ({limits.max_unpacked_bytes}) when unpacked"
                )
            if not got and not left and not stream.eof:
                raise ConfigError(f"{where}: cut off: the compressed data has no end")
    except zlib.error:
        raise ConfigError(f"{where}: damaged: the compressed data cannot be read") from None
    if stream.unused_data:
        raise ConfigError(f"{where}: something follows the compressed data")
    return bytes(plain)


def _files(plain: bytes, limits: ArchiveLimits, where: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:", errorlevel=2) as archive:
        for number, entry in enumerate(archive):
            if number >= limits.max_files:
                raise ConfigError(f"{where}: more than max_files ({limits.max_files}) files")
            check_path(entry.name, where)
            if not entry.isreg() or entry.issparse() or entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise ConfigError(f"{where}: {entry.name!r} is not a plain file (no link, device or directory may be)")
            if entry.name in found:
                raise ConfigError(f"{where}: {entry.name!r} stands there twice")
            if entry.size > limits.max_file_bytes:
                raise ConfigError(f"{where}: {entry.name!r} is larger than max_file_bytes ({limits.max_file_bytes})")
            opened = archive.extractfile(entry)
            content = opened.read(entry.size) if opened else b""
            if len(content) != entry.size:
                raise ConfigError(f"{where}: {entry.name!r} is cut off")
            found[entry.name] = content
    return found
