"""What the transport's tests share: a PDP that does as told, a PKI, and a client that speaks raw HTTP/2."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from authz.errors import Reason
from authz.transport.readiness import Readiness
from authz.transport.server import LISTENERS, DataPlane
from authz.transport.settings import OverloadSettings, ServerSettings, TlsSettings

CHECK = "/envoy.service.auth.v3.Authorization/Check"
PROXY = "spiffe://prod.example/ns/edge/sa/envoy"
OTHER = "spiffe://prod.example/ns/edge/sa/other"


def check_request(path: str = "/v1/items", padding: int = 0) -> bytes:
    """Make a CheckRequest as Envoy would."""
    request = CheckRequest()
    request.attributes.source.principal = "spiffe://prod.example/ns/agents/sa/planner"
    http = request.attributes.request.http
    http.method, http.path, http.host = "GET", path, "api.example"
    http.headers["x-pad"] = "p" * padding
    return request.SerializeToString()


def allow(_message: bytes = b"", _budget: float = 0.0) -> bytes:
    """Make the bytes of an allow."""
    response = CheckResponse()
    response.status.code = 0
    response.status.message = "OK"
    return response.SerializeToString()


def deny(reason: Reason, detail: str = "") -> bytes:
    """Make the bytes of a denial."""
    response = CheckResponse()
    response.status.code = 7
    response.status.message = reason.value
    response.denied_response.status.code = reason.http_status
    return response.SerializeToString()


def reason_of(response: bytes) -> str:
    """Read the outcome as a proxy would: "allowed", or the reason of the denial."""
    assert response, "a message of no bytes is an allow to Envoy"
    parsed = CheckResponse.FromString(response)
    return parsed.status.message if parsed.status.code else "allowed"


@dataclass
class FakePdp:
    """Answers by `on_check`; remembers what it was asked."""

    on_check: Callable[[bytes, float], object] = allow
    on_refuse: Callable[[Reason, str], object] = deny
    messages: list[bytes] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)
    refusals: list[Reason] = field(default_factory=list)

    def check(self, message: bytes, budget_seconds: float) -> bytes:
        self.messages.append(message)
        self.budgets.append(budget_seconds)
        return self.on_check(message, budget_seconds)

    def refuse(self, reason: Reason, detail: str) -> bytes:
        self.refusals.append(reason)
        return self.on_refuse(reason, detail)


@dataclass
class FakeObserver:
    """Remembers what it was told."""

    sheds: list[Reason] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    reloads: list[tuple[str, bool]] = field(default_factory=list)

    def shed(self, reason: Reason) -> None:
        self.sheds.append(reason)

    def lag(self, seconds: float) -> None:
        self.lags.append(seconds)

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        self.reloads.append((what, succeeded))


@dataclass
class Running:
    """A data plane that serves."""

    plane: DataPlane
    pdp: FakePdp
    readiness: Readiness
    observer: FakeObserver

    @property
    def target(self) -> str:
        return self.plane.addresses[0]

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])


CALM = OverloadSettings(default_deadline_seconds=5.0, max_deadline_seconds=30.0, max_lag_share=1.0)
"""Deadlines that a busy test machine keeps."""


def settings_for(transport: str, **changes: object) -> ServerSettings:
    """Settings for a test: a port of the kernel's choice, no waiting on stop."""
    values = {
        "transport": transport,
        "listen": ("127.0.0.1:0",),
        "drain_delay_seconds": 0.0,
        "drain_timeout_seconds": 5.0,
        "overload": CALM,
        **changes,
    }
    return ServerSettings(**values)


@contextlib.asynccontextmanager
async def serving(settings: ServerSettings, pdp: FakePdp | None = None) -> AsyncIterator[Running]:
    """Serve for the length of a block."""
    pdp = pdp or FakePdp()
    observer, readiness = FakeObserver(), Readiness([LISTENERS])
    plane = DataPlane(settings, pdp, readiness, observer)
    await plane.start()
    try:
        yield Running(plane, pdp, readiness, observer)
    finally:
        await plane.stop()


@contextlib.asynccontextmanager
async def channel_to(
    target: str, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Open a real gRPC channel that shares its connection with no other."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    if credentials is None:
        opened = grpc.aio.insecure_channel(target, options=options)
    else:
        options.append(("grpc.ssl_target_name_override", "authz.example"))
        opened = grpc.aio.secure_channel(target, credentials, options=options)
    async with opened as channel:
        yield channel


def until(condition: Callable[[], bool], seconds: float = 30.0) -> "asyncio.Future[None]":
    """Wait until something is so."""

    async def poll() -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)

    return asyncio.ensure_future(poll())


