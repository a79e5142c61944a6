"""Kubernetes service account tokens and OpenID Connect access tokens."""

import identity_pki as pki
import pytest

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.issuer_tokens import IssuerRule
from authz.identity.issuers import IssuerSettings
from authz.jose.jwk import KeySet
from authz.jose.jwt import parse_compact_jwt
from authz.model import Kind

CLUSTER = "https://kubernetes.default.svc"
IDP = "https://idp.example"
TEMPLATE = "spiffe://prod.example/ns/{namespace}/sa/{service_account}"
KEYS = pki.key_set(pki.jwk(pki.EC_KEY))


def kubernetes(**changes):
    return settings(**{"issuer": CLUSTER, "form": "kubernetes", "spiffe_id": TEMPLATE, **changes})


def oidc(**changes):
    return settings(**{"issuer": IDP, "form": "oidc", **changes})


def settings(**fields):
    return IssuerSettings(**{"jwks": "jwks.json", "audiences": ("ledger",), **fields})


def rule(configured, keys=KEYS):
    return IssuerRule(configured, keys, {pki.TD}, 5.0)


def verify(configured, claims, keys=KEYS, **header):
    return rule(configured, keys).verify(parse_compact_jwt(pki.token(claims, **header)), "digest", pki.NOW)


def reason_of(configured, claims, **changes):
    with pytest.raises(Refusal) as caught:
        verify(configured, claims, **changes)
    return caught.value.reason


def pod_claims(sub="system:serviceaccount:agents:planner", **changes):
    bound = {"namespace": "agents", "serviceaccount": {"name": "planner", "uid": "u"}, "pod": {"name": "p", "uid": "v"}}
    return pki.svid_claims(iss=CLUSTER, sub=sub, **{"kubernetes.io": bound, **changes})


def user_claims(**changes):
    return pki.svid_claims(iss=IDP, **{"sub": "auth0|alice", **changes})


def test_a_service_account_stands_for_the_configured_spiffe_id():
    proof = verify(kubernetes(), pod_claims(), typ=None)
    assert proof.party.id == str(proof.party.spiffe_id) == pki.PLANNER
    assert proof.party.kind is None
    assert proof.credential.kind == "kubernetes"
    assert proof.credential.issuer == CLUSTER


@pytest.mark.parametrize(
    "sub",
    [
        None,
        "",
        "planner",
        "system:serviceaccount:agents",
        "system:serviceaccount:agents:",
        "system:serviceaccount::planner",
        "system:serviceaccount:agents:planner:x",
        "system:serviceaccount:agents:planner\n",
        "system:serviceaccount:agents:../../sa/admin",
        "system:serviceaccount:agents:a/b",
        "system:serviceaccount:a.b:planner",
        "system:serviceaccount:Agents:planner",
        "system:serviceaccount:-a:planner",
        "system:serviceaccount:agents:planner.",
        "system:serviceaccount:" + "a" * 64 + ":planner",
        "system:serviceaccount:agents:" + "a" * 254,
        "system:serviceaccount:{service_account}:planner",
        "system:node:agents:planner",
        pki.PLANNER,
    ],
)
def test_only_service_accounts_are_accepted_from_kubernetes(sub):
    assert reason_of(kubernetes(), pod_claims(sub, **{"kubernetes.io": None})) is Reason.TOKEN_SUBJECT


@pytest.mark.parametrize(
    "bound",
    [
        {"namespace": "other", "serviceaccount": {"name": "planner"}},
        {"namespace": "agents", "serviceaccount": {"name": "other"}},
        {"namespace": "agents", "serviceaccount": "planner"},
        {"namespace": "agents"},
        {"serviceaccount": {"name": "planner"}},
        "agents/planner",
        [],
        False,
    ],
)
def test_the_bound_object_must_agree_with_the_subject(bound):
    assert reason_of(kubernetes(), pod_claims(**{"kubernetes.io": bound})) is Reason.TOKEN_SUBJECT


def test_a_legacy_token_without_end_is_refused():
    assert reason_of(kubernetes(), pod_claims(exp=None)) is Reason.TOKEN_MALFORMED


def test_an_access_token_names_its_subject_within_its_issuer():
    proof = verify(oidc(), user_claims(), typ="at+jwt")
    assert proof.party.id == "https://idp.example#auth0|alice"
    assert proof.party.spiffe_id is None
    assert proof.party.kind is Kind.WORKLOAD
    assert proof.claims == {"iss": IDP, "sub": "auth0|alice"}


