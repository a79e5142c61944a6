"""JWT-SVIDs, to the letter of the standard."""

import identity_pki as pki
import pytest

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import TrustBundle
from authz.identity.issuers import SPIFFE_ALGORITHMS, JwtSvidSettings
from authz.identity.jwt_svid import JwtSvidRule
from authz.jose.jwt import parse_compact_jwt

KEYS = pki.key_set(pki.jwk(pki.EC_KEY), pki.jwk(pki.RSA_KEY, kid="rsa"))
PARTNER_KEYS = pki.key_set(pki.jwk(pki.EC384_KEY), pki.jwk(pki.EC384_KEY, kid="only-theirs"))
BUNDLES = {
    pki.TD: TrustBundle(pki.TD, jwt_keys=KEYS),
    pki.PARTNER: TrustBundle(pki.PARTNER, jwt_keys=PARTNER_KEYS),
}
LEEWAY = 5.0


def rule(bundles=BUNDLES, **settings):
    return JwtSvidRule(JwtSvidSettings(audiences=("ledger", "l2"), **settings), {pki.TD, pki.PARTNER}, bundles, LEEWAY)


def verify(text, now=pki.NOW, **changes):
    return rule(**changes).verify(parse_compact_jwt(text), "digest", now)


def reason_of(text, **changes):
    with pytest.raises(Refusal) as caught:
        verify(text, **changes)
    return caught.value.reason


def test_an_honest_jwt_svid():
    proof = verify(pki.token(pki.svid_claims(iss="spire", extra="x")))
    assert str(proof.party.spiffe_id) == proof.party.id == pki.PLANNER
    assert proof.credential.kind == "jwt-svid"
    assert proof.credential.fingerprint == "digest"
    assert (proof.credential.not_before, proof.credential.not_after) == (pki.NOW - 10, pki.NOW + 300)
    assert proof.claims == {"sub": pki.PLANNER}
    assert (proof.binds, proof.certificate) == ("caller", "")


