"""What holds for every call, however hostile: a subject or a refusal, and memory that changes no answer."""

from contextlib import suppress

import identity_pki as pki
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import ConfigError, Refusal
from authz.identity.bundles import BundleSettings, Trust, parse_key_set, parse_trust_bundle
from authz.identity.inventory import EMPTY_INVENTORY, InventorySettings, parse_inventory
from authz.identity.pem import decode_percent
from authz.identity.resolve import IdentityResolver, IdentitySettings
from authz.jose.decoding import decode_base64url, decode_json_object
from authz.jose.jwt import parse_compact_jwt
from authz.model import CheckCall, Subject

ROOT = pki.authority()
KEYS = pki.key_set(pki.jwk(pki.EC_KEY))
SETTINGS = msgspec.convert(
    {
        "trust_domain": "prod.example",
        "require_certificate": False,
        "xfcc": {"mode": "append_forward", "trusted_hops": 2, "proxies": ["spiffe://prod.example/edge"]},
        "tokens": {"jwt_svid": {"audiences": ["ledger"], "max_lifetime_seconds": 700}},
        "anonymous": "policy",
        "max_memo_entries": 2,
    },
    IdentitySettings,
)
TRUST = Trust({pki.TD: ROOT.bundle(keys=KEYS)}, {})

LEAVES = [
    ROOT.issue(),
    ROOT.issue(uris=(pki.ADMIN,)),
    ROOT.issue(not_after=pki.NOW + 60),
    ROOT.issue(not_before=pki.NOW + 60),
    ROOT.issue(ca=True),
]
TOKENS = [
    pki.token(pki.svid_claims()),
    pki.token(pki.svid_claims(sub=pki.ADMIN, exp=pki.NOW + 30)),
    pki.token(pki.svid_claims(nbf=pki.NOW + 60)),
    pki.token(pki.svid_claims(iat=None, exp=pki.NOW + 600)),
    pki.token(pki.svid_claims(), pki.ec.generate_private_key(pki.ec.SECP256R1())),
    "opaque",
]


def call(leaf, principal, xfcc, token):
    headers = {"x-forwarded-client-cert": xfcc, "authorization": f"Bearer {token}" if token else ""}
    return CheckCall(layer="http", certificate=pki.url_pem(leaf) if leaf else "", principal=principal, headers=headers)


calls = st.builds(
    call,
    st.none() | st.sampled_from(LEAVES),
    st.sampled_from(["", pki.PLANNER, pki.ADMIN, "svc.example"]),
    st.sampled_from(["", f"URI={pki.PLANNER}", f"By=spiffe://prod.example/edge;URI={pki.ADMIN}"]),
    st.sampled_from(["", *TOKENS]),
)
times = st.sampled_from([pki.NOW + offset for offset in (-4000, -20, 0, 40, 70, 400, 4000)])


def answer(resolver, asked, now):
    try:
        return resolver.identify(asked, now)
    except Refusal as refusal:
        return refusal.reason


@given(st.lists(st.tuples(calls, times), max_size=12))
def test_memory_changes_no_answer(questions):
    """I3: asked in any order, at any times, one resolver answers what a fresh one would."""
    resolver = IdentityResolver(SETTINGS, TRUST, EMPTY_INVENTORY)
    for asked, now in questions:
        assert answer(resolver, asked, now) == answer(IdentityResolver(SETTINGS, TRUST, EMPTY_INVENTORY), asked, now)


@given(calls, times)
def test_no_subject_outlives_its_credentials(asked, now):
    """I4: give or take the leeway between clocks."""
    subject = answer(IdentityResolver(SETTINGS, TRUST, EMPTY_INVENTORY), asked, now)
    if isinstance(subject, Subject):
        assert subject.expires >= now - SETTINGS.clock_leeway_seconds


texts = st.text() | st.text('spiffe:/.,;="\\%-ABeyJ0 ', max_size=80)


