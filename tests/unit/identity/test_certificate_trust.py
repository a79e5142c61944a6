"""Time, lifetime, trust domain and signature of a caller's certificate."""

import identity_pki as pki
import pytest
from cryptography import x509

from authz.errors import Reason, Refusal
from authz.identity.bundles import TrustBundle
from authz.identity.certificates import CertificateSettings, CertificateVerifier

ROOT = pki.authority()
PARTNER_ROOT = pki.authority("partner root", uris=("spiffe://partner.example",))
BUNDLES = {pki.TD: ROOT.bundle(), pki.PARTNER: PARTNER_ROOT.bundle(pki.PARTNER)}
LEEWAY = 5.0


def verifier(trust="proxy", bundles=BUNDLES, domains=(pki.TD, pki.PARTNER), **settings):
    return CertificateVerifier(CertificateSettings(trust=trust, **settings), domains, bundles, LEEWAY)


def verify(made, now=pki.NOW, chain=(), **changes):
    return verifier(**changes).verify(pki.url_pem(made), now, "x509-svid", pki.url_pem(*chain) if chain else "")


def reason_of(made, **changes):
    with pytest.raises(Refusal) as caught:
        verify(made, **changes)
    return caught.value.reason


@pytest.mark.parametrize("trust", ["proxy", "bundle"])
def test_an_honest_certificate_is_accepted(trust):
    made = ROOT.issue()
    proof = verify(made, trust=trust)
    assert str(proof.id) == pki.PLANNER
    assert proof.credential.kind == "x509-svid"
    assert proof.credential.fingerprint == pki.fingerprint(made)
    assert proof.credential.lifetime == 2 * pki.HOUR
    assert proof.credential.issuer == "CN=root"


@pytest.mark.parametrize("trust", ["proxy", "bundle"])
def test_time_is_judged_with_the_leeway_and_no_more(trust):
    made = ROOT.issue()
    early, late = pki.NOW - pki.HOUR - LEEWAY, pki.NOW + pki.HOUR + LEEWAY
    assert verify(made, now=early, trust=trust)
    assert verify(made, now=late, trust=trust)
    assert reason_of(made, now=early - 0.1, trust=trust) is Reason.CERTIFICATE_NOT_YET_VALID
    assert reason_of(made, now=late + 0.1, trust=trust) is Reason.CERTIFICATE_EXPIRED


def test_a_time_that_is_none_is_refused():
    assert reason_of(ROOT.issue(), now=float("nan")) is Reason.CERTIFICATE_NOT_YET_VALID


def test_a_certificate_that_lives_too_long_is_refused():
    made = ROOT.issue(not_before=pki.NOW, not_after=pki.NOW + 3600)
    assert verify(made, max_lifetime_seconds=3600.0)
    assert reason_of(made, max_lifetime_seconds=3599.0) is Reason.CREDENTIAL_TOO_LONG_LIVED


def test_a_trust_domain_that_is_not_named_is_refused():
    made = ROOT.issue(uris=("spiffe://other.example/x",))
    assert reason_of(made) is Reason.TRUST_DOMAIN_NOT_ALLOWED


def test_a_foreign_authority_cannot_speak_for_our_trust_domain():
    """The proxy may trust both for both; here each domain's bundle counts for itself alone (I5)."""
    made = PARTNER_ROOT.issue(uris=(pki.PLANNER,))
    assert verify(made, trust="proxy")
    assert reason_of(made, trust="bundle") is Reason.CERTIFICATE_UNTRUSTED
    assert verify(PARTNER_ROOT.issue(uris=("spiffe://partner.example/x",)), trust="bundle")


@pytest.mark.parametrize("bundles", [{}, {pki.TD: TrustBundle(pki.TD)}, {pki.PARTNER: ROOT.bundle(pki.PARTNER)}])
def test_without_an_authority_of_its_domain_nothing_verifies(bundles):
    assert reason_of(ROOT.issue(), trust="bundle", bundles=bundles) is Reason.CERTIFICATE_UNTRUSTED


def test_a_wrong_signature_is_refused():
    forged = ROOT.issue(signed_by=pki.EC_KEY)
    assert reason_of(forged, trust="bundle") is Reason.CERTIFICATE_UNTRUSTED


