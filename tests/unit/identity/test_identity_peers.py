"""Who the peer is by mutual TLS: certificate, principal, x-forwarded-client-cert."""

import identity_pki as pki
import pytest

from authz.errors import Reason, Refusal
from authz.identity.certificates import CertificateSettings, CertificateVerifier
from authz.identity.inventory import EMPTY_INVENTORY
from authz.identity.peers import PeerRules, PeerVerifier
from authz.identity.subjects import SubjectFactory
from authz.identity.xfcc import XfccSettings
from authz.model import CheckCall

ROOT = pki.authority()
LEAF = ROOT.issue()
EDGE = "spiffe://prod.example/ns/edge/sa/envoy"
INNER = "spiffe://prod.example/ns/inner/sa/envoy"
OFF = XfccSettings()
SANITIZE_SET = XfccSettings(mode="sanitize_set")
APPEND_ONE = XfccSettings(mode="append_forward")
APPEND_TWO = XfccSettings(mode="append_forward", trusted_hops=2, proxies=(EDGE,))
LEEWAY = 5.0


def verifier(xfcc=OFF, *, require_certificate=True, trust="proxy", entries=100):
    domains = frozenset({pki.TD, pki.PARTNER})
    certificates = CertificateVerifier(
        CertificateSettings(trust=trust, max_lifetime_seconds=10_000.0), domains, {pki.TD: ROOT.bundle()}, LEEWAY
    )
    rules = PeerRules(domains, require_certificate, xfcc, LEEWAY)
    return PeerVerifier(rules, certificates, SubjectFactory((), EMPTY_INVENTORY), entries)


def call(certificate=None, principal="", xfcc=None, repeated=()):
    return CheckCall(
        layer="http",
        certificate=pki.url_pem(certificate) if certificate else "",
        principal=principal,
        headers={} if xfcc is None else {"x-forwarded-client-cert": xfcc},
        repeated_headers=frozenset(repeated),
    )


def verify(asked, now=pki.NOW, **changes):
    return verifier(**changes).verify(asked, now)


def reason_of(asked, **changes):
    with pytest.raises(Refusal) as caught:
        verify(asked, **changes)
    return caught.value.reason


def element(leaf=LEAF, uri=pki.PLANNER, by=EDGE, **changes):
    """One XFCC element as Envoy writes it; a key set to None is left out."""
    parts = {
        "By": by,
        "Hash": pki.fingerprint(leaf),
        "Cert": f'"{pki.url_pem(leaf)}"',
        "Subject": '"CN=planner"',
        "URI": uri,
        **changes,
    }
    return ";".join(f"{key}={value}" for key, value in parts.items() if value is not None)


# Certificate and principal


def test_certificate_and_principal_that_agree():
    subject = verify(call(LEAF, pki.PLANNER))
    assert subject.id == pki.PLANNER
    assert subject.sources == ("certificate", "principal")
    assert (subject.trust_domain, subject.path) == ("prod.example", "/ns/agents/sa/planner")
    assert (subject.namespace, subject.service_account) == ("agents", "planner")
    assert subject.credential.kind == "x509-svid"
    assert subject.credential.fingerprint == pki.fingerprint(LEAF)
    assert subject.expires == pki.NOW + pki.HOUR
    assert subject.hops == ()


def test_a_certificate_alone_is_proof():
    assert verify(call(LEAF)).sources == ("certificate",)


def test_nobody_there():
    assert verify(call()) is None
    assert verify(CheckCall(layer="tcp")) is None


@pytest.mark.parametrize(
    "principal",
    [pki.ADMIN, f"{pki.PLANNER}\n", pki.PLANNER.upper(), f"CN={pki.PLANNER}", "svc.example", "spiffe://prod.example"],
)
def test_certificate_and_principal_that_disagree_are_a_conflict(principal):
    assert reason_of(call(LEAF, principal)) is Reason.IDENTITY_CONFLICT


def test_two_uri_sans_are_refused_although_the_principal_shows_one():
    both = ROOT.issue(uris=("spiffe://prod.example/low", pki.ADMIN))
    assert reason_of(call(both, "spiffe://prod.example/low")) is Reason.CERTIFICATE_TWO_URI_SANS


