"""Certificates as `cryptography` itself loads, fingerprints and verifies them."""

from datetime import UTC, datetime

import identity_pki as pki
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import verification
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refusal
from authz.identity.certificates import CertificateSettings, CertificateVerifier
from authz.identity.pem import decode_certificates

ROOT = pki.authority()
MIDDLE = pki.authority("middle", ROOT, uris=())
OTHER = pki.authority("other")
ISSUERS = {"root": ROOT, "middle": MIDDLE, "other": OTHER}


@given(st.sampled_from([ROOT.certificate, ROOT.issue(), pki.certificate(dns=("a.example",))]), st.booleans())
def test_we_load_the_certificate_that_the_library_loads(made, crlf):
    pem = pki.pem(made).replace("\n", "\r\n") if crlf else pki.pem(made)
    (der,) = decode_certificates(pki.quote(pem, safe=""), 16_384, 1)
    assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(pem.encode())


def test_the_fingerprint_is_the_librarys():
    made = ROOT.issue()
    proof = CertificateVerifier(CertificateSettings(), {pki.TD}, {}, 0.0).verify(pki.url_pem(made), pki.NOW, "x")
    assert bytes.fromhex(proof.credential.fingerprint) == made.fingerprint(hashes.SHA256())


def the_library_accepts(leaf, chain, now):
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([ROOT.certificate]))
        .time(datetime.fromtimestamp(now, UTC))
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, list(chain))
    except verification.VerificationError:
        return False
    return True


def we_accept(leaf, chain, now):
    verifier = CertificateVerifier(CertificateSettings(trust="bundle"), {pki.TD}, {pki.TD: ROOT.bundle()}, 0.0)
    try:
        verifier.verify(pki.url_pem(leaf), now, "x", pki.url_pem(*chain) if chain else "")
    except Refusal:
        return False
    return True


@pytest.mark.parametrize("offset", [-2 * pki.HOUR, -pki.HOUR, 0, pki.HOUR, pki.HOUR + 1, 2 * pki.HOUR])
@pytest.mark.parametrize("chain", [(), ("middle",), ("other",), ("middle", "root")])
@pytest.mark.parametrize("issuer", ISSUERS)
def test_we_agree_on_paths_of_honest_leaves(issuer, chain, offset):
    """With its rules for web servers' leaves too, which ask for an authority key identifier."""
    key = ISSUERS[issuer].key.public_key()
    leaf = ISSUERS[issuer].issue(extra=((x509.AuthorityKeyIdentifier.from_issuer_public_key(key), False),))
    certificates = tuple(ISSUERS[name].certificate for name in chain)
    now = pki.NOW + offset
    assert we_accept(leaf, certificates, now) == the_library_accepts(leaf, certificates, now)
