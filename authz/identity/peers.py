"""Who the peer is by mutual TLS: certificate, principal, or what a trusted proxy in front says of them (I5)."""

from collections.abc import Collection
from typing import Final

import msgspec

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.certificates import CertificateVerifier
from authz.identity.hops import prove_hops
from authz.identity.subjects import SubjectFactory
from authz.identity.xfcc import XfccElement, XfccSettings, parse_xfcc
from authz.jose.validity import Validity
from authz.memo import Memo
from authz.model import CheckCall, Credential, Subject
from authz.spiffe import SpiffeId, TrustDomain, parse_spiffe_id, require_workload

XFCC_HEADER: Final = "x-forwarded-client-cert"

_ALWAYS: Final = Validity(float("-inf"), float("inf"))


class PeerRules(msgspec.Struct, frozen=True):
    """What counts as proof of a peer."""

    trust_domains: frozenset[TrustDomain]
    require_certificate: bool
    xfcc: XfccSettings
    leeway_seconds: float


class _Proven(msgspec.Struct, frozen=True):
    subject: Subject
    validity: Validity


class PeerVerifier:
    """Resolves the peer of each call, and remembers it by the texts that prove it. Not for use by several threads."""

    def __init__(
        self, rules: PeerRules, certificates: CertificateVerifier, subjects: SubjectFactory, max_memo_entries: int
    ) -> None:
        self._rules = rules
        self._certificates = certificates
        self._subjects = subjects
        self._reads_xfcc = rules.xfcc.mode != "off"
        self._max_elements = rules.xfcc.trusted_hops if rules.xfcc.mode == "append_forward" else 1
        self._proxies = _parse_proxies(rules.xfcc.proxies)
        self._proven: Memo[tuple[str, str, str], _Proven] = Memo(max_memo_entries)

    def verify(self, call: CheckCall, now: float) -> Subject | None:
        """The peer of the call; None when nothing speaks of one.

        Cost: about 1 us for a peer seen before, 100 to 200 us for a new one.

        Raises:
            Refusal: each defect with its own reason.
        """
        xfcc = ""
        if not call.principal and not call.certificate:
            # I5: a header is asked last, and only where configuration says which proxy sets it.
            if self._reads_xfcc:
                xfcc = self._xfcc(call)
            if not xfcc:
                return None
        key = (call.certificate, call.principal, xfcc)
        proven = self._proven.get(key)
        if proven is None or not proven.validity.holds(now):
            # I4: before and after its times a proof is made anew. A leaf has a leeway then, its issuers have none, and
            # where one path to an authority has ended another may hold.
            proven = self._prove(call, xfcc, now)
            self._proven.put(key, proven)
        return proven.subject

    def _xfcc(self, call: CheckCall) -> str:
        if XFCC_HEADER in call.repeated_headers:
            raise Refusal(Reason.XFCC_MALFORMED, "the header stands more than once")
        return call.headers.get(XFCC_HEADER, "")

    def _prove(self, call: CheckCall, xfcc: str, now: float) -> _Proven:
        if call.certificate:
            return self._by_certificate(call, now)
        if call.principal:
            return self._by_principal(call.principal)
        return self._by_xfcc(xfcc, now)

    def _by_certificate(self, call: CheckCall, now: float) -> _Proven:
        proof = self._certificates.verify(call.certificate, now, "x509-svid")
        subject = self._subjects.workload(proof.id, "certificate", proof.credential)
        if call.principal:
            if call.principal != subject.id:
                raise Refusal(Reason.IDENTITY_CONFLICT, "principal and certificate name different identities")
            subject = msgspec.structs.replace(subject, sources=("certificate", "principal"))
        return _Proven(subject, proof.validity)

    def _by_principal(self, principal: str) -> _Proven:
        if self._rules.require_certificate:
            # Of two URI SANs the principal shows the first, and a subject CN can look like an ID.
            raise Refusal(Reason.PRINCIPAL_WITHOUT_CERTIFICATE, "the proxy did not hand on the certificate")
        try:
            spiffe_id = parse_spiffe_id(principal)
        except Refusal as refusal:
            raise Refusal(Reason.PRINCIPAL_MALFORMED, refusal.detail) from None
        self._admit(require_workload(spiffe_id))
        return _Proven(self._subjects.workload(spiffe_id, "principal", None), _ALWAYS)

    def _by_xfcc(self, text: str, now: float) -> _Proven:
        elements = parse_xfcc(text, self._max_elements, self._rules.xfcc)
        hops = prove_hops(elements, self._proxies)
        for hop in hops:
            self._admit(hop)
        credential, validity = self._xfcc_credential(elements[-1], hops[-1], now)
        subject = self._subjects.workload(hops[-1], "xfcc", credential)
        return _Proven(msgspec.structs.replace(subject, hops=tuple(str(hop) for hop in hops)), validity)

    def _xfcc_credential(
        self, element: XfccElement, caller: SpiffeId, now: float
    ) -> tuple[Credential | None, Validity]:
        if element.certificate:
            proof = self._certificates.verify(element.certificate, now, "xfcc", element.chain)
            if proof.id != caller:
                raise Refusal(Reason.IDENTITY_CONFLICT, "URI and Cert of an element name different identities")
            if element.hash and element.hash != proof.credential.fingerprint:
                raise Refusal(Reason.IDENTITY_CONFLICT, "Hash of an element is not that of its Cert")
            return proof.credential, proof.validity
        if self._rules.require_certificate:
            raise Refusal(Reason.PRINCIPAL_WITHOUT_CERTIFICATE, "the last element has no Cert")
        if not element.hash:
            return None, _ALWAYS
        # Its times are not known: as if since ever and for ever, so that a limit on age or lifetime does not hold.
        return Credential("xfcc", element.hash, 0.0, float("inf")), _ALWAYS

    def _admit(self, spiffe_id: SpiffeId) -> None:
        if spiffe_id.trust_domain not in self._rules.trust_domains:
            raise Refusal(Reason.TRUST_DOMAIN_NOT_ALLOWED, f"trust domain {spiffe_id.trust_domain}")


def _parse_proxies(texts: Collection[str]) -> frozenset[SpiffeId]:
    proxies = set()
    for text in texts:
        try:
            proxies.add(require_workload(parse_spiffe_id(text)))
        except Refusal as refusal:
            raise ConfigError(f"identity.xfcc.proxies: {text!r}: {refusal.detail}") from None
    return frozenset(proxies)
