"""Signing JSON Web Tokens with keys of our own.

Source: RFC 7515 section 5.1; RFC 7518 section 3.4 (ES256), RFC 8037 (EdDSA), RFC 7517 for the public half.
"""

import base64
from typing import Final, Literal, TypeAlias

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.jose.jwk import VerificationKey
from authz.model import Value

SigningAlgorithm: TypeAlias = Literal["EdDSA", "ES256"]
_COORDINATE_BYTES: Final = 32


class SigningKey(msgspec.Struct, frozen=True):
    """A private key with its id; what verifiers need of it is `public_jwk`.

    Raises:
        ValueError: a key of another kind than Ed25519 or P-256, or no id.
    """

    kid: str
    key: Ed25519PrivateKey | EllipticCurvePrivateKey

    def __post_init__(self) -> None:
        if not self.kid:
            raise ValueError("a signing key has an id")
        if isinstance(self.key, EllipticCurvePrivateKey) and self.key.curve.name != SECP256R1.name:
            raise ValueError("an elliptic curve key for signing is on P-256")

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"  # I10

    @property
    def algorithm(self) -> SigningAlgorithm:
        """What it signs with."""
        return "EdDSA" if isinstance(self.key, Ed25519PrivateKey) else "ES256"

    @property
    def verification_key(self) -> VerificationKey:
        """The public half, ready for verifying."""
        return VerificationKey(self.kid, frozenset({self.algorithm}), self.key.public_key())

    def public_jwk(self) -> dict[str, Value]:
        """The public half as a JSON Web Key, to be served in a key set."""
        common: dict[str, Value] = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if isinstance(self.key, Ed25519PrivateKey):
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url(self.key.public_key().public_bytes_raw()), **common}
        numbers = self.key.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(_COORDINATE_BYTES, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **common}


def sign_compact(claims: object, token_type: str, key: SigningKey) -> str:
    """The JWS in compact serialisation over JSON claims, with the header members `alg`, `kid` and `typ` alone."""
    header = {"alg": key.algorithm, "kid": key.kid, "typ": token_type}
    signed = ".".join(base64url(msgspec.json.encode(part)) for part in (header, claims))
    algorithm = jwt.get_algorithm_by_name(key.algorithm)
    return f"{signed}.{base64url(algorithm.sign(signed.encode('ascii'), key.key))}"


def base64url(data: bytes) -> str:
    """Unpadded base64url (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
