"""Transaction tokens and workload identity tokens on the request path, from configuration to record (I4, I5, I7)."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from grant_kit import ED_KEY, grant, sign_raw
from grants_served import ANYBODY, HOLDER, NOW, Served
from jwt.algorithms import ECAlgorithm

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.errors import ConfigError, Reason
from authz.grants.changes import CutOff, CutOffKind, Restore, RevocationKind, Revoke
from authz.grants.token import sign_grant
from authz.identity.proofs import hash_of
from authz.jose.jwt import token_digest
from authz.jose.signing import SigningKey

TTS = "https://tts.prod.example"
GATEWAY = "spiffe://prod.example/gateway"
KEY = SigningKey("t1", ec.generate_private_key(ec.SECP256R1()))
HOLDER_KEY = SigningKey("h", ec.generate_private_key(ec.SECP256R1()))
SETTINGS = f"""
[[delegation.transaction_tokens.issuers]]
issuer = "{TTS}"
jwks = "tts.json"
audiences = ["prod.example"]
"""


def jwk(key, **members):
    document = ECAlgorithm.to_jwk(key.key.public_key(), as_dict=True)
    document.pop("key_ops", None)
    return {**document, **members}


@pytest.fixture
def served(tmp_path):
    keys = {"keys": [jwk(KEY, kid="t1")]}
    (tmp_path / "tts.json").write_text(json.dumps(keys))
    return lambda policy=ANYBODY, settings="": Served(tmp_path, policy, SETTINGS + settings)


def transaction(key=KEY, **changes):
    claims = {
        "iss": TTS,
        "iat": NOW - 10,
        "exp": NOW + 290,
        "aud": "prod.example",
        "txn": "txn-0001",
        "sub": "alice",
        "req_wl": HOLDER,
        "scope": "accounts.read",
        "tctx": {"account": "7"},
        "rctx": {"req_ip": "192.0.2.1"},
    }
    return sign_raw({"alg": "ES256", "kid": "t1", "typ": "txntoken+jwt"}, {**claims, **changes}, key)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (f"r.sub.origin == '{TTS}#alice' && r.sub.depth == 1", Reason.ALLOWED),
        ("r.sub.transaction.valid && r.sub.transaction.id == 'txn-0001'", Reason.ALLOWED),
        ("r.sub.transaction.context.account == '7' && r.sub.transaction.scope == 'accounts.read'", Reason.ALLOWED),
        ("r.sub.transaction.context.account == '8'", Reason.NO_MATCHING_RULE),
        ("r.sub.transaction.request.req_ip == '192.0.2.1'", Reason.ALLOWED),
        ("'accounts.read' in r.sub.transaction.scopes && r.sub.transaction.task == 'txn-0001'", Reason.ALLOWED),
        (f"r.sub.transaction.workload == '{HOLDER}' && r.sub.transaction.issuer == '{TTS}'", Reason.ALLOWED),
    ],
)
def test_policies_see_the_transaction(served, rule, reason):
    pdp, token = served(f"p, {rule}, allow,\n"), transaction()
    for _ in range(2):
        assert pdp.reason(txn_token=token) is reason
    assert pdp.cached


def test_without_a_token_there_is_no_transaction(served):
    pdp = served("p, !r.sub.transaction.valid && r.sub.transaction.id == '', allow,\n")
    assert pdp.reason() is Reason.ALLOWED
    assert pdp.reason(txn_token=transaction()) is Reason.NO_MATCHING_RULE


def test_one_transactions_cached_allow_is_nothing_for_another(served):
    """I3."""
    pdp = served("p, r.sub.transaction.context.account == '7', allow,\n")
    one, other = transaction(), transaction(tctx={"account": "8"})
    for _ in range(2):
        assert pdp.reason(txn_token=one) is Reason.ALLOWED
        assert pdp.reason(txn_token=other) is Reason.NO_MATCHING_RULE
    assert pdp.cached


def test_a_cached_decision_ends_with_the_token_it_rests_on(served):
    """I4."""
    pdp = served(settings="[cache]\nmax_age_seconds = 3600.0\n")
    token = transaction()
    for moment in (NOW, NOW + 280):
        pdp.now = moment
        assert pdp.reason(txn_token=token) is Reason.ALLOWED
    assert pdp.cached
    pdp.now = NOW + 296
    assert pdp.reason(txn_token=token) is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "other.example"}, Reason.TOKEN_AUDIENCE),
        ({"exp": NOW - 6}, Reason.TOKEN_EXPIRED),
        ({"key": SigningKey("x", ec.generate_private_key(ec.SECP256R1()))}, Reason.TOKEN_SIGNATURE),
        ({"req_wl": GATEWAY}, Reason.CHAIN_CONFLICT),
    ],
)
def test_a_token_that_does_not_hold_refuses_the_call(served, changes, reason):
    assert served().reason(txn_token=transaction(**changes)) is reason


def test_grant_and_token_tell_one_chain(served):
    token = sign_grant(grant(delegators=(GATEWAY,)), ED_KEY)
    pdp = served(f"p, r.sub.chain == ('{TTS}#alice', '{GATEWAY}', '{HOLDER}'), allow,\n")
    assert pdp.reason(token, txn_token=transaction(req_wl=GATEWAY, txn="task-1")) is Reason.ALLOWED
    assert pdp.reason(token, txn_token=transaction(req_wl=HOLDER, txn="task-1")) is Reason.CHAIN_CONFLICT


@pytest.mark.parametrize(
    ("settings", "changes", "reason"),
    [
        ("", {}, Reason.TASK_CONFLICT),
        ("", {"txn": "task-1"}, Reason.ALLOWED),
        ("", {"tctx": {"task": "task-1"}}, Reason.ALLOWED),
        ("", {"tctx": {"task": "task-2"}, "txn": "task-1"}, Reason.TASK_CONFLICT),
        ('task = "told"', {}, Reason.ALLOWED),
        ('task = "told"', {"tctx": {"task": "task-2"}}, Reason.TASK_CONFLICT),
        ('task_member = "job"', {"tctx": {"job": "task-1"}}, Reason.ALLOWED),
    ],
)
def test_a_token_is_good_for_the_task_of_the_grant_beside_it(served, settings, changes, reason):
    """I3, I7."""
    pdp = served(settings=f"[delegation.transaction_tokens]\n{settings}\n")
    held, token = sign_grant(grant(), ED_KEY), transaction(**changes)
    for _ in range(2):
        assert pdp.reason(held, txn_token=token) is reason
        assert pdp.reason(txn_token=token) is Reason.ALLOWED
        assert pdp.reason(held) is Reason.ALLOWED


@pytest.mark.parametrize("kind", [RevocationKind.TASK, RevocationKind.COMPLETED_TASK])
def test_a_token_ends_with_its_task_without_the_grant_too(served, kind):
    """I3, I4: else whose task is over would leave the grant at home."""
    pdp, token = served(), transaction(tctx={"task": "task-1"})
    for _ in range(2):
        assert pdp.reason(txn_token=token) is Reason.ALLOWED
    assert pdp.cached
    pdp.revoked.take(Revoke(kind, "task-1"))
    expected = Reason.TASK_REVOKED if kind is RevocationKind.TASK else Reason.TASK_COMPLETED
    assert pdp.reason(txn_token=token) is expected
    assert pdp.reason(txn_token=transaction(tctx={"task": "task-2"})) is Reason.ALLOWED


@pytest.mark.parametrize(
    ("change", "undo", "reason"),
    [
        (lambda _: Revoke(RevocationKind.PRINCIPAL, GATEWAY), True, Reason.PRINCIPAL_REVOKED),
        (lambda _: Revoke(RevocationKind.PRINCIPAL, f"{TTS}#alice"), True, Reason.PRINCIPAL_REVOKED),
        (lambda token: Revoke(RevocationKind.CREDENTIAL, token_digest(token)), True, Reason.CREDENTIAL_REVOKED),
        (lambda _: CutOff(CutOffKind.PRINCIPAL, f"{TTS}#alice", NOW), False, Reason.ISSUED_BEFORE_CUTOFF),
        (lambda _: CutOff(CutOffKind.ISSUER, TTS, NOW), False, Reason.ISSUED_BEFORE_CUTOFF),
    ],
)
def test_to_revoke_what_a_token_rests_on_cuts_at_once(served, change, undo, reason):
    """I3, I4: cached decisions too."""
    pdp, token = served(settings='[delegation]\nunseen_hops = "allow"\n'), transaction(req_wl=GATEWAY)
    for _ in range(2):
        assert pdp.reason(txn_token=token) is Reason.ALLOWED
    assert pdp.cached
    made = change(token)
    pdp.revoked.take(made)
    assert pdp.reason(txn_token=token) is reason
    if undo:
        pdp.revoked.take(Restore(made.kind, made.value))
        assert pdp.reason(txn_token=token) is Reason.ALLOWED


def test_the_record_tells_the_transaction_and_never_the_token(served):
    pdp, token = served(), transaction()
    pdp.reason(txn_token=token)
    text = Recorder(AuditSettings()).line(pdp.outcomes[-1])
    assert token.encode() not in text
    subject = json.loads(text)["subject"]
    assert subject["chain"] == [{"id": f"{TTS}#alice", "kind": "human", "sources": ["transaction"]}]
    assert subject["transaction"] == {
        "id": "txn-0001",
        "issuer": TTS,
        "fingerprint": token_digest(token),
        "workload": HOLDER,
        "scope": "accounts.read",
    }


def test_every_kind_of_token_has_a_header_of_its_own(served):
    with pytest.raises(ConfigError, match="each needs its own"):
        served(settings='[delegation.transaction_tokens]\nheader = "authz-grant"\n')


# Workload identity tokens


def wit():
    claims = {
        "sub": HOLDER,
        "exp": NOW + 300,
        "iat": NOW - 10,
        "cnf": {"jwk": jwk(HOLDER_KEY, alg="ES256")},
    }
    return sign_raw({"alg": "ES256", "kid": "t1", "typ": "wit+jwt"}, claims, KEY)


def proof(token, number, **changes):
    claims = {
        "aud": "https://accounts.prod.example/v1/accounts/7",
        "exp": NOW + 60,
        "jti": f"proof-{number:04d}",
        "wth": hash_of(token),
        **changes,
    }
    return sign_raw({"alg": "ES256", "typ": "wpt+jwt"}, claims, HOLDER_KEY)


@pytest.fixture
def proving(tmp_path):
    keys = {"keys": [jwk(KEY, kid="t1", use="wit-svid")]}
    (tmp_path / "bundle.json").write_text(json.dumps(keys))
    settings = '[identity.wimse]\norigins = ["https://accounts.prod.example"]\n'
    return Served(tmp_path, ANYBODY, settings, identity='bundle = "bundle.json"\n')


def test_decisions_are_used_again_although_every_call_brings_its_own_proof(proving):
    token = wit()
    for number in range(2):
        headers = {"workload_identity_token": token, "workload_proof_token": proof(token, number)}
        assert proving.reason(who="", **headers) is Reason.ALLOWED
    assert proving.cached
    assert proving.reason(who="", **headers) is Reason.TOKEN_REPLAYED
    assert proving.outcomes[-1].subject is None


def test_a_grant_that_the_proof_does_not_cover_counts_for_nothing(proving):
    token, held = wit(), sign_grant(grant(), ED_KEY)
    headers = {"workload_identity_token": token, "workload_proof_token": proof(token, 1)}
    assert proving.reason(held, who="", **headers) is Reason.TOKEN_MALFORMED
    headers["workload_proof_token"] = proof(token, 2, oth={"authz-grant": hash_of(held)})
    assert proving.reason(held, who="", **headers) is Reason.ALLOWED


def test_a_revoked_identity_token_is_refused(proving):
    token = wit()
    proving.revoked.take(Revoke(RevocationKind.CREDENTIAL, token_digest(token)))
    headers = {"workload_identity_token": token, "workload_proof_token": proof(token, 1)}
    assert proving.reason(who="", **headers) is Reason.CREDENTIAL_REVOKED


@pytest.mark.parametrize("kind", [CutOffKind.EVERYBODY, CutOffKind.ISSUER])
def test_a_token_that_was_issued_before_a_cut_off_is_cut_off_whenever_it_begins_to_hold(served, kind):
    pdp, token = served(), transaction(nbf=NOW - 2)
    assert pdp.reason(txn_token=token) is Reason.ALLOWED
    pdp.revoked.take(CutOff(kind, TTS if kind is CutOffKind.ISSUER else "", NOW - 5, NOW + 900))
    assert pdp.reason(txn_token=token) is Reason.ISSUED_BEFORE_CUTOFF
    assert pdp.reason(txn_token=transaction(iat=NOW - 4)) is Reason.ALLOWED
