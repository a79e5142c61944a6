"""Workload identity tokens with their proofs: an identity beside mutual TLS, each proof for one call (I5)."""

import base64
import hashlib
import json

import identity_pki as pki
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.bundles import BundleSettings, Trust, TrustBundle, parse_trust_bundle
from authz.identity.inventory import EMPTY_INVENTORY
from authz.identity.proofs import Covered, ProofChecks, ProofRules, hash_of
from authz.identity.replay import ReplayMemory
from authz.identity.resolve import IdentityResolver, IdentitySettings
from authz.identity.wimse import bound_key
from authz.jose.jwk import KeySet
from authz.jose.jwt import parse_compact_jwt
from authz.model import CheckCall

ROOT = pki.authority()
LEAF = ROOT.issue()
HOLDER_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
WIT_KEYS = pki.key_set(pki.jwk(pki.EC_KEY))
TRUST = Trust({pki.TD: TrustBundle(pki.TD, (ROOT.certificate,), KeySet(), WIT_KEYS)})
ORIGIN = "https://payments.example"

COVERED = Covered("txn-token", ("authz-grant",))


def bound(key=HOLDER_KEY, **members):
    document = {**pki.jwk(key, alg="ES256"), **members}
    document.pop("kid")
    return {"jwk": {name: value for name, value in document.items() if value is not None}}


def wit(signer=pki.EC_KEY, header=(), **changes):
    claims = {"sub": pki.PLANNER, "exp": pki.NOW + 300, "iat": pki.NOW - 10, "cnf": bound(), **changes}
    return pki.token(claims, signer, **{"typ": "wit+jwt", **dict(header)})


def wpt(token, key=HOLDER_KEY, header=(), alg="ES256", **changes):
    claims = {
        "aud": f"{ORIGIN}/v1/pay",
        "exp": pki.NOW + 60,
        "jti": "0123456789",
        "wth": hash_of(token),
        **changes,
    }
    return pki.token(claims, key, alg, **{"typ": "wpt+jwt", "kid": None, **dict(header)})


class World:
    def __init__(self, trust=TRUST, replays=None, covered=COVERED, **fields):
        identity = {"trust_domain": "prod.example", "wimse": {"origins": [ORIGIN]}, **fields}
        self.resolver = IdentityResolver(
            msgspec.convert(identity, IdentitySettings), trust, EMPTY_INVENTORY, covered=covered, replays=replays
        )

    def identify(
        self,
        token=None,
        proof=None,
        *,
        host="payments.example",
        path="/v1/pay?x=1",
        now=pki.NOW,
        leaf=None,
        repeated=(),
        **headers,
    ):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            headers["workload-identity-token"] = token
        if proof is not None:
            headers["workload-proof-token"] = proof
        certificate = {"certificate": pki.url_pem(leaf), "principal": ""} if leaf else {}
        call = CheckCall(
            layer="http",
            host=host,
            path=path,
            headers=headers,
            repeated_headers=frozenset(repeated),
            **certificate,
        )
        return self.resolver.identify(call, now)

    def reason(self, *args, **kwargs):
        with pytest.raises(Refusal) as caught:
            self.identify(*args, **kwargs)
        return caught.value.reason


TOKEN = wit()


def test_a_token_with_its_proof_is_an_identity():
    subject = World().identify(TOKEN, wpt(TOKEN))
    assert (subject.id, subject.sources, subject.credential.kind) == (pki.PLANNER, ("wit",), "wit")
    assert subject.credential.fingerprint == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert subject.wit == subject.credential
    assert subject.expires == pki.NOW + 300


def test_the_very_same_object_for_the_same_token_whatever_the_proof():
    """I3: so that decisions are used again although every call brings a proof of its own."""
    world = World()
    first, second = (world.identify(TOKEN, wpt(TOKEN, jti=f"number-{number}")) for number in (1, 2))
    assert first is second


def test_it_agrees_with_mutual_tls_or_is_refused():
    subject = World().identify(TOKEN, wpt(TOKEN), leaf=LEAF)
    assert subject.sources == ("certificate", "wit")
    assert subject.credential.kind == "x509-svid"
    other = ROOT.issue(uris=(pki.LEDGER,))
    assert World().reason(TOKEN, wpt(TOKEN), leaf=other) is Reason.IDENTITY_CONFLICT


