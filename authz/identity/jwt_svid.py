"""JWT-SVIDs, to the letter of the standard (sections 2 to 5), with `kid` required as its implementations do."""

from collections.abc import Collection, Mapping
from typing import Final

from authz.errors import Reason, Refusal
from authz.identity.bundles import TrustBundle
from authz.identity.issuers import SPIFFE_ALGORITHMS, JwtSvidSettings
from authz.identity.token_checks import Party, TokenChecks, TokenProof
from authz.jose.jwk import KeySet
from authz.jose.jwt import CompactToken
from authz.spiffe import TrustDomain, parse_spiffe_id, require_workload

_HEADERS: Final = frozenset({"alg", "kid", "typ"})


class JwtSvidRule:
    """Accepts JWT-SVIDs of the trust domains that configuration allows."""

    def __init__(
        self,
        settings: JwtSvidSettings,
        trust_domains: Collection[TrustDomain],
        bundles: Mapping[TrustDomain, TrustBundle],
        leeway_seconds: float,
    ) -> None:
        self._checks = TokenChecks("identity.tokens.jwt_svid", "jwt-svid", settings, SPIFFE_ALGORITHMS, leeway_seconds)
        self._trust_domains = frozenset(trust_domains)
        self._bundles = bundles

    def verify(self, token: CompactToken, digest: str, now: float) -> TokenProof:
        """What `token`, whose text has the SHA-256 `digest`, proves.

        Raises:
            Refusal: TOKEN_MALFORMED, TOKEN_SUBJECT, TRUST_DOMAIN_NOT_ALLOWED, and as `TokenChecks`.
        """
        self._checks.check_header(token)
        if not _HEADERS.issuperset(token.header):
            raise Refusal(Reason.TOKEN_MALFORMED, "a JWT-SVID has no headers but alg, kid and typ")
        if token.header.get("typ", "JWT") not in ("JWT", "JOSE"):
            raise Refusal(Reason.TOKEN_MALFORMED, "'typ' of a JWT-SVID is JWT or JOSE")
        try:
            spiffe_id = require_workload(parse_spiffe_id(token.subject))
        except Refusal as refusal:
            raise Refusal(Reason.TOKEN_SUBJECT, refusal.detail) from None
        domain = spiffe_id.trust_domain
        if domain not in self._trust_domains:
            raise Refusal(Reason.TRUST_DOMAIN_NOT_ALLOWED, f"trust domain {domain}")
        # I5: the keys of the subject's own trust domain, whatever other bundle has a key of that ID.
        bundle = self._bundles.get(domain)
        keys = bundle.jwt_keys if bundle else KeySet()
        return self._checks.prove(token, digest, Party(str(spiffe_id), spiffe_id), keys, now)
