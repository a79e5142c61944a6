"""Whether a certificate has the form of a workload's X509-SVID (X509-SVID sections 2 to 5)."""

import base64

import identity_pki as pki
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.errors import Reason, Refusal
from authz.identity.x509 import parse_svid

# RFC 8705 appendix A: a version 1 certificate without any extension.
RFC_8705 = base64.b64decode(
    "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRs"
    "czBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0t"
    "H6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUaKlLR50Q2DmFf"
    "Qj1L+SY="
)


def reason_of(data):
    with pytest.raises(Refusal) as caught:
        parse_svid(data)
    return caught.value.reason


def test_an_honest_svid():
    made = pki.certificate(subject="planner")
    svid = parse_svid(pki.der(made))
    assert str(svid.id) == pki.PLANNER
    assert (svid.validity.not_before, svid.validity.not_after) == (pki.NOW - pki.HOUR, pki.NOW + pki.HOUR)
    assert svid.fingerprint == pki.fingerprint(made)
    assert svid.issuer == "CN=planner"


@pytest.mark.parametrize(
    "changes",
    [
        {"dns": ("a.example", "b.example")},
        {"subject": ""},
        {"purposes": ()},
        {"purposes": (pki.CLIENT,)},
        {"constraints": False},
        {"usage": ("digital_signature",)},
        {"usage": ("digital_signature", "key_encipherment")},
        {"san_critical": True},
    ],
)
def test_what_the_standard_leaves_free_is_accepted(changes):
    assert str(parse_svid(pki.der(pki.certificate(**changes))).id) == pki.PLANNER


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"uris": ()}, Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        ({"uris": (), "dns": ("svc.example",)}, Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        ({"uris": (), "subject": pki.ADMIN}, Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        ({"uris": ("https://prod.example/x",)}, Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        ({"uris": ("urn:spiffe://prod.example/x",)}, Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        ({"uris": (pki.PLANNER, pki.ADMIN)}, Reason.CERTIFICATE_TWO_URI_SANS),
        ({"uris": (pki.PLANNER, pki.PLANNER)}, Reason.CERTIFICATE_TWO_URI_SANS),
        ({"uris": (pki.PLANNER, "https://prod.example/")}, Reason.CERTIFICATE_TWO_URI_SANS),
        ({"uris": ("SPIFFE://Prod.Example/ns/agents/sa/planner",)}, Reason.SPIFFE_ID_MALFORMED),
        ({"uris": (f"{pki.PLANNER}/../admin?x=1#f",)}, Reason.SPIFFE_ID_MALFORMED),
        ({"uris": (f"{pki.PLANNER};URI={pki.ADMIN}",)}, Reason.SPIFFE_ID_MALFORMED),
        ({"uris": (f"{pki.PLANNER}\n",)}, Reason.SPIFFE_ID_MALFORMED),
        ({"uris": (f"{pki.PLANNER}\0.evil",)}, Reason.SPIFFE_ID_MALFORMED),
        ({"uris": ("spiffe://prod.example",)}, Reason.SPIFFE_ID_WITHOUT_PATH),
        ({"ca": True}, Reason.CERTIFICATE_IS_CA),
        ({"usage": None}, Reason.CERTIFICATE_KEY_USAGE),
        ({"usage_critical": False}, Reason.CERTIFICATE_KEY_USAGE),
        ({"usage": ("key_agreement",)}, Reason.CERTIFICATE_KEY_USAGE),
        ({"usage": ("digital_signature", "key_cert_sign")}, Reason.CERTIFICATE_KEY_USAGE),
        ({"usage": ("digital_signature", "crl_sign")}, Reason.CERTIFICATE_KEY_USAGE),
        ({"purposes": (pki.SERVER,)}, Reason.CERTIFICATE_KEY_USAGE),
        ({"purposes": (ExtendedKeyUsageOID.CODE_SIGNING,)}, Reason.CERTIFICATE_KEY_USAGE),
        ({"subject": "", "san_critical": False}, Reason.CERTIFICATE_MALFORMED),
        ({"extra": ((UNKNOWN, True),)}, Reason.CERTIFICATE_MALFORMED),
    ],
)
def test_each_defect_has_its_reason(changes, reason):
    assert reason_of(pki.der(pki.certificate(**changes))) is reason


def test_an_unknown_extension_that_is_not_critical_does_not_matter():
    assert parse_svid(pki.der(pki.certificate(extra=((UNKNOWN, False),))))


def test_the_certificate_of_rfc_8705_is_no_svid():
    assert reason_of(RFC_8705) is Reason.CERTIFICATE_WITHOUT_SPIFFE_ID


def test_what_is_no_certificate_is_malformed():
    der = pki.der(pki.certificate())
    for data in (b"", b"\0", b"0", der[:-1], der + b"\0", b"\x30\x80" + der[2:], der[:40] + b"\xff" * 40 + der[80:]):
        assert reason_of(data) is Reason.CERTIFICATE_MALFORMED


def test_a_repeated_extension_is_malformed():
    """The second SAN is made by changing the OID of another extension into that of the first."""
    der = pki.der(pki.certificate(extra=((x509.IssuerAlternativeName([x509.DNSName("x")]), False),)))
    san, ian = bytes.fromhex("0603551d11"), bytes.fromhex("0603551d12")
    assert der.count(san) == der.count(ian) == 1
    assert reason_of(der.replace(ian, san)) is Reason.CERTIFICATE_MALFORMED