def test_one_without_the_other_is_refused_and_neither_is_nobody():
    assert World().reason(TOKEN) is Reason.TOKEN_MALFORMED
    assert World().reason(None, wpt(TOKEN)) is Reason.TOKEN_MALFORMED
    assert World().reason(leaf=LEAF, token=TOKEN) is Reason.TOKEN_MALFORMED
    assert World().reason() is Reason.IDENTITY_MISSING
    for name in ("workload-identity-token", "workload-proof-token"):
        assert World().reason(TOKEN, wpt(TOKEN), repeated=[name]) is Reason.TOKEN_MALFORMED


def test_nothing_is_read_until_it_is_configured():
    world = World(wimse={})
    assert world.reason(TOKEN, wpt(TOKEN)) is Reason.IDENTITY_MISSING
    assert world.identify("x", "y", leaf=LEAF).sources == ("certificate",)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: wit(sub="wimse://prod.example/x"), Reason.TOKEN_SUBJECT),
        (lambda: wit(sub="spiffe://prod.example"), Reason.TOKEN_SUBJECT),
        (lambda: wit(sub="spiffe://other.example/x"), Reason.TRUST_DOMAIN_NOT_ALLOWED),
        (lambda: wit(aud="x"), Reason.TOKEN_MALFORMED),
        (lambda: wit(exp=None), Reason.TOKEN_MALFORMED),
        (lambda: wit(exp=pki.NOW - 6), Reason.TOKEN_EXPIRED),
        (lambda: wit(nbf=pki.NOW + 6), Reason.TOKEN_NOT_YET_VALID),
        (lambda: wit(exp=pki.NOW + 4_000), Reason.CREDENTIAL_TOO_LONG_LIVED),
        (lambda: wit(exp=pki.NOW + 4_000, iat=None), Reason.CREDENTIAL_TOO_LONG_LIVED),
        (lambda: wit(cnf=None), Reason.TOKEN_MALFORMED),
        (lambda: wit(cnf={"x5t#S256": "x"}), Reason.TOKEN_MALFORMED),
        (lambda: wit(cnf={**bound(), "jku": "https://x"}), Reason.TOKEN_MALFORMED),
        (lambda: wit(cnf=bound(alg=None)), Reason.TOKEN_MALFORMED),
        (lambda: wit(cnf=bound(alg="ES384")), Reason.TOKEN_MALFORMED),
        (lambda: wit(cnf=bound(d="AA")), Reason.TOKEN_MALFORMED),
        (lambda: wit(header={"typ": "JWT"}), Reason.TOKEN_MALFORMED),
        (lambda: wit(header={"jwk": {}}), Reason.TOKEN_MALFORMED),
        (lambda: wit(header={"kid": None}), Reason.TOKEN_KEY_UNKNOWN),
        (lambda: wit(signer=OTHER_KEY), Reason.TOKEN_SIGNATURE),
        (lambda: wit() + "x" * 9_000, Reason.TOKEN_TOO_LARGE),
        (lambda: pki.token(pki.svid_claims()), Reason.TOKEN_MALFORMED),
    ],
)
def test_each_thing_that_is_wrong_with_a_token_has_its_reason(made, expected):
    token = made()
    assert World().reason(token, wpt(token)) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aud": "https://other.example/v1/pay"}, Reason.TOKEN_AUDIENCE),
        ({"aud": f"{ORIGIN}/v1/pay?x=1"}, Reason.TOKEN_AUDIENCE),
        ({"aud": f"{ORIGIN}/v1/other"}, Reason.TOKEN_AUDIENCE),
        ({"aud": ORIGIN}, Reason.TOKEN_AUDIENCE),
        ({"aud": [f"{ORIGIN}/v1/pay"]}, Reason.TOKEN_AUDIENCE),
        ({"aud": None}, Reason.TOKEN_AUDIENCE),
        ({"exp": None}, Reason.TOKEN_MALFORMED),
        ({"exp": pki.NOW - 6}, Reason.TOKEN_EXPIRED),
        ({"exp": pki.NOW + 306}, Reason.CREDENTIAL_TOO_LONG_LIVED),
        ({"iat": pki.NOW + 6}, Reason.TOKEN_NOT_YET_VALID),
        ({"jti": None}, Reason.TOKEN_MALFORMED),
        ({"jti": "short"}, Reason.TOKEN_MALFORMED),
        ({"jti": "x" * 257}, Reason.TOKEN_MALFORMED),
        ({"wth": None}, Reason.TOKEN_MALFORMED),
        ({"wth": hash_of("another")}, Reason.TOKEN_MALFORMED),
        ({"ath": hash_of("none came")}, Reason.TOKEN_MALFORMED),
        ({"tth": hash_of("none came")}, Reason.TOKEN_MALFORMED),
        ({"oth": {"authz-grant": hash_of("none came")}}, Reason.TOKEN_MALFORMED),
        ({"oth": {"cookie": hash_of("x")}}, Reason.TOKEN_MALFORMED),
        ({"oth": ["authz-grant"]}, Reason.TOKEN_MALFORMED),
        ({"header": {"typ": "JWT"}}, Reason.TOKEN_MALFORMED),
        ({"header": {"jwk": {}}}, Reason.TOKEN_MALFORMED),
        ({"key": OTHER_KEY}, Reason.TOKEN_SIGNATURE),
        ({"key": pki.EC384_KEY, "alg": "ES384"}, Reason.TOKEN_ALGORITHM),
        ({"key": pki.RSA_KEY, "alg": "RS256"}, Reason.TOKEN_ALGORITHM),
        ({"key": b"x" * 32, "alg": "HS256"}, Reason.TOKEN_ALGORITHM),
    ],
)
def test_each_thing_that_is_wrong_with_a_proof_has_its_reason(changes, expected):
    assert World().reason(TOKEN, wpt(TOKEN, **changes)) is expected