def test_a_subject_that_looks_like_an_id_is_none():
    made = ROOT.issue(uris=(), subject=pki.ADMIN)
    assert reason_of(call(made, f"CN={pki.ADMIN}")) is Reason.CERTIFICATE_WITHOUT_SPIFFE_ID
    assert reason_of(call(None, f"CN={pki.ADMIN}"), require_certificate=False) is Reason.PRINCIPAL_MALFORMED


def test_a_broken_certificate_is_refused_and_nothing_else_is_asked():
    asked = CheckCall(
        layer="http", certificate="x", principal=pki.PLANNER, headers={"x-forwarded-client-cert": element()}
    )
    assert reason_of(asked, xfcc=SANITIZE_SET, require_certificate=False) is Reason.CERTIFICATE_MALFORMED


def test_a_principal_without_certificate_is_refused_by_default():
    assert reason_of(call(None, pki.PLANNER)) is Reason.PRINCIPAL_WITHOUT_CERTIFICATE


def test_a_principal_alone_can_be_allowed():
    subject = verify(call(None, pki.PLANNER), require_certificate=False)
    assert (subject.id, subject.sources, subject.credential) == (pki.PLANNER, ("principal",), None)
    assert subject.expires == float("inf")


@pytest.mark.parametrize(
    ("principal", "reason"),
    [
        ("svc.example", Reason.PRINCIPAL_MALFORMED),
        ("SPIFFE://Prod.Example/x", Reason.PRINCIPAL_MALFORMED),
        (f"{pki.PLANNER}/../admin?x=1#f", Reason.PRINCIPAL_MALFORMED),
        (f"{pki.PLANNER};URI={pki.ADMIN}", Reason.PRINCIPAL_MALFORMED),
        (f"{pki.PLANNER}\n", Reason.PRINCIPAL_MALFORMED),
        (f"{pki.PLANNER},{pki.ADMIN}", Reason.PRINCIPAL_MALFORMED),
        (" ", Reason.PRINCIPAL_MALFORMED),
        ("spiffe://prod.example", Reason.SPIFFE_ID_WITHOUT_PATH),
        ("spiffe://other.example/x", Reason.TRUST_DOMAIN_NOT_ALLOWED),
    ],
)
def test_a_principal_alone_must_be_a_workloads_id(principal, reason):
    assert reason_of(call(None, principal), require_certificate=False) is reason


# x-forwarded-client-cert


def test_the_header_is_not_read_unless_configured():
    assert verify(call(xfcc=element())) is None
    assert verify(call(xfcc="!!!")) is None


@pytest.mark.parametrize("xfcc", [SANITIZE_SET, APPEND_ONE, APPEND_TWO])
def test_the_header_is_not_read_beside_what_the_proxy_proved(xfcc):
    forged = element(uri=pki.ADMIN, Cert=None)
    subject = verify(call(LEAF, pki.PLANNER, forged), xfcc=xfcc)
    assert (subject.id, subject.hops) == (pki.PLANNER, ())
    subject = verify(call(None, pki.PLANNER, forged), xfcc=xfcc, require_certificate=False)
    assert subject.sources == ("principal",)


@pytest.mark.parametrize("xfcc", [SANITIZE_SET, APPEND_ONE, APPEND_TWO])
def test_one_element_of_a_trusted_proxy(xfcc):
    subject = verify(call(xfcc=element()), xfcc=xfcc)
    assert (subject.id, subject.sources, subject.hops) == (pki.PLANNER, ("xfcc",), (pki.PLANNER,))
    assert subject.credential.kind == "xfcc"
    assert subject.credential.fingerprint == pki.fingerprint(LEAF)
    assert subject.expires == pki.NOW + pki.HOUR


def test_an_empty_header_is_nobody():
    assert verify(call(xfcc=""), xfcc=SANITIZE_SET) is None


FORGED = f"By={EDGE};Hash={'00' * 32};URI={pki.ADMIN}"


@pytest.mark.parametrize("xfcc", [SANITIZE_SET, APPEND_ONE])
def test_a_forged_element_in_front_refuses_the_header(xfcc):
    """What a real Envoy hands on under APPEND_FORWARD when the client brings its own element."""
    assert reason_of(call(xfcc=f"{FORGED},{element()}"), xfcc=xfcc) is Reason.XFCC_TOO_MANY_HOPS


