"""Which header values are tokens of ours, which are somebody else's, and what is remembered of them."""

import itertools

import identity_pki as pki
import pytest

import authz.identity.token_checks
import authz.identity.tokens
from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import Trust, TrustBundle
from authz.identity.issuers import IssuerSettings, JwtSvidSettings, TokenSettings
from authz.identity.tokens import TokenVerifier
from authz.model import CheckCall

KEYS = pki.key_set(pki.jwk(pki.EC_KEY))
IDP = "https://idp.example"
TRUST = Trust({pki.TD: TrustBundle(pki.TD, jwt_keys=KEYS)}, {IDP: KEYS})
ISSUER = IssuerSettings(issuer=IDP, form="oidc", jwks="x", audiences=("ledger",))
SVID = JwtSvidSettings(audiences=("ledger",))
GOOD = pki.token(pki.svid_claims())


def verifier(trust=TRUST, entries=100, **settings):
    configured = TokenSettings(**{"jwt_svid": SVID, "issuers": (ISSUER,), **settings})
    return TokenVerifier(configured, {pki.TD}, trust, 5.0, entries)


def call(value, header="authorization", repeated=()):
    return CheckCall(layer="http", headers={header: value}, repeated_headers=frozenset(repeated))


def reason_of(value, now=pki.NOW, repeated=(), **settings):
    with pytest.raises(Refusal) as caught:
        verifier(**settings).verify(call(value, repeated=repeated), now)
    return caught.value.reason


@pytest.fixture
def signature_checks(monkeypatch):
    """How often a signature was really checked."""
    checked = []
    real = authz.identity.token_checks.verify_signature
    monkeypatch.setattr(
        authz.identity.token_checks, "verify_signature", lambda token, key: (checked.append(token), real(token, key))
    )
    return checked


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer ", " Bearer"])
def test_the_scheme_is_known_in_any_case(scheme):
    assert verifier().verify(call(f"{scheme} {GOOD}"), pki.NOW).party.id == pki.PLANNER


def test_an_issuers_token_is_judged_by_that_issuers_rules():
    text = pki.token(pki.svid_claims(iss=IDP))
    assert verifier().verify(call(f"Bearer {text}"), pki.NOW).party.id == f"{IDP}#{pki.PLANNER}"


def test_without_header_there_is_no_proof():
    assert verifier().verify(CheckCall(layer="tcp"), pki.NOW) is None
    assert verifier().verify(call(""), pki.NOW) is None


FOREIGN = [
    "Basic dXNlcjpwYXNz",
    'Digest username="x", realm="y"',
    "Bearer",
    "Bearer opaque",
    "Bearer 1|laravel",
    "Bearer a.b.c",
    "Bearer " + pki.token({"iss": "https://other.example", "sub": "x"}),
    "Bearer " + pki.token({"sub": "x"}),
    "Bearer " + pki.token({"iss": f"{IDP}/", "sub": "x"}),
    "Bearer " + pki.token({"iss": "https://other.example", "sub": "x"}, jku="https://other.example/keys"),
    "DPoP " + GOOD,
    GOOD,
]


@pytest.mark.parametrize("value", FOREIGN, ids=itertools.count())
def test_what_is_not_ours_adds_nothing_or_is_refused_as_configured(value):
    lenient, strict = verifier(), verifier(unknown_tokens="deny")
    for _ in range(2):  # the second time from memory
        assert lenient.verify(call(value), pki.NOW) is None
        with pytest.raises(Refusal) as caught:
            strict.verify(call(value), pki.NOW)
        assert caught.value.reason is Reason.TOKEN_ISSUER_UNKNOWN


def test_nothing_is_read_while_nothing_is_configured():
    off = verifier(jwt_svid=None, issuers=())
    assert off.verify(call("Bearer " + "x" * 100_000), pki.NOW) is None
    assert off.verify(call("Bearer a,Bearer b", repeated=["authorization"]), pki.NOW) is None


def test_without_jwt_svid_settings_none_is_accepted():
    assert verifier(jwt_svid=None).verify(call(f"Bearer {GOOD}"), pki.NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        "Bearer eyJhbGciOiJub25lIn0.!.",
        "Bearer eyJhbGciOiJub25lIn0..",
        f"Bearer {GOOD}=",
        "Bearer " + pki.sign('{"alg":"ES256","alg":"none"}', "{}"),
        f"Bearer {GOOD},Bearer {GOOD}",
        f"Bearer {GOOD}, Bearer {GOOD}",
        f"Bearer {GOOD},{GOOD}",
        f"Bearer {GOOD} {GOOD}",
        "Bearer opaque,Basic x",
        f"Basic x,Bearer {GOOD}",
        f"Basic x , bearer {GOOD}",
    ],
    ids=itertools.count(),
)
def test_broken_and_repeated_tokens_are_refused(value):
    assert reason_of(value) is Reason.TOKEN_MALFORMED


