"""Taking tokens apart, and checking their signature, strictly."""

import hmac
import itertools
import json

import identity_pki as pki
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.errors import Reason, Refusal
from authz.jose.jwk import VerificationKey
from authz.jose.jwt import (
    check_header,
    is_compact_jwt,
    parse_compact_jwt,
    read_audiences,
    read_certificate_binding,
    read_times,
    token_digest,
    verify_signature,
)

HEADER = '{"alg":"ES256","kid":"k1"}'
CLAIMS = '{"iss":"me","sub":"you"}'
EC = VerificationKey("k1", frozenset({"ES256"}), pki.EC_KEY.public_key())
RSA = VerificationKey("k1", frozenset({"RS256", "PS256"}), pki.RSA_KEY.public_key())


def reason_of(function, *arguments):
    with pytest.raises(Refusal) as caught:
        function(*arguments)
    return caught.value.reason


def claims(**members):
    return parse_compact_jwt(pki.sign(HEADER, json.dumps(members)))


def test_a_token_is_taken_apart():
    token = parse_compact_jwt(pki.sign(HEADER, CLAIMS))
    assert (token.algorithm, token.issuer, token.subject) == ("ES256", "me", "you")
    verify_signature(token, EC)


GOOD = pki.sign(HEADER, CLAIMS)
H, C, S = GOOD.split(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        f"{H}.{C}",
        f"{H}.{C}.{S}.{S}",
        f"{H}.{C}.{S}.{S}.{S}",
        f"{H}=.{C}.{S}",
        f" {H}.{C}.{S}",
        f"{H}.{C}.{S}\n",
        f"{H}.{C}.{S}=",
        f"{H}.{C}.!",
        f"{H[:-1]}.{C}.{S}",
        f".{C}.{S}",
        f"{H}..{S}",
        f"{pki.b64(b'[]')}.{C}.{S}",
        f"{H}.{pki.b64(b'[]')}.{S}",
        pki.sign('{"alg":"ES256","alg":"none"}', CLAIMS),
        pki.sign(HEADER, '{"sub":"low","sub":"admin"}'),
        pki.sign(HEADER, '{"a":' * 500 + "1" + "}" * 500),
        "é.é.é",
        "\ud800.a.b",
    ],
    ids=itertools.count(),
)
def test_a_token_of_any_other_shape_is_malformed(text):
    assert reason_of(parse_compact_jwt, text) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        '"jku":"https://evil.example/k"',
        '"jwk":{}',
        '"x5u":"https://evil.example/k"',
        '"x5c":[]',
        '"crit":["exp"],"exp":1',
        '"b64":false',
        '"zip":"DEF"',
        '"enc":"A128GCM"',
    ],
)
def test_a_header_with_a_key_of_its_own_or_another_reading_is_refused(header):
    token = parse_compact_jwt(pki.sign(f'{{"alg":"ES256",{header}}}', CLAIMS))
    assert reason_of(check_header, token, ["ES256"]) is Reason.TOKEN_MALFORMED


def test_the_algorithm_is_the_first_thing_checked():
    check_header(parse_compact_jwt(GOOD), ["ES256"])
    token = parse_compact_jwt(pki.sign('{"alg":"none","jwk":{}}', CLAIMS))
    assert reason_of(check_header, token, ["ES256"]) is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize(
    "text",
    [GOOD, f"{H}.{C}.", f"{H}.!.!", pki.sign('{ "alg":"none"}', "{}"), "eyJ9.a.b", "IHsi.a.b"],
    ids=itertools.count(),
)
def test_a_text_that_means_to_be_a_jwt_is_known_as_one(text):
    assert is_compact_jwt(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "opaque",
        "a.b.c",
        "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1",
        "v4.public.xyz",
        f"{H}.{C}",
        f"{H}.{C}.{S}.x.y",
        "é.é.é",
    ],
    ids=itertools.count(),
)
def test_other_texts_are_not_taken_for_a_jwt(text):
    assert not is_compact_jwt(text)


def test_a_signature_by_another_key_does_not_verify():
    forged = pki.sign(HEADER, CLAIMS, pki.ec.generate_private_key(pki.ec.SECP256R1()))
    assert reason_of(verify_signature, parse_compact_jwt(forged), EC) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize(
    "signature", ["", "AA", pki.b64(bytes(64)), S[:-2], S + "AAAA", pki.b64(b"\x30" * 71)], ids=itertools.count()
)
def test_other_signatures_do_not_verify(signature):
    token = parse_compact_jwt(f"{H}.{C}.{signature}")
    assert reason_of(verify_signature, token, EC) is Reason.TOKEN_SIGNATURE


def test_changed_content_does_not_verify():
    other = pki.b64(b'{"iss":"me","sub":"admin"}')
    assert reason_of(verify_signature, parse_compact_jwt(f"{H}.{other}.{S}"), EC) is Reason.TOKEN_SIGNATURE
    header = pki.b64(b'{"alg":"ES256","kid":"k2"}')
    assert reason_of(verify_signature, parse_compact_jwt(f"{header}.{C}.{S}"), EC) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
