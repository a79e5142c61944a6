"""What the token in a request's header proves, if it holds one that configuration knows."""

import re
from collections.abc import Collection
from typing import Final

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import Trust
from authz.identity.issuer_tokens import IssuerRule
from authz.identity.issuers import TokenSettings
from authz.identity.jwt_svid import JwtSvidRule
from authz.identity.token_checks import TokenProof
from authz.jose.jwk import KeySet
from authz.jose.jwt import CompactToken, is_compact_jwt, parse_compact_jwt, token_digest
from authz.memo import Memo
from authz.model import CheckCall
from authz.spiffe import TrustDomain

_SECOND_CREDENTIAL: Final = re.compile(r"[, ]")


class TokenVerifier:
    """Accepts, ignores or refuses tokens, for one set of keys.

    Accepted tokens are remembered by the digest of their text, so that a signature is checked once. The memory is this
    object's: build a new one when keys change, and a removed key counts at once. Not for use by several threads.
    """

    def __init__(
        self,
        settings: TokenSettings,
        trust_domains: Collection[TrustDomain],
        trust: Trust,
        leeway_seconds: float,
        max_memo_entries: int,
    ) -> None:
        self._settings = settings
        self._leeway_seconds = leeway_seconds
        self._jwt_svid: JwtSvidRule | None = None
        if settings.jwt_svid:
            self._jwt_svid = JwtSvidRule(settings.jwt_svid, trust_domains, trust.bundles, leeway_seconds)
        self._issuers: dict[str, IssuerRule] = {}
        for issuer in settings.issuers:
            if issuer.issuer in self._issuers:
                raise ConfigError(f"identity.tokens.issuers: '{issuer.issuer}' is configured twice")
            keys = trust.key_sets.get(issuer.issuer, KeySet())
            self._issuers[issuer.issuer] = IssuerRule(issuer, keys, trust_domains, leeway_seconds)
        self._reads = bool(self._issuers) or self._jwt_svid is not None or settings.unknown_tokens == "deny"
        self._proofs: Memo[str, TokenProof] = Memo(max_memo_entries)
        self._foreign: Memo[str, bool] = Memo(max_memo_entries)

    def verify(self, call: CheckCall, now: float) -> TokenProof | None:
        """What the call's token proves; None when it has none, or one that is not ours to judge.

        Cost: about 2 us for a token seen before, 60 to 250 us (by algorithm) for a new one.

        Raises:
            Refusal: as `JwtSvidRule.verify` and `IssuerRule.verify`; TOKEN_TOO_LARGE; TOKEN_ISSUER_UNKNOWN when unknown
                tokens are denied.
        """
        value = call.headers.get(self._settings.header) if self._reads else None
        if not value:
            return None
        text = self._extract(value, repeated=self._settings.header in call.repeated_headers)
        if text is None:
            self._pass_unknown()
            return None
        digest = token_digest(text)
        proof = self._proofs.get(digest)
        if proof is not None:
            proof.time.check(now, self._leeway_seconds)  # I4
            return proof
        if self._foreign.get(digest):
            self._pass_unknown()
            return None
        return self._verify_new(text, digest, now)

    def _verify_new(self, text: str, digest: str, now: float) -> TokenProof | None:
        token = parse_compact_jwt(text) if is_compact_jwt(text) else None
        rule = self._rule(token) if token else None
        if token is None or rule is None:
            self._foreign.put(digest, True)
            self._pass_unknown()
            return None
        proof = rule.verify(token, digest, now)
        self._proofs.put(digest, proof)
        return proof

    def _rule(self, token: CompactToken) -> IssuerRule | JwtSvidRule | None:
        if token.issuer in self._issuers:
            return self._issuers[token.issuer]
        return self._jwt_svid if token.subject.lower().startswith("spiffe:") else None

    def _extract(self, value: str, *, repeated: bool) -> str | None:
        if len(value) > self._settings.max_token_bytes:
            raise Refusal(Reason.TOKEN_TOO_LARGE, "longer than max_token_bytes")
        if repeated:
            raise Refusal(Reason.TOKEN_MALFORMED, "the token's header stands more than once")
        scheme = self._settings.scheme
        if not scheme:
            text = value
        else:
            found, _, text = value.strip(" ").partition(" ")
            if found.lower() != scheme.lower():
                if re.search(rf",\s*{re.escape(scheme)}\s", value, re.IGNORECASE):
                    raise Refusal(Reason.TOKEN_MALFORMED, "the token's header stands more than once")
                return None
        text = text.strip(" ")
        if _SECOND_CREDENTIAL.search(text):
            # The proxy joins repeated headers with commas: which of them the upstream reads is not ours to guess.
            raise Refusal(Reason.TOKEN_MALFORMED, "more than one token in the header")
        return text

    def _pass_unknown(self) -> None:
        if self._settings.unknown_tokens == "deny":
            raise Refusal(Reason.TOKEN_ISSUER_UNKNOWN, "a credential of none of the configured kinds")
