"""A grant as a token: what is written, and everything else that is refused."""

import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from grant_kit import (
    EC_KEY,
    ED_KEY,
    FINGERPRINT,
    HOLDER,
    ISSUER,
    KEYS,
    NOW,
    PLANNER,
    b64,
    grant,
    grant_id,
    parts,
    settings,
    sign_raw,
)

from authz.errors import Reason, Refusal
from authz.grants.grant import MAX_DELEGATORS
from authz.grants.token import TOKEN_TYPE, read_grant, sign_grant
from authz.jose.jwk import KeySet
from authz.jose.signing import SigningKey, sign_compact

JOE = "https://idp.example#joe"
FULL = grant(
    uses=3, certificate=FINGERPRINT, delegators=(PLANNER, JOE), ancestors=(grant_id(2), grant_id(3)), not_before=NOW + 5
)
HEADER, CLAIMS = parts(sign_grant(FULL, ED_KEY))


def read(token, **changes):
    return read_grant(token, KEYS, settings(**changes))


def refused(token, **changes):
    with pytest.raises(Refusal) as caught:
        read(token, **changes)
    return caught.value.reason


@pytest.mark.parametrize("key", [ED_KEY, EC_KEY])
@pytest.mark.parametrize("made", [grant(), FULL])
def test_a_grant_is_read_as_it_was_signed(made, key):
    assert read(sign_grant(made, key)) == made


def test_what_is_written():
    assert HEADER == {"alg": "EdDSA", "kid": "ed-1", "typ": "authz-grant+jwt"}
    assert {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": JOE,
        "jti": grant_id(),
        "iat": NOW,
        "nbf": NOW + 5,
        "exp": NOW + 300,
        "task": {"id": "task-1", "purpose": "pay an invoice"},
        "authorization_details": [
            {
                "type": "authz_access",
                "actions": ["GET"],
                "locations": ["accounts.prod.example"],
                "resources": ["/v1/accounts/*"],
            }
        ],
        "act": {"sub": HOLDER, "act": {"sub": PLANNER}},
        "cnf": {"x5t#S256": b64(bytes.fromhex(FINGERPRINT))},
        "uses": 3,
        "ancestors": [grant_id(2), grant_id(3)],
    } == CLAIMS


def test_what_a_plain_grant_does_not_have_is_not_written():
    claims = parts(sign_grant(grant(), ED_KEY))[1]
    assert {"act", "cnf", "uses", "ancestors"}.isdisjoint(claims)
    assert claims["sub"] == HOLDER


def test_the_outermost_actor_is_the_current_one():
    """RFC 8693 section 4.1: user, then service77, then service16, which calls now; the order of its figure 6."""
    claims = CLAIMS | {
        "sub": "https://issuer.example.com#user@example.com",
        "act": {"sub": "spiffe://example.com/service16", "act": {"sub": "spiffe://example.com/service77"}},
    }
    made = read(sign_raw(HEADER, claims))
    assert made.holder == "spiffe://example.com/service16"
    assert made.delegators == ("spiffe://example.com/service77", "https://issuer.example.com#user@example.com")
    assert made.origin == "https://issuer.example.com#user@example.com"