@given(certificate=texts, principal=texts, xfcc=texts, token=texts, layer=st.sampled_from(["http", "tcp"]))
def test_any_text_anywhere_gives_a_subject_or_a_refusal(certificate, principal, xfcc, token, layer):
    asked = CheckCall(
        layer=layer,
        certificate=certificate,
        principal=principal,
        headers={"x-forwarded-client-cert": xfcc, "authorization": f"Bearer {token}"},
    )
    answer(IdentityResolver(SETTINGS, TRUST, EMPTY_INVENTORY), asked, pki.NOW)


@given(st.text())
def test_any_text_decodes_in_its_one_spelling_or_not_at_all(text):
    with suppress(ValueError):
        assert pki.b64(decode_base64url(text)) == text
    with suppress(ValueError):
        decode_percent(text)


@given(st.binary(max_size=300))
def test_any_bytes_spelled_in_base64url_come_back(data):
    assert decode_base64url(pki.b64(data)) == data


@given(st.binary(max_size=300))
def test_any_bytes_percent_escaped_come_back(data):
    assert decode_percent("".join(f"%{byte:02x}" for byte in data)) == data


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_json_object_reads_back_or_is_refused(value):
    text = pki.json.dumps(value)
    with suppress(ValueError):
        assert decode_json_object(text.encode()) == value


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "jku", "crit", "b64", "x"]), json_values, max_size=4),
    st.dictionaries(st.sampled_from(["sub", "aud", "exp", "iat", "nbf", "iss", "cnf", "x"]), json_values, max_size=8),
)
def test_a_signed_token_with_any_headers_and_claims_gives_a_subject_or_a_refusal(header, claims):
    full = {"alg": "ES256", "kid": "k1", **header}
    text = pki.sign(pki.json.dumps(full), pki.json.dumps({**pki.svid_claims(), **claims}))
    found = answer(IdentityResolver(SETTINGS, TRUST, EMPTY_INVENTORY), call(None, "", "", text), pki.NOW)
    if isinstance(found, Subject) and found.sources == ("token",):
        assert set(full) <= {"alg", "kid", "typ"}
        assert parse_compact_jwt(text).subject == found.id


def reads_or_explains(parse, *arguments):
    try:
        parse(*arguments)
        problem = "file: "
    except ConfigError as error:
        problem = str(error)
    assert problem.startswith("file: ")


@given(st.binary(max_size=200) | json_values.map(lambda value: pki.json.dumps({"keys": value}).encode()))
def test_any_bytes_are_a_key_set_or_a_configuration_error(data):
    reads_or_explains(parse_key_set, data, "file", BundleSettings())
    reads_or_explains(parse_trust_bundle, data, pki.TD, "file", BundleSettings())


jwk_members = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP"]), "kid": st.sampled_from(["a", "b"]), "use": st.just("jwt-svid")},
    optional={
        "crv": st.sampled_from(["P-256", "P-521", "Ed25519", 1]),
        "alg": st.sampled_from(["ES256", "RS256", None]),
        **{name: st.binary(max_size=70).map(pki.b64) | json_values for name in ("n", "e", "x", "y")},
        "key_ops": json_values,
        "x5c": json_values,
    },
)


@given(st.lists(jwk_members, max_size=3))
def test_any_json_web_keys_are_a_bundle_or_a_configuration_error(keys):
    data = pki.json.dumps({"keys": keys}).encode()
    reads_or_explains(parse_trust_bundle, data, pki.TD, "file", BundleSettings())


@given(
    st.dictionaries(
        st.sampled_from(["spiffe://td/a", "spiffe://td/*", "x"]),
        json_values | st.dictionaries(st.sampled_from(["owner", "clearance", "kind", "labels", "x"]), json_values),
    )
)
def test_any_table_is_an_inventory_or_a_configuration_error(workloads):
    reads_or_explains(parse_inventory, {"workloads": workloads}, "file", InventorySettings())
