"""The sections `[server]` and `[admin]` of the configuration."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

WORKER: Final = "{worker}"
"""In a Unix socket's path: the number of the worker."""
# TOML can say inf, and a timeout of that length is none: everything has an end (I12).
Positive = Annotated[float, Meta(gt=0, le=86_400)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Share = Annotated[float, Meta(gt=0, le=1)]


class OverloadSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a call is refused at once, because a late answer is no answer."""

    default_deadline_seconds: Positive = 0.2
    """The deadline of a call that names none; Envoy's own default for ext_authz."""
    max_deadline_seconds: Positive = 5.0
    """A longer deadline than this is cut to this."""
    deadline_margin_seconds: Seconds = 0.01
    """Kept back from every deadline for the answer's way to the proxy."""
    max_lag_share: Share = 0.5
    """Calls are shed while the event loop is late by more than this share of their deadline."""
    lag_probe_interval_seconds: Annotated[float, Meta(ge=0.001, le=1)] = 0.01
    """How often the lateness of the event loop is measured."""
    max_inflight_calls: Count = 1024
    """Calls begun and not answered yet, over all connections; more are shed."""
    max_buffered_bytes: Count = 64 * 1024 * 1024
    """Bytes of large messages (over 64 KiB) that wait for their rest, over all calls; more are shed. h2corn only."""


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mutual TLS on the TCP listeners of the data plane."""

    certificate: str
    """PEM file: the server's certificate, then its chain."""
    key: str
    """PEM file: the certificate's private key, not encrypted."""
    client_ca: str
    """PEM file: the authorities that sign the proxies' certificates. A client without such a certificate is refused."""
    allowed_callers: tuple[str, ...] = ()
    """SPIFFE IDs of the proxies that may ask. Empty: every client whose certificate is signed by `client_ca`."""
    reload_interval_seconds: Annotated[float, Meta(ge=0.05, le=3600)] = 10.0
    """How often the three files are read again; new content takes effect without dropping a connection's calls."""
    max_file_bytes: Count = 1024 * 1024
    """A larger file than this is refused."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data plane: ext_authz and health over gRPC."""

    transport: Literal["h2corn", "grpc.aio"] = "h2corn"
    """What speaks HTTP/2: "h2corn" is several times faster, "grpc.aio" is gRPC's own."""
    listen: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)] = ("127.0.0.1:9191",)
    """Where to listen: "127.0.0.1:9191", "[::1]:9191" or "unix:/run/authz/authz.sock". A Unix path with "{worker}" in
    it is one socket for each worker, numbered from 0."""
    workers: Annotated[int, Meta(ge=1, le=256)] | Literal["auto"] = 1
    """How many processes share the work; "auto": one for each core, or as many as the container's CPU limit allows. The
    settings below are each worker's own."""
    allow_plaintext: bool = False
    """Permit TCP without TLS on an address that is not this machine's own. Who can write to that network decides."""
    tls: TlsSettings | None = None
    """Mutual TLS for the TCP listeners; a Unix socket is guarded by its mode."""
    unix_socket_mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o600
    """Permission bits of the Unix sockets."""
    overload: OverloadSettings = OverloadSettings()
    """When calls are shed."""
    max_message_bytes: Annotated[int, Meta(ge=1024, le=256 * 1024 * 1024)] = 4 * 1024 * 1024
    """The largest CheckRequest, after decompression; a larger one is denied. On grpc.aio, one of over four times this
    size is answered by gRPC itself, with RESOURCE_EXHAUSTED."""
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1024 * 1024)] = 16 * 1024
    """The largest block of request headers (gRPC metadata), decoded."""
    max_headers: Annotated[int, Meta(ge=16, le=1000)] = 100
    """The most request headers. h2corn only."""
    max_connections: Count = 1024
    """Connections open at once; more are turned away."""
    max_streams_per_connection: Annotated[int, Meta(ge=1, le=65536)] = 1024
    """Calls open at once on one connection; the client waits with more."""
    max_health_watches: Count = 64
    """Open `grpc.health.v1.Health/Watch` streams; more are refused."""
    handshake_timeout_seconds: Positive = 5.0
    """From the accepted connection to the finished TLS handshake and HTTP/2 preface."""
    stall_timeout_seconds: Positive = 10.0
    """How long a client may leave a header block, a body, or our answer half transferred. h2corn only."""
    idle_timeout_seconds: Positive = 7200.0
    """A connection without calls is closed after this; longer than Envoy's hour, so that Envoy closes first."""
    max_connection_age_seconds: Seconds = 0.0
    """Clients are asked to connect anew after about this long, without cutting a call off, so that connections spread
    over workers and replicas. 0: never."""
    goaway_seconds: Annotated[float, Meta(gt=0, le=10)] = 0.05
    """How long a busy connection stays open once its client is told to connect anew, so that the client has heard of it
    before it closes and no call is cut off; one call of each connection is delayed by this. More than the way to the
    proxy and back takes, less than the proxy's deadline. h2corn only."""
    backlog: Annotated[int, Meta(ge=1, le=65535)] = 1024
    """Connections that the kernel holds until they are accepted. h2corn only."""
    drain_delay_seconds: Seconds = 5.0
    """On stop: how long calls are still accepted after health said NOT_SERVING."""
    drain_timeout_seconds: Positive = 20.0
    """On stop: how long, after that, calls in flight may take to finish."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        if any(WORKER in text and not text.startswith("unix:") for text in self.listen):
            yield "listen", f'"{WORKER}" can stand in the path of a Unix socket only'


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener for probes and metrics: read only, HTTP/1.1, no TLS."""

    enabled: bool = True
    """Whether there is one."""
    listen: str = "127.0.0.1:9192"
    """Where to listen: an IP address and port, or "unix:/run/authz/admin.sock"."""
    allow_plaintext: bool = False
    """Permit an address that is not this machine's own. What it tells (readiness, counters) is then told to that
    network; it takes no orders."""
    unix_socket_mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o600
    """Permission bits of the Unix socket."""
    max_connections: Count = 64
    """Connections open at once; more are turned away."""
    max_concurrent_requests: Count = 16
    """Requests answered at once; more get 503."""
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1024 * 1024)] = 16 * 1024
    """The largest request head."""
    timeout_seconds: Positive = 5.0
    """How long a client may take for its request, or to take the answer."""
    idle_timeout_seconds: Positive = 75.0
    """A connection without requests is closed after this."""
