"""From one call to the subject that it comes from: mutual TLS first, then the token, and no disagreement."""

from typing import Annotated, Literal

import msgspec

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import BundleSettings, Trust
from authz.identity.certificates import CertificateSettings, CertificateVerifier
from authz.identity.inventory import Inventory, InventorySettings
from authz.identity.issuers import TokenSettings
from authz.identity.patterns import SpiffePattern, parse_spiffe_pattern
from authz.identity.peers import PeerRules, PeerVerifier
from authz.identity.spiffe import TrustDomain
from authz.identity.subjects import ANONYMOUS, SubjectFactory
from authz.identity.token_checks import TokenProof
from authz.identity.tokens import TokenVerifier
from authz.identity.xfcc import XfccSettings
from authz.model import CheckCall, Subject


class FederatedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A foreign trust domain whose workloads may call."""

    trust_domain: str
    """Its name."""
    bundle: str = ""
    """Its trust bundle, a SPIFFE bundle document (JSON) or CA certificates (PEM): a file, or an https:// URL."""


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may be a caller, and what proves it."""

    trust_domain: str
    """The name of our own SPIFFE trust domain."""
    bundle: str = ""
    """Our own trust bundle, a SPIFFE bundle document (JSON) or CA certificates (PEM): a file, or an https:// URL, kept
    current as `[keys]` says. Needed for JWT-SVIDs, and for `certificates.trust = "bundle"`."""
    federated: tuple[FederatedSettings, ...] = ()
    """Foreign trust domains, each by name; all others are refused."""
    require_certificate: bool = True
    """Whether a principal counts only with its certificate (`include_peer_certificate` in Envoy's filter, `Cert` in
    x-forwarded-client-cert). Without it neither a second URI SAN, nor a subject that looks like an ID, nor the lifetime
    can be seen."""
    anonymous: Literal["deny", "policy"] = "deny"
    """What becomes of a call that nothing identifies: "deny", or leave it to the "policy" as an anonymous subject."""
    agents: tuple[str, ...] = ()
    """The AI agents, by SPIFFE ID or prefix (`spiffe://td/ns/agents/*`); the inventory's `kind` goes before."""
    clock_leeway_seconds: Annotated[float, msgspec.Meta(ge=0, le=300)] = 5.0
    """How far other clocks may be off from ours when times of credentials are checked."""
    max_memo_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 8_192
    """How many proven peers, tokens, and tokens of others are remembered, each; the least recently used go first."""
    certificates: CertificateSettings = CertificateSettings()
    xfcc: XfccSettings = XfccSettings()
    tokens: TokenSettings = TokenSettings()
    bundles: BundleSettings = BundleSettings()
    inventory: InventorySettings = InventorySettings()

    @property
    def bundle_locations(self) -> tuple[tuple[TrustDomain, str], ...]:
        """Each allowed trust domain with where its bundle is, "" where there is none; our own first.

        Raises:
            ConfigError: a name that is none, or one that stands twice.
        """
        named = [("identity.trust_domain", self.trust_domain, self.bundle)]
        named += [("identity.federated", domain.trust_domain, domain.bundle) for domain in self.federated]
        files: dict[TrustDomain, str] = {}
        for where, name, file in named:
            try:
                domain = TrustDomain(name)
            except Refusal as refusal:
                raise ConfigError(f"{where}: {name!r}: {refusal.detail}") from None
            if domain in files:
                raise ConfigError(f"{where}: {name!r} is named twice")
            files[domain] = file
        return tuple(files.items())


class IdentityResolver:
    """Resolves callers, for one set of settings, keys and inventory; build a new one when any of them changes.

    It remembers what it has proven, never the verdict on time (I4). Not for use by several threads.
    """

    def __init__(self, settings: IdentitySettings, trust: Trust, inventory: Inventory) -> None:
        domains = frozenset(domain for domain, _ in settings.bundle_locations)
        leeway = settings.clock_leeway_seconds
        _check_xfcc(settings.xfcc)
        self._subjects = SubjectFactory(_parse_agents(settings.agents), inventory)
        self._peers = PeerVerifier(
            PeerRules(domains, settings.require_certificate, settings.xfcc, leeway),
            CertificateVerifier(settings.certificates, domains, trust.bundles, leeway),
            self._subjects,
            settings.max_memo_entries,
        )
        self._tokens = TokenVerifier(settings.tokens, domains, trust, leeway, settings.max_memo_entries)
        self._admits_anonymous = settings.anonymous == "policy"

    def identify(self, call: CheckCall, now: float) -> Subject:
        """Who calls, at `now`.

        Cost: about 1 us for a known certificate, 4 us with a known token.

        Raises:
            Refusal: with one of the identity reasons; IDENTITY_MISSING when nobody is there and policy may not decide.
        """
        peer = self._peers.verify(call, now)
        proof = self._tokens.verify(call, now)
        if proof is not None:
            return self._with_token(peer, proof)
        return peer if peer is not None else self._anonymous()

    def _anonymous(self) -> Subject:
        if not self._admits_anonymous:
            raise Refusal(Reason.IDENTITY_MISSING, "neither certificate, principal nor token")
        return ANONYMOUS

    def _with_token(self, peer: Subject | None, proof: TokenProof) -> Subject:
        if proof.certificate:
            credential = peer.credential if peer else None
            if credential is None or credential.fingerprint != proof.certificate:
                raise Refusal(Reason.IDENTITY_CONFLICT, "the token is bound to another certificate")
        if proof.binds == "other":
            caller = peer if peer is not None else self._anonymous()
            return msgspec.structs.replace(caller, token=proof.credential, claims=proof.claims)
        if peer is None:
            return self._subjects.token_holder(proof)
        if proof.party.id != peer.id:
            raise Refusal(Reason.IDENTITY_CONFLICT, "token and certificate name different identities")
        return msgspec.structs.replace(
            peer, sources=(*peer.sources, "token"), token=proof.credential, claims=proof.claims
        )


def _parse_agents(texts: tuple[str, ...]) -> list[SpiffePattern]:
    patterns = []
    for text in texts:
        try:
            patterns.append(parse_spiffe_pattern(text))
        except ValueError as error:
            raise ConfigError(f"identity.agents: {text!r}: {error}") from None
    return patterns


def _check_xfcc(settings: XfccSettings) -> None:
    if settings.mode == "append_forward" and settings.trusted_hops > 1 and not settings.proxies:
        raise ConfigError(
            "identity.xfcc: with more than one of 'trusted_hops', 'proxies' must name who vouches for them"
        )
    if settings.mode != "append_forward" and (settings.trusted_hops > 1 or settings.proxies):
        raise ConfigError("identity.xfcc: 'trusted_hops' and 'proxies' are for mode \"append_forward\"")
