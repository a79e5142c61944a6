"""What calls through Envoy: HTTP/1.1 as raw bytes, HTTP/2, gRPC, WebSocket and plain TCP, each over mutual TLS."""

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

HOST = "localhost"
_TIMEOUT_SECONDS = 30.0
_CHUNK = 65536
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class HandshakeRefused(Exception):
    """The server ended the TLS handshake, or the connection right after it, for the client certificate's sake."""


class StreamRefused(Exception):
    """The server reset the HTTP/2 stream, or closed the connection, without a response."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> dict:
        return json.loads(self.body)

    def upstream_got(self, name: str) -> list[str]:
        """The values under a header name that the echo service behind Envoy got."""
        return [value for key, value in self.json()["headers"] if key == name]

    @property
    def request_id(self) -> str:
        """Of Envoy: it names it in every response."""
        return self.header("x-request-id") or ""


class Caller:
    """A workload with its certificate (None: it has none), in front of one listener."""

    def __init__(self, pki: Path, name: str | None, port: int) -> None:
        self._pki = pki
        self._name = name
        self._port = port

    def send(self, request: bytes) -> Answer:
        """One HTTP/1.1 request, byte for byte."""
        with self._connect(["http/1.1"]) as tls:
            return _exchange(tls, request)

    def get(
        self, target: str, headers: Sequence[tuple[str, str]] = (), method: str = "GET", body: bytes = b""
    ) -> Answer:
        """One HTTP/1.1 request, written plainly."""
        lines = [f"{method} {target} HTTP/1.1", f"host: {HOST}:{self._port}", *(f"{n}: {v}" for n, v in headers)]
        if body:
            lines.append(f"content-length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def post(self, target: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> Answer:
        return self.get(target, headers, "POST", body)

    def h2(
        self, target: bytes, headers: Sequence[tuple[bytes, bytes]] = (), method: bytes = b"GET", body: bytes = b""
    ) -> Answer:
        """One HTTP/2 request; header bytes go out as they are, valid or not."""
        with self._connect(["h2"]) as tls:
            assert tls.selected_alpn_protocol() == "h2"
            pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", HOST.encode()), (b":path", target)]
            return _exchange_h2(tls, [*pseudo, *headers], body)

    def grpc(self, method: str, message: bytes = b"", metadata: Sequence[tuple[str, str]] = ()) -> bytes:
        """One unary gRPC call of raw bytes; raises grpc.RpcError."""
        files = (self._pki / "ca.pem", self._pki / f"{self._name}.key", self._pki / f"{self._name}.pem")
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        with grpc.secure_channel(f"{HOST}:{self._port}", credentials) as channel:
            return channel.unary_unary(method)(message, timeout=_TIMEOUT_SECONDS, metadata=tuple(metadata))

    def websocket(self, target: str, text: str) -> str | Answer:
        """Upgrade, say something, answer what comes back; or the answer that refused the upgrade."""
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {target} HTTP/1.1\r\nhost: {HOST}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
        )
        with self._connect(["http/1.1"]) as tls:
            head = _start(tls, request.encode())
            if not head.startswith(b"HTTP/1.1 101"):
                return _rest(tls, head)
            accept = base64.b64encode(hashlib.sha1((key + _WEBSOCKET_GUID).encode()).digest())
            while b"\r\n\r\n" not in head:
                head += tls.recv(_CHUNK)
            head, _, early = head.partition(b"\r\n\r\n")
            assert accept in head
            tls.sendall(_masked(text.encode()))
            return _frame(tls, early).decode()

    def tcp(self, data: bytes) -> bytes:
        """What comes back on a plain connection until its end; nothing when it is closed at once."""
        with self._connect([]) as tls:
            received = bytearray()
            try:
                tls.sendall(data)
                while chunk := tls.recv(_CHUNK):
                    received += chunk
            except (ConnectionError, ssl.SSLEOFError):
                pass  # a denied connection may end before what we wrote was read
            return bytes(received)

    @contextmanager
    def _connect(self, protocols: list[str]) -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context(cafile=self._pki / "ca.pem")
        if protocols:
            context.set_alpn_protocols(protocols)
        if self._name:
            context.load_cert_chain(self._pki / f"{self._name}.pem", self._pki / f"{self._name}.key")
        with socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_SECONDS) as plain:
            try:
                tls = context.wrap_socket(plain, server_hostname=HOST)
            except (ssl.SSLError, ConnectionError) as error:
                raise HandshakeRefused(str(error)) from error
            with tls:
                yield tls


def _start(tls: ssl.SSLSocket, request: bytes) -> bytes:
    """Send, and answer the first bytes back. In TLS 1.3 a refused client certificate shows only here."""
    try:
        tls.sendall(request)
        first = tls.recv(_CHUNK)
    except (ssl.SSLError, ConnectionError) as error:
        raise HandshakeRefused(str(error)) from error
    if not first:
        raise StreamRefused("closed without a response")
    return first


class _Replayed:
    """A socket whose first bytes were read already, as http.client wants it."""

    def __init__(self, first: bytes, tls: ssl.SSLSocket) -> None:
        self._file = _Prefixed(first, tls)

    def makefile(self, _mode: str) -> "_Prefixed":
        return self._file


class _Prefixed:
    def __init__(self, first: bytes, tls: ssl.SSLSocket) -> None:
        self._buffer = bytearray(first)
        self._tls = tls

    def _fill(self) -> bool:
        chunk = self._tls.recv(_CHUNK)
        self._buffer += chunk
        return bool(chunk)

    def readline(self, limit: int = -1) -> bytes:
        while b"\n" not in self._buffer and self._fill():
            pass
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        return self._take(end if limit < 0 else min(end, limit))

    def read(self, size: int = -1) -> bytes:
        while (size < 0 or len(self._buffer) < size) and self._fill():
            pass
        return self._take(len(self._buffer) if size < 0 else size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _rest(tls: ssl.SSLSocket, first: bytes) -> Answer:
    response = http.client.HTTPResponse(_Replayed(first, tls))  # type: ignore[arg-type]
    response.begin()
    headers = tuple((name.lower(), value) for name, value in response.getheaders())
    return Answer(response.status, headers, response.read())


def _exchange(tls: ssl.SSLSocket, request: bytes) -> Answer:
    return _rest(tls, _start(tls, request))


def _exchange_h2(tls: ssl.SSLSocket, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
    connection = H2Connection(
        H2Configuration(header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False)
    )
    connection.initiate_connection()
    connection.send_headers(1, headers, end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    data = _start(tls, connection.data_to_send())
    status, received, content = 0, (), bytearray()
    while data:
        for event in connection.receive_data(data):
            if isinstance(event, ResponseReceived):
                received = tuple((name.decode(), value.decode("latin-1")) for name, value in event.headers)
                status = int(dict(received)[":status"])
            elif isinstance(event, DataReceived):
                content += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, StreamReset):
                raise StreamRefused(f"reset with {event.error_code}")
            elif isinstance(event, StreamEnded):
                return Answer(status, received, bytes(content))
        tls.sendall(connection.data_to_send())
        data = tls.recv(_CHUNK)
    raise StreamRefused("closed without a response")


def _masked(payload: bytes) -> bytes:
    mask = os.urandom(4)
    assert len(payload) < 126
    return struct.pack(">BB", 0x81, 0x80 | len(payload)) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def _frame(tls: ssl.SSLSocket, data: bytes) -> bytes:
    while len(data) < 2 or len(data) < 2 + data[1]:
        chunk = tls.recv(_CHUNK)
        assert chunk, "the connection ended before a frame came"
        data += chunk
    return data[2 : 2 + data[1]]
