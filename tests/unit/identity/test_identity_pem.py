"""Certificates out of URL-encoded PEM: exactly the blocks that are expected."""

import itertools
from urllib.parse import quote

import identity_pki as pki
import pytest

from authz.errors import Reason, Refusal
from authz.identity.pem import decode_certificates, decode_percent

MADE = pki.certificate()
PEM = pki.pem(MADE)
DER = pki.der(MADE)


def decode(pem, max_bytes=16_384, max_blocks=1, safe=""):
    return decode_certificates(quote(pem, safe=safe), max_bytes, max_blocks)


def test_one_certificate_as_envoy_writes_it():
    assert decode(PEM) == (DER,)


def test_a_plus_that_is_not_escaped_stays_a_plus():
    """Form decoding turns it into a blank, and every other certificate into garbage."""
    with_plus = next(text for text in iter(lambda: pki.pem(pki.certificate()), None) if "+" in text)
    assert decode(with_plus, safe="+/=") == decode(with_plus)


@pytest.mark.parametrize("pem", [PEM.replace("\n", "\r\n"), PEM.rstrip("\n")], ids=itertools.count())
def test_line_ends_may_vary(pem):
    assert decode(pem) == (DER,)


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "x",
        PEM + PEM,
        PEM + "x",
        "x\n" + PEM,
        "\n" + PEM,
        PEM + "\n",
        PEM.replace("CERTIFICATE", "X509 CERTIFICATE"),
        PEM.replace("CERTIFICATE", "PUBLIC KEY"),
        PEM.replace("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY"),
        PEM.replace("\nMI", "\nMI!"),
        PEM.replace("\nMI", "\nProc-Type: 4,ENCRYPTED\n\nMI"),
        PEM.replace("\nMI", "\nAA==\nMI"),
        PEM.replace("\nMI", "\n M"),
        PEM.replace("+", " ") + " ",
        PEM.replace("-----END CERTIFICATE-----\n", ""),
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        PEM.replace("\nMI", "\nM\0"),
        PEM.replace("\nMI", "\nMÿ"),
        PEM.replace("\nMI", "\nM"),
    ],
    ids=itertools.count(),
)
def test_anything_but_exactly_one_block_is_refused(pem):
    with pytest.raises(Refusal) as caught:
        decode(pem)
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


@pytest.mark.parametrize("text", ["%", "-----BEGIN%2", "%GG", PEM, "\u2028"], ids=itertools.count())
def test_broken_url_encoding_is_refused(text):
    with pytest.raises(Refusal) as caught:
        decode_certificates(text, 16_384, 1)
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


def test_the_size_limit_is_exact():
    size = len(quote(PEM, safe=""))
    assert decode(PEM, max_bytes=size)
    with pytest.raises(Refusal) as caught:
        decode(PEM, max_bytes=size - 1)
    assert caught.value.reason is Reason.CERTIFICATE_TOO_LARGE


def test_a_chain_may_have_as_many_blocks_as_allowed():
    assert decode(PEM * 3, max_blocks=3) == (DER,) * 3
    with pytest.raises(Refusal):
        decode(PEM * 3, max_blocks=2)


def test_a_plus_stays_a_plus_and_escapes_may_be_in_either_case():
    assert decode_percent("a+b%2b%2B%0A%00%ff") == b"a+b++\n\0\xff"


@pytest.mark.parametrize("text", ["%", "%2", "%zz", "%%41", "% 1", "a\nb", "é", "%u0041", "a%", "\x7f"])
def test_broken_escapes_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        decode_percent(text)