def test_under_sanitize_set_there_is_one_element_whatever_else_is_configured():
    xfcc = XfccSettings(mode="sanitize_set", trusted_hops=2, proxies=(EDGE,))
    header = f"{element()},{element(ROOT.issue(uris=(EDGE,)), EDGE, INNER)}"
    assert reason_of(call(xfcc=header), xfcc=xfcc) is Reason.XFCC_TOO_MANY_HOPS


def test_a_forged_element_does_not_count_as_a_hop():
    assert reason_of(call(xfcc=f"{FORGED},{element()}"), xfcc=APPEND_TWO) is Reason.XFCC_HOP_UNTRUSTED
    beyond = f"{FORGED},{element()},{element(ROOT.issue(uris=(EDGE,)), EDGE, INNER)}"
    assert reason_of(call(xfcc=beyond), xfcc=APPEND_TWO) is Reason.XFCC_TOO_MANY_HOPS


def test_a_forged_element_without_certificate_is_refused():
    """ALWAYS_FORWARD_ONLY hands on the client's header alone; a certificate would have to be stolen along with it."""
    assert reason_of(call(xfcc=FORGED), xfcc=SANITIZE_SET) is Reason.PRINCIPAL_WITHOUT_CERTIFICATE


def test_hops_that_trusted_proxies_vouch_for():
    edge_leaf = ROOT.issue(uris=(EDGE,), subject="edge")
    header = f"{element()},{element(edge_leaf, EDGE, INNER)}"
    subject = verify(call(xfcc=header), xfcc=APPEND_TWO)
    assert (subject.id, subject.hops) == (EDGE, (pki.PLANNER, EDGE))
    assert subject.credential.fingerprint == pki.fingerprint(edge_leaf)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (element(uri=pki.ADMIN), Reason.IDENTITY_CONFLICT),
        (element(Hash="00" * 32), Reason.IDENTITY_CONFLICT),
        (element(Hash="00ff"), Reason.XFCC_MALFORMED),
        (element(uri=f"{pki.PLANNER};URI={pki.ADMIN}"), Reason.CERTIFICATE_TWO_URI_SANS),
        (element(uri=""), Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        (element(uri=None), Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        (element(uri="SPIFFE://Prod.Example/x"), Reason.SPIFFE_ID_MALFORMED),
        (element(uri="spiffe://prod.example"), Reason.SPIFFE_ID_WITHOUT_PATH),
        (element(uri="spiffe://other.example/x"), Reason.TRUST_DOMAIN_NOT_ALLOWED),
        (element(Cert='"x"'), Reason.CERTIFICATE_MALFORMED),
        (element(Cert=None), Reason.PRINCIPAL_WITHOUT_CERTIFICATE),
        (element(Cert='""'), Reason.PRINCIPAL_WITHOUT_CERTIFICATE),
        (element(ROOT.issue(not_after=pki.NOW - 60)), Reason.CERTIFICATE_EXPIRED),
        (element(ROOT.issue(ca=True)), Reason.CERTIFICATE_IS_CA),
        (element(ROOT.issue(not_before=pki.NOW - 10_000)), Reason.CREDENTIAL_TOO_LONG_LIVED),
        (element(Subject='"x'), Reason.XFCC_MALFORMED),
        ('[{"uri":"x"}]', Reason.XFCC_MALFORMED),
        ("x" * 40_000, Reason.XFCC_TOO_LARGE),
    ],
    ids=range(18),
)
def test_each_defect_of_an_element_has_its_reason(header, reason):
    assert reason_of(call(xfcc=header), xfcc=SANITIZE_SET) is reason


def test_a_header_known_to_be_repeated_is_refused():
    asked = call(xfcc=element(), repeated=["x-forwarded-client-cert"])
    assert reason_of(asked, xfcc=APPEND_TWO) is Reason.XFCC_MALFORMED


def test_an_element_without_certificate_can_be_allowed():
    subject = verify(call(xfcc=element(Cert=None)), xfcc=SANITIZE_SET, require_certificate=False)
    assert subject.id == pki.PLANNER
    assert subject.credential.fingerprint == pki.fingerprint(LEAF)
    assert subject.credential.lifetime == float("inf")  # unknown: no limit on age or lifetime holds
    assert subject.credential.not_before == 0.0
    bare = verify(call(xfcc=f"URI={pki.PLANNER}"), xfcc=SANITIZE_SET, require_certificate=False)
    assert bare.credential is None


