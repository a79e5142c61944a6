"""One HTTP/2 connection, made to cost little: prebuilt frames out, frame headers parsed in, every answer looked at.

A grpcio client tops out far below what the server does; here several hundred nanoseconds of Python a frame are all.
"""

import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from bench.frames import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    GRPC_PREFIX,
    HEAD,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    VERDICT_BYTES,
    WINDOW_UPDATE,
    Card,
    call_headers,
    frame,
    headers_frame,
    http_status,
    quick_verdict,
    settings_of,
    verdict,
)

ANSWER_SECONDS = 15.0
"""Longest wait for any answer; after that the server counts as hung."""
REFUSED_STREAM = (7).to_bytes(4, "big")
_RECEIVE = 1 << 18
_REFILL = 1 << 27

Dealt: TypeAlias = tuple[Card, bytes, bytes]
"""A card, its request id and its resource id."""


class WrongAnswer(Exception):
    """A server did not answer as it must."""


class Connection:
    """One connection; what is sent is queued in `out` until `flush`."""

    def __init__(
        self, address: str, tls: ssl.SSLContext | None, on_answer: Callable[[float, int, int], None], *, grpc: bool
    ) -> None:
        """`on_answer` is told (seconds, expected, got) of every call. `grpc`: Check calls, not GETs."""
        self.now = 0.0
        self.socket: socket.socket = _connect(address, tls)
        self.socket.setblocking(False)
        self._encrypted = tls is not None
        self._on_answer = on_answer
        self._blocks = [headers_frame(block) for block in call_headers()]
        self._stream = 1
        self._window = 65535
        self._received = 0
        self._pending = b""
        self._codes: dict[int, int] = {}
        self._partial: dict[int, bytes] = {}
        self._verdicts: dict[bytes, int] = {}
        self._grpc = grpc
        self._held: deque[tuple[Dealt, float]] = deque()
        self._started: dict[int, tuple[Dealt, float]] = {}
        self.leaving = False
        """The server has asked us to connect anew; what is under way is still answered."""
        self.refused: list[tuple[Dealt, float]] = []
        """Calls that it did not take, to be made on another connection."""
        self.out = bytearray(
            PREFACE
            # Of a GET the status is read, which is easy where the proxy may not use a table for its headers.
            + frame(
                SETTINGS,
                0,
                0,
                struct.pack(">HIHI", HEADER_TABLE_SIZE, 4096 if grpc else 0, INITIAL_WINDOW_SIZE, MAX_WINDOW),
            )
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_WINDOW - 65535))
        )

    @property
    def open(self) -> int:
        """Calls without an answer."""
        return len(self._started) + len(self._held)

    def issue(self, dealt: Dealt, start: float) -> None:
        """Send a call, or keep it until the window allows; its latency counts from `start`."""
        if self._held or dealt[0].body_bytes > self._window:
            self._held.append((dealt, start))
        else:
            self._send(dealt, start)

    def _send(self, dealt: Dealt, start: float) -> None:
        card, request, resource = dealt
        stream = self._stream
        self._stream = stream + 2
        four = stream.to_bytes(4, "big")
        if card.body_bytes:
            self._window -= card.body_bytes
            before, after = self._blocks[0] if stream == 1 else self._blocks[1]
            self.out += b"".join((before, four, after, card.render((four, request, resource))))
        else:
            self.out += card.render((four, request, resource))
        self._started[stream] = (dealt, start)

    def flush(self) -> None:
        """Send as much as the kernel takes."""
        out = self.out
        while out:
            try:
                # A copy only of what may remain; the usual case is that everything goes at once.
                sent = self.socket.send(out if len(out) <= 1 << 16 else bytes(out[: 1 << 16]))
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            if sent == len(out):
                out.clear()
                return
            del out[:sent]

    def receive(self) -> None:
        """Read what is there, and tell of every answer in it."""
        while True:
            try:
                chunk = self.socket.recv(_RECEIVE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not chunk and self.leaving and not self._started:
                return
            if not chunk:
                raise WrongAnswer("the server closed the connection")
            self.now = time.perf_counter()
            self._received += len(chunk)
            if self._received > _REFILL:
                self.out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received))
                self._received = 0
            self._feed(chunk)
            if not self._encrypted and len(chunk) < _RECEIVE:
                return

    def _feed(self, chunk: bytes) -> None:
        data = self._pending + chunk if self._pending else chunk
        at, size, unpack = 0, len(data), HEAD.unpack_from
        while size - at >= 9:
            high, low, kind, flags, stream = unpack(data, at)
            begin = at + 9
            end = begin + (high << 16 | low)
            if end > size:
                break
            if kind == DATA:
                if not self._grpc:
                    pass  # the body of a GET's answer is of no interest
                elif end - begin >= GRPC_PREFIX + VERDICT_BYTES and stream not in self._partial:
                    code = self._verdicts.get(data[begin + GRPC_PREFIX : begin + GRPC_PREFIX + VERDICT_BYTES])
                    self._codes[stream] = self._judge(data[begin + GRPC_PREFIX : end]) if code is None else code
                elif end > begin and stream in self._started:
                    self._collect(stream, data[begin:end])
                if flags & END_STREAM:
                    self._answered(stream)
            elif kind == HEADERS:
                if not self._grpc and stream in self._started and stream not in self._codes:
                    self._codes[stream] = http_status(data[begin : min(end, begin + 8)])
                if flags & END_STREAM:
                    self._answered(stream)
            else:
                self._control(kind, flags, stream, data[begin:end])
            at = end
        self._pending = data[at:]

    def _judge(self, message: bytes) -> int:
        head = message[:VERDICT_BYTES]
        code = quick_verdict(head)
        if code is None:
            return verdict(message)
        if len(self._verdicts) < 4096:
            self._verdicts[head] = code
        return code

    def _collect(self, stream: int, payload: bytes) -> None:
        """An answer in pieces, or one too short for the fast way."""
        body = self._partial.get(stream, b"") + payload
        self._partial[stream] = body
        if len(body) >= GRPC_PREFIX and len(body) == GRPC_PREFIX + int.from_bytes(body[1:GRPC_PREFIX], "big"):
            del self._partial[stream]
            self._codes[stream] = verdict(body[GRPC_PREFIX:])

    def _answered(self, stream: int) -> None:
        started = self._started.pop(stream, None)
        if started is not None:
            self._on_answer(self.now - started[1], started[0][0].expect, self._codes.pop(stream, -2))

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            if stream == 0:
                self._window += struct.unpack(">I", payload)[0]
                while self._held and self._held[0][0][0].body_bytes <= self._window:
                    self._send(*self._held.popleft())
        elif kind == SETTINGS and not flags & ACK:
            told = settings_of(payload)
            if min(told.get(INITIAL_WINDOW_SIZE, 65535), told.get(MAX_FRAME_SIZE, 16384)) < 16384:
                raise WrongAnswer("the server takes smaller messages than the benchmark sends")
            self.out += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.out += frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            last, code = struct.unpack_from(">II", payload)
            if code:
                raise WrongAnswer(f"the server gave the connection up: {payload[:200]!r}")
            self.leaving = True
            self.refused += [self._started.pop(one) for one in list(self._started) if one > last]
            self.refused += self._held
            self._held.clear()
        elif kind == RST_STREAM and stream in self._started:
            if not self.leaving or payload != REFUSED_STREAM:
                raise WrongAnswer(f"the server gave a call up: {payload!r}")
            self.refused.append(self._started.pop(stream))

    def close(self) -> None:
        """End it."""
        self.socket.close()


def _connect(address: str, tls: ssl.SSLContext | None) -> socket.socket:
    if address.startswith("unix:"):
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(ANSWER_SECONDS)
        local.connect(address[5:])
        return local
    host, _, port = address.rpartition(":")
    connected = socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return connected
    encrypted = tls.wrap_socket(connected, server_hostname="localhost")
    if encrypted.selected_alpn_protocol() != "h2":
        raise WrongAnswer("the server does not speak HTTP/2 over TLS")
    return encrypted
