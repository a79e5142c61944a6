"""Public keys that verify tokens, out of JSON Web Keys.

Source: RFC 7517, RFC 7518 section 6, RFC 8037. A key that this version cannot use is left out, as the standards ask;
one that claims to be usable and is broken, weak or private is an error, so that it is found when it is configured.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from authz.jose.decoding import decode_base64url
from authz.model import Value

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MIN_RSA_BITS: Final = 2048
"""RFC 7518 3.3."""
MAX_RSA_BITS: Final = 8192
"""Verification time grows with the square of the modulus; a key set must not be able to stall the server."""

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: dict[str, tuple[Callable[[], EllipticCurve], int, str]] = {
    "P-256": (SECP256R1, 32, "ES256"),
    "P-384": (SECP384R1, 48, "ES384"),
    "P-521": (SECP521R1, 66, "ES512"),
}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class VerificationKey(msgspec.Struct, frozen=True):
    """A public key with the signature algorithms that it may be used with: never one of another key type."""

    kid: str
    algorithms: frozenset[str]
    key: PublicKey
    until: float = float("inf")
    """Seconds since the epoch: what would hold longer than this was not signed while the key was in use."""


class KeySet(msgspec.Struct, frozen=True):
    """Verification keys by key ID. Empty: nothing verifies."""

    keys: Mapping[str, VerificationKey] = {}

    def find(self, kid: str) -> VerificationKey | None:
        """The key of that ID, or None."""
        return self.keys.get(kid)


def parse_verification_key(jwk: Mapping[str, Value]) -> VerificationKey | None:
    """The key of a JWK for signatures; None when it is of a type or for a purpose that is not ours, or has no `kid`.

    Raises:
        ValueError: it should be usable and is not; the message quotes none of it.
    """
    kid, kty, alg, operations = jwk.get("kid"), jwk.get("kty"), jwk.get("alg"), jwk.get("key_ops")
    if kty not in ("RSA", "EC", "OKP"):
        return None  # "oct" above all: a shared secret in a published key set is no proof of anything
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise ValueError("a private key: remove it from this file, and replace the key pair")
    if not isinstance(kid, str) or not kid or (isinstance(operations, list) and "verify" not in operations):
        return None
    loaded = _rsa(jwk) if kty == "RSA" else _elliptic(jwk) if kty == "EC" else _edwards(jwk)
    if loaded is None:
        return None
    key, algorithms = loaded
    if alg is not None:
        algorithms &= {alg if isinstance(alg, str) else ""}
    return VerificationKey(kid, algorithms, key) if algorithms else None


def _rsa(jwk: Mapping[str, Value]) -> tuple[PublicKey, frozenset[str]]:
    modulus = int.from_bytes(_bytes(jwk, "n"), "big")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise ValueError(f"an RSA key of {modulus.bit_length()} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
    return RSAPublicNumbers(int.from_bytes(_bytes(jwk, "e"), "big"), modulus).public_key(), _RSA_ALGORITHMS


def _elliptic(jwk: Mapping[str, Value]) -> tuple[PublicKey, frozenset[str]] | None:
    curve = jwk.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        return None
    make_curve, size, algorithm = _CURVES[curve]
    x, y = _bytes(jwk, "x"), _bytes(jwk, "y")
    if len(x) != size or len(y) != size:
        raise ValueError("coordinates of the wrong length for the curve")
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), make_curve())
    return numbers.public_key(), frozenset({algorithm})


def _edwards(jwk: Mapping[str, Value]) -> tuple[PublicKey, frozenset[str]] | None:
    if jwk.get("crv") != "Ed25519":
        return None
    return Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x")), frozenset({"EdDSA"})


def _bytes(jwk: Mapping[str, Value], member: str) -> bytes:
    text = jwk.get(member)
    if not isinstance(text, str):
        raise ValueError(f"member '{member}' is missing")  # noqa: TRY004 - the content of a file is wrong, no argument's type
    return decode_base64url(text)
