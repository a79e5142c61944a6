"""A public key infrastructure for the demo and the tests, made on the spot: short-lived, thrown away afterwards.

    python envoy/pki.py DIRECTORY

Two trust domains with a root each, and X509-SVIDs (SPIFFE X509-SVID, section 4) for the proxy, the PDP and the demo's
workloads, good ones and deliberately bad ones. NAME.pem holds a certificate, NAME.key its private key (mode 0600). Not
for production: there, SPIRE or the mesh issues SVIDs and nothing stores a root key next to them.
"""

import ipaddress
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "demo.internal"
FOREIGN_TRUST_DOMAIN = "partner.example"
LIFETIME = timedelta(hours=1)
_BACKDATED = timedelta(minutes=1)  # what clocks of different machines may disagree by

EDGE = f"spiffe://{TRUST_DOMAIN}/ns/edge/sa/envoy"
PDP = f"spiffe://{TRUST_DOMAIN}/ns/authz/sa/pdp"
WORKLOADS = {
    "planner": f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/planner",
    "researcher": f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/researcher",
    "payer": f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/payer",
    "crawler": f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/crawler",
    "billing": f"spiffe://{TRUST_DOMAIN}/ns/payments/sa/billing",
    "stranger": f"spiffe://{TRUST_DOMAIN}/ns/lab/sa/stranger",
    "doctor": f"spiffe://{TRUST_DOMAIN}/ns/authz/sa/doctor",
}
"""Names that make() gives a valid SVID of the demo's own trust domain. No policy knows `stranger`."""

_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Svid:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str) -> None:
        """Write NAME.pem and NAME.key."""
        _write(directory / f"{name}.pem", self.certificate, 0o644)
        _write(directory / f"{name}.key", self.key, 0o600)


class Authority:
    """The signing authority of one trust domain."""

    def __init__(self, trust_domain: str, now: datetime, lifetime: timedelta = LIFETIME) -> None:
        """Make its key and self-signed root."""
        self._now = now
        self._lifetime = lifetime
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(trust_domain, "root")
        root = _builder(self._subject, self._subject, self._key, now - _BACKDATED, now + lifetime)
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        root = root.add_extension(_SIGNS_CERTIFICATES, critical=True)
        # X509-SVID section 4.1: a signing certificate's own SPIFFE ID has no path.
        own_id = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")])
        root = root.add_extension(own_id, critical=False)
        self._root = root.sign(self._key, hashes.SHA256())

    @property
    def root(self) -> bytes:
        """The root certificate, PEM: the trust bundle."""
        return self._root.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, *uris: str, server: bool = False, not_before: datetime | None = None, not_after: datetime | None = None
    ) -> Svid:
        """Issue a leaf with these URI SANs; exactly one makes it a valid SVID.

        `server`: also name localhost, so that ordinary TLS clients of the demo accept it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        if server:
            names += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        leaf = _builder(
            _name("demo", "workload"),
            self._subject,
            key,
            not_before or self._now - _BACKDATED,
            not_after or self._now - _BACKDATED + self._lifetime,
        )
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        leaf = leaf.add_extension(_DIGITAL_SIGNATURE, critical=True)
        leaf = leaf.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        leaf = leaf.add_extension(issuer_key, critical=False)
        return Svid(
            leaf.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )


def make(directory: Path, now: datetime | None = None) -> None:
    """Fill `directory` with the whole demo PKI.

    ca.pem, foreign-ca.pem: the two trust bundles; edge, pdp: the servers; one pair for each of WORKLOADS; and the bad
    ones: foreign (a valid SVID of another trust domain), impostor (the other domain's root signed an identity of this
    one), two-uris (two URI SANs: no SVID at all), expired.
    """
    now = now or datetime.now(UTC)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = Authority(TRUST_DOMAIN, now)
    abroad = Authority(FOREIGN_TRUST_DOMAIN, now)
    _write(directory / "ca.pem", home.root, 0o644)
    _write(directory / "foreign-ca.pem", abroad.root, 0o644)
    home.issue(EDGE, server=True).write(directory, "edge")
    home.issue(PDP, server=True).write(directory, "pdp")
    for name, identity in WORKLOADS.items():
        home.issue(identity).write(directory, name)
    abroad.issue(f"spiffe://{FOREIGN_TRUST_DOMAIN}/ns/agents/sa/planner").write(directory, "foreign")
    abroad.issue(WORKLOADS["billing"]).write(directory, "impostor")
    home.issue(WORKLOADS["planner"], WORKLOADS["billing"]).write(directory, "two-uris")
    yesterday = now - timedelta(days=1)
    home.issue(WORKLOADS["planner"], not_before=yesterday, not_after=yesterday + LIFETIME).write(directory, "expired")


def _name(organization: str, common_name: str) -> x509.Name:
    # The subject says nothing about who: identity is the URI SAN alone.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    # A fresh file, with its final mode from the first byte on: a key is at no moment readable by others.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def main(arguments: Sequence[str]) -> int:
    """Make the PKI in the directory that the command line names."""
    if len(arguments) != 1:
        print("usage: python envoy/pki.py DIRECTORY", file=sys.stderr)
        return 2
    make(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
