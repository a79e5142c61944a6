"""Whether a certificate proves an identity now: form, trust domain, time, lifetime and, if asked, signature."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from cryptography import x509
from cryptography.x509 import verification

from authz.errors import Reason, Refusal
from authz.identity.bundles import TrustBundle
from authz.identity.pem import decode_certificates
from authz.identity.x509 import Svid, load_certificate, parse_svid
from authz.jose.validity import Validity
from authz.model import Credential
from authz.spiffe import SpiffeId, TrustDomain

MAX_CHAIN_DEPTH: Final = 4
"""CA certificates between a leaf and an authority of its bundle."""


class CertificateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller's X509-SVID must satisfy."""

    trust: Literal["proxy", "bundle"] = "proxy"
    """Who verifies the signature. "proxy": Envoy did, in the handshake. "bundle": it is verified here too, against the
    bundle of the certificate's own trust domain; so a CA that Envoy trusts for one domain cannot speak for another.
    Envoy hands on the leaf alone: put intermediate CAs into the bundle."""
    max_lifetime_seconds: Annotated[float, msgspec.Meta(ge=60, le=31_536_000)] = 90_000.0
    """The longest time from notBefore to notAfter. The default fits day-long certificates with backdated start."""
    max_certificate_bytes: Annotated[int, msgspec.Meta(ge=512, le=262_144)] = 16_384
    """The longest certificate text (URL-encoded PEM) that is read, in bytes; a chain may be four times as long."""


class CertificateProof(msgspec.Struct, frozen=True, gc=False):
    """An SVID that was accepted, and for how long that holds."""

    id: SpiffeId
    credential: Credential
    validity: Validity


class CertificateVerifier:
    """Accepts or refuses callers' certificates, for one set of bundles."""

    def __init__(
        self,
        settings: CertificateSettings,
        trust_domains: Collection[TrustDomain],
        bundles: Mapping[TrustDomain, TrustBundle],
        leeway_seconds: float,
    ) -> None:
        self._settings = settings
        self._trust_domains = frozenset(trust_domains)
        self._leeway_seconds = leeway_seconds
        # A domain with no authority has no store: nothing of it verifies.
        self._stores = {
            domain: verification.Store(list(bundle.authorities))
            for domain, bundle in bundles.items()
            if bundle.authorities
        }

    def verify(self, text: str, now: float, kind: str, chain: str = "") -> CertificateProof:
        """What the URL-encoded PEM certificate `text` proves; `kind` names the credential in records.

        `chain` may hold intermediates (URL-encoded PEM); they are hints, proven by the path that they help to build.
        Cost: about 60 us, and 70 us more where the signature is verified here. Memoise.

        Raises:
            Refusal: as `decode_certificates` and `parse_svid`; TRUST_DOMAIN_NOT_ALLOWED, CERTIFICATE_NOT_YET_VALID,
                CERTIFICATE_EXPIRED, CREDENTIAL_TOO_LONG_LIVED, CERTIFICATE_UNTRUSTED.
        """
        (der,) = decode_certificates(text, self._settings.max_certificate_bytes, 1)
        svid = parse_svid(der)
        if svid.id.trust_domain not in self._trust_domains:
            raise Refusal(Reason.TRUST_DOMAIN_NOT_ALLOWED, f"trust domain {svid.id.trust_domain}")
        check_certificate_time(svid.validity, now, self._leeway_seconds)
        if svid.validity.not_after - svid.validity.not_before > self._settings.max_lifetime_seconds:
            raise Refusal(
                Reason.CREDENTIAL_TOO_LONG_LIVED, f"certificate of {svid.id} lives beyond max_lifetime_seconds"
            )
        validity = svid.validity
        if self._settings.trust == "bundle":
            validity = self._verify_signature(load_certificate(der), svid, now, chain)
        credential = Credential(kind, svid.fingerprint, validity.not_before, validity.not_after, svid.issuer)
        return CertificateProof(svid.id, credential, validity)

    def _verify_signature(self, leaf: x509.Certificate, svid: Svid, now: float, chain: str) -> Validity:
        store = self._stores.get(svid.id.trust_domain)
        if store is None:
            raise Refusal(Reason.CERTIFICATE_UNTRUSTED, f"no X.509 authority known for {svid.id.trust_domain}")
        intermediates: list[x509.Certificate] = []
        if chain:
            limit = 4 * self._settings.max_certificate_bytes
            intermediates = [load_certificate(der) for der in decode_certificates(chain, limit, MAX_CHAIN_DEPTH + 1)]
        # Within the leeway the leaf's own end (or start) is the time at which the path is judged.
        moment = min(max(now, svid.validity.not_before), svid.validity.not_after)
        verifier = (
            verification.PolicyBuilder()
            .store(store)
            .time(datetime.fromtimestamp(moment, UTC))
            .max_chain_depth(MAX_CHAIN_DEPTH)
            # The leaf's form is judged by `parse_svid`; web browsers' rules for leaves do not fit SVIDs.
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
            .build_client_verifier()
        )
        try:
            path = verifier.verify(leaf, intermediates).chain
        except Exception:  # noqa: BLE001 - hostile certificates: whatever fails, there is no valid path
            raise Refusal(
                Reason.CERTIFICATE_UNTRUSTED, f"no valid path to an authority of {svid.id.trust_domain}"
            ) from None
        # The proof ends with the first certificate of the path (I4).
        return Validity(
            max(certificate.not_valid_before_utc.timestamp() for certificate in path),
            min(certificate.not_valid_after_utc.timestamp() for certificate in path),
        )


def check_certificate_time(validity: Validity, now: float, leeway_seconds: float) -> None:
    """Pass when a certificate holds at `now`.

    Raises:
        Refusal: CERTIFICATE_NOT_YET_VALID or CERTIFICATE_EXPIRED.
    """
    validity.check(now, leeway_seconds, Reason.CERTIFICATE_NOT_YET_VALID, Reason.CERTIFICATE_EXPIRED)
