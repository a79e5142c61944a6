"""Signatures and claims as an independent JOSE implementation sees them."""

import identity_pki as pki
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from authz.errors import Refusal
from authz.jose.jwk import parse_verification_key
from authz.jose.jwt import parse_compact_jwt, verify_signature

PRIVATE = {
    "ES256": pki.EC_KEY,
    "ES384": pki.EC384_KEY,
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), pki.RSA_KEY),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
# They follow RFC 9864, which renames it; the tokens that are out there do not yet.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

CLAIMS = b'{"sub":"x"}'


def their_key(private):
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    kind = {"R": RSAKey, "E": ECKey, "_": OKPKey}
    name = type(private).__name__
    return kind["R" if "RSA" in name else "_" if "25519" in name else "E"].import_key(pem)


THEIRS = {alg: their_key(key) for alg, key in PRIVATE.items()}
OURS = {alg: parse_verification_key({**key.as_dict(private=False), "kid": "k1"}) for alg, key in THEIRS.items()}


def we_accept(text, alg):
    try:
        verify_signature(parse_compact_jwt(text), OURS[alg])
    except Refusal:
        return False
    return True


def they_accept(text, alg):
    try:
        jws.deserialize_compact(text, THEIRS[alg], algorithms=[alg])
    except (JoseError, ValueError):
        return False
    return True


@pytest.mark.parametrize("alg", PRIVATE)
def test_what_they_sign_we_verify(alg):
    text = jws.serialize_compact({"alg": alg, "kid": "k1"}, CLAIMS, THEIRS[alg], algorithms=[alg])
    assert we_accept(text, alg)


@pytest.mark.parametrize("alg", PRIVATE)
def test_what_we_sign_they_verify(alg):
    text = pki.sign(f'{{"alg":"{alg}","kid":"k1"}}', CLAIMS.decode(), PRIVATE[alg], alg)
    assert they_accept(text, alg)
    assert we_accept(text, alg)


@given(st.data())
@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256", "EdDSA"])
def test_whatever_we_accept_of_a_damaged_token_they_accept(alg, data):
    text = pki.sign(f'{{"alg":"{alg}","kid":"k1"}}', CLAIMS.decode(), PRIVATE[alg], alg)
    position = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:position] + data.draw(st.sampled_from("AZaz09-_.=+ \n")) + text[position + 1 :]
    if we_accept(damaged, alg):
        assert they_accept(damaged, alg)
        assert damaged == text


@pytest.mark.parametrize("alg", PRIVATE)
@pytest.mark.parametrize("other", PRIVATE)
def test_no_key_verifies_under_another_algorithms_name(alg, other):
    signed = pki.sign(f'{{"alg":"{other}","kid":"k1"}}', CLAIMS.decode(), PRIVATE[alg], alg)
    assert we_accept(signed, alg) == they_accept(signed, alg) == (alg == other)
