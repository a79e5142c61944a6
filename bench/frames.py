"""Just enough of HTTP/2 (RFC 9113) and gRPC to send unary calls fast: frames out, frames in, verdicts.

A request is cut at its placeholders once; a call is then one `bytes.join` with what differs: stream, request id, and
resource id. Placeholders have a fixed width, so that every length in the message stays right.
"""

import re
import struct
from dataclasses import dataclass
from functools import lru_cache

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from hpack import Encoder
from hpack.huffman_table import decode_huffman

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 4, 5
HEAD = struct.Struct(">BHBBI")
"""Length (8 bits, 16 bits), type, flags, stream."""
MAX_WINDOW = 2**31 - 1
METHOD = "/envoy.service.auth.v3.Authorization/Check"
GRPC_PREFIX = 5
VERDICT_BYTES = 8
"""So much of a CheckResponse tells its status code, unless a server writes its fields in an odd order."""

REQUEST_SLOT = b"RRRRRRRRRRRR"
"""In a message: 12 characters of the request's id, another one in every call."""
ID_SLOT = b"IIIIIIII"
"""In a message: 8 digits that name a resource."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def call_headers(timeout: str = "5S") -> tuple[bytes, bytes]:
    """The header blocks of Check calls on a connection, first and later: later ones are indices only, as from Envoy."""
    encoder = Encoder()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", METHOD),
        (":authority", "authz"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", timeout),
    ]
    first, later, again = (encoder.encode(headers) for _ in range(3))
    if later != again:
        raise AssertionError("the later header block is not a constant")
    return first, later


def get_headers(authority: str, path: str) -> bytes:
    """The header block of a GET, without the dynamic table; the path may hold ID_SLOT."""
    encoder = Encoder()
    encoder.header_table_size = 0
    headers = [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", authority)]
    return encoder.encode(headers, huffman=False)


@dataclass(frozen=True, slots=True)
class Card:
    """One request, ready but for its stream and ids."""

    parts: tuple[bytes, ...]
    slots: tuple[int, ...]
    """What stands between the parts: 0 the stream, 1 the request's id, 2 the resource's id."""
    body_bytes: int
    """What it takes of the flow-control windows; 0: a GET, whose parts hold its header block too."""
    expect: int
    """The right answer: a google.rpc.Code of the CheckResponse, or an HTTP status."""

    def render(self, values: tuple[bytes, bytes, bytes]) -> bytes:
        """The frames of one call, from its stream (4 bytes), its request id and its resource id."""
        out = [self.parts[0]]
        for slot, part in zip(self.slots, self.parts[1:], strict=True):
            out += (values[slot], part)
        return b"".join(out)


_STREAM_SLOT = b"\0STREAM\0STREAM\0"


def check_card(message: bytes, expect: int) -> Card:
    """The DATA frame of a Check call with this CheckRequest, which may hold placeholders."""
    body = b"\0" + struct.pack(">I", len(message)) + message
    return _card(_open_frame(DATA, END_STREAM, body), len(body), expect)


def get_card(authority: str, path: str, expect: int) -> Card:
    """A GET through a proxy: its HEADERS frame."""
    return _card(_open_frame(HEADERS, END_HEADERS | END_STREAM, get_headers(authority, path)), 0, expect)


def headers_frame(block: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the stream in a HEADERS frame that a DATA frame follows."""
    return frame(HEADERS, END_HEADERS, 0, block)[:5], block


def _open_frame(kind: int, flags: int, payload: bytes) -> bytes:
    return frame(kind, flags, 0, payload)[:5] + _STREAM_SLOT + payload


def _card(template: bytes, body_bytes: int, expect: int) -> Card:
    marks = (_STREAM_SLOT, REQUEST_SLOT, ID_SLOT)
    pieces = re.split(b"(" + b"|".join(re.escape(mark) for mark in marks) + b")", template)
    return Card(
        parts=tuple(pieces[::2]),
        slots=tuple(marks.index(mark) for mark in pieces[1::2]),
        body_bytes=body_bytes,
        expect=expect,
    )


def settings_of(payload: bytes) -> dict[int, int]:
    """What a SETTINGS frame says."""
    return dict(struct.iter_unpack(">HI", payload))


def verdict(message: bytes) -> int:
    """The status code of a CheckResponse; -1: it has no status (which Envoy would take for an allow)."""
    response = CheckResponse.FromString(message)
    return int(response.status.code) if response.HasField("status") else -1


def quick_verdict(head: bytes) -> int | None:
    """The same from the first VERDICT_BYTES, where they tell: status { code } or a whole status without a code."""
    if len(head) < 2 or head[0] != 0x0A or head[1] > 0x7F:
        return None
    size = head[1]
    if len(head) >= 4 and size >= 2 and head[2] == 0x08 and head[3] < 0x80:
        return head[3]
    if size + 2 <= len(head) and (size == 0 or (head[2] == 0x12 and head[3] + 2 == size)):
        return 0
    return None


@lru_cache(maxsize=4096)
def http_status(start: bytes) -> int:
    """The `:status` at the start of a header block that was made without a dynamic table; 0: it is not there."""
    at = 0
    while at < len(start) and start[at] & 0xE0 == 0x20:  # table size update
        at += 1
    if at >= len(start):
        return 0
    first = start[at]
    if 0x88 <= first <= 0x8E:
        return (200, 204, 206, 304, 400, 404, 500)[first - 0x88]
    if first in (0x08, 0x18, 0x48) and at + 1 < len(start):
        length, huffman = start[at + 1] & 0x7F, start[at + 1] & 0x80
        value = start[at + 2 : at + 2 + length]
        text = decode_huffman(value) if huffman else value
        return int(text) if text.isdigit() else 0
    return 0