def test_a_self_signed_certificate_is_refused():
    assert reason_of(pki.certificate(subject="root"), trust="bundle") is Reason.CERTIFICATE_UNTRUSTED


def test_an_intermediate_from_the_chain_helps_to_build_the_path():
    middle = pki.authority("middle", ROOT, uris=())
    made = middle.issue()
    assert reason_of(made, trust="bundle") is Reason.CERTIFICATE_UNTRUSTED
    assert verify(made, trust="bundle", chain=(made, middle.certificate))


def test_an_intermediate_in_the_bundle_is_an_authority():
    middle = pki.authority("middle", ROOT, uris=())
    assert verify(middle.issue(), trust="bundle", bundles={pki.TD: middle.bundle()})


@pytest.mark.parametrize(
    "changes",
    [
        {"ca": False},
        {"usage": ("digital_signature",)},
        {"usage": None},
        {"not_after": pki.NOW - 1},
        {"not_before": pki.NOW + 1},
        {"signed_by": pki.EC_KEY},
    ],
)
def test_an_intermediate_that_may_not_sign_proves_nothing(changes):
    middle = pki.authority("middle", ROOT, uris=(), **changes)
    made = middle.issue()
    assert reason_of(made, trust="bundle", chain=(made, middle.certificate)) is Reason.CERTIFICATE_UNTRUSTED


def test_a_leaf_cannot_sign_another():
    leaf = pki.Authority(ROOT.issue(key=pki.EC_KEY), pki.EC_KEY)
    made = leaf.issue(uris=(pki.ADMIN,), subject="admin")
    assert reason_of(made, trust="bundle", chain=(made, leaf.certificate)) is Reason.CERTIFICATE_UNTRUSTED


def test_a_path_length_is_kept():
    first = pki.authority("first", ROOT, uris=(), path_length=0)
    second = pki.authority("second", first, uris=())
    chain = (first.certificate, second.certificate)
    assert reason_of(second.issue(), trust="bundle", chain=chain) is Reason.CERTIFICATE_UNTRUSTED


def test_a_path_deeper_than_the_limit_is_refused():
    issuers = [ROOT]
    for number in range(6):
        issuers.append(pki.authority(f"ca{number}", issuers[-1], uris=()))
    chain = tuple(issuer.certificate for issuer in issuers[1:])
    assert verify(issuers[4].issue(), trust="bundle", chain=chain[:4])
    assert reason_of(issuers[6].issue(), trust="bundle", chain=chain) is Reason.CERTIFICATE_MALFORMED
    assert reason_of(issuers[6].issue(), trust="bundle", chain=chain[1:]) is Reason.CERTIFICATE_UNTRUSTED


def test_name_constraints_that_cannot_be_judged_refuse():
    limited = pki.authority(
        "limited",
        uris=(),
        extra=((x509.NameConstraints([x509.UniformResourceIdentifier("other.example")], None), True),),
    )
    assert reason_of(limited.issue(), trust="bundle", bundles={pki.TD: limited.bundle()}) is (
        Reason.CERTIFICATE_UNTRUSTED
    )


def test_a_proof_ends_with_the_first_certificate_of_its_path():
    middle = pki.authority("middle", ROOT, uris=(), not_before=pki.NOW - 60, not_after=pki.NOW + 60)
    made = middle.issue()
    proof = verify(made, trust="bundle", chain=(made, middle.certificate))
    assert (proof.validity.not_before, proof.validity.not_after) == (pki.NOW - 60, pki.NOW + 60)
    assert proof.credential.not_after == pki.NOW + 60


def test_an_expired_authority_proves_nothing():
    old = pki.authority("old", not_before=pki.NOW - 1000, not_after=pki.NOW - 1)
    assert reason_of(old.issue(), trust="bundle", bundles={pki.TD: old.bundle()}) is Reason.CERTIFICATE_UNTRUSTED


def test_a_chain_that_is_too_large_is_refused():
    made = ROOT.issue()
    reason = reason_of(made, trust="bundle", chain=(made,) * 9, max_certificate_bytes=1024)
    assert reason is Reason.CERTIFICATE_TOO_LARGE
