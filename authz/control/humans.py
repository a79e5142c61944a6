"""Who the human is that brings a word: proved by their OpenID provider, never by the tool's own credential (I8)."""

from collections.abc import Callable, Collection

import msgspec

from authz.approvals.eligibility import NAME_CHARS
from authz.approvals.human import Human, folded, human_of
from authz.approvals.settings import ApprovalSettings, HumanIssuerSettings
from authz.audit.redact import plain
from authz.errors import ConfigError, Reason, Refusal
from authz.identity.issuer_tokens import IssuerRule
from authz.identity.issuers import IssuerSettings
from authz.identity.token_checks import TokenProof
from authz.jose.jwk import KeySet
from authz.jose.jwt import is_compact_jwt, parse_compact_jwt, token_digest
from authz.memo import Memo

KeysOf = Callable[[str], KeySet]
"""Answers the keys of an issuer, as they are now; none while they cannot be read."""

_MAX_TOKEN_CHARS = 16_384
_REMEMBERED = 1_024


class _Issuer:
    """One provider, and what was verified with the keys that it has now."""

    def __init__(self, settings: HumanIssuerSettings, leeway_seconds: float) -> None:
        self.settings = settings
        self.leeway_seconds = leeway_seconds
        self._as_issuer = IssuerSettings(
            issuer=settings.issuer,
            form="oidc",
            jwks=settings.jwks,
            audiences=settings.audiences,
            algorithms=settings.algorithms,
            types=settings.types,
            max_lifetime_seconds=settings.max_lifetime_seconds,
            subject_kind="human",
            binds="other",
            claims=tuple(dict.fromkeys((settings.person_claim, settings.groups_claim, *settings.name_claims))),
        )
        self._keys: KeySet | None = None
        self._use(KeySet())

    def prove(self, text: str, keys: KeySet, now: float) -> TokenProof:
        if keys is not self._keys:
            self._use(keys)
        digest = token_digest(text)
        found = self._proofs.get(digest)
        if found is None:
            found = self._rule.verify(parse_compact_jwt(text), digest, now)
            self._proofs.put(digest, found)
        found.time.check(now, self.leeway_seconds)  # I4
        return found

    def _use(self, keys: KeySet) -> None:
        """With new keys nothing counts that was verified before, so that a key that was withdrawn counts no more."""
        self._keys = keys
        self._rule = IssuerRule(self._as_issuer, keys, (), self.leeway_seconds)
        self._proofs: Memo[str, TokenProof] = Memo(_REMEMBERED)


class Humans:
    """Proves humans, for one configuration."""

    def __init__(
        self,
        settings: ApprovalSettings,
        keys: KeysOf,
        leeway_seconds: float,
        key_unknown: Callable[[], None] = lambda: None,
    ) -> None:
        """`key_unknown` is told of tokens whose key is not known: the provider may have new ones.

        Raises:
            ConfigError: a provider's settings contradict themselves.
        """
        self._groups = settings.groups
        self._keys = keys
        self._key_unknown = key_unknown
        try:
            self._issuers = {each.issuer: _Issuer(each, leeway_seconds) for each in settings.issuers}
        except ConfigError as error:
            raise ConfigError(f"approvals.{error}") from None

    def prove(self, authorization: Collection[str], certificate: str, now: float) -> Human:
        """The human of the `authorization` values of a call. `certificate`: the fingerprint of the tool's, "" without.

        Raises:
            Refusal: there is not exactly one token, or it proves nobody here.
        """
        if len(authorization) != 1:
            raise Refusal(Reason.TOKEN_MALFORMED, "expected one authorization, Bearer and a token")
        [value] = authorization
        scheme, _, text = value.partition(" ")
        if scheme.lower() != "bearer" or not text or len(text) > _MAX_TOKEN_CHARS or not is_compact_jwt(text):
            raise Refusal(Reason.TOKEN_MALFORMED, "expected one authorization, Bearer and a token")
        issuer = self._issuers.get(parse_compact_jwt(text).issuer)
        if issuer is None:
            raise Refusal(Reason.TOKEN_ISSUER_UNKNOWN, "not issued by one of approvals.issuers")
        try:
            proof = issuer.prove(text, self._keys(issuer.settings.issuer), now)
        except Refusal as refusal:
            if refusal.reason is Reason.TOKEN_KEY_UNKNOWN:
                self._key_unknown()
            raise
        if proof.certificate and proof.certificate != certificate:
            raise Refusal(Reason.TOKEN_SUBJECT, "the token is bound to another certificate")
        return self._human(issuer.settings, proof)

    def _human(self, settings: HumanIssuerSettings, proof: TokenProof) -> Human:
        subject = proof.party.id.removeprefix(f"{settings.issuer}#")
        person = subject if settings.person_claim == "sub" else proof.claims.get(settings.person_claim)
        if not isinstance(person, str) or not person:
            raise Refusal(Reason.TOKEN_SUBJECT, f"the claim {settings.person_claim!r} names no person")
        expires = proof.credential.not_after
        try:
            human = human_of(
                settings.issuer,
                person,
                proof.claims,
                expires,
                settings.groups_claim,
                settings.name_claims,
                self._groups,
            )
            names = human.names | {folded(subject), folded(proof.party.id)}
            return as_kept(msgspec.structs.replace(human, names=names, token=proof.credential))
        except ValueError as error:
            raise Refusal(Reason.TOKEN_MALFORMED, str(error)) from None


def as_kept(human: Human) -> Human:
    """The human with every name also as requests keep it: what does not print is written out."""
    written = frozenset(plain(name, NAME_CHARS) for name in human.names)
    return msgspec.structs.replace(human, names=human.names | written)