def test_the_thumbprint_is_written_as_rfc_8705_appendix_a_has_it():
    fingerprint = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd"
    token = sign_grant(grant(certificate=fingerprint), ED_KEY)
    assert parts(token)[1]["cnf"] == {"x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}
    assert read(token).certificate == fingerprint


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "none"}, Reason.GRANT_ALGORITHM),
        ({"alg": "None"}, Reason.GRANT_ALGORITHM),
        ({"alg": "HS256"}, Reason.GRANT_ALGORITHM),
        ({"alg": "RS256"}, Reason.GRANT_ALGORITHM),
        ({"alg": "ES384"}, Reason.GRANT_ALGORITHM),
        ({"alg": "Ed25519"}, Reason.GRANT_ALGORITHM),
        ({"alg": ["EdDSA"]}, Reason.GRANT_ALGORITHM),
        ({"alg": "ES256"}, Reason.GRANT_ALGORITHM),  # the key of that kid is for EdDSA
        ({"kid": "ec-1"}, Reason.GRANT_ALGORITHM),  # and the other way round
        ({"kid": "ed-2"}, Reason.GRANT_KEY_UNKNOWN),
        ({"kid": ""}, Reason.GRANT_KEY_UNKNOWN),
        ({"kid": 1}, Reason.GRANT_KEY_UNKNOWN),
        ({"kid": None}, Reason.GRANT_KEY_UNKNOWN),
        ({"kid": ["ed-1"]}, Reason.GRANT_KEY_UNKNOWN),
        ({"typ": "JWT"}, Reason.GRANT_MALFORMED),
        ({"typ": "at+jwt"}, Reason.GRANT_MALFORMED),
        ({"typ": "AUTHZ-GRANT+JWT"}, Reason.GRANT_MALFORMED),
        ({"typ": "application/authz-grant+jwt"}, Reason.GRANT_MALFORMED),
        ({"typ": None}, Reason.GRANT_MALFORMED),
        ({"crit": ["exp"]}, Reason.GRANT_MALFORMED),
        ({"jku": "https://evil.example/keys"}, Reason.GRANT_MALFORMED),
        ({"jwk": {}}, Reason.GRANT_MALFORMED),
        ({"b64": False}, Reason.GRANT_MALFORMED),
        ({"cty": "JWT"}, Reason.GRANT_MALFORMED),
        ({"x": 1}, Reason.GRANT_MALFORMED),
    ],
)
def test_a_header_that_is_not_ours_is_refused_although_the_signature_is_good(header, reason):
    assert refused(sign_raw(HEADER | header, CLAIMS)) is reason


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_a_header_that_is_missing(name):
    token = sign_raw({key: value for key, value in HEADER.items() if key != name}, CLAIMS)
    assert refused(token) is (Reason.GRANT_ALGORITHM if name == "alg" else Reason.GRANT_MALFORMED)


REQUIRED = {"iss", "aud", "sub", "jti", "iat", "nbf", "exp", "task", "authorization_details"}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_claim_that_is_missing(name):
    token = sign_raw(HEADER, {key: value for key, value in CLAIMS.items() if key != name})
    other = {"iss": Reason.GRANT_ISSUER, "aud": Reason.GRANT_AUDIENCE}
    assert refused(token) is other.get(name, Reason.GRANT_MALFORMED)


@pytest.mark.parametrize("name", sorted(set(CLAIMS) - REQUIRED))
def test_a_claim_that_may_be_absent_may_not_be_null(name):
    claims = CLAIMS | ({"sub": HOLDER} if name == "act" else {})
    read(sign_raw(HEADER, {key: value for key, value in claims.items() if key != name}))
    assert refused(sign_raw(HEADER, claims | {name: None})) is Reason.GRANT_MALFORMED


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://evil.example"}, Reason.GRANT_ISSUER),
        ({"iss": ISSUER + "/"}, Reason.GRANT_ISSUER),
        ({"iss": [ISSUER]}, Reason.GRANT_ISSUER),
        ({"aud": "https://other.example"}, Reason.GRANT_AUDIENCE),
        ({"aud": [ISSUER]}, Reason.GRANT_AUDIENCE),
        ({"aud": [ISSUER, "https://other.example"]}, Reason.GRANT_AUDIENCE),
        ({"aud": ""}, Reason.GRANT_AUDIENCE),
        ({"jti": "x"}, Reason.GRANT_MALFORMED),
        ({"jti": 1}, Reason.GRANT_MALFORMED),
        ({"iat": str(NOW)}, Reason.GRANT_MALFORMED),
        ({"iat": True}, Reason.GRANT_MALFORMED),
        ({"iat": NOW + 10}, Reason.GRANT_MALFORMED),  # issued after it begins
        ({"nbf": NOW - 1}, Reason.GRANT_MALFORMED),  # before it was issued
        ({"nbf": NOW + 300}, Reason.GRANT_MALFORMED),
        ({"exp": NOW}, Reason.GRANT_MALFORMED),
        ({"exp": NOW + 300.5}, Reason.GRANT_MALFORMED),
        ({"exp": 10**400}, Reason.GRANT_MALFORMED),
        ({"exp": NOW + 901}, Reason.GRANT_TOO_LONG_LIVED),
        ({"exp": 2**62}, Reason.GRANT_TOO_LONG_LIVED),
        ({"uses": 0}, Reason.GRANT_MALFORMED),
        ({"uses": -1}, Reason.GRANT_MALFORMED),
        ({"uses": True}, Reason.GRANT_MALFORMED),
        ({"uses": "1"}, Reason.GRANT_MALFORMED),
        ({"uses": 1_000_001}, Reason.GRANT_MALFORMED),
        ({"task": "task-1"}, Reason.GRANT_MALFORMED),
        ({"task": {"purpose": "p"}}, Reason.GRANT_MALFORMED),
        ({"task": {"id": "t", "purpose": "p", "x": 1}}, Reason.GRANT_MALFORMED),
        ({"task": {"id": ""}}, Reason.GRANT_MALFORMED),
        ({"authorization_details": []}, Reason.GRANT_MALFORMED),
        ({"authorization_details": {}}, Reason.GRANT_MALFORMED),
        ({"authorization_details": [{"type": "other"}]}, Reason.GRANT_MALFORMED),
        ({"sub": "joe"}, Reason.GRANT_MALFORMED),
        ({"sub": HOLDER}, Reason.GRANT_MALFORMED),  # a loop
        ({"act": HOLDER}, Reason.GRANT_MALFORMED),
        ({"act": {}}, Reason.GRANT_MALFORMED),
        ({"act": {"sub": JOE}}, Reason.GRANT_MALFORMED),
        ({"act": {"sub": HOLDER, "iss": "x"}}, Reason.GRANT_MALFORMED),
        ({"act": {"sub": HOLDER, "act": None}}, Reason.GRANT_MALFORMED),
        ({"act": {"sub": HOLDER, "act": {"sub": HOLDER}}}, Reason.GRANT_MALFORMED),
        ({"cnf": {}}, Reason.GRANT_MALFORMED),
        ({"cnf": {"x5t#S256": "abc"}}, Reason.GRANT_MALFORMED),
        ({"cnf": {"x5t#S256": FINGERPRINT}}, Reason.GRANT_MALFORMED),
        ({"cnf": {"jkt": "abc"}}, Reason.GRANT_MALFORMED),
        ({"cnf": {**CLAIMS["cnf"], "jkt": "abc"}}, Reason.GRANT_MALFORMED),
        ({"ancestors": []}, Reason.GRANT_MALFORMED),
        ({"ancestors": grant_id(2)}, Reason.GRANT_MALFORMED),
        ({"ancestors": [grant_id()]}, Reason.GRANT_MALFORMED),
        ({"scope": "all"}, Reason.GRANT_MALFORMED),
        ({"may_act": {}}, Reason.GRANT_MALFORMED),
    ],
)
def test_claims_that_are_not_to_the_letter_are_refused_although_the_signature_is_good(claims, reason):
    assert refused(sign_raw(HEADER, CLAIMS | claims)) is reason


