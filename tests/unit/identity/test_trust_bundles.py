"""Trust bundles and key sets out of files' content."""

import base64
import itertools
import json

import identity_pki as pki
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.errors import ConfigError
from authz.identity.bundles import BundleSettings, parse_key_set, parse_trust_bundle

SETTINGS = BundleSettings()
ROOT = pki.authority()
OTHER_ROOT = pki.authority("root 2", uris=())


def x509_entry(certificate, **members):
    encoded = base64.b64encode(pki.der(certificate)).decode()
    return {**pki.jwk(pki.EC_KEY), "kid": None, "use": "x509-svid", "x5c": [encoded], **members}


def jwt_entry(key=pki.EC_KEY, **members):
    return pki.jwk(key, **{"use": "jwt-svid", **members})


def document(*keys, **members):
    entries = [{name: value for name, value in key.items() if value is not None} for key in keys]
    return json.dumps({"keys": entries, **members}).encode()


def bundle(data, settings=SETTINGS):
    return parse_trust_bundle(data, pki.TD, "prod.json", settings)


def error_of(parse, *arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        parse(*arguments, **keywords)
    return str(caught.value)


def test_a_spiffe_bundle():
    parsed = bundle(
        document(
            x509_entry(ROOT.certificate),
            x509_entry(OTHER_ROOT.certificate),
            jwt_entry(kid="a"),
            jwt_entry(pki.RSA_KEY, kid="b"),
            spiffe_sequence=2,
            spiffe_refresh_hint=300,
        )
    )
    assert parsed.trust_domain == pki.TD
    assert parsed.authorities == (ROOT.certificate, OTHER_ROOT.certificate)
    assert set(parsed.jwt_keys.keys) == {"a", "b"}


def test_an_empty_bundle_is_one_that_trusts_nothing():
    parsed = bundle(document())
    assert (parsed.authorities, dict(parsed.jwt_keys.keys)) == ((), {})


@pytest.mark.parametrize(
    "entry",
    [
        jwt_entry(use="sig"),
        jwt_entry(use="JWT-SVID"),
        jwt_entry(use=None),
        jwt_entry(use="wit-svid"),
        jwt_entry(kty=None),
        jwt_entry(kty="unheard"),
        x509_entry(ROOT.certificate, x5c=None),
        x509_entry(ROOT.certificate, x5c=[]),
        x509_entry(ROOT.certificate, use="X509-SVID"),
    ],
)
def test_entries_of_unknown_use_or_type_are_left_out(entry):
    parsed = bundle(document(entry, jwt_entry(kid="good")))
    assert (parsed.authorities, set(parsed.jwt_keys.keys)) == ((), {"good"})


def test_a_key_for_certificates_verifies_no_token():
    entry = x509_entry(ROOT.certificate, kid="k1")
    assert not bundle(document(entry)).jwt_keys.keys


PRIVATE = pki.EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
FOREIGN = pki.authority("foreign", uris=("spiffe://partner.example",))
WORKLOAD = pki.authority("workload", uris=("spiffe://prod.example/ca",))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "PEM"),
        (b"{", "not JSON"),
        (b"[]", "PEM"),
        (b"{}", "no array 'keys'"),
        (b'{"keys": {}}', "no array 'keys'"),
        (b'{"keys": [1]}', "not an object"),
        (b'{"keys": [], "keys": []}', "repeated name"),
        (document(jwt_entry(kid=None)), "no 'kid'"),
        (document(jwt_entry(kid="")), "no 'kid'"),
        (document(jwt_entry(), jwt_entry(pki.RSA_KEY)), "same 'kid'"),
        (document(jwt_entry(d="AAAA")), "private key"),
        (document(x509_entry(ROOT.certificate, x5c=["!"])), "base64"),
        (document(x509_entry(ROOT.certificate, x5c=["AAAA"])), "not an X.509 certificate"),
        (document(x509_entry(ROOT.certificate, x5c=[7])), "x5c"),
        (document(x509_entry(ROOT.issue())), "not a CA's"),
        (document(x509_entry(FOREIGN.certificate)), "not that of the trust domain"),
        (document(x509_entry(WORKLOAD.certificate)), "not that of the trust domain"),
        (pki.pem(FOREIGN.certificate).encode(), "not that of the trust domain"),
        (pki.pem(ROOT.issue()).encode(), "not a CA's"),
        (pki.pem(ROOT.certificate).encode() + PRIVATE, "private key"),
    ],
    ids=itertools.count(),
)
def test_a_bundle_that_is_not_usable_is_an_error_naming_its_file(data, problem):
    message = error_of(bundle, data)
    assert message.startswith("prod.json: ")
    assert problem in message
    assert ": certificate_" not in message  # the reason code of a request's refusal says nothing here


def test_pem_authorities_are_a_bundle_too():
    text = "# made by hand\n" + pki.pem(ROOT.certificate) + "\nand\n" + pki.pem(OTHER_ROOT.certificate)
    parsed = bundle(text.encode())
    assert parsed.authorities == (ROOT.certificate, OTHER_ROOT.certificate)
    assert not parsed.jwt_keys.keys


@pytest.mark.parametrize(
    "data",
    [document(jwt_entry(kid="a"), jwt_entry(kid="b"), jwt_entry(kid="c")), pki.pem(*[ROOT.certificate] * 3).encode()],
    ids=itertools.count(),
)
def test_bundles_are_bounded_in_bytes_and_keys(data):
    assert bundle(data, BundleSettings(max_file_bytes=len(data), max_keys=3))
    assert "max_keys" in error_of(bundle, data, BundleSettings(max_keys=2))
    assert "max_file_bytes" in error_of(bundle, data, BundleSettings(max_file_bytes=len(data) - 1))


def test_a_plain_key_set_takes_keys_for_signatures_only():
    data = document(
        pki.jwk(pki.EC_KEY, kid="a"),
        pki.jwk(pki.RSA_KEY, kid="b", use="sig", alg="RS256"),
        pki.jwk(pki.EC_KEY, kid="c", use="enc"),
        pki.jwk(pki.EC_KEY, kid="d", use="jwt-svid"),
        pki.jwk(pki.EC_KEY, kid=None),
        {"kty": "oct", "kid": "e", "k": "AAAA"},
    )
    assert set(parse_key_set(data, "jwks.json", SETTINGS).keys) == {"a", "b"}


def test_an_empty_key_set_has_no_key():
    assert parse_key_set(document(), "jwks.json", SETTINGS).find("a") is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", document(jwt_entry(use="sig"), jwt_entry(use="sig"))], ids=itertools.count()
)
def test_a_key_set_that_is_not_usable_is_an_error_naming_its_file(data):
    assert error_of(parse_key_set, data, "jwks.json", SETTINGS).startswith("jwks.json: ")
