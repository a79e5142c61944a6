"""The TLS files of the data plane: read, checked as a whole, and read again when they change.

What is served is the bytes that were checked, never the paths: a file that changes in between is not looked at again.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from authz.errors import ConfigError
from authz.transport.settings import TlsSettings


class TlsMaterial(msgspec.Struct, frozen=True):
    """A certificate chain with its key, and the authorities for clients; all PEM."""

    certificate: bytes
    key: bytes
    client_ca: bytes
    fingerprint: str
    """SHA-256 of the leaf's DER, lower-case hex."""
    not_after: float
    """Seconds since the epoch."""

    def __repr__(self) -> str:
        return f"TlsMaterial({self.fingerprint})"  # the key must not show in a traceback or log (I10)


def read_material(settings: TlsSettings, now: float, section: str = "server.tls") -> TlsMaterial:
    """Read and check the three files; `section` is where errors say that they are configured.

    Raises:
        ConfigError: one is not readable or not what it should be; the key is another certificate's (as it is in the
            middle of a rotation); the certificate is not valid at `now`.
    """
    own = read_own(settings, now, section)
    client_ca = _read(settings.client_ca, f"{section}.client_ca", settings.max_file_bytes)
    _certificates(client_ca, settings.client_ca, f"{section}.client_ca")
    return msgspec.structs.replace(own, client_ca=client_ca)


class OwnFiles(Protocol):
    """Names what a server proves itself with."""

    @property
    def certificate(self) -> str:
        """PEM file: its certificate, then the chain."""

    @property
    def key(self) -> str:
        """PEM file: its private key."""

    @property
    def max_file_bytes(self) -> int:
        """A larger file is refused."""


def read_own(settings: OwnFiles, now: float, section: str) -> TlsMaterial:
    """Read and check a server's own files; there are no authorities for clients, who show no certificate.

    Raises:
        ConfigError: as of `read_material`.
    """
    certificate = _read(settings.certificate, f"{section}.certificate", settings.max_file_bytes)
    key = _read(settings.key, f"{section}.key", settings.max_file_bytes)
    leaf = _certificates(certificate, settings.certificate, f"{section}.certificate")[0]
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError):  # the library's text may quote the key (I10)
        raise ConfigError(f"{section}.key: {settings.key}: not an unencrypted PEM private key") from None
    key_of = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*key_of) != leaf.public_key().public_bytes(*key_of):
        raise ConfigError(f"{section}.key: {settings.key}: not the key of the certificate in {settings.certificate}")
    moment = datetime.fromtimestamp(now, UTC)
    if not leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc:
        span = f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        raise ConfigError(f"{section}.certificate: {settings.certificate}: valid from {span}, so not now")
    return TlsMaterial(
        certificate=certificate,
        key=key,
        client_ca=b"",
        fingerprint=hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
        not_after=leaf.not_valid_after_utc.timestamp(),
    )


def _read(path: str, field: str, max_bytes: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{field}: {path}: {error.strerror or error}") from None
    if len(content) > max_bytes:
        raise ConfigError(f"{field}: {path}: larger than max_file_bytes ({max_bytes})")
    return content


def _certificates(content: bytes, path: str, field: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ConfigError(f"{field}: {path}: no readable PEM certificate") from None