@dataclass
class Identity:
    """A certificate chain and its key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority made on the spot."""

    def __init__(self, name: str = "test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=2))
            .not_valid_after(now + timedelta(hours=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signing=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(self, *uris: str, dns: str = "", starts: float = -3600, ends: float = 3600) -> Identity:
        """Issue a leaf with these SANs, valid from and to so many seconds from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        if dns:
            names.append(x509.DNSName(dns))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test")]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(seconds=starts))
            .not_valid_after(now + timedelta(seconds=ends))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signing=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        leaf = builder.sign(self._key, hashes.SHA256())
        return Identity(
            leaf.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _usage(*, signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signing,
        crl_sign=signing,
        encipher_only=False,
        decipher_only=False,
    )


class Pki:
    """A directory with a server's TLS files, and the authority behind them."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority()
        self._directory = directory
        self.install(self.authority.issue(dns="authz.example"))

    def install(self, server: Identity) -> None:
        """Put a server certificate where the server reads it."""
        (self._directory / "tls.key").write_bytes(server.key)
        (self._directory / "tls.crt").write_bytes(server.certificate)
        (self._directory / "ca.crt").write_bytes(self.authority.pem)

    def settings(self, **changes: object) -> TlsSettings:
        values = {
            "certificate": str(self._directory / "tls.crt"),
            "key": str(self._directory / "tls.key"),
            "client_ca": str(self._directory / "ca.crt"),
            "reload_interval_seconds": 3600.0,
            **changes,
        }
        return TlsSettings(**values)

    def client(self, identity: Identity | None) -> grpc.ChannelCredentials:
        """Credentials of a client that trusts the server, with a certificate of its own or without."""
        if identity is None:
            return grpc.ssl_channel_credentials(self.authority.pem)
        return grpc.ssl_channel_credentials(self.authority.pem, identity.key, identity.certificate)


def server_certificate(port: int, client: Identity, directory: Path) -> bytes:
    """Fetch the DER of the certificate that a TLS server shows (blocking)."""
    (directory / "probe.pem").write_bytes(client.certificate + client.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(directory / "probe.pem")
    context.set_alpn_protocols(["h2"])
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, context.wrap_socket(plain) as wrapped:
        return wrapped.getpeercert(binary_form=True) or b""


GRPC_HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", CHECK),
    (":authority", "authz"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def headers_with(*changes: tuple[str, str | None]) -> list[tuple[str, str]]:
    """The headers of a gRPC call, some of them replaced, added, or (None) left out."""
    values: dict[str, str | None] = {**dict(GRPC_HEADERS), **dict(changes)}
    return [(name, value) for name, value in values.items() if value is not None]


def framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """Put gRPC's prefix before a message; `flag` and `length` can lie."""
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4, "big") + message


@dataclass
class RawAnswer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def message(self) -> bytes:
        """The one gRPC message."""
        assert len(self.data) >= 5, f"no message: {self}"
        assert self.data[0] == 0
        assert int.from_bytes(self.data[1:5], "big") == len(self.data) - 5
        return bytes(self.data[5:])

    @property
    def reason(self) -> str:
        """The outcome of an answered Check: a whole denial or allow, and status OK in the trailers."""
        no_error = 0  # RFC 9113 section 8.1: a whole answer before the request's end
        assert self.reset in (None, no_error), f"reset with code {self.reset}"
        assert self.headers[":status"] == "200"
        assert self.headers["grpc-status"] == "0"
        return reason_of(self.message)


class RawClient:
    """One HTTP/2 connection on which anything can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.answers: dict[int, RawAnswer] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.closed = False
        self._reader = reader
        self._writer = writer
        self._news = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            while data := await self._reader.read(65536):
                for event in self.h2.receive_data(data):
                    self._take(event)
                await self.flush()
                self._tell()
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _take(self, event: h2.events.Event) -> None:
        stream = self.answers.get(getattr(event, "stream_id", 0) or 0, RawAnswer())
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            stream.headers.update(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event

    async def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            await self.send_bytes(data)

    async def send_bytes(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._writer.write(data)
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def open(self, headers: list[tuple[str, str]] | None = None, *, end: bool = False) -> int:
        """Begin a stream."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = RawAnswer()
        self.h2.send_headers(stream, headers or GRPC_HEADERS, end_stream=end)
        await self.flush()
        return stream

    async def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data on a stream, in as many frames as it takes."""
        size = 16384
        for at in range(0, len(data), size):
            async with asyncio.timeout(60):
                while self.h2.local_flow_control_window(stream) < len(data[at : at + size]):
                    await self._news.wait()
            self.h2.send_data(stream, data[at : at + size])
            await self.flush()
        if end:
            self.h2.end_stream(stream)
            await self.flush()

    async def answer(self, stream: int, seconds: float = 30.0) -> RawAnswer:
        """Wait for a stream's end, however it comes."""
        answer = self.answers[stream]
        async with asyncio.timeout(seconds):
            while not (answer.ended or answer.reset is not None or self.closed):
                await self._news.wait()
        return answer

    async def call(self, body: bytes, headers: list[tuple[str, str]] | None = None) -> RawAnswer:
        """Make a whole call."""
        stream = await self.open(headers)
        await self.send(stream, body, end=True)
        return await self.answer(stream)

    async def until_closed(self, seconds: float = 30.0) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(seconds):
            while not self.closed:
                await self._news.wait()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self._reading


@contextlib.asynccontextmanager
async def raw_client(port: int, *, preface: bool = True) -> AsyncIterator[RawClient]:
    """Connect a raw client over TCP."""
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    try:
        if preface:
            client.h2.initiate_connection()
            await client.flush()
        yield client
    finally:
        await client.close()


def server_transports() -> Iterator[str]:
    """The transports under test."""
    yield from ("h2corn", "grpc.aio")
