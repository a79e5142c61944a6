"""The keys and authorities that a trust domain, or a token issuer, publishes.

Source: SPIFFE Trust Domain and Bundle, section 4; RFC 7517 section 5. Reading the files is not done here.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from authz.errors import ConfigError, Refusal
from authz.identity.x509 import load_certificate
from authz.jose.decoding import decode_json_object
from authz.jose.jwk import KeySet, VerificationKey, parse_verification_key
from authz.model import Value
from authz.spiffe import SpiffeId, TrustDomain, parse_spiffe_id


class BundleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large trust bundles and key sets may be."""

    max_file_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=67_108_864)] = 1_048_576
    """The largest bundle or key set file that is read, in bytes."""
    max_keys: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 256
    """The most keys and certificates that one file may hold."""


class TrustBundle(msgspec.Struct, frozen=True):
    """What one trust domain's SVIDs are verified against. Empty: none of its SVIDs is valid."""

    trust_domain: TrustDomain
    authorities: tuple[x509.Certificate, ...] = ()
    """CA certificates for X509-SVIDs."""
    jwt_keys: KeySet = KeySet()
    wit_keys: KeySet = KeySet()
    """For workload identity tokens; never for JWT-SVIDs, nor the other way round."""


class Trust(msgspec.Struct, frozen=True):
    """All keys and authorities in force: one immutable set, replaced whole when any of it changes."""

    bundles: Mapping[TrustDomain, TrustBundle] = {}
    key_sets: Mapping[str, KeySet] = {}
    """By the issuer's `iss`."""
    transaction_keys: Mapping[str, KeySet] = {}
    """Of services of transaction tokens, by `iss`."""


def parse_trust_bundle(data: bytes, trust_domain: TrustDomain, file: str, settings: BundleSettings) -> TrustBundle:
    """The bundle of `trust_domain` in a file's content: a SPIFFE bundle document (JSON), or CA certificates (PEM).

    Raises:
        ConfigError: naming `file`.
    """
    try:
        if data.lstrip()[:1] == b"{":
            return _spiffe_bundle(_keys(data, settings), trust_domain)
        return TrustBundle(trust_domain, _pem_authorities(data, trust_domain, settings))
    except (ValueError, Refusal) as error:
        raise ConfigError(f"{file}: not usable as the trust bundle of {trust_domain}: {_explain(error)}") from None


def parse_key_set(data: bytes, file: str, settings: BundleSettings) -> KeySet:
    """The token verification keys in a plain JWKS; those marked for anything but signatures are left out.

    Raises:
        ConfigError: naming `file`.
    """
    try:
        return _key_set(jwk for jwk in _keys(data, settings) if jwk.get("use", "sig") == "sig")
    except (ValueError, Refusal) as error:
        raise ConfigError(f"{file}: not usable as a JSON Web Key Set: {_explain(error)}") from None


def _keys(data: bytes, settings: BundleSettings) -> list[Mapping[str, Value]]:
    if len(data) > settings.max_file_bytes:
        raise ValueError(f"larger than max_file_bytes ({settings.max_file_bytes})")
    keys = decode_json_object(data).get("keys")
    if not isinstance(keys, list):
        raise ValueError("no array 'keys'")  # noqa: TRY004 - the content of a file is wrong, no argument's type
    if len(keys) > settings.max_keys:
        raise ValueError(f"more than max_keys ({settings.max_keys}) keys")
    if not all(isinstance(key, Mapping) for key in keys):
        raise ValueError("an entry of 'keys' is not an object")
    return [key for key in keys if isinstance(key, Mapping)]


def _key_set(jwks: Iterable[Mapping[str, Value]]) -> KeySet:
    found: dict[str, VerificationKey] = {}
    for jwk in jwks:
        key = parse_verification_key(jwk)
        if key is None:
            continue
        if key.kid in found:
            raise ValueError("two keys with the same 'kid'")
        found[key.kid] = key
    return KeySet(found)


def _spiffe_bundle(keys: list[Mapping[str, Value]], trust_domain: TrustDomain) -> TrustBundle:
    # Entries without `kty`, or with a `use` that is not known, are left out as the standard says.
    known = [key for key in keys if isinstance(key.get("kty"), str)]
    token_keys, wit_keys = ([key for key in known if key.get("use") == use] for use in ("jwt-svid", "wit-svid"))
    if not all(key.get("kid") for key in (*token_keys, *wit_keys)):
        raise ValueError("a key with use 'jwt-svid' or 'wit-svid' has no 'kid'")
    authorities = (_x5c(key) for key in known if key.get("use") == "x509-svid")
    return TrustBundle(
        trust_domain,
        tuple(_authority(der, trust_domain) for der in authorities if der is not None),
        _key_set(token_keys),
        _key_set(wit_keys),
    )


def _x5c(jwk: Mapping[str, Value]) -> bytes | None:
    chain = jwk.get("x5c")
    if not isinstance(chain, list) or not chain:
        return None
    if not isinstance(chain[0], str):
        raise ValueError("'x5c' holds something else than text")  # noqa: TRY004 - a file's content, no argument's type
    return base64.b64decode(chain[0], validate=True)


def _pem_authorities(data: bytes, trust_domain: TrustDomain, settings: BundleSettings) -> tuple[x509.Certificate, ...]:
    if len(data) > settings.max_file_bytes:
        raise ValueError(f"larger than max_file_bytes ({settings.max_file_bytes})")
    if b"PRIVATE KEY" in data:
        raise ValueError("a private key: remove it from this file, and replace the key pair")
    certificates = x509.load_pem_x509_certificates(data)
    if len(certificates) > settings.max_keys:
        raise ValueError(f"more than max_keys ({settings.max_keys}) certificates")
    return tuple(_authority(certificate.public_bytes(Encoding.DER), trust_domain) for certificate in certificates)


def _authority(der: bytes, trust_domain: TrustDomain) -> x509.Certificate:
    certificate = load_certificate(der)
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        raise ValueError("a certificate that is not a CA's")
    names = extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if isinstance(names, x509.SubjectAlternativeName):
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
            # Loading one domain's bundle under the name of another would let it speak for that other.
            if uri.startswith("spiffe:") and parse_spiffe_id(uri) != SpiffeId(trust_domain):
                raise ValueError("a CA certificate whose SPIFFE ID is not that of the trust domain")
    return certificate


def _explain(error: ValueError | Refusal) -> str:
    return error.detail if isinstance(error, Refusal) else str(error)