def test_the_chain_helps_to_verify_against_the_bundle():
    middle = pki.authority("middle", ROOT, uris=())
    leaf = middle.issue()
    with_chain = element(leaf, Chain=f'"{pki.url_pem(leaf, middle.certificate)}"')
    assert verify(call(xfcc=with_chain), xfcc=SANITIZE_SET, trust="bundle").id == pki.PLANNER
    assert reason_of(call(xfcc=element(leaf)), xfcc=SANITIZE_SET, trust="bundle") is Reason.CERTIFICATE_UNTRUSTED


# Memory


def test_a_known_peer_is_the_same_subject_again():
    subject = verifier()
    asked = call(LEAF, pki.PLANNER)
    assert subject.verify(asked, pki.NOW) is subject.verify(asked, pki.NOW + 1)


@pytest.mark.parametrize("asked", [call(LEAF, pki.PLANNER), call(xfcc=element())], ids=["certificate", "xfcc"])
def test_time_is_checked_every_time(asked):
    subject = verifier(xfcc=SANITIZE_SET)
    assert subject.verify(asked, pki.NOW)
    assert subject.verify(asked, pki.NOW + pki.HOUR + LEEWAY)
    for now, reason in (
        (pki.NOW + pki.HOUR + LEEWAY + 0.1, Reason.CERTIFICATE_EXPIRED),
        (pki.NOW - pki.HOUR - LEEWAY - 0.1, Reason.CERTIFICATE_NOT_YET_VALID),
    ):
        with pytest.raises(Refusal) as caught:
            subject.verify(asked, now)
        assert caught.value.reason is reason
    assert subject.verify(asked, pki.NOW)


def test_what_was_proven_for_one_text_is_not_used_for_another():
    subject = verifier(xfcc=SANITIZE_SET, require_certificate=False)
    assert subject.verify(call(LEAF, pki.PLANNER), pki.NOW).sources == ("certificate", "principal")
    assert subject.verify(call(LEAF), pki.NOW).sources == ("certificate",)
    assert subject.verify(call(None, pki.PLANNER), pki.NOW).sources == ("principal",)
    assert subject.verify(call(xfcc=element()), pki.NOW).sources == ("xfcc",)
    with pytest.raises(Refusal):
        subject.verify(call(LEAF, pki.ADMIN), pki.NOW)


def test_the_memory_is_bounded_and_holds_no_refusal():
    subject = verifier(entries=2)
    for _ in range(4):
        assert subject.verify(call(ROOT.issue()), pki.NOW)
        with pytest.raises(Refusal):
            subject.verify(call(ROOT.issue(ca=True)), pki.NOW)
    assert len(subject._proven) == 2


# What is remembered


def test_a_remembered_proof_is_judged_as_a_new_one_at_any_time():
    """An issuer of the chain has no leeway, neither the first time nor later (I3, I4)."""
    middle = pki.authority("middle", ROOT, uris=(), not_before=pki.NOW - 60, not_after=pki.NOW + 60)
    made = middle.issue()
    asked = call(xfcc=element(made, Chain=f'"{pki.url_pem(made, middle.certificate)}"'))
    remembering = verifier(SANITIZE_SET, trust="bundle")
    assert remembering.verify(asked, pki.NOW).id == pki.PLANNER

    def answer(asking, now):
        try:
            return asking.verify(asked, now).id
        except Refusal as refusal:
            return refusal.reason

    for seconds in (60, 60.5, 61, 64, 66, 3600, 3606, -60.5, -62, -66, 0):
        now = pki.NOW + seconds
        assert answer(remembering, now) == answer(verifier(SANITIZE_SET, trust="bundle"), now), seconds


def test_where_one_path_has_ended_another_is_found_also_for_a_remembered_certificate():
    soon = pki.authority("middle", ROOT, uris=(), not_after=pki.NOW + 60)
    authority = {"ca": True, "usage": ("key_cert_sign", "crl_sign"), "purposes": (), "uris": ()}
    later = pki.certificate(ROOT, "middle", key=soon.key, not_after=pki.NOW + 600, **authority)
    made = soon.issue()
    asked = call(xfcc=element(made, Chain=f'"{pki.url_pem(made, soon.certificate, later)}"'))
    remembering = verifier(SANITIZE_SET, trust="bundle")
    assert remembering.verify(asked, pki.NOW).id == pki.PLANNER
    assert remembering.verify(asked, pki.NOW + 100).id == pki.PLANNER