def test_every_other_token_of_the_call_is_covered():
    """What a proof does not cover was put there by somebody else."""
    came = {"authorization": "Bearer access", "txn_token": "transaction", "authz_grant": "grant"}
    covers = {
        "ath": hash_of("access"),
        "tth": hash_of("transaction"),
        "oth": {"authz-grant": hash_of("grant")},
    }
    assert World().identify(TOKEN, wpt(TOKEN, **covers), **came).id == pki.PLANNER
    for left_out in covers:
        rest = {name: value for name, value in covers.items() if name != left_out}
        assert World().reason(TOKEN, wpt(TOKEN, **rest), **came) is Reason.TOKEN_MALFORMED
        changed = {**covers, left_out: hash_of("x") if left_out != "oth" else {"authz-grant": hash_of("x")}}
        assert World().reason(TOKEN, wpt(TOKEN, **changed), **came) is Reason.TOKEN_MALFORMED
    assert World().identify(TOKEN, wpt(TOKEN, ath=hash_of("a")), authorization="dpop a").id == pki.PLANNER
    assert World().identify(TOKEN, wpt(TOKEN), authorization="Basic dXNlcjp4").id == pki.PLANNER


@pytest.mark.parametrize(
    ("tokens", "header", "covers"),
    [
        ({"scheme": ""}, {"authorization": "x.y.z"}, {"ath": hash_of("x.y.z")}),
        ({"scheme": "Svid"}, {"authorization": "SVID x.y.z"}, {"ath": hash_of("x.y.z")}),
        ({"header": "x-jwt", "scheme": ""}, {"x_jwt": "x.y.z"}, {"oth": {"x-jwt": hash_of("x.y.z")}}),
    ],
)
def test_so_is_an_identity_token_wherever_it_is_read(tokens, header, covers):
    assert World(tokens=tokens).identify(TOKEN, wpt(TOKEN, **covers), **header).id == pki.PLANNER
    assert World(tokens=tokens).reason(TOKEN, wpt(TOKEN), **header) is Reason.TOKEN_MALFORMED


def test_audiences_that_configuration_names_hold_whatever_the_path():
    world = World(wimse={"audiences": ["payments"]})
    assert world.identify(TOKEN, wpt(TOKEN, aud="payments"), path="/any").id == pki.PLANNER
    assert world.reason(TOKEN, wpt(TOKEN)) is Reason.TOKEN_AUDIENCE
    with pytest.raises(ConfigError, match="origins"):
        World(wimse={"origins": ["https://payments.example/"]})


