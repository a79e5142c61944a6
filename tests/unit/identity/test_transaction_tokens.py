"""Transaction tokens: accepted to the letter of the draft, refused for each thing that is wrong."""

import identity_pki as pki
import msgspec
import pytest

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.transactions import TransactionSettings, TransactionVerifier
from authz.model import CheckCall, Kind
from authz.spiffe import TrustDomain

TTS = "https://tts.prod.example"
GATEWAY = "spiffe://prod.example/ns/edge/sa/gateway"
KEYS = {TTS: pki.key_set(pki.jwk(pki.EC_KEY))}
DOMAINS = frozenset({TrustDomain("prod.example")})


def settings(**issuer):
    issuer = {"issuer": TTS, "jwks": "t.json", "audiences": ["prod.example"], **issuer}
    return msgspec.convert({"issuers": [issuer]}, TransactionSettings)


def claims(**changes):
    """The draft's own example, with SPIFFE IDs for workloads."""
    return {
        "iss": TTS,
        "iat": pki.NOW - 10,
        "exp": pki.NOW + 290,
        "aud": "prod.example",
        "txn": "97053963-771d-49cc-a4e3-20aad399c312",
        "sub": "d084sdrt234fsaw34tr23t",
        "req_wl": GATEWAY,
        "scope": "trade.stocks",
        "rctx": {"req_ip": "69.151.72.123"},
        "tctx": {"action": "BUY", "ticker": "MSFT", "quantity": "100"},
        **changes,
    }


def token(key=pki.EC_KEY, alg="ES256", header=(), **changes):
    return pki.token(claims(**changes), key, alg, **{"typ": "txntoken+jwt", **dict(header)})


def verify(text, now=pki.NOW, repeated=(), **issuer):
    call = CheckCall("http", headers={"txn-token": text}, repeated_headers=frozenset(repeated))
    return TransactionVerifier(settings(**issuer), KEYS, DOMAINS, 5.0, 8).verify(call, now)


def reason(text, *args, **kwargs):
    with pytest.raises(Refusal) as caught:
        verify(text, *args, **kwargs)
    assert "d084sdrt" not in caught.value.detail
    return caught.value.reason


def test_an_honest_token_tells_the_transaction():
    found = verify(token())
    assert (found.id, found.issuer, found.scope) == ("97053963-771d-49cc-a4e3-20aad399c312", TTS, "trade.stocks")
    assert (found.subject, found.workload) == (f"{TTS}#d084sdrt234fsaw34tr23t", GATEWAY)
    assert found.context == {"action": "BUY", "ticker": "MSFT", "quantity": "100"}
    assert found.request == {"req_ip": "69.151.72.123"}
    assert (found.not_before, found.not_after) == (pki.NOW - 10, pki.NOW + 290)


def test_iss_may_be_left_out_where_one_service_is_configured():
    assert verify(token(iss=None)).issuer == TTS
    both = msgspec.structs.replace(settings(), issuers=(*settings().issuers, *settings(issuer="https://two").issuers))
    with pytest.raises(Refusal) as caught:
        TransactionVerifier(both, KEYS, DOMAINS, 5.0, 8).verify(
            CheckCall("http", headers={"txn-token": token(iss=None)}), pki.NOW
        )
    assert caught.value.reason is Reason.TOKEN_ISSUER_UNKNOWN


def test_workloads_by_other_names_are_those_that_configuration_says():
    named = {"workloads": {"apigateway.prod.example": GATEWAY}}
    assert verify(token(req_wl="apigateway.prod.example"), **named).workload == GATEWAY
    assert reason(token(req_wl="other.prod.example"), **named) is Reason.TOKEN_SUBJECT