def test_rsa_signatures_verify_with_their_own_padding_only(alg):
    other = {"RS256": "PS256", "PS256": "RS256"}[alg]
    text = pki.sign(f'{{"alg":"{alg}"}}', CLAIMS, pki.RSA_KEY, alg)
    verify_signature(parse_compact_jwt(text), RSA)
    relabelled = pki.sign(f'{{"alg":"{other}"}}', CLAIMS, pki.RSA_KEY, alg)
    assert reason_of(verify_signature, parse_compact_jwt(relabelled), RSA) is Reason.TOKEN_SIGNATURE


def test_eddsa_signatures_verify():
    key = ed25519.Ed25519PrivateKey.generate()
    text = pki.sign('{"alg":"EdDSA"}', CLAIMS, key, "EdDSA")
    verify_signature(parse_compact_jwt(text), VerificationKey("k", frozenset({"EdDSA"}), key.public_key()))


@pytest.mark.parametrize(
    ("alg", "key"), [("RS256", EC), ("ES256", RSA), ("ES384", EC), ("HS256", RSA), ("none", EC), ("", EC)]
)
def test_a_key_is_never_used_with_an_algorithm_of_another_type(alg, key):
    token = parse_compact_jwt(pki.sign(f'{{"alg":"{alg}"}}', CLAIMS))
    assert reason_of(verify_signature, token, key) is Reason.TOKEN_ALGORITHM


def test_a_public_key_as_hmac_secret_proves_nothing():
    """The classic confusion: HS256 over the text, keyed with the published key."""
    secret = pki.EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = pki.b64(b'{"alg":"HS256","kid":"k1"}') + "." + C
    mac = hmac.digest(secret, signed.encode(), "sha256")
    assert reason_of(verify_signature, parse_compact_jwt(f"{signed}.{pki.b64(mac)}"), EC) is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize(("value", "audiences"), [("a", {"a"}), (["a"], {"a"}), (["a", "b"], {"a", "b"})])
def test_audiences_are_one_text_or_several(value, audiences):
    assert read_audiences(claims(aud=value)) == audiences


@pytest.mark.parametrize(
    "members",
    [
        {},
        *(
            {"aud": value}
            for value in (None, "", [], [""], ["a", ""], ["a", 1], ["a", "a"], [["a"]], {"a": 1}, 1, True)
        ),
    ],
)
def test_other_audiences_are_refused(members):
    assert reason_of(read_audiences, claims(**members)) is Reason.TOKEN_AUDIENCE


def test_times_are_read_as_numbers_of_seconds():
    times = read_times(claims(exp=20, iat=10, nbf=12.5))
    assert (times.expires, times.issued, times.starts) == (20.0, 10.0, 12.5)
    assert (times.validity.not_before, times.validity.not_after) == (12.5, 20.0)
    assert read_times(claims(exp=20)).validity.not_before == 0.0
    assert read_times(claims(exp=20, iat=20, nbf=20)).validity.not_before == 20.0
    assert read_times(claims(exp=253_402_300_799, iat=0)).expires == 253_402_300_799.0


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"exp": None},
        {"exp": "20"},
        {"exp": True},
        {"exp": [20]},
        {"exp": -1},
        {"exp": 1e17},
        {"exp": 20, "iat": "10"},
        {"exp": 20, "iat": None},
        {"exp": 20, "nbf": False},
        {"exp": 20, "iat": 21},
        {"exp": 20, "nbf": 21},
        {"exp": 20, "iat": -1},
    ],
)
def test_times_that_are_none_are_refused(members):
    assert reason_of(read_times, claims(**members)) is Reason.TOKEN_MALFORMED


def test_a_certificate_binding_is_read():
    assert read_certificate_binding(claims()) == ""
    digest = bytes(range(32))
    assert read_certificate_binding(claims(cnf={"x5t#S256": pki.b64(digest)})) == digest.hex()


@pytest.mark.parametrize(
    "cnf",
    [
        None,
        {},
        "x",
        {"jkt": "x"},
        {"jwk": {}},
        {"kid": "x"},
        {"x5t#S256": ""},
        {"x5t#S256": 1},
        {"x5t#S256": pki.b64(bytes(31))},
        {"x5t#S256": pki.b64(bytes(32)) + "="},
        {"x5t#S256": pki.b64(bytes(32)), "jkt": "x"},
    ],
)
def test_a_binding_that_is_not_checked_here_is_no_bearer_token_either(cnf):
    assert reason_of(read_certificate_binding, claims(cnf=cnf)) is Reason.TOKEN_MALFORMED


def test_the_digest_stands_for_any_text():
    assert token_digest("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert token_digest("\ud800") != token_digest("?")


def test_a_header_that_was_read_before_cannot_be_changed_and_long_ones_are_not_remembered():
    def header(kid):
        return parse_compact_jwt(pki.sign(json.dumps({"alg": "ES256", "kid": kid}), CLAIMS)).header

    first = header("kept")
    assert header("kept") is first
    with pytest.raises(TypeError):
        first["alg"] = "none"
    assert header("x" * 300) == header("x" * 300) == {"alg": "ES256", "kid": "x" * 300}
    assert header("x" * 300) is not header("x" * 300)