@pytest.mark.parametrize("claims", [b"{}", b"[]", b"null", b"", b'{"a":1'])
def test_claims_that_are_no_object(claims):
    assert refused(sign_raw(HEADER, claims)) in (Reason.GRANT_MALFORMED, Reason.GRANT_ISSUER)


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_claim_that_stands_twice_is_refused(name):
    """One reader takes the first, another the last."""
    text = json.dumps(CLAIMS)
    twice = f'{{"{name}":{json.dumps(CLAIMS[name])},{text[1:]}'.encode()
    assert refused(sign_raw(HEADER, twice)) is Reason.GRANT_MALFORMED


def test_a_name_that_stands_twice_deep_inside_is_refused():
    text = json.dumps(CLAIMS).replace('"resources": [', '"resources": ["/*"], "resources": [').encode()
    assert refused(sign_raw(HEADER, text)) is Reason.GRANT_MALFORMED
    header = json.dumps(HEADER).replace('"alg"', '"alg": "none", "alg"').encode()
    assert refused(sign_raw(header, CLAIMS)) is Reason.GRANT_MALFORMED


def nested(depth):
    actor = None
    for number in range(depth, 0, -1):
        actor = {"sub": f"spiffe://prod.example/a{number}"} | ({"act": actor} if actor else {})
    return actor


def test_more_delegations_than_configured_are_refused():
    token = sign_raw(HEADER, CLAIMS | {"act": nested(4)})
    assert len(read(token).delegators) == 4
    assert refused(token, max_delegations=3) is Reason.GRANT_MALFORMED


@pytest.mark.parametrize("depth", [MAX_DELEGATORS + 1, 31, 40, 2_000, 50_000])
def test_a_bomb_of_actors_is_refused(depth):
    text = b'{"sub":"spiffe://a/b","act":' * depth + b'{"sub":"spiffe://a/c"}' + b"}" * depth
    claims = json.dumps(CLAIMS).encode().replace(json.dumps(CLAIMS["act"]).encode(), text)
    token = sign_raw(HEADER, claims)
    assert refused(token, max_token_bytes=10_000_000) is Reason.GRANT_MALFORMED


