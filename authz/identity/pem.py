"""Certificates out of the URL-encoded PEM in which Envoy hands them on.

Strict where common decoders guess: the first or last of several blocks, text around them, foreign characters in base64.
"""

import base64
import re

from authz.errors import Reason, Refusal

_BLOCK = r"-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/]{1,76}={0,2}\r?\n)+)-----END CERTIFICATE-----(?:\r?\n|\Z)"
_ONE = re.compile(_BLOCK)
_SOME = re.compile(f"(?:{_BLOCK})+")
_PERCENT_ESCAPED = re.compile(r"(?:[\x20-\x24\x26-\x7e]|%[0-9A-Fa-f]{2})*")


def decode_certificates(text: str, max_bytes: int, max_blocks: int) -> tuple[bytes, ...]:
    """The DER of each certificate in URL-encoded PEM: 1 to `max_blocks` blocks of type CERTIFICATE and nothing else.

    Raises:
        Refusal: CERTIFICATE_TOO_LARGE (over `max_bytes` as encoded) or CERTIFICATE_MALFORMED.
    """
    if len(text) > max_bytes:
        raise Refusal(Reason.CERTIFICATE_TOO_LARGE, "certificate text longer than allowed")
    try:
        # Latin-1 maps every byte to a character; those beyond ASCII then fail the pattern.
        pem = decode_percent(text).decode("latin-1")
    except ValueError as error:
        raise Refusal(Reason.CERTIFICATE_MALFORMED, str(error)) from None
    if _SOME.fullmatch(pem) is None:
        raise Refusal(Reason.CERTIFICATE_MALFORMED, "not PEM blocks of type CERTIFICATE alone")
    bodies = ["".join(match[1].split()) for match in _ONE.finditer(pem)]
    if len(bodies) > max_blocks:
        raise Refusal(Reason.CERTIFICATE_MALFORMED, "more certificates than expected")
    try:
        return tuple(base64.b64decode(body, validate=True) for body in bodies)
    except ValueError:
        raise Refusal(Reason.CERTIFICATE_MALFORMED, "not base64 in PEM") from None


def decode_percent(text: str) -> bytes:
    """The bytes that printable ASCII with %XX escapes spells; "+" is itself, as in base64.

    Reading "+" as a blank, as form decoders do, breaks every certificate that contains one.
    """
    if _PERCENT_ESCAPED.fullmatch(text) is None:
        raise ValueError("not printable ASCII with %XX escapes")
    first, *escaped = text.split("%")
    return first.encode("ascii") + b"".join(bytes.fromhex(part[:2]) + part[2:].encode("ascii") for part in escaped)
