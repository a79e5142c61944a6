"""gRPC's framing of one message over HTTP/2: pure functions on bytes.

Source: grpc/doc/PROTOCOL-HTTP2.md (Length-Prefixed-Message, Timeout, Message-Encoding).
"""

import re
import struct
import zlib
from functools import lru_cache
from typing import Final

from authz.errors import Reason, Refusal

PREFIX_BYTES: Final = 5
"""One byte that says whether the message is compressed, four of its length."""
ENCODINGS: Final = frozenset({b"identity", b"gzip"})
"""The message encodings that are understood."""

_PREFIX: Final = struct.Struct(">BI")
_COMPRESSED: Final = 1
_GZIP_ONLY: Final = 16 + zlib.MAX_WBITS
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@lru_cache(maxsize=1024)
def parse_timeout(value: bytes) -> float:
    """Answer the seconds that a `grpc-timeout` header names.

    Raises:
        Refusal: REQUEST_MALFORMED.

    Cost: Envoy always names the same few, so they are remembered.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise Refusal(Reason.REQUEST_MALFORMED, "grpc-timeout is not a number of at most 8 digits and a unit")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def frame(message: bytes) -> bytes:
    """Put the prefix of an uncompressed message before it."""
    return len(message).to_bytes(PREFIX_BYTES, "big") + message


def declared_bytes(body: bytes | bytearray) -> int:
    """Answer the length in the prefix that `body` begins with; `body` holds at least the prefix."""
    return int.from_bytes(body[1:PREFIX_BYTES], "big")


def unframe(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Answer the one message of a request body, decompressed.

    Raises:
        Refusal: REQUEST_MALFORMED when it is not exactly one whole message, REQUEST_TOO_LARGE over `max_bytes`.
    """
    size = len(body) - PREFIX_BYTES
    if size < 0:
        raise Refusal(Reason.REQUEST_MALFORMED, "no message" if not body else "the message's prefix is cut")
    flag, length = _PREFIX.unpack_from(body)
    if not flag and length == size <= max_bytes:
        return body[PREFIX_BYTES:]
    if length > max_bytes:
        raise Refusal(Reason.REQUEST_TOO_LARGE, f"a message of {length} bytes, at most {max_bytes} allowed")
    if length != size:
        raise Refusal(Reason.REQUEST_MALFORMED, "the message is cut" if size < length else "more than one message")
    if flag != _COMPRESSED or encoding != b"gzip":
        raise Refusal(Reason.REQUEST_MALFORMED, f"compression flag {flag} does not fit the message's encoding")
    return inflate(body[PREFIX_BYTES:], max_bytes)


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Decompress exactly one gzip member, never making more than `max_bytes` (a small message can hold gigabytes).

    Raises:
        Refusal: REQUEST_MALFORMED or REQUEST_TOO_LARGE.
    """
    stream = zlib.decompressobj(wbits=_GZIP_ONLY)
    try:
        message = stream.decompress(data, max_bytes + 1)
    except zlib.error:
        raise Refusal(Reason.REQUEST_MALFORMED, "the compressed message is not gzip") from None
    if len(message) > max_bytes:
        raise Refusal(Reason.REQUEST_TOO_LARGE, f"decompresses to more than {max_bytes} bytes")
    if not stream.eof or stream.unused_data:
        raise Refusal(Reason.REQUEST_MALFORMED, "the compressed message is not one whole gzip member")
    return message
