"""Workload identity tokens (WIT): an identity with a key, good only together with a proof made for the very call.

Source: draft-ietf-wimse-workload-creds and SPIFFE WIT-SVID: header `wit+jwt`, claims `sub`, `exp` and `cnf.jwk`, never
`aud`. A WIT is no bearer token: whoever sees one can do nothing with it.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import TrustBundle
from authz.identity.issuers import SPIFFE_ALGORITHMS, Algorithm, Lifetime
from authz.identity.proofs import Covered, ProofChecks, ProofRules
from authz.identity.replay import ReplayMemory
from authz.jose.jwk import KeySet, VerificationKey, parse_verification_key
from authz.jose.jwt import CompactToken, check_header, parse_compact_jwt, read_times, token_digest, verify_signature
from authz.jose.validity import Validity
from authz.memo import Memo
from authz.model import CheckCall, Credential
from authz.spiffe import SpiffeId, TrustDomain, parse_spiffe_id, require_workload

WIT_HEADER: Final = "workload-identity-token"
WPT_HEADER: Final = "workload-proof-token"
_TYPE: Final = "wit+jwt"
_HEADERS: Final = frozenset({"alg", "kid", "typ"})


class WimseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Workload identity tokens with proofs (WIMSE), in the headers `workload-identity-token` and
    `workload-proof-token`, verified with the keys of use `wit-svid` in the bundle of the trust domain in `sub`. None is
    read until `origins` or `audiences` is set.
    """

    origins: tuple[str, ...] = ()
    """How callers address what stands behind the proxy, as `https://payments.example`: a proof is then for the one
    whose host the request names, with the path of the request, without its query."""
    audiences: tuple[str, ...] = ()
    """Further values of `aud` of a proof, whatever host and path: for proxies that rewrite them."""
    algorithms: Annotated[tuple[Algorithm, ...], msgspec.Meta(min_length=1)] = SPIFFE_ALGORITHMS
    """The algorithms of signatures under tokens."""
    proof_algorithms: Annotated[tuple[Algorithm, ...], msgspec.Meta(min_length=1)] = ("ES256", "ES384", "EdDSA")
    """The algorithms of signatures under proofs."""
    max_lifetime_seconds: Lifetime = 3_900.0
    """The longest time from a token's issue to its expiry; from now to expiry where it tells no issue."""
    max_proof_seconds: Annotated[float, msgspec.Meta(ge=5, le=900)] = 300.0
    """The longest time from now to the expiry of a proof."""
    max_proofs: Annotated[int, msgspec.Meta(ge=100, le=10_000_000)] = 200_000
    """How many proofs that were used are remembered until they end, about 200 bytes each, in each process; while there
    are more, further ones are refused. One workload may take up what it leaves free of it, which is half. Workers share
    what they have used, in 48 bytes more for each of theirs."""
    max_token_bytes: Annotated[int, msgspec.Meta(ge=256, le=65_536)] = 8_192
    """The longest token or proof that is read, in bytes."""

    @property
    def enabled(self) -> bool:
        """Whether tokens are read at all."""
        return bool(self.origins or self.audiences)


class WitProof(msgspec.Struct, frozen=True):
    """A token that was accepted. Says nothing of time, nor of a proof."""

    spiffe_id: SpiffeId
    credential: Credential
    validity: Validity
    short_lived_from: float
    key: VerificationKey


