"""Ed25519 keys and signatures of bundles (RFC 8032): who vouches for a manifest."""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from authz.bundle.manifest import SIGNATURES, parse_json
from authz.errors import ConfigError

_CONTEXT = b"authz policy bundle, manifest\n"
"""Put before what is signed, so that a signature made with the same key for anything else is none of a manifest."""
_KEY_ID_CHARS = 16
_MAX_SIGNATURES = 16
_SIGNATURE_BYTES = 64


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signature over the manifest."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
    """Which key made it: see `key_id`."""
    signature: Annotated[str, msgspec.Meta(min_length=88, max_length=88)]
    """Base64."""


class _Signatures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    signatures: Annotated[tuple[Signature, ...], msgspec.Meta(max_length=_MAX_SIGNATURES)]


def key_id(key: Ed25519PublicKey) -> str:
    """Name a key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:_KEY_ID_CHARS]


def new_key() -> tuple[bytes, bytes]:
    """Make a key pair; answer the private and the public one as PEM."""
    private = Ed25519PrivateKey.generate()
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def read_private_key(pem: bytes, where: str) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        ConfigError: it is none that can be used; the message holds nothing of it.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: not a private key in PEM form without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{where}: not an Ed25519 key")
    return key


def read_public_key(pem: bytes, where: str) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        ConfigError: it is none that can be used.
    """
    if b"PRIVATE KEY" in pem:
        raise ConfigError(f"{where}: a private key, which has no place on a server; give the public one")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: not a public key in PEM form") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{where}: not an Ed25519 key")
    return key


def sign(manifest: bytes, key: Ed25519PrivateKey) -> Signature:
    """Vouch for a manifest as it is written."""
    made = key.sign(_CONTEXT + manifest)
    return Signature(key=key_id(key.public_key()), signature=base64.b64encode(made).decode())


def encode_signatures(signatures: Sequence[Signature]) -> bytes:
    """Write signatures."""
    return msgspec.json.encode(_Signatures(signatures=tuple(signatures))) + b"\n"


def parse_signatures(data: bytes, where: str) -> tuple[Signature, ...]:
    """Read signatures.

    Raises:
        ConfigError: these are none, or more than 16.
    """
    document = parse_json(data, f"{where}: {SIGNATURES}")
    try:
        return msgspec.convert(document, _Signatures).signatures
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {SIGNATURES}: {error}") from None


def check_signed(
    manifest: bytes, signatures: Sequence[Signature], trusted: Sequence[Ed25519PublicKey], where: str
) -> str:
    """Answer which trusted key vouches for a manifest.

    Raises:
        ConfigError: none does; the message tells an unknown key from a signature that is wrong.
    """
    known = {key_id(key): key for key in trusted}
    if not signatures:
        raise ConfigError(f"{where}: not signed")
    ours = [signature for signature in signatures if signature.key in known]
    if not ours:
        names = ", ".join(sorted({signature.key for signature in signatures}))
        raise ConfigError(f"{where}: signed with {names} only, which is no trusted key; trusted: {', '.join(known)}")
    for signature in ours:
        try:
            raw = base64.b64decode(signature.signature, validate=True)
        except ValueError:
            continue
        if len(raw) != _SIGNATURE_BYTES or not re.fullmatch(r"[A-Za-z0-9+/]{86}==", signature.signature):
            continue
        try:
            known[signature.key].verify(raw, _CONTEXT + manifest)
        except InvalidSignature:
            continue
        return signature.key
    raise ConfigError(f"{where}: the signature is wrong: the manifest was changed after it was signed")