@pytest.mark.parametrize("kind", ["workload", "agent", "human"])
def test_the_issuer_says_what_sort_of_party_it_vouches_for(kind):
    assert verify(oidc(subject_kind=kind), user_claims()).party.kind is Kind(kind)


def test_an_oidc_subject_that_looks_like_a_spiffe_id_is_none():
    proof = verify(oidc(), user_claims(sub=pki.ADMIN))
    assert proof.party.spiffe_id is None
    assert proof.party.id == f"{IDP}#{pki.ADMIN}"


@pytest.mark.parametrize("sub", [None, "", 1, " alice", "alice ", "alice\n", "al\0ice", "älice", "a" * 256])
def test_an_oidc_subject_is_printable_and_bounded(sub):
    assert reason_of(oidc(), user_claims(sub=sub)) is Reason.TOKEN_SUBJECT


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT", None])
def test_types_of_access_tokens_are_accepted(typ):
    assert verify(oidc(), user_claims(), typ=typ)


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "wit+jwt", "txntoken+jwt", "id+jwt", "application/", 1, []])
def test_other_types_are_refused(typ):
    configured = oidc(types=("JWT", "at+jwt"))
    assert reason_of(configured, user_claims(), typ=typ) is Reason.TOKEN_MALFORMED


def test_a_type_may_be_demanded():
    assert reason_of(oidc(types=("at+jwt",)), user_claims(), typ="JWT") is Reason.TOKEN_MALFORMED
    assert reason_of(oidc(types=("at+jwt",)), user_claims(), typ=None) is Reason.TOKEN_MALFORMED
    assert verify(oidc(types=("at+jwt",)), user_claims(), typ="application/at+jwt")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "other"}, Reason.TOKEN_AUDIENCE),
        ({"exp": pki.NOW - 60, "iat": pki.NOW - 120}, Reason.TOKEN_EXPIRED),
        ({"nbf": pki.NOW + 60}, Reason.TOKEN_NOT_YET_VALID),
        ({"exp": pki.NOW + 86_400}, Reason.CREDENTIAL_TOO_LONG_LIVED),
        ({"cnf": {"jkt": "x"}}, Reason.TOKEN_MALFORMED),
    ],
)
@pytest.mark.parametrize("form", ["kubernetes", "oidc"])
def test_the_common_checks_hold_for_every_issuer(form, claims, reason):
    if form == "kubernetes":
        assert reason_of(kubernetes(), pod_claims(**claims)) is reason
    else:
        assert reason_of(oidc(), user_claims(**claims)) is reason


def test_signature_and_key_are_checked():
    forger = pki.ec.generate_private_key(pki.ec.SECP256R1())
    assert reason_of(oidc(), user_claims(), key=forger) is Reason.TOKEN_SIGNATURE
    assert reason_of(oidc(), user_claims(), keys=KeySet()) is Reason.TOKEN_KEY_UNKNOWN
    assert reason_of(oidc(algorithms=("RS256",)), user_claims()) is Reason.TOKEN_ALGORITHM


def test_a_token_that_brings_its_own_key_is_refused():
    assert reason_of(oidc(), user_claims(), jwk={}) is Reason.TOKEN_MALFORMED
    assert reason_of(kubernetes(), pod_claims(), jku="https://evil.example/k") is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    ("configured", "problem"),
    [
        (oidc(algorithms=("HS256",)), "HS256"),
        (oidc(algorithms=("none",)), "none"),
        (oidc(issuer="https://idp.example#x"), "#"),
        (oidc(spiffe_id=TEMPLATE), "kubernetes"),
        (kubernetes(spiffe_id=""), "SPIFFE ID"),
        (kubernetes(spiffe_id="spiffe://prod.example/ns/{namespace}"), "path segments"),
        (kubernetes(spiffe_id="spiffe://prod.example/{namespace}-{service_account}"), "path segments"),
        (kubernetes(spiffe_id="spiffe://prod.example/{namespace}{service_account}"), "path segments"),
        (kubernetes(spiffe_id="spiffe://{namespace}/{namespace}/{service_account}"), "trust domain"),
        (kubernetes(spiffe_id="spiffe://other.example/{namespace}/{service_account}"), "trust domain"),
        (kubernetes(spiffe_id="spiffe://prod.example/{namespace}/{service_account}/{pod}"), "SPIFFE ID"),
    ],
)
def test_an_issuer_that_is_not_usable_is_a_configuration_error(configured, problem):
    with pytest.raises(ConfigError, match=problem):
        rule(configured)
