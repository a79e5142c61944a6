"""The control plane's listeners: grpc.aio over mutual TLS, or over Unix sockets whose users are known."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined] # the stubs lack it
from grpc_reflection.v1alpha import reflection

from authz.control.caller import Caller, Callers
from authz.control.desk import Desk
from authz.control.dispatch import Context, Dispatcher
from authz.control.faults import Code, ControlError
from authz.control.method import Methods
from authz.control.relay import Relay
from authz.control.settings import ControlSettings
from authz.control.web_server import WebServer
from authz.errors import ConfigError
from authz.transport.listeners import Address, parse_address
from authz.transport.settings import TlsSettings
from authz.transport.tls import TlsMaterial, read_material

_MAX_INT32 = 2**31 - 1
_IDENTITY_ONLY = 0b1
"""Bits of grpc_compression_algorithm: a compressed message is a way to be sent more than the limit."""


class ControlServer:
    """Serves the control plane; made, started and stopped once, all in one event loop."""

    def __init__(
        self,
        settings: ControlSettings,
        callers: Callers,
        desk: Desk,
        services: Mapping[ServiceDescriptor, Methods],
        web: WebServer | None = None,
    ) -> None:
        """Check what can be checked before anything listens.

        Raises:
            ConfigError: an address that is none, or TCP without TLS.
        """
        self._settings = settings
        self._requested = tuple(parse_address(text) for text in settings.listen)
        for address in self._requested:
            if not address.path and settings.tls is None:
                raise ConfigError(
                    f"control.listen: {address} would take orders over plain TCP: configure [control.tls], "
                    "or listen on a Unix socket"
                )
        if settings.tls is not None and settings.tls.allowed_callers:
            raise ConfigError("control.tls.allowed_callers: who may call what is said in control.policy")
        self._callers = callers
        self._services = dict(services)
        self._dispatcher = Dispatcher(settings, desk, self._identify)
        self._web = web
        if web is not None and settings.tls is None:
            raise ConfigError("control.http.listen: configure [control.tls]")
        self.console_address = ""
        """Where the web console is served beside it; "" when it is not."""
        self._relays: list[Relay] = []
        self._addresses: list[Address] = []
        self._server: grpc.aio.Server | None = None
        self._health = health.HealthServicer()
        self._certificates: grpc.ServerCertificateConfiguration | None = None
        self._material: TlsMaterial | None = None
        self._watching: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("authz.control")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, with the ports that the kernel picked."""
        return tuple(str(address) for address in self._addresses)

    @property
    def web_address(self) -> str:
        """Where HTTP is served; "" when it is not."""
        return self._web.address if self._web is not None else ""

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: an address or the TLS files are not usable.
        """
        tls = self._settings.tls
        if tls is not None:
            await self._read(tls)
        self._server = server = grpc.aio.server(options=_options(self._settings))
        names = [service.full_name for service in self._services]
        server.add_generic_rpc_handlers(
            tuple(self._dispatcher.handlers(service, methods) for service, methods in self._services.items())
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME, SERVICE_NAME), server)
        try:
            for address in self._requested:
                self._addresses.append(self._listen(server, address))
            await server.start()
            if self._web is not None and self._material is not None:
                await self._web.start(self._material)
        except BaseException:
            await self.stop()
            raise
        for relay in self._relays:
            relay.start()
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if tls is not None:
            self._watching = asyncio.create_task(self._watch(tls))

    async def stop(self) -> None:
        """Accept nothing more, let calls finish in the time allowed, end streams, and give the addresses back."""
        if self._watching is not None:
            self._watching.cancel()
        await self._health.enter_graceful_shutdown()
        if self._web is not None:
            await self._web.stop()
        if self._server is not None:
            await self._server.stop(self._settings.drain_timeout_seconds)
        await asyncio.gather(*(relay.stop() for relay in self._relays))
        self._relays.clear()

    def _listen(self, server: grpc.aio.Server, address: Address) -> Address:
        settings = self._settings
        try:
            if address.path:
                relay = Relay(
                    address, backlog=128, mode=settings.unix_socket_mode, max_connections=settings.max_connections
                )
                self._relays.append(relay)
                server.add_insecure_port(str(relay.private))
                return relay.address
            port = server.add_secure_port(str(address), self._credentials())
        except RuntimeError as error:
            raise ConfigError(f"listen address {address}: {error}") from None
        return Address(host=address.host, port=port)

    def _credentials(self) -> grpc.ServerCredentials:
        first = self._certificates
        if first is None:  # the constructor has seen to it: no TCP without TLS
            raise ConfigError("control.listen: TCP needs [control.tls]")
        return grpc.dynamic_ssl_server_credentials(
            first, lambda: self._certificates or first, require_client_authentication=True
        )

    def _identify(self, context: Context) -> Caller:
        """Answer who is at the other end (I5)."""
        peer = context.auth_context()
        if peer.get("transport_security_type") == [b"ssl"]:
            pem = b"".join(peer.get("x509_pem_cert", ())).decode("ascii", "replace")
            return self._with_human(context, self._callers.by_certificate(pem, time.time()))
        for relay in self._relays:
            user = relay.user(context.peer())
            if user is not None:
                return self._with_human(context, self._callers.by_uid(user))
        raise ControlError(Code.UNAUTHENTICATED, "IDENTITY_MISSING", "no verified identity")

    def _with_human(self, context: Context, caller: Caller) -> Caller:
        given = [str(value) for name, value in context.invocation_metadata() or () if name == "authorization"]
        return self._callers.with_human(caller, given, time.time())

    async def _read(self, tls: TlsSettings) -> bool:
        material = await asyncio.to_thread(read_material, tls, time.time(), "control.tls")
        if material == self._material:
            return False
        self._material = material
        self._certificates = grpc.ssl_server_certificate_configuration(
            [(material.key, material.certificate)], root_certificates=material.client_ca
        )
        return True

    async def _watch(self, tls: TlsSettings) -> None:
        refused = ""
        while True:
            await asyncio.sleep(tls.reload_interval_seconds)
            try:
                if await self._read(tls):
                    if self._web is not None and self._material is not None:
                        await self._web.renew(self._material)
                    self._log.info("new TLS files are in force")
                refused = ""
            except Exception as fault:  # noqa: BLE001 - were this task to end, certificates would expire unnoticed
                problem = str(fault) if isinstance(fault, ConfigError) else type(fault).__name__
                if problem != refused:  # told once, not at every look
                    self._log.error("new TLS files are refused, the old ones stay in force", problem=problem)
                refused = problem


def _options(settings: ControlSettings) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", min(settings.max_message_bytes, _MAX_INT32)),
        ("grpc.max_metadata_size", settings.max_header_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", int(settings.idle_timeout_seconds * 1000)),
        ("grpc.server_handshake_timeout_ms", int(settings.handshake_timeout_seconds * 1000)),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    )
