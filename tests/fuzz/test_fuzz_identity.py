"""Hostile SPIFFE IDs, certificates, XFCC and tokens give a subject or a clean refusal, never anything else.

`make fuzz` runs this far longer.
"""

import pathlib
import sys
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "unit" / "identity"))

import identity_pki as pki
import msgspec

from authz.errors import Refusal
from authz.identity.bundles import Trust, TrustBundle
from authz.identity.inventory import EMPTY_INVENTORY
from authz.identity.proofs import Covered, hash_of
from authz.identity.resolve import IdentityResolver, IdentitySettings
from authz.identity.transactions import TransactionSettings, TransactionVerifier
from authz.identity.x509 import parse_svid
from authz.model import CheckCall, Subject, Transaction
from authz.spiffe import parse_spiffe_id

ROOT = pki.authority()
LEAF = ROOT.issue(dns=("a.example",))
EDGE = "spiffe://prod.example/edge"
KEYS = pki.key_set(pki.jwk(pki.EC_KEY))
RESOLVER = IdentityResolver(
    msgspec.convert(
        {
            "trust_domain": "prod.example",
            "certificates": {"trust": "bundle"},
            "xfcc": {"mode": "append_forward", "trusted_hops": 3, "proxies": [EDGE]},
            "tokens": {"jwt_svid": {"audiences": ["ledger"]}, "unknown_tokens": "deny"},
        },
        IdentitySettings,
    ),
    Trust({pki.TD: ROOT.bundle(keys=KEYS)}, {}),
    EMPTY_INVENTORY,
)
WITNESSED = msgspec.convert(
    {"trust_domain": "prod.example", "wimse": {"audiences": ["ledger"], "max_proofs": 1_000}}, IdentitySettings
)
HOLDER = {**pki.jwk(pki.EC_KEY, alg="ES256"), "kid": "k1"}
WIT = pki.token({"sub": pki.PLANNER, "exp": pki.NOW + 300, "cnf": {"jwk": HOLDER}}, typ="wit+jwt")
WPT = pki.token({"aud": "ledger", "exp": pki.NOW + 60, "jti": "0123456789", "wth": hash_of(WIT)}, typ="wpt+jwt")
TTS = "https://tts.example"
TRANSACTIONS = TransactionVerifier(
    msgspec.convert({"issuers": [{"issuer": TTS, "jwks": "t", "audiences": ["prod.example"]}]}, TransactionSettings),
    {TTS: KEYS},
    frozenset({pki.TD}),
    5.0,
    16,
)
TXN = pki.token(
    {
        "iat": pki.NOW - 10,
        "exp": pki.NOW + 300,
        "aud": "prod.example",
        "txn": "t-1",
        "sub": "alice",
        "req_wl": pki.PLANNER,
        "scope": "pay",
        "tctx": {"a": [1, {"b": None}]},
    },
    typ="txntoken+jwt",
)
ELEMENT = (
    f'By={EDGE};Hash={pki.fingerprint(LEAF)};Cert="{pki.url_pem(LEAF)}";Chain="{pki.url_pem(LEAF, ROOT.certificate)}";'
    f'Subject="CN=a\\"b";URI={pki.PLANNER};DNS=a.example'
)
SEEDS = {
    "certificate": [pki.url_pem(LEAF), pki.url_pem(ROOT.certificate)],
    "xfcc": [ELEMENT, f"{ELEMENT},{ELEMENT}"],
    "token": [pki.token(pki.svid_claims()), pki.token({"iss": "x"})],
    "id": [pki.PLANNER],
}
damages = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.sampled_from(["replace", "cut", "insert", "repeat", "flip"]),
        st.sampled_from(
            ["", " ", ",", ";", "=", '"', "\\", "%", "%00", ".", "/", "\n", "\0", "é", "e", "A", "URI=", "--"]
        ),
    ),
    max_size=6,
)


def damaged(text, changes):
    for position, how, piece in changes:
        at = position % (len(text) + 1)
        if how == "replace":
            text = text[:at] + piece + text[at + len(piece) :]
        elif how == "cut":
            text = text[:at] + text[at + 7 :]
        elif how == "insert":
            text = text[:at] + piece + text[at:]
        elif how == "repeat":
            text = text[:at] + text[max(0, at - 40) :]
        else:
            text = text[:at] + text[at : at + 1].swapcase() + text[at + 1 :]
    return text


def identify(certificate="", xfcc="", token=""):
    headers = {"x-forwarded-client-cert": xfcc, "authorization": f"Bearer {token}" if token else ""}
    try:
        subject = RESOLVER.identify(CheckCall(layer="http", certificate=certificate, headers=headers), pki.NOW)
    except Refusal:
        return None
    assert isinstance(subject, Subject)
    return subject


@given(st.sampled_from(SEEDS["certificate"]), damages)
def test_damaged_certificates(seed, changes):
    subject = identify(certificate=damaged(seed, changes))
    assert subject is None or subject.id == pki.PLANNER


@given(st.sampled_from(SEEDS["xfcc"]), damages)
def test_damaged_xfcc(seed, changes):
    subject = identify(xfcc=damaged(seed, changes))
    assert subject is None or subject.id == pki.PLANNER


@given(st.sampled_from(SEEDS["token"]), damages)
def test_damaged_tokens(seed, changes):
    subject = identify(token=damaged(seed, changes))
    assert subject is None or subject.id == pki.PLANNER


@given(st.sampled_from(SEEDS["id"]), damages)
def test_damaged_ids(seed, changes):
    text = damaged(seed, changes)
    with suppress(Refusal):
        assert str(parse_spiffe_id(text)) == text


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 4))
def test_damaged_der(changes, cut):
    """Underneath the PEM, so that the damage reaches the parser of extensions."""
    der = bytearray(pki.der(LEAF))
    for position, byte in changes:
        der[position % len(der)] = byte
    with suppress(Refusal):
        parse_svid(bytes(der[: len(der) - cut]))


@given(st.binary(max_size=200))
def test_random_der(data):
    try:
        parse_svid(data)
    except Refusal:
        return
    raise AssertionError


@given(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
)
def test_damaged_json_under_a_valid_signature(header_tail, claims_tail):
    """As if the issuer itself were hostile: any JSON may be signed."""
    header = '{"alg":"ES256","kid":"k1"' + header_tail
    claims = pki.json.dumps(pki.svid_claims())[:-1] + claims_tail
    identify(token=pki.sign(header, claims))
    identify(token=pki.sign(header + "}", claims + "}"))


@given(damages, damages)
def test_damaged_identity_tokens_and_proofs(of_token, of_proof):
    trust = Trust({pki.TD: TrustBundle(pki.TD, wit_keys=KEYS)}, {})
    resolver = IdentityResolver(WITNESSED, trust, EMPTY_INVENTORY, covered=Covered("txn-token", ("authz-grant",)))
    token, proof = damaged(WIT, of_token), damaged(WPT, of_proof)
    call = CheckCall("http", path="/", headers={"workload-identity-token": token, "workload-proof-token": proof})
    try:
        subject = resolver.identify(call, pki.NOW)
    except Refusal:
        return
    assert subject.id == pki.PLANNER
    assert (token, proof) == (WIT, WPT)


@given(damages)
def test_damaged_transaction_tokens(changes):
    text = damaged(TXN, changes)
    try:
        found = TRANSACTIONS.verify(CheckCall("http", headers={"txn-token": text}), pki.NOW)
    except Refusal:
        return
    assert isinstance(found, Transaction)
    assert (found.subject, text) == (f"{TTS}#alice", TXN)
