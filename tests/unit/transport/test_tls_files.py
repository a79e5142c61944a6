"""The TLS files, read and checked as a whole."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from transport_kit import Pki

from authz.errors import ConfigError
from authz.transport.tls import read_material


@pytest.fixture
def pki(tmp_path) -> Pki:
    return Pki(tmp_path)


def problem(pki: Pki, **changes: object) -> str:
    with pytest.raises(ConfigError) as raised:
        read_material(pki.settings(**changes), time.time())
    return str(raised.value)


def test_good_files_are_read_and_known_by_their_leaf(pki, tmp_path):
    material = read_material(pki.settings(), time.time())
    assert material.certificate == (tmp_path / "tls.crt").read_bytes()
    assert len(material.fingerprint) == 64
    assert material.not_after > time.time()
    assert read_material(pki.settings(), time.time()) == material


def test_a_chain_behind_the_leaf_is_fine(pki, tmp_path):
    chain = (tmp_path / "tls.crt").read_bytes() + pki.authority.pem
    (tmp_path / "tls.crt").write_bytes(chain)
    assert read_material(pki.settings(), time.time()).certificate == chain


def test_material_does_not_show_its_key(pki, tmp_path):
    material = read_material(pki.settings(), time.time())
    shown = f"{material!r} {material}"
    assert "PRIVATE" not in shown
    assert (tmp_path / "tls.key").read_text().splitlines()[1] not in shown


@pytest.mark.parametrize("field", ["certificate", "key", "client_ca"])
class TestEachFile:
    def test_absent(self, pki, tmp_path, field):
        assert f"server.tls.{field}: {tmp_path}/absent: No such file" in problem(pki, **{field: f"{tmp_path}/absent"})

    def test_a_directory(self, pki, tmp_path, field):
        assert f"server.tls.{field}: {tmp_path}: Is a directory" in problem(pki, **{field: str(tmp_path)})

    def test_empty_or_garbage(self, pki, tmp_path, field):
        for content in (b"", b"\xff\0\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            (tmp_path / "bad").write_bytes(content)
            assert problem(pki, **{field: f"{tmp_path}/bad"}).startswith(f"server.tls.{field}: {tmp_path}/bad: ")

    def test_too_large(self, pki, tmp_path, field):
        (tmp_path / "large").write_bytes(b"x" * 10_001)
        assert "max_file_bytes (10000)" in problem(pki, **{field: f"{tmp_path}/large", "max_file_bytes": 10_000})


def test_a_key_and_its_passphrase_are_not_taken(pki, tmp_path):
    key = load_pem_private_key((tmp_path / "tls.key").read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "tls.key").write_bytes(encrypted)
    assert "not an unencrypted PEM private key" in problem(pki)


@pytest.mark.parametrize(
    "make",
    [lambda: ec.generate_private_key(ec.SECP256R1()), lambda: rsa.generate_private_key(65537, 2048)],
    ids=["same kind", "other kind"],
)
def test_another_certificates_key_is_refused(pki, tmp_path, make):
    pem = make().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "tls.key").write_bytes(pem)
    message = problem(pki)
    assert "not the key of the certificate" in message
    assert pem.decode().splitlines()[1] not in message


@pytest.mark.parametrize("offset", [-7200, 7200])
def test_a_certificate_outside_its_time_is_refused(pki, offset):
    with pytest.raises(ConfigError, match="so not now"):
        read_material(pki.settings(), time.time() + offset)