def test_a_proof_is_used_once_also_after_a_reload():
    replays = ReplayMemory(100)
    world, proof = World(replays=replays), wpt(TOKEN)
    world.identify(TOKEN, proof)
    assert world.reason(TOKEN, proof) is Reason.TOKEN_REPLAYED
    assert World(replays=replays).reason(TOKEN, proof) is Reason.TOKEN_REPLAYED
    assert World(replays=replays).reason(TOKEN, wpt(TOKEN, exp=pki.NOW + 61)) is Reason.TOKEN_REPLAYED
    assert World(replays=replays).identify(TOKEN, wpt(TOKEN, jti="another-one")).id == pki.PLANNER


def test_nobody_but_the_holder_of_the_key_can_use_a_proof_up():
    world = World()
    assert world.reason(TOKEN, wpt(TOKEN, key=OTHER_KEY)) is Reason.TOKEN_SIGNATURE
    assert world.identify(TOKEN, wpt(TOKEN)).id == pki.PLANNER


def test_keys_for_one_kind_of_token_are_none_for_the_other():
    jwt_only = Trust({pki.TD: TrustBundle(pki.TD, (), WIT_KEYS, KeySet())})
    assert World(trust=jwt_only).reason(TOKEN, wpt(TOKEN)) is Reason.TOKEN_KEY_UNKNOWN


def test_a_bundle_tells_which_keys_are_for_which():
    document = {"keys": [pki.jwk(pki.EC_KEY, use="wit-svid"), pki.jwk(OTHER_KEY, use="jwt-svid", kid="k2")]}
    bundle = parse_trust_bundle(json.dumps(document).encode(), pki.TD, "b", BundleSettings())
    assert (set(bundle.wit_keys.keys), set(bundle.jwt_keys.keys)) == ({"k1"}, {"k2"})
    del document["keys"][0]["kid"]
    with pytest.raises(ConfigError, match="no 'kid'"):
        parse_trust_bundle(json.dumps(document).encode(), pki.TD, "b", BundleSettings())


# The memory of proofs


def used(memory, proof, ends, now, holder=None):
    try:
        memory.use(proof, ends, now, proof.hex() if holder is None else holder)
    except Refusal as refusal:
        return refusal.reason
    return None


def test_the_memory_is_bounded_and_forgets_nothing_that_could_come_again():
    memory = ReplayMemory(2)
    assert used(memory, b"a", 10.0, 0.0) is None
    assert used(memory, b"b", 20.0, 0.0) is None
    assert used(memory, b"c", 20.0, 0.0) is Reason.OVERLOADED
    assert used(memory, b"a", 10.0, 9.9) is Reason.TOKEN_REPLAYED
    assert used(memory, b"c", 20.0, 10.0) is None
    assert len(memory) == 2


def test_one_holder_leaves_room_for_others_however_many_proofs_it_makes():
    memory = ReplayMemory(16)
    makes = [used(memory, bytes([number]), 10.0, 0.0, "greedy") for number in range(16)]
    assert makes == [None] * 8 + [Reason.OVERLOADED] * 8
    second = [used(memory, bytes([100 + number]), 10.0, 0.0, "second") for number in range(8)]
    assert second == [None] * 4 + [Reason.OVERLOADED] * 4
    assert used(memory, b"x", 10.0, 0.0, "modest") is None
    assert used(memory, b"y", 20.0, 10.0, "greedy") is None
    assert len(memory) == 1


def test_a_clock_that_goes_back_lets_nothing_in_again():
    memory = ReplayMemory(10)
    assert used(memory, b"a", 10.0, 0.0) is None
    assert used(memory, b"b", 30.0, 20.0) is None
    assert used(memory, b"a", 10.0, 5.0) is Reason.TOKEN_REPLAYED
    assert used(memory, b"c", 40.0, 5.0) is None


# The draft's own examples


