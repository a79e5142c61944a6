"""A closed-loop HTTP/2 client for unary gRPC, made to cost little: prebuilt frames out, frame headers parsed in.

A grpcio client tops out far below what the server does and would be what is measured. This one speaks just enough of
RFC 9113 and gRPC: one connection, `in_flight` calls open at all times, each answer checked for its first bytes.
"""

import socket
import ssl
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
HEAD = struct.Struct(">HBBBI")  # length (high 16, low 8), type, flags, stream
MAX_WINDOW = 2**31 - 1
METHOD = "/envoy.service.auth.v3.Authorization/Check"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


@dataclass
class Result:
    """Latencies in seconds, one a call, in the order of completion; how many calls were not answered as expected."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    wrong: int = 0


class Client:
    """One connection to one server."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        if address.startswith("unix:"):
            self.socket: socket.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address[5:])
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        # A static-only header block is the same for every stream, so it is encoded once.
        encoder = Encoder()
        encoder.header_table_size = 0
        self.block = encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", METHOD),
                (":authority", "authz"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("grpc-timeout", "5S"),
            ]
        )
        self.stream = 1
        self.window = 65535
        self.pending = bytearray()
        self.socket.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, MAX_WINDOW))
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_WINDOW - 65535))
        )

    def close(self) -> None:
        self.socket.close()

    def run(self, messages: list[bytes], *, in_flight: int, seconds: float, expect: bytes) -> Result:
        """Send `messages` in turn for `seconds`; a right answer's message starts with `expect`."""
        bodies = [b"\0" + struct.pack(">I", len(m)) + m for m in messages]
        clock = time.perf_counter
        sent_at: dict[int, float] = {}
        right: set[int] = set()
        result = Result(seconds=seconds)
        waiting: deque[bytes] = deque()
        begin = clock()
        end = begin + seconds
        turn = 0
        for _ in range(in_flight):
            waiting.append(bodies[turn % len(bodies)])
            turn += 1
        received = 0
        while waiting or sent_at:
            out = []
            while waiting and len(waiting[0]) <= self.window:
                body = waiting.popleft()
                self.window -= len(body)
                out += (
                    frame(HEADERS, END_HEADERS, self.stream, self.block),
                    frame(DATA, END_STREAM, self.stream, body),
                )
                sent_at[self.stream] = clock()
                self.stream += 2
            if out:
                self.socket.sendall(b"".join(out))
            chunk = self.socket.recv(1 << 18)
            if not chunk:
                raise ConnectionError("the server closed the connection")
            received += len(chunk)
            if received > 1 << 28:
                self.socket.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", received)))
                received = 0
            now = clock()
            for kind, flags, stream, payload in self._frames(chunk):
                if kind == DATA and payload[5:].startswith(expect):
                    right.add(stream)
                if kind in (DATA, HEADERS) and flags & END_STREAM:
                    result.latencies.append(now - sent_at.pop(stream))
                    if stream in right:
                        right.discard(stream)
                    else:
                        result.wrong += 1
                    if now < end:
                        waiting.append(bodies[turn % len(bodies)])
                        turn += 1
                elif kind == WINDOW_UPDATE and stream == 0:
                    self.window += struct.unpack(">I", payload)[0]
                elif kind == SETTINGS and not flags & ACK:
                    self.socket.sendall(frame(SETTINGS, ACK, 0))
                elif kind == PING and not flags & ACK:
                    self.socket.sendall(frame(PING, ACK, 0, payload))
                elif kind == RST_STREAM and stream not in sent_at:
                    pass  # NO_ERROR after a complete answer: the server has no more use for the stream
                elif kind in (GOAWAY, RST_STREAM):
                    raise ConnectionError(f"the server gave up: frame type {kind}, {payload!r}")
        result.seconds = clock() - begin
        return result

    def _frames(self, chunk: bytes) -> list[tuple[int, int, int, bytes]]:
        data = self.pending
        data += chunk
        frames = []
        at, size = 0, len(data)
        while size - at >= 9:
            high, low, kind, flags, stream = HEAD.unpack_from(data, at)
            length = high << 8 | low
            if size - at - 9 < length:
                break
            frames.append((kind, flags, stream, bytes(data[at + 9 : at + 9 + length])))
            at += 9 + length
        del data[:at]
        return frames
