"""Signing with keys of our own, against the standards' own examples."""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from authz.jose.decoding import decode_base64url
from authz.jose.jwk import parse_verification_key
from authz.jose.jwt import CompactToken, parse_compact_jwt, verify_signature
from authz.jose.signing import SigningKey, base64url, sign_compact

# RFC 8037 appendix A.1 to A.4, and RFC 7515 appendix A.3.
ED_D, ED_X = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
ED_SIGNED = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
ED_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
EC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EC_D = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
EC_TOKEN = (
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
ED = SigningKey("k1", ed25519.Ed25519PrivateKey.from_private_bytes(decode_base64url(ED_D)))
EC = SigningKey("k2", ec.derive_private_key(int.from_bytes(decode_base64url(EC_D), "big"), ec.SECP256R1()))


def test_the_public_half_is_the_one_in_the_standards():
    assert ED.public_jwk() == {"kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": "k1", "use": "sig", "alg": "EdDSA"}
    assert EC.public_jwk() == {**EC_JWK, "kid": "k2", "use": "sig", "alg": "ES256"}


def test_the_signature_of_rfc_8037_is_made_and_verified():
    algorithm = jwt.get_algorithm_by_name(ED.algorithm)
    assert base64url(algorithm.sign(ED_SIGNED, ED.key)) == ED_SIGNATURE
    verify_signature(CompactToken({"alg": "EdDSA"}, {}, ED_SIGNED, decode_base64url(ED_SIGNATURE)), ED.verification_key)


def test_the_token_of_rfc_7515_is_verified():
    verify_signature(parse_compact_jwt(EC_TOKEN), EC.verification_key)


@pytest.mark.parametrize("key", [ED, EC])
def test_what_is_signed_is_verified_with_the_published_key(key):
    token = sign_compact({"a": 1}, "x+jwt", key)
    header, claims, _ = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": key.algorithm, "kid": key.kid, "typ": "x+jwt"}
    assert decode_base64url(claims) == b'{"a":1}'
    verify_signature(parse_compact_jwt(token), parse_verification_key(key.public_jwk()))


@pytest.mark.parametrize("key", [ED, EC])
def test_a_private_key_is_neither_shown_nor_published(key):
    assert repr(key) == f"SigningKey(kid={key.kid!r})"
    assert "d" not in key.public_jwk()


def test_a_key_that_signs_otherwise_is_refused():
    with pytest.raises(ValueError, match="P-256"):
        SigningKey("k", ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(ValueError, match="id"):
        SigningKey("", ED.key)


def test_a_coordinate_with_leading_zeros_keeps_its_length():
    for number in range(1, 2_000):
        key = SigningKey("k", ec.derive_private_key(number, ec.SECP256R1()))
        numbers = key.key.public_key().public_numbers()
        if numbers.x.bit_length() <= 248:
            assert parse_verification_key(key.public_jwk())
            return
    raise AssertionError("no such key among the first")
