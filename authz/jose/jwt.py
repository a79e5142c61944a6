"""Reading a JSON Web Token in its compact form, and checking its signature; which claims it must have is not said here.

Source: RFC 7515 sections 3.1 and 7.1, RFC 7519, and the lessons of RFC 8725.
"""

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import jwt
import msgspec

from authz.errors import Reason, Refusal
from authz.jose.decoding import decode_base64url, decode_json_object
from authz.jose.jwk import VerificationKey
from authz.jose.validity import Validity
from authz.model import Value

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "ES256",
    "ES384",
    "ES512",
    "PS256",
    "PS384",
    "PS512",
    "EdDSA",
)
"""Public-key signatures only: never "none", nor HS*, for which a public key would serve as the secret."""

_KEY_HEADERS: Final = frozenset({"jku", "jwk", "x5u", "x5c"})
"""A token that brings its own key."""
_SHAPE_HEADERS: Final = frozenset({"crit", "b64", "zip", "enc"})
"""What would change how the token is to be read."""
_KNOWN_HEADERS: Final = 256
_KNOWN_CHARS: Final = 256
"""Longer headers are read anew each time, so that what is remembered is bounded whoever sends it (I12)."""
_LAST_SECOND: Final = 253_402_300_799.0
"""The end of the year 9999; later times are no times but overflows in waiting."""


class CompactToken(msgspec.Struct, frozen=True):
    """A token taken apart, nothing of it verified. Holds no more of its text than the signature check needs."""

    header: Mapping[str, Value]
    claims: Mapping[str, Value]
    signed: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """Header `alg`; "" when it is absent or not text."""
        return _text(self.header, "alg")

    @property
    def issuer(self) -> str:
        """Claim `iss`; "" when it is absent or not text."""
        return _text(self.claims, "iss")

    @property
    def subject(self) -> str:
        """Claim `sub`; "" when it is absent or not text."""
        return _text(self.claims, "sub")


class TokenTimes(msgspec.Struct, frozen=True, gc=False):
    """When a token was issued and holds; None where it does not say."""

    expires: float
    issued: float | None
    starts: float | None

    @property
    def validity(self) -> Validity:
        """From the later of issue and start; from the epoch on when it names neither."""
        return Validity(max(self.issued or 0.0, self.starts or 0.0), self.expires)


def is_compact_jwt(text: str) -> bool:
    """Whether `text` means to be a JWT: three parts, the first opening a JSON object. Says nothing of its validity."""
    if text.count(".") != 2:  # noqa: PLR2004 - header, claims, signature
        return False
    try:
        return decode_base64url(text[:4]).lstrip().startswith(b"{")
    except ValueError:
        return False


def token_digest(text: str) -> str:
    """SHA-256 of a token's text, lower-case hex: what stands for it in records and memos (I10)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse_compact_jwt(text: str) -> CompactToken:
    """The parts of a JWS in compact serialisation with JSON claims.

    Raises:
        Refusal: TOKEN_MALFORMED.
    """
    try:
        header_text, claims_text, signature_text = text.split(".")
        header = _header(header_text) if len(header_text) <= _KNOWN_CHARS else _read_header(header_text)
        claims = decode_json_object(decode_base64url(claims_text))
        signature = decode_base64url(signature_text)
    except ValueError:
        raise Refusal(Reason.TOKEN_MALFORMED, "not three parts of base64url with JSON of one reading") from None
    return CompactToken(header, claims, f"{header_text}.{claims_text}".encode("ascii"), signature)


def check_header(token: CompactToken, algorithms: Collection[str]) -> None:
    """Pass when the header names one of `algorithms`, and neither a key of its own nor another way of reading.

    Raises:
        Refusal: TOKEN_ALGORITHM or TOKEN_MALFORMED.
    """
    if token.algorithm not in algorithms:
        raise Refusal(Reason.TOKEN_ALGORITHM, "'alg' is not one of the configured algorithms")
    if not _KEY_HEADERS.isdisjoint(token.header):
        raise Refusal(Reason.TOKEN_MALFORMED, "the header brings its own key")
    if not _SHAPE_HEADERS.isdisjoint(token.header):
        raise Refusal(Reason.TOKEN_MALFORMED, "the header asks for another reading")


def verify_signature(token: CompactToken, key: VerificationKey) -> None:
    """Pass when `key` made the signature, with the algorithm that the header names and the key is for.

    Raises:
        Refusal: TOKEN_ALGORITHM or TOKEN_SIGNATURE.
    """
    if token.algorithm not in key.algorithms:
        # Among these: an ES256 signature by a P-384 key, or RSA where the key set says EC.
        raise Refusal(Reason.TOKEN_ALGORITHM, "the key is not for the algorithm in the header")
    algorithm = jwt.get_algorithm_by_name(token.algorithm)
    if not algorithm.verify(token.signed, key.key, token.signature):
        raise Refusal(Reason.TOKEN_SIGNATURE, "the signature does not verify")


def read_audiences(token: CompactToken) -> frozenset[str]:
    """Claim `aud`, text or an array of texts, as a set; not empty.

    Raises:
        Refusal: TOKEN_AUDIENCE.
    """
    value = token.claims.get("aud")
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise Refusal(Reason.TOKEN_AUDIENCE, "no audience")
    texts = frozenset(name for name in names if isinstance(name, str) and name)
    if len(texts) != len(names):
        raise Refusal(Reason.TOKEN_AUDIENCE, "an audience that is empty, repeated or not text")
    return texts


def read_times(token: CompactToken) -> TokenTimes:
    """Claims `exp`, `iat` and `nbf`.

    Raises:
        Refusal: TOKEN_MALFORMED: no `exp`, a time that is none, or a start after the end.
    """
    expires, issued, starts = (_time(token, claim) for claim in ("exp", "iat", "nbf"))
    if expires is None:
        raise Refusal(Reason.TOKEN_MALFORMED, "no 'exp'")
    if max(issued or 0.0, starts or 0.0) > expires:
        # A lifetime below zero would pass every limit on lifetimes.
        raise Refusal(Reason.TOKEN_MALFORMED, "it ends before it begins")
    return TokenTimes(expires, issued, starts)


def read_certificate_binding(token: CompactToken) -> str:
    """The fingerprint (SHA-256, lower-case hex) of the certificate that the token is bound to; "" for a bearer token.

    Source: RFC 8705 3.1, RFC 7800.

    Raises:
        Refusal: TOKEN_MALFORMED; also for a binding whose proof is not checked here: it is then no bearer token either.
    """
    confirmation = token.claims.get("cnf")
    if confirmation is None and "cnf" not in token.claims:
        return ""
    if isinstance(confirmation, Mapping) and set(confirmation) == {"x5t#S256"}:
        thumbprint = confirmation["x5t#S256"]
        try:
            digest = decode_base64url(thumbprint) if isinstance(thumbprint, str) else b""
        except ValueError:
            digest = b""
        if len(digest) == hashlib.sha256().digest_size:
            return digest.hex()
    raise Refusal(Reason.TOKEN_MALFORMED, "bound to a key in a way that is not checked here")


def _read_header(text: str) -> Mapping[str, Value]:
    return MappingProxyType(decode_json_object(decode_base64url(text)))


# Tokens of one key and kind have the same header, to the letter.
_header = lru_cache(_KNOWN_HEADERS)(_read_header)


def _time(token: CompactToken, claim: str) -> float | None:
    value = token.claims.get(claim)
    if value is None and claim not in token.claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise Refusal(Reason.TOKEN_MALFORMED, f"'{claim}' is not a time")
    return float(value)


def _text(members: Mapping[str, Value], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""