def test_a_subject_may_be_a_workload():
    assert verify(token(sub=pki.PLANNER)).subject == pki.PLANNER
    assert reason(token(sub="spiffe://other.example/x")) is Reason.TRUST_DOMAIN_NOT_ALLOWED
    assert reason(token(sub="SPIFFE://prod.example/x")) is Reason.TOKEN_SUBJECT


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: token(aud="other.example"), Reason.TOKEN_AUDIENCE),
        (lambda: token(aud=None), Reason.TOKEN_AUDIENCE),
        (lambda: token(aud=["prod.example", "other.example"]), Reason.TOKEN_AUDIENCE),
        (lambda: token(aud=[]), Reason.TOKEN_AUDIENCE),
        (lambda: token(exp=pki.NOW - 6), Reason.TOKEN_EXPIRED),
        (lambda: token(iat=pki.NOW + 6), Reason.TOKEN_NOT_YET_VALID),
        (lambda: token(nbf=pki.NOW + 6), Reason.TOKEN_NOT_YET_VALID),
        (lambda: token(exp=pki.NOW + 1_000), Reason.CREDENTIAL_TOO_LONG_LIVED),
        (lambda: token(exp=None), Reason.TOKEN_MALFORMED),
        (lambda: token(iat=None), Reason.TOKEN_MALFORMED),
        (lambda: token(iss="https://evil.example"), Reason.TOKEN_ISSUER_UNKNOWN),
        (lambda: token(key=pki.RSA_KEY, alg="RS256"), Reason.TOKEN_ALGORITHM),
        (lambda: token(key=pki.EC384_KEY, alg="ES384"), Reason.TOKEN_ALGORITHM),
        (lambda: pki.token(claims(), b"x" * 32, "HS256", typ="txntoken+jwt"), Reason.TOKEN_ALGORITHM),
        (lambda: token(header={"kid": "k2"}), Reason.TOKEN_KEY_UNKNOWN),
        (lambda: token(header={"kid": None}), Reason.TOKEN_KEY_UNKNOWN),
        (lambda: token(header={"typ": "JWT"}), Reason.TOKEN_MALFORMED),
        (lambda: token(header={"typ": "authz-grant+jwt"}), Reason.TOKEN_MALFORMED),
        (lambda: token(header={"x": "y"}), Reason.TOKEN_MALFORMED),
        (lambda: token(header={"jku": "https://x"}), Reason.TOKEN_MALFORMED),
        (lambda: token(txn=None), Reason.TOKEN_MALFORMED),
        (lambda: token(sub=None), Reason.TOKEN_MALFORMED),
        (lambda: token(req_wl=None), Reason.TOKEN_MALFORMED),
        (lambda: token(scope=None), Reason.TOKEN_MALFORMED),
        (lambda: token(scope=""), Reason.TOKEN_MALFORMED),
        (lambda: token(scope=" pay"), Reason.TOKEN_MALFORMED),
        (lambda: token(scope="pay  all"), Reason.TOKEN_MALFORMED),
        (lambda: token(scope='"pay"'), Reason.TOKEN_MALFORMED),
        (lambda: token(scope="pay\n"), Reason.TOKEN_MALFORMED),
        (lambda: token(scope="p" * 1_025), Reason.TOKEN_MALFORMED),
        (lambda: token(tctx={"task": 7}), Reason.TOKEN_MALFORMED),
        (lambda: token(tctx={"task": ""}), Reason.TOKEN_MALFORMED),
        (lambda: token(tctx={"task": None}), Reason.TOKEN_MALFORMED),
        (lambda: token(txn="a\nb"), Reason.TOKEN_MALFORMED),
        (lambda: token(sub="a\n"), Reason.TOKEN_MALFORMED),
        (lambda: token(tctx="x"), Reason.TOKEN_MALFORMED),
        (lambda: token(rctx=["x"]), Reason.TOKEN_MALFORMED),
        (lambda: token(azd={"action": "BUY"}), Reason.TOKEN_MALFORMED),
        (lambda: token(purp="x"), Reason.TOKEN_MALFORMED),
        (lambda: token(cnf={"jkt": "x"}), Reason.TOKEN_MALFORMED),
        (lambda: token() + "x" * 9_000, Reason.TOKEN_TOO_LARGE),
        (lambda: f"{token()},{token()}", Reason.TOKEN_MALFORMED),
        (lambda: "", Reason.TOKEN_MALFORMED),
        (lambda: token()[:-8] + "A" * 8, Reason.TOKEN_SIGNATURE),
    ],
)
def test_each_thing_that_is_wrong_has_its_reason(made, expected):
    assert reason(made()) is expected


@pytest.mark.parametrize(
    ("tctx", "asked", "task"),
    [
        ({}, {}, "97053963-771d-49cc-a4e3-20aad399c312"),
        ({"task": "task-1"}, {}, "task-1"),
        ({"task": "task-1"}, {"task_member": "job"}, "97053963-771d-49cc-a4e3-20aad399c312"),
        ({"task": "task-1", "job": "job-1"}, {"task_member": "job"}, "job-1"),
        ({"": "task-1"}, {"task_member": ""}, "97053963-771d-49cc-a4e3-20aad399c312"),
        ({}, {"task": "told"}, ""),
        ({"task": "task-1"}, {"task": "told"}, "task-1"),
    ],
)
def test_a_token_names_its_task_in_its_context_or_by_its_own_id(tctx, asked, task):
    made = msgspec.structs.replace(settings(), **asked)
    call = CheckCall("http", headers={"txn-token": token(tctx=tctx)})
    assert TransactionVerifier(made, KEYS, DOMAINS, 5.0, 8).verify(call, pki.NOW).task == task


def test_a_scope_is_one_value_or_several():
    assert verify(token(scope="trade.stocks trade.bonds:buy")).scope == "trade.stocks trade.bonds:buy"


def test_a_header_that_came_twice_is_refused():
    assert reason(token(), repeated=["txn-token"]) is Reason.TOKEN_MALFORMED


def test_a_token_that_was_remembered_still_ends():
    """I4."""
    verifier = TransactionVerifier(settings(), KEYS, DOMAINS, 5.0, 8)
    call = CheckCall("http", headers={"txn-token": token()})
    assert verifier.verify(call, pki.NOW) is verifier.verify(call, pki.NOW + 295)
    with pytest.raises(Refusal) as caught:
        verifier.verify(call, pki.NOW + 295.5)
    assert caught.value.reason is Reason.TOKEN_EXPIRED
    with pytest.raises(Refusal):
        verifier.verify(call, float("nan"))


def test_settings_that_name_no_workload_or_one_service_twice_are_refused():
    with pytest.raises(ConfigError, match="workloads"):
        TransactionVerifier(settings(workloads={"x": "y"}), {}, DOMAINS, 5.0, 8)
    with pytest.raises(ConfigError, match="twice"):
        TransactionVerifier(msgspec.structs.replace(settings(), issuers=settings().issuers * 2), {}, DOMAINS, 5.0, 8)


def test_the_kind_of_a_subject_is_what_configuration_says():
    assert TransactionVerifier(settings(subject_kind="agent"), {}, DOMAINS, 5.0, 8).kinds == {TTS: Kind.AGENT}