WIT = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6Ikp1bmUgNSIsInR5cCI6IndpdCtqd3QifQ.eyJjbmYiOnsiandrIjp7ImFsZyI6IkVkRFNBIiwiY3J2Ijoi"
    "RWQyNTUxOSIsImt0eSI6Ik9LUCIsIngiOiIxQ1hYdmZsTl9MVlZzSXNZWHNVdkIwM0ptbEdXZUNIcVFWdW91Q0Y5MmJnIn19LCJleHAiOjE3NDU1"
    "MTI1MTAsImlhdCI6MTc0NTUwODkxMCwianRpIjoieC1fMUNUTDJjY2EzQ1NFNGN3Yl9sIiwic3ViIjoid2ltc2U6Ly9leGFtcGxlLmNvbS9zcGVj"
    "aWZpYy13b3JrbG9hZCJ9.6KraSQUxWdl9dxFQ3Fj6dPY0Vi88OkwFwZpAIOhLeq6AbXAnLLQgOp8U9UDGcBuYF3KiNv6oKQD1ZWAzrMZOJw"
)
WPT = (
    "eyJhbGciOiJFZERTQSIsInR5cCI6IndwdCtqd3QifQ.eyJhdGgiOiJDTDR3amZwUm1OZi1iZFlJYllMblY5ZDVyTUFSR3dLWUUxMHdVd3pDMGpJ"
    "IiwiYXVkIjoiaHR0cHM6Ly93b3JrbG9hZC5leGFtcGxlLmNvbS9wYXRoIiwiZXhwIjoxNzQ1NTEwMDE2LCJqdGkiOiJfX2J3YzRFU0MzYWNjMkxU"
    "QzEtX3giLCJ3dGgiOiJBYVlVZkMzNEQxZGkyRnhRTHBpSUpKN1NnOFZaNm84T0Nkd1NmOUlUb0xnIn0.PI7d9AcYhLoEgPgbJvcM132lkBKnM1NX"
    "U-5hZUzVTIyj2dRJaTLFs6e5NYv5gg6AqcV7NvkYCwfgMgWasWQzCA"
)
"""draft-ietf-wimse-wpt, its example request; both ended in April 2025."""
THEN = 1_745_510_000.0


def vector(now=THEN, **headers):
    rules = ProofRules(("https://workload.example.com",), frozenset(), ("EdDSA",), 300.0, 5.0)
    checks = ProofChecks(rules, Covered(), ReplayMemory(10))
    headers = {"authorization": "Bearer 16_mAd0GiwaZokU26_0902100", **headers}
    call = CheckCall("http", host="workload.example.com", path="/path", method="POST", headers=headers)
    checks.check(WPT, WIT, "wimse://example.com/specific-workload", bound_key(parse_compact_jwt(WIT)), call, now)


def test_the_example_of_the_draft_is_accepted_at_its_time():
    vector()
    assert hash_of(WIT) == "AaYUfC34D1di2FxQLpiIJJ7Sg8VZ6o8OCdwSf9IToLg"
    assert hash_of("16_mAd0GiwaZokU26_0902100") == "CL4wjfpRmNf-bdYIbYLnV9d5rMARGwKYE10wUwzC0jI"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"now": THEN + 30}, Reason.TOKEN_EXPIRED),
        ({"authorization": "Bearer 16_mAd0GiwaZokU26_0902101"}, Reason.TOKEN_MALFORMED),
    ],
)
def test_the_example_of_the_draft_is_refused_otherwise(changes, expected):
    with pytest.raises(Refusal) as caught:
        vector(**changes)
    assert caught.value.reason is expected


def test_a_proof_by_an_edwards_key():
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    token = wit(cnf={"jwk": {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x}})
    assert World().identify(token, wpt(token, key=key, alg="EdDSA")).id == pki.PLANNER


@pytest.mark.parametrize("host", ["payments.example", "PAYMENTS.example", "payments.example:443"])
def test_a_proof_is_good_at_the_host_that_it_is_for(host):
    assert World().identify(TOKEN, wpt(TOKEN), host=host).id == pki.PLANNER


@pytest.mark.parametrize("host", ["ledger.example", "payments.example:8443", "payments.example.", "", "example"])
def test_who_got_a_proof_finds_no_use_for_it_at_another_host(host):
    """With several processes a proof counts once in each: the upstream that got it could play it to its neighbour."""
    world = World(wimse={"origins": [ORIGIN, "https://ledger.example", "http://other.example:8080"]})
    assert world.reason(TOKEN, wpt(TOKEN), host=host) is Reason.TOKEN_AUDIENCE
    proof = wpt(TOKEN, aud="http://other.example:8080/v1/pay")
    assert world.reason(TOKEN, proof, host="other.example") is Reason.TOKEN_AUDIENCE
    assert world.identify(TOKEN, proof, host="other.example:8080").id == pki.PLANNER