def test_a_header_known_to_be_repeated_is_refused_whatever_it_holds():
    assert reason_of("Basic x", repeated=["authorization"]) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("sub", ["spiffe:", "spiffe:/x", "SPIFFE://prod.example/x", "Spiffe:x"])
def test_what_means_to_be_a_jwt_svid_is_held_to_its_rules(sub):
    assert reason_of("Bearer " + pki.token(pki.svid_claims(sub=sub))) is Reason.TOKEN_SUBJECT


def test_alg_none_is_refused():
    header, claims = pki.b64(b'{"alg":"none"}'), GOOD.split(".")[1]
    assert reason_of(f"Bearer {header}.{claims}.") is Reason.TOKEN_ALGORITHM


def test_the_size_limit_is_exact():
    value = f"Bearer {GOOD}"
    assert verifier(max_token_bytes=len(value)).verify(call(value), pki.NOW)
    assert reason_of(value, max_token_bytes=len(value) - 1) is Reason.TOKEN_TOO_LARGE


def test_another_header_and_no_scheme_can_be_configured():
    other = verifier(header="x-workload-token", scheme="")
    assert other.verify(call(GOOD, header="x-workload-token"), pki.NOW).party.id == pki.PLANNER
    assert other.verify(call(f"Bearer {GOOD}"), pki.NOW) is None


def test_a_signature_is_checked_once(signature_checks):
    subject = verifier()
    first = subject.verify(call(f"Bearer {GOOD}"), pki.NOW)
    assert subject.verify(call(f"Bearer {GOOD}"), pki.NOW + 1) is first
    assert len(signature_checks) == 1


def test_a_token_of_others_is_taken_apart_once(monkeypatch):
    looked_at = []
    real = authz.identity.tokens.is_compact_jwt
    monkeypatch.setattr(authz.identity.tokens, "is_compact_jwt", lambda text: (looked_at.append(text), real(text))[1])
    subject = verifier()
    for _ in range(2):
        assert subject.verify(call("Bearer opaque"), pki.NOW) is None
    assert looked_at == ["opaque"]


def test_time_is_checked_every_time():
    subject = verifier()
    assert subject.verify(call(f"Bearer {GOOD}"), pki.NOW)
    for now, reason in ((pki.NOW + 306, Reason.TOKEN_EXPIRED), (pki.NOW - 16, Reason.TOKEN_NOT_YET_VALID)):
        with pytest.raises(Refusal) as caught:
            subject.verify(call(f"Bearer {GOOD}"), now)
        assert caught.value.reason is reason


def test_a_refused_token_is_not_remembered(signature_checks):
    forged = pki.token(pki.svid_claims(), pki.ec.generate_private_key(pki.ec.SECP256R1()))
    subject = verifier()
    for _ in range(2):
        with pytest.raises(Refusal):
            subject.verify(call(f"Bearer {forged}"), pki.NOW)
    assert len(signature_checks) == 2


def test_the_memory_is_bounded(signature_checks):
    subject = verifier(entries=2)
    tokens = [pki.token(pki.svid_claims(jti=str(number))) for number in range(3)]
    for text in (*tokens, tokens[0]):
        assert subject.verify(call(f"Bearer {text}"), pki.NOW)
    assert len(signature_checks) == 4
    for number in range(10):
        subject.verify(call(f"Bearer opaque{number}"), pki.NOW)
    assert len(subject._foreign) == 2


def test_no_token_is_kept_in_memory():
    """Digests only; a dump or a careless repr of the memory gives no credential away (I10)."""
    subject = verifier()
    subject.verify(call(f"Bearer {GOOD}"), pki.NOW)
    subject.verify(call("Bearer opaque-secret"), pki.NOW)
    assert len(subject._proofs) == len(subject._foreign) == 1
    remembered = repr((dict(subject._proofs), dict(subject._foreign)))
    assert GOOD not in remembered
    assert GOOD.rpartition(".")[2] not in remembered
    assert "opaque-secret" not in remembered


def test_a_removed_key_counts_at_once():
    assert verifier().verify(call(f"Bearer {GOOD}"), pki.NOW)
    assert reason_of(f"Bearer {GOOD}", trust=Trust()) is Reason.TOKEN_KEY_UNKNOWN


def test_a_refusal_does_not_quote_the_token():
    for value in (f"Bearer {GOOD}x", f"Bearer {GOOD},{GOOD}", "Bearer " + pki.token({"sub": "spiffe:secret"})):
        with pytest.raises(Refusal) as caught:
            verifier().verify(call(value), pki.NOW)
        assert GOOD.split(".")[1] not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_an_issuer_configured_twice_is_a_configuration_error():
    with pytest.raises(ConfigError, match="twice"):
        verifier(issuers=(ISSUER, ISSUER))
