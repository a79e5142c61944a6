"""Makes certificates, keys and tokens for the identity tests: honest ones, and each with one thing wrong."""

import base64
import dataclasses
import json
from datetime import UTC, datetime
from urllib.parse import quote

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from authz.identity.bundles import TrustBundle
from authz.jose.jwk import KeySet, parse_verification_key
from authz.spiffe import TrustDomain

NOW = 1_790_000_000.0
HOUR = 3_600.0
TD = TrustDomain("prod.example")
PARTNER = TrustDomain("partner.example")
PLANNER = "spiffe://prod.example/ns/agents/sa/planner"
LEDGER = "spiffe://prod.example/ns/pay/sa/ledger"
ADMIN = "spiffe://prod.example/ns/agents/sa/admin"
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def key_usage(*bits):
    return x509.KeyUsage(**dict.fromkeys(USAGES, False) | dict.fromkeys(bits, True))


@dataclasses.dataclass
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(self, **changes):
        return certificate(issuer=self, **changes)

    def bundle(self, domain=TD, keys=None):
        return TrustBundle(domain, (self.certificate,), keys or KeySet())


def certificate(
    issuer=None,
    subject="planner",
    *,
    uris=(PLANNER,),
    dns=(),
    key=None,
    not_before=NOW - HOUR,
    not_after=NOW + HOUR,
    ca=False,
    path_length=None,
    constraints=True,
    usage=("digital_signature", "key_agreement"),
    usage_critical=True,
    purposes=(CLIENT, SERVER),
    san_critical=None,
    extra=(),
    signed_by=None,
):
    """A certificate; the defaults give an honest X509-SVID. `issuer` None: self-signed."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
    )
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if usage is not None:
        builder = builder.add_extension(key_usage(*usage), critical=usage_critical)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
    if names:
        critical = not subject if san_critical is None else san_critical
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signed_by or (issuer.key if issuer else key), hashes.SHA256())


def authority(subject="root", issuer=None, uris=("spiffe://prod.example",), **changes):
    key = ec.generate_private_key(ec.SECP256R1())
    made = certificate(
        issuer,
        subject,
        uris=uris,
        key=key,
        **{
            "ca": True,
            "usage": ("key_cert_sign", "crl_sign"),
            "purposes": (),
            "not_before": NOW - 24 * HOUR,
            "not_after": NOW + 24 * HOUR,
            "extra": ((x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),),
            **changes,
        },
    )
    return Authority(made, key)


def pem(*certificates):
    return b"".join(made.public_bytes(Encoding.PEM) for made in certificates).decode()


def url_pem(*certificates):
    """As Envoy writes it: everything but unreserved characters escaped."""
    return quote(pem(*certificates), safe="")


def der(made):
    return made.public_bytes(Encoding.DER)


def fingerprint(made):
    return made.fingerprint(hashes.SHA256()).hex()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC384_KEY = ec.generate_private_key(ec.SECP384R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def jwk(private_key, **members):
    algorithm = (
        jwt.algorithms.RSAAlgorithm if isinstance(private_key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    )
    document = algorithm.to_jwk(private_key.public_key(), as_dict=True)
    document.pop("key_ops", None)
    return {**document, "kid": "k1", **members}


def key_set(*jwks):
    keys = [parse_verification_key(document) for document in jwks]
    return KeySet({key.kid: key for key in keys})


def token(claims, key=EC_KEY, alg="ES256", **header):
    """A token signed as asked; a header or claim set to None is left out."""
    header = {"alg": alg, "typ": "JWT", "kid": "k1", **header}
    return sign(
        json.dumps({name: value for name, value in header.items() if value is not None}),
        json.dumps({name: value for name, value in claims.items() if value is not None}),
        key,
        alg,
    )


def sign(header, claims, key=EC_KEY, alg="ES256"):
    """A token over the very texts given, so that they may be anything."""
    signed = f"{b64(header.encode())}.{b64(claims.encode())}"
    algorithm = jwt.get_algorithm_by_name(alg)
    return f"{signed}.{b64(algorithm.sign(signed.encode(), key))}"


def svid_claims(**changes):
    return {"sub": PLANNER, "aud": ["ledger"], "exp": NOW + 300, "iat": NOW - 10, **changes}
