"""Whether a certificate is an X509-SVID of a workload, whoever signed it.

Source: X509-SVID standard, sections 2 to 5 (leaf certificates), and RFC 5280 section 4.2.
"""

import hashlib
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from authz.errors import Reason, Refusal
from authz.jose.validity import Validity
from authz.spiffe import SpiffeId, parse_spiffe_id, require_workload

_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


class Svid(msgspec.Struct, frozen=True, gc=False):
    """What a leaf certificate says, once it is known to have the form of an X509-SVID."""

    id: SpiffeId
    validity: Validity
    fingerprint: str
    """SHA-256 of the DER, lower-case hex."""
    issuer: str
    """The issuer's name (RFC 4514)."""


def load_certificate(der: bytes) -> x509.Certificate:
    """The X.509 v3 certificate that `der` is, whole.

    Raises:
        Refusal: CERTIFICATE_MALFORMED.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        # These are parsed on first use only; whoever reads them later need not expect errors.
        _ = certificate.extensions, certificate.subject, certificate.issuer.rfc4514_string()
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception:  # noqa: BLE001 - hostile DER: whatever the parser raises on it is one refusal
        raise Refusal(Reason.CERTIFICATE_MALFORMED, "not an X.509 certificate") from None
    return certificate


def parse_svid(der: bytes) -> Svid:
    """The workload's SVID in a leaf certificate. Says nothing of signature or time.

    Raises:
        Refusal: CERTIFICATE_MALFORMED, CERTIFICATE_WITHOUT_SPIFFE_ID, CERTIFICATE_TWO_URI_SANS, SPIFFE_ID_MALFORMED,
            SPIFFE_ID_WITHOUT_PATH, CERTIFICATE_IS_CA, CERTIFICATE_KEY_USAGE.
    """
    certificate = load_certificate(der)
    spiffe_id = _spiffe_id(certificate)
    _require_leaf(certificate)
    _require_key_usage(certificate)
    _require_known_extensions(certificate)
    return Svid(
        id=spiffe_id,
        validity=Validity(
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        ),
        fingerprint=hashlib.sha256(der).hexdigest(),
        issuer=certificate.issuer.rfc4514_string(),
    )


def _spiffe_id(certificate: x509.Certificate) -> SpiffeId:
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if not uris:
        raise Refusal(Reason.CERTIFICATE_WITHOUT_SPIFFE_ID, "no URI SAN")
    if len(uris) > 1:
        # The proxy's principal shows the first only (I5).
        raise Refusal(Reason.CERTIFICATE_TWO_URI_SANS, "an X509-SVID has exactly one URI SAN")
    if not uris[0].lower().startswith("spiffe:"):
        raise Refusal(Reason.CERTIFICATE_WITHOUT_SPIFFE_ID, "the URI SAN has another scheme")
    if names and not names.critical and not list(certificate.subject):
        raise Refusal(Reason.CERTIFICATE_MALFORMED, "no subject, and the SAN that stands for it is not critical")
    return require_workload(parse_spiffe_id(uris[0]))


def _require_leaf(certificate: x509.Certificate) -> None:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints and constraints.value.ca:
        raise Refusal(Reason.CERTIFICATE_IS_CA, "a signing certificate does not authenticate a workload")


def _require_key_usage(certificate: x509.Certificate) -> None:
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.critical:
        raise Refusal(Reason.CERTIFICATE_KEY_USAGE, "key usage is absent or not critical")
    if not usage.value.digital_signature:
        raise Refusal(Reason.CERTIFICATE_KEY_USAGE, "key usage lacks digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise Refusal(Reason.CERTIFICATE_KEY_USAGE, "key usage allows signing certificates or CRLs")
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    # The standard wants serverAuth too; a caller needs clientAuth, and asking more would shut out client-only leaves.
    if purposes and ExtendedKeyUsageOID.CLIENT_AUTH not in purposes.value:
        raise Refusal(Reason.CERTIFICATE_KEY_USAGE, "extended key usage lacks clientAuth")


def _require_known_extensions(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise Refusal(Reason.CERTIFICATE_MALFORMED, "a critical extension that is not understood")


def _extension(certificate: x509.Certificate, kind: type[_ExtensionT]) -> x509.Extension[_ExtensionT] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