class WimseVerifier:
    """Accepts or refuses tokens with their proofs, for one set of keys. Not for use by several threads."""

    def __init__(  # noqa: PLR0913 - what it is made of, each by name
        self,
        settings: WimseSettings,
        bundles: Mapping[TrustDomain, TrustBundle],
        trust_domains: frozenset[TrustDomain],
        covered: Covered,
        replays: ReplayMemory,
        *,
        leeway_seconds: float,
        max_memo_entries: int,
    ) -> None:
        """`covered`: the headers whose tokens a proof must cover.

        Raises:
            ConfigError: an origin that is none.
        """
        for origin in settings.origins:
            scheme, separator, host = origin.partition("://")
            if scheme not in {"http", "https"} or not separator or not host or set(host) & set("/?#@ "):
                raise ConfigError(f"identity.wimse.origins: {origin!r}: expected https://host or https://host:port")
        self._settings = settings
        self._enabled = settings.enabled
        self._bundles = bundles
        self._domains = trust_domains
        self._leeway = leeway_seconds
        self._known: Memo[str, WitProof] = Memo(max_memo_entries)
        rules = ProofRules(
            settings.origins,
            frozenset(settings.audiences),
            settings.proof_algorithms,
            settings.max_proof_seconds,
            leeway_seconds,
        )
        self._proofs = ProofChecks(rules, covered, replays)

    def verify(self, call: CheckCall, now: float) -> WitProof | None:
        """Whom the call's token names, proved for this call at `now`; None when there is neither token nor proof.

        Cost: 60 to 250 us, for the proof's signature; as much again for a new token.

        Raises:
            Refusal: TOKEN_MALFORMED, TOKEN_TOO_LARGE, TOKEN_ALGORITHM, TOKEN_SUBJECT, TRUST_DOMAIN_NOT_ALLOWED,
                TOKEN_KEY_UNKNOWN, TOKEN_SIGNATURE, TOKEN_NOT_YET_VALID, TOKEN_EXPIRED, CREDENTIAL_TOO_LONG_LIVED, and
                as `ProofChecks.check`.
        """
        if not self._enabled:
            return None
        headers = call.headers
        token, proof = headers.get(WIT_HEADER), headers.get(WPT_HEADER)
        if token is None and proof is None:
            return None
        if token is None or proof is None:
            raise Refusal(Reason.TOKEN_MALFORMED, "a workload identity token and its proof come together")
        if not call.repeated_headers.isdisjoint((WIT_HEADER, WPT_HEADER)):
            raise Refusal(Reason.TOKEN_MALFORMED, "a workload identity token, or a proof, came more than once")
        if max(len(token), len(proof)) > self._settings.max_token_bytes:
            raise Refusal(Reason.TOKEN_TOO_LARGE, "longer than max_token_bytes")
        digest = token_digest(token)
        found = self._known.get(digest)
        if found is None:
            found = self._read(parse_compact_jwt(token), digest)
            self._known.put(digest, found)
        found.validity.check(now, self._leeway, Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_EXPIRED)  # I4
        if now < found.short_lived_from:
            raise Refusal(Reason.CREDENTIAL_TOO_LONG_LIVED, "token lives beyond max_lifetime_seconds")
        self._proofs.check(proof, token, found.spiffe_id, found.key, call, now)
        return found

    def _read(self, token: CompactToken, digest: str) -> WitProof:
        settings = self._settings
        check_header(token, settings.algorithms)
        if not _HEADERS.issuperset(token.header) or token.header.get("typ") != _TYPE:
            raise Refusal(Reason.TOKEN_MALFORMED, f"the headers of a WIT are alg, kid and typ, and 'typ' is {_TYPE}")
        if "aud" in token.claims:
            raise Refusal(Reason.TOKEN_MALFORMED, "a WIT has no 'aud'")
        try:
            spiffe_id = require_workload(parse_spiffe_id(token.subject))
        except Refusal as refusal:
            raise Refusal(Reason.TOKEN_SUBJECT, refusal.detail) from None
        domain = spiffe_id.trust_domain
        if domain not in self._domains:
            raise Refusal(Reason.TRUST_DOMAIN_NOT_ALLOWED, f"trust domain {domain}")
        # I5: the keys of the subject's own trust domain, whatever other bundle has a key of that ID.
        bundle = self._bundles.get(domain)
        kid = token.header.get("kid")
        key = (bundle.wit_keys if bundle else KeySet()).find(kid) if isinstance(kid, str) else None
        if key is None:
            raise Refusal(Reason.TOKEN_KEY_UNKNOWN, "'kid' is absent, or names no key for WITs of the trust domain")
        verify_signature(token, key)
        times = read_times(token)
        latest_issue = times.expires - settings.max_lifetime_seconds
        if times.issued is not None and times.issued < latest_issue:
            raise Refusal(Reason.CREDENTIAL_TOO_LONG_LIVED, "token lives beyond max_lifetime_seconds")
        begins = times.validity.not_before if times.issued is None else times.issued
        return WitProof(
            spiffe_id=spiffe_id,
            credential=Credential("wit", digest, begins, times.expires, token.issuer),
            validity=times.validity,
            short_lived_from=latest_issue if times.issued is None else float("-inf"),
            key=bound_key(token),
        )


def bound_key(token: CompactToken) -> VerificationKey:
    """The key in `cnf.jwk`, with the one algorithm that it names.

    Raises:
        Refusal: TOKEN_MALFORMED.
    """
    confirmation = token.claims.get("cnf")
    jwk = confirmation.get("jwk") if isinstance(confirmation, Mapping) and set(confirmation) == {"jwk"} else None
    if isinstance(jwk, Mapping) and isinstance(jwk.get("alg"), str):
        try:
            key = parse_verification_key({**jwk, "kid": "cnf"})
        except ValueError:
            key = None
        if key is not None:
            return key
    raise Refusal(Reason.TOKEN_MALFORMED, "'cnf' holds no public key with its algorithm, or something besides")
