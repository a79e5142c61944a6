"""Workload proof tokens (WPT): the holder of a key says, for one call and once, that it makes this call.

Source: draft-ietf-wimse-wpt. The proof names the identity token (`wth`), where it goes (`aud`), and, by their hashes,
every other token of the call: one that it leaves out was put there by somebody else, and counts for nothing.
"""

import hashlib
import re
from collections.abc import Hashable, Mapping
from typing import Final

import msgspec

from authz.errors import Reason, Refusal
from authz.identity.replay import ReplayMemory
from authz.jose.jwk import VerificationKey
from authz.jose.jwt import check_header, parse_compact_jwt, read_times, verify_signature
from authz.jose.signing import base64url
from authz.model import CheckCall, Value

_TYPE: Final = "wpt+jwt"
_HEADERS: Final = frozenset({"alg", "kid", "typ"})
_PORTS: Final = {"https": ":443", "http": ":80"}
_ID: Final = re.compile(r"[!-~]{8,256}")


class Covered(msgspec.Struct, frozen=True):
    """The headers of tokens, in lower case, besides `authorization`; "" for one that is not read."""

    transaction: str = ""
    others: tuple[str, ...] = ()
    schemes: frozenset[str] = frozenset({"bearer", "dpop"})
    """The schemes of `authorization` that carry an access token; "": it may hold one without a scheme."""


class ProofRules(msgspec.Struct, frozen=True):
    """What a proof must satisfy."""

    origins: tuple[str, ...]
    audiences: frozenset[str]
    algorithms: tuple[str, ...]
    max_seconds: float
    leeway_seconds: float


class ProofChecks:
    """Checks proofs, and that each is used once. Not for use by several threads."""

    def __init__(self, rules: ProofRules, covered: Covered, replays: ReplayMemory) -> None:
        self._rules = rules
        self._origins = tuple((origin, _hosts(origin)) for origin in rules.origins)
        self._covered = covered
        self._replays = replays

    def check(  # noqa: PLR0913, PLR0917 - the two tokens, whose they are, and the call
        self, proof: str, token: str, holder: Hashable, key: VerificationKey, call: CheckCall, now: float
    ) -> None:
        """Pass when `holder`, whom `token` names and whose `key` it is, proves that it makes this call.

        Raises:
            Refusal: TOKEN_MALFORMED, TOKEN_ALGORITHM, TOKEN_SIGNATURE, TOKEN_AUDIENCE, TOKEN_NOT_YET_VALID,
                TOKEN_EXPIRED, CREDENTIAL_TOO_LONG_LIVED, TOKEN_REPLAYED, OVERLOADED.
        """
        rules = self._rules
        read = parse_compact_jwt(proof)
        check_header(read, rules.algorithms)
        if not _HEADERS.issuperset(read.header) or read.header.get("typ") != _TYPE:
            raise _malformed(f"its headers are alg and typ, and 'typ' is {_TYPE}")
        claims = read.claims
        if not self._is_for(claims.get("aud"), call):
            raise Refusal(Reason.TOKEN_AUDIENCE, "the proof is meant for another place")
        times = read_times(read)
        times.validity.check(now, rules.leeway_seconds, Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_EXPIRED)
        if times.expires - now > rules.max_seconds + rules.leeway_seconds:
            raise Refusal(Reason.CREDENTIAL_TOO_LONG_LIVED, "the proof lives beyond max_proof_seconds")
        proof_id = claims.get("jti")
        if not isinstance(proof_id, str) or _ID.fullmatch(proof_id) is None:
            raise _malformed("'jti' is not 8 to 256 visible characters")
        self._check_tokens(claims, token, call)
        verify_signature(read, key)
        # Last, so that nobody but the holder of the key can use a proof up.
        used = hashlib.sha256(f"{hash_of(token)}.{proof_id}".encode()).digest()
        self._replays.use(used, times.expires + rules.leeway_seconds, now, holder)

    def _is_for(self, audience: Value, call: CheckCall) -> bool:
        if not isinstance(audience, str):
            return False
        if audience in self._rules.audiences:
            return True
        path, host = call.path.partition("?")[0].partition("#")[0], call.host.lower()
        # Who got a proof for itself must not find a use for it at another host of the same path.
        return any(audience == origin + path and host in hosts for origin, hosts in self._origins)

    def _check_tokens(self, claims: Mapping[str, Value], token: str, call: CheckCall) -> None:
        headers = call.headers
        _same(claims, "wth", token)
        _same(claims, "ath", self._access_token(headers.get("authorization")))
        _same(claims, "tth", headers.get(self._covered.transaction))
        others = claims.get("oth", {})
        if not isinstance(others, Mapping):
            raise _malformed("'oth' is no object")
        for name in self._covered.others:
            _same(others, name, headers.get(name))
        if not set(others).issubset(self._covered.others):
            raise _malformed("'oth' names a header that is not known here")

    def _access_token(self, authorization: str | None) -> str | None:
        text = (authorization or "").strip(" ")
        scheme, space, token = text.partition(" ")
        schemes = self._covered.schemes
        if space:
            return token.strip(" ") if scheme.lower() in schemes else None
        return text if text and "" in schemes else None


def _hosts(origin: str) -> frozenset[str]:
    """How requests to an origin name it: with its port, and without where that is the scheme's own."""
    scheme, _, host = origin.lower().partition("://")
    port = _PORTS.get(scheme, "")
    return frozenset((host, host.removesuffix(port) if host.endswith(port) else host + port))


def hash_of(token: str) -> str:
    """What stands for a token in a proof."""
    return base64url(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())


def _same(claims: Mapping[str, Value], claim: str, token: str | None) -> None:
    """Pass when the claim is the hash of the token, or there is neither."""
    if claims.get(claim) != (None if token is None else hash_of(token)):
        raise _malformed(f"'{claim}' is not the hash of the token that came, or of one that did not")


def _malformed(problem: str) -> Refusal:
    return Refusal(Reason.TOKEN_MALFORMED, f"workload proof token: {problem}")
