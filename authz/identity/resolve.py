"""From one call to the subject that it comes from: mutual TLS first, then the token, and no disagreement."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import BundleSettings, Trust
from authz.identity.certificates import CertificateSettings, CertificateVerifier
from authz.identity.chains import NO_CHAINS, ChainJoiner, Chains
from authz.identity.delegation import DelegationSettings
from authz.identity.inventory import Inventory, InventorySettings
from authz.identity.issuers import TokenSettings
from authz.identity.patterns import SpiffePattern, parse_spiffe_pattern
from authz.identity.peers import PeerRules, PeerVerifier
from authz.identity.proofs import Covered
from authz.identity.replay import ReplayMemory
from authz.identity.sharing_settings import SharingSettings
from authz.identity.subjects import ANONYMOUS, SubjectFactory
from authz.identity.token_checks import TokenProof
from authz.identity.tokens import TokenVerifier
from authz.identity.transactions import TransactionVerifier
from authz.identity.wimse import WimseSettings, WimseVerifier, WitProof
from authz.identity.xfcc import XfccSettings
from authz.memo import Memo
from authz.model import CheckCall, Kind, Subject
from authz.spiffe import SpiffeId, TrustDomain


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
    wimse: WimseSettings = WimseSettings()
    bundles: BundleSettings = BundleSettings()
    inventory: InventorySettings = InventorySettings()
    sharing: SharingSettings = SharingSettings()

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

    def __init__(
        self,
        settings: IdentitySettings,
        trust: Trust,
        inventory: Inventory,
        *,
        covered: Covered = Covered(),  # noqa: B008 - frozen
        replays: ReplayMemory | None = None,
    ) -> None:
        """`covered`: the headers of tokens that a workload proof token must cover, those of `settings` aside.

        `replays`: what outlives this object of the proofs that were used; absent: nothing does.
        """
        domains = frozenset(domain for domain, _ in settings.bundle_locations)
        self._domains = domains
        self._inventory = inventory
        leeway = settings.clock_leeway_seconds
        _check_xfcc(settings.xfcc)
        self._settings = settings
        self._trust = trust
        self._subjects = SubjectFactory(_parse_agents(settings.agents), inventory)
        self._peers = PeerVerifier(
            PeerRules(domains, settings.require_certificate, settings.xfcc, leeway),
            CertificateVerifier(settings.certificates, domains, trust.bundles, leeway),
            self._subjects,
            settings.max_memo_entries,
        )
        self._tokens = TokenVerifier(settings.tokens, domains, trust, leeway, settings.max_memo_entries)
        self._wimse = WimseVerifier(
            settings.wimse,
            trust.bundles,
            domains,
            _covering(covered, settings.tokens),
            replays if replays is not None else ReplayMemory(settings.wimse.max_proofs),
            leeway_seconds=leeway,
            max_memo_entries=settings.max_memo_entries,
        )
        self._witnessed: Memo[tuple[int, str], tuple[Subject | None, Subject]] = Memo(settings.max_memo_entries)
        self._admits_anonymous = settings.anonymous == "policy"
        self._joined: Memo[tuple[int, int], tuple[Subject | None, TokenProof, Subject]] = Memo(
            settings.max_memo_entries
        )

    def identify(self, call: CheckCall, now: float) -> Subject:
        """Who calls, at `now`: the very same object for the same proofs, as long as they are remembered.

        Cost: about 1 us for a known certificate, 4 us with a known token.

        Raises:
            Refusal: with one of the identity reasons; IDENTITY_MISSING when nobody is there and policy may not decide.
        """
        peer = self._peers.verify(call, now)
        wit = self._wimse.verify(call, now)
        if wit is not None:
            peer = self._with_wit(peer, wit)
        proof = self._tokens.verify(call, now)
        if proof is None:
            return peer if peer is not None else self._anonymous()
        key = (id(peer), id(proof))
        known = self._joined.get(key)
        # What is remembered keeps both alive, so that no other object can have their places in memory.
        if known is None:
            known = (peer, proof, self._with_token(peer, proof))
            self._joined.put(key, known)
        return known[2]

    def _with_wit(self, peer: Subject | None, wit: WitProof) -> Subject:
        key = (id(peer), wit.credential.fingerprint)
        known = self._witnessed.get(key)
        if known is None:
            subject = self._subjects.workload(wit.spiffe_id, "wit", wit.credential) if peer is None else peer
            if subject.id != str(wit.spiffe_id):
                raise Refusal(Reason.IDENTITY_CONFLICT, "identity token and certificate name different identities")
            sources = subject.sources if peer is None else (*subject.sources, "wit")
            credential = subject.credential or wit.credential
            subject = msgspec.structs.replace(subject, sources=sources, credential=credential, wit=wit.credential)
            known = (peer, subject)
            self._witnessed.put(key, known)
        return known[1]

    def chains(self, settings: DelegationSettings, *, grants: bool) -> Chains:
        """What joins to a caller whoever acted before it; `grants`: whether there are any.

        Raises:
            ConfigError: the settings contradict themselves.
        """
        own = self._settings
        in_a_row = own.xfcc.mode == "append_forward" and own.xfcc.trusted_hops > 1
        if not (grants or in_a_row or settings.transaction_tokens.issuers):
            return NO_CHAINS
        tokens = settings.transaction_tokens
        home = [domain for domain in self._domains if domain.name in {own.trust_domain, *tokens.trust_domains}]
        if len(home) != len({own.trust_domain, *tokens.trust_domains}):
            raise ConfigError("delegation.transaction_tokens.trust_domains: each stands in identity.federated, too")
        issuers = [
            each if each.audiences else msgspec.structs.replace(each, audiences=(own.trust_domain,))
            for each in tokens.issuers
        ]
        transactions = TransactionVerifier(
            msgspec.structs.replace(tokens, issuers=tuple(issuers)),
            self._trust.transaction_keys,
            self._domains,
            own.clock_leeway_seconds,
            settings.max_memo_entries,
        )
        kinds = {issuer.issuer: Kind(issuer.subject_kind) for issuer in own.tokens.issuers}
        return ChainJoiner(settings, transactions, self._subjects, self._domains, kinds, home=home)

    def assume(self, spiffe_id: SpiffeId, source: str) -> Subject:
        """The subject that a SPIFFE ID would stand for: nobody has proved it; `source` says who asserts it.

        Raises:
            Refusal: TRUST_DOMAIN_NOT_ALLOWED.
        """
        if spiffe_id.trust_domain not in self._domains:
            raise Refusal(Reason.TRUST_DOMAIN_NOT_ALLOWED, f"trust domain {spiffe_id.trust_domain}")
        return self._subjects.workload(spiffe_id, source, None)

    def registered(self) -> Iterator[str]:
        """The identities that the inventory names, and its prefixes as `spiffe://.../*`."""
        return self._inventory.names()

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


def _covering(covered: Covered, tokens: TokenSettings) -> Covered:
    """With the header of identity tokens, too."""
    if tokens.header != "authorization":
        return msgspec.structs.replace(covered, others=(*covered.others, tokens.header))
    return msgspec.structs.replace(covered, schemes=covered.schemes | {tokens.scheme.lower()})


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
