"""Public keys out of JSON Web Keys."""

import identity_pki as pki
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from authz.jose.jwk import parse_verification_key

RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
EC_JWK = pki.jwk(pki.EC_KEY)
RSA_JWK = pki.jwk(pki.RSA_KEY)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
ED_JWK = {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": pki.b64(ED_KEY.public_key().public_bytes_raw())}


def numbers(jwk):
    return parse_verification_key(jwk).key.public_numbers()


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (pki.RSA_KEY, RSA_ALGORITHMS),
        (pki.EC_KEY, {"ES256"}),
        (pki.EC384_KEY, {"ES384"}),
        (ec.generate_private_key(ec.SECP521R1()), {"ES512"}),
    ],
)
def test_a_key_is_for_the_algorithms_of_its_type_only(key, algorithms):
    parsed = parse_verification_key(pki.jwk(key))
    assert parsed.algorithms == algorithms
    assert parsed.kid == "k1"
    assert parsed.key.public_numbers() == key.public_key().public_numbers()


def test_an_edwards_key_is_for_eddsa():
    parsed = parse_verification_key(ED_JWK)
    assert parsed.algorithms == {"EdDSA"}
    assert parsed.key == ED_KEY.public_key()


def test_alg_narrows_and_never_widens():
    assert parse_verification_key({**RSA_JWK, "alg": "PS256"}).algorithms == {"PS256"}
    assert parse_verification_key({**RSA_JWK, "alg": "ES256"}) is None
    assert parse_verification_key({**EC_JWK, "alg": "HS256"}) is None
    assert parse_verification_key({**EC_JWK, "alg": "none"}) is None
    assert parse_verification_key({**EC_JWK, "alg": ["ES256"]}) is None


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "kid": "k1", "k": "AAAA"},
        {"kty": "AKP", "kid": "k1", "pub": "AAAA"},
        {"kty": ["EC"], "kid": "k1"},
        {**EC_JWK, "kid": ""},
        {**EC_JWK, "kid": 1},
        {name: value for name, value in EC_JWK.items() if name != "kid"},
        {**EC_JWK, "crv": "secp256k1"},
        {**EC_JWK, "crv": ["P-256"]},
        {**ED_JWK, "crv": "X25519"},
        {**ED_JWK, "crv": "Ed448"},
        {**EC_JWK, "key_ops": ["sign"]},
        {**EC_JWK, "key_ops": []},
    ],
)
def test_keys_of_other_kinds_are_left_out(jwk):
    assert parse_verification_key(jwk) is None


def test_key_ops_with_verify_is_accepted():
    assert parse_verification_key({**EC_JWK, "key_ops": ["verify"]})


OTHER = pki.jwk(ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    "jwk",
    [
        {**EC_JWK, "d": "AAAA"},
        {**RSA_JWK, "d": "AAAA"},
        {**RSA_JWK, "p": "AAAA"},
        {**EC_JWK, "x": OTHER["x"]},
        {**EC_JWK, "x": EC_JWK["x"][:-2]},
        {**EC_JWK, "x": EC_JWK["x"] + "="},
        {**EC_JWK, "x": pki.b64(b"\0" + pki.unb64(EC_JWK["x"]))},
        {**EC_JWK, "y": pki.b64(b"\0" + pki.unb64(EC_JWK["y"]))},
        {**EC_JWK, "x": None},
        {**EC_JWK, "y": 7},
        {**EC_JWK, "crv": "P-384"},
        {**ED_JWK, "x": "AAAA"},
        {**RSA_JWK, "e": "AA"},
        {**RSA_JWK, "e": "AQ"},
        {**RSA_JWK, "e": "Ag"},
        {**RSA_JWK, "n": ""},
        {**RSA_JWK, "n": pki.b64(b"\xff" * 1025)},
        pki.jwk(rsa.generate_private_key(65537, 1024)),
    ],
)
def test_broken_weak_and_private_keys_are_errors(jwk):
    with pytest.raises(ValueError, match=r"."):
        parse_verification_key(jwk)