@pytest.mark.parametrize("header", [{"typ": None}, {"typ": "JOSE"}, {"typ": "JWT"}])
def test_headers_that_the_standard_allows(header):
    assert verify(pki.token(pki.svid_claims(), **header))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "jwt"},
        {"typ": "at+jwt"},
        {"typ": "wit+jwt"},
        {"typ": ""},
        {"typ": 1},
        {"cty": "JWT"},
        {"x5t": "x"},
        {"private": 1},
    ],
)
def test_any_other_header_is_refused(header):
    assert reason_of(pki.token(pki.svid_claims(), **header)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("alg", ["none", "NONE", "", "HS256", "EdDSA", "ES256K", "es256", "RS1"])
def test_an_algorithm_that_the_standard_does_not_allow_is_refused_first(alg):
    _, claims, signature = pki.token({}).split(".")
    header = pki.b64(f'{{"alg":"{alg}","kid":"k1","other":1}}'.encode())
    assert reason_of(f"{header}.{claims}.{signature}") is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize("alg", [None, 1, ["ES256"], {"ES256": 1}])
def test_an_algorithm_that_is_no_text_is_refused(alg):
    text = pki.sign(pki.json.dumps({"alg": alg, "kid": "k1"}), pki.json.dumps(pki.svid_claims()))
    assert reason_of(text) is Reason.TOKEN_ALGORITHM


def test_an_algorithm_that_is_not_configured_is_refused():
    text = pki.token(pki.svid_claims(), pki.RSA_KEY, "RS256", kid="rsa")
    assert verify(text)
    assert reason_of(text, algorithms=("ES256",)) is Reason.TOKEN_ALGORITHM


def test_no_algorithm_beyond_the_standard_can_be_configured():
    assert JwtSvidSettings(audiences=("a",)).algorithms == SPIFFE_ALGORITHMS
    for name in ("EdDSA", "HS256", "none"):
        with pytest.raises(ConfigError, match=name):
            rule(algorithms=(name,))


@pytest.mark.parametrize(
    "sub",
    [
        None,
        "",
        1,
        "planner",
        "spiffe://prod.example",
        "spiffe://prod.example/",
        "spiffe://Prod.Example/x",
        f"{pki.PLANNER}\n",
        f"{pki.PLANNER}?x",
        "spiffe://" + "a" * 3000,
    ],
)
def test_the_subject_is_a_workloads_spiffe_id(sub):
    assert reason_of(pki.token(pki.svid_claims(sub=sub))) is Reason.TOKEN_SUBJECT


def test_a_trust_domain_that_is_not_named_is_refused():
    claims = pki.svid_claims(sub="spiffe://other.example/x")
    assert reason_of(pki.token(claims)) is Reason.TRUST_DOMAIN_NOT_ALLOWED


@pytest.mark.parametrize("aud", [None, "", [], "ledger2", ["other"], ["Ledger"], "ledger "])
def test_the_audience_must_be_ours(aud):
    assert reason_of(pki.token(pki.svid_claims(aud=aud))) is Reason.TOKEN_AUDIENCE


@pytest.mark.parametrize("aud", ["ledger", ["l2"], ["other", "ledger"]])
def test_one_of_our_names_is_enough(aud):
    assert verify(pki.token(pki.svid_claims(aud=aud)))


def test_time_is_judged_with_the_leeway_and_no_more():
    text = pki.token(pki.svid_claims(exp=pki.NOW + 100, iat=pki.NOW, nbf=pki.NOW + 10))
    assert verify(text, now=pki.NOW + 10 - LEEWAY)
    assert verify(text, now=pki.NOW + 100 + LEEWAY)
    assert reason_of(text, now=pki.NOW + 10 - LEEWAY - 0.1) is Reason.TOKEN_NOT_YET_VALID
    assert reason_of(text, now=pki.NOW + 100 + LEEWAY + 0.1) is Reason.TOKEN_EXPIRED


def test_age_counts_from_issue_not_from_the_later_start():
    proof = verify(pki.token(pki.svid_claims(iat=pki.NOW - 10, nbf=pki.NOW - 5)))
    assert proof.credential.not_before == pki.NOW - 10
    assert verify(pki.token(pki.svid_claims(iat=None, nbf=pki.NOW - 5))).credential.not_before == pki.NOW - 5


def test_a_token_from_the_future_is_refused():
    text = pki.token(pki.svid_claims(iat=pki.NOW + 60, exp=pki.NOW + 120))
    assert reason_of(text) is Reason.TOKEN_NOT_YET_VALID


def test_a_token_without_end_is_refused():
    assert reason_of(pki.token(pki.svid_claims(exp=None))) is Reason.TOKEN_MALFORMED


def test_a_token_that_lives_too_long_is_refused():
    text = pki.token(pki.svid_claims(iat=pki.NOW - 100, exp=pki.NOW + 200))
    assert verify(text, max_lifetime_seconds=300.0)
    assert reason_of(text, max_lifetime_seconds=299.0) is Reason.CREDENTIAL_TOO_LONG_LIVED


def test_without_issue_time_the_lifetime_counts_from_now():
    text = pki.token(pki.svid_claims(iat=None, exp=pki.NOW + 300))
    proof = verify(text, max_lifetime_seconds=300.0)
    assert proof.credential.not_before == 0.0  # unknown: no limit on its age holds
    assert reason_of(text, max_lifetime_seconds=299.0) is Reason.CREDENTIAL_TOO_LONG_LIVED


@pytest.mark.parametrize("kid", [None, "", "k2", 1, ["k1"]])
def test_a_key_must_be_named_and_known(kid):
    assert reason_of(pki.token(pki.svid_claims(), kid=kid)) is Reason.TOKEN_KEY_UNKNOWN


def test_the_keys_are_those_of_the_subjects_own_trust_domain():
    """A partner's key must not sign for us, whatever its ID; nor ours for them (I5)."""
    ours_by_theirs = pki.token(pki.svid_claims(), pki.EC384_KEY, "ES384", kid="only-theirs")
    assert reason_of(ours_by_theirs) is Reason.TOKEN_KEY_UNKNOWN
    theirs = pki.svid_claims(sub="spiffe://partner.example/x")
    assert verify(pki.token(theirs, pki.EC384_KEY, "ES384"))
    assert reason_of(pki.token(theirs)) is Reason.TOKEN_ALGORITHM  # same kid, their curve
    assert reason_of(pki.token(theirs, kid="rsa")) is Reason.TOKEN_KEY_UNKNOWN


@pytest.mark.parametrize("bundles", [{}, {pki.TD: TrustBundle(pki.TD)}])
def test_without_keys_nothing_verifies(bundles):
    assert reason_of(pki.token(pki.svid_claims()), bundles=bundles) is Reason.TOKEN_KEY_UNKNOWN


def test_a_forged_signature_is_refused():
    forger = pki.ec.generate_private_key(pki.ec.SECP256R1())
    assert reason_of(pki.token(pki.svid_claims(), forger)) is Reason.TOKEN_SIGNATURE


def test_configured_claims_are_selected_and_absent_ones_left_out():
    text = pki.token(pki.svid_claims(scope="a b", act={"sub": "x"}))
    assert verify(text, claims=("scope", "act", "nothing")).claims == {"scope": "a b", "act": {"sub": "x"}}


def test_a_certificate_binding_is_carried_on():
    text = pki.token(pki.svid_claims(cnf={"x5t#S256": pki.b64(bytes(32))}))
    assert verify(text).certificate == "00" * 32