def test_a_token_that_is_too_long_is_not_looked_at():
    token = sign_grant(grant(), ED_KEY)
    assert read(token, max_token_bytes=len(token))
    assert refused(token, max_token_bytes=len(token) - 1) is Reason.GRANT_TOO_LARGE
    assert refused("x" * 100_000) is Reason.GRANT_TOO_LARGE


def test_a_lifetime_up_to_the_maximum_is_accepted_and_none_beyond():
    token = sign_raw(HEADER, CLAIMS | {"exp": NOW + 900})
    assert read(token)
    assert refused(token, max_lifetime_seconds=899) is Reason.GRANT_TOO_LONG_LIVED
    # What counts is the time from issue, not from the start.
    late = sign_raw(HEADER, CLAIMS | {"nbf": NOW + 800, "exp": NOW + 900})
    assert refused(late, max_lifetime_seconds=899) is Reason.GRANT_TOO_LONG_LIVED


def test_where_a_certificate_is_required_a_grant_without_one_is_refused():
    assert read(sign_grant(FULL, ED_KEY), require_certificate=True)
    assert refused(sign_grant(grant(), ED_KEY), require_certificate=True) is Reason.GRANT_CERTIFICATE


def test_the_audience_is_the_configured_one_else_the_issuer():
    token = sign_grant(grant(audience="fleet"), ED_KEY)
    assert read(token, audience="fleet").audience == "fleet"
    assert refused(token) is Reason.GRANT_AUDIENCE
    assert refused(sign_grant(grant(), ED_KEY), audience="fleet") is Reason.GRANT_AUDIENCE


def test_a_key_of_the_same_id_that_is_not_the_issuers():
    for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        forged = sign_grant(grant(), SigningKey("ed-1", key))
        assert refused(forged) in (Reason.GRANT_SIGNATURE, Reason.GRANT_ALGORITHM)


def test_a_removed_key_verifies_no_more():
    token = sign_grant(grant(), ED_KEY)
    with pytest.raises(Refusal) as caught:
        read_grant(token, KeySet({"ec-1": KEYS.keys["ec-1"]}), settings())
    assert caught.value.reason is Reason.GRANT_KEY_UNKNOWN


def test_claims_of_one_token_under_the_signature_of_another():
    mine, other = sign_grant(grant(), ED_KEY), sign_grant(grant(expires=NOW + 299), ED_KEY)
    header, _, signature = mine.split(".")
    assert refused(f"{header}.{other.split('.')[1]}.{signature}") is Reason.GRANT_SIGNATURE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t + "=",
        lambda t: t + "\n",
        lambda t: " " + t,
        lambda t: t + ".",
        lambda t: t.rpartition(".")[0],
        lambda t: t.rpartition(".")[0] + ".",
        lambda t: t.replace(".", "..", 1),
        lambda t: f"Bearer {t}",
        lambda t: f"{t},{t}",
        lambda t: t[:-1] + ("B" if t.endswith("A") else "A"),
        lambda _: "",
        lambda _: "..",
        lambda _: "\udcff.\udcff.\udcff",
    ],
)
def test_a_spelling_that_is_not_the_one_is_refused(spoil):
    assert refused(spoil(sign_grant(grant(), ED_KEY))) in (Reason.GRANT_MALFORMED, Reason.GRANT_SIGNATURE)


def test_a_token_of_another_type_by_the_same_key_is_no_grant():
    claims = msgspec.json.decode(msgspec.json.encode(CLAIMS))
    assert read(sign_compact(claims, TOKEN_TYPE, ED_KEY)) == FULL
    assert refused(sign_compact(claims, "JWT", ED_KEY)) is Reason.GRANT_MALFORMED


def test_a_refusal_quotes_no_part_of_the_token():
    token = sign_raw(HEADER, CLAIMS | {"secret-claim": "s3cr3t"})
    with pytest.raises(Refusal) as caught:
        read(token)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_vouches_for_nothing_that_ends_after_its_own_time():
    key = msgspec.structs.replace(ED_KEY.verification_key, until=float(FULL.expires))
    keys = KeySet({"ed-1": key})
    assert read_grant(sign_grant(FULL, ED_KEY), keys, settings()) == FULL
    later = msgspec.structs.replace(FULL, expires=FULL.expires + 1)
    with pytest.raises(Refusal) as caught:
        read_grant(sign_grant(later, ED_KEY), keys, settings())
    assert caught.value.reason is Reason.GRANT_KEY_UNKNOWN
