"""The data plane on grpc.aio: the same services, listeners of gRPC's own."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from authz.errors import ConfigError
from authz.transport.aio import GrpcHandlers
from authz.transport.ending import Ending
from authz.transport.listeners import Address, UnixPath, clear_stale
from authz.transport.services import Services
from authz.transport.settings import ServerSettings
from authz.transport.tls import TlsMaterial

_IDENTITY_AND_GZIP = 0b101
"""Bits of grpc_compression_algorithm."""
_MAX_INT32 = 2**31 - 1


class AioServer:
    """Serves on grpc.aio. New TLS material is for new connections; the open ones keep what they began with."""

    def __init__(self, settings: ServerSettings, services: Services, *, share_port: bool = False) -> None:
        """Prepare; gRPC's threads start with `start`. `share_port`: other workers bind the same ports."""
        self._share_port = share_port
        self._settings = settings
        self._services = services
        self._ending = Ending()
        self._server: grpc.aio.Server | None = None
        self._unix_paths: list[UnixPath] = []
        self._addresses: list[Address] = []
        self._certificates: grpc.ServerCertificateConfiguration | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that the kernel picked."""
        return tuple(self._addresses)

    async def start(self, addresses: Sequence[Address], material: TlsMaterial | None) -> None:
        """Listen and serve.

        Raises:
            ConfigError: an address or the TLS material is not usable.
        """
        # Without being asked to share, or a second server on the same port would silently take half of the calls.
        self._server = grpc.aio.server(
            options=[*_options(self._settings), ("grpc.so_reuseport", int(self._share_port))]
        )
        self._server.add_generic_rpc_handlers((GrpcHandlers(self._services, self._ending),))
        try:
            for address in addresses:
                self._addresses.append(self._listen(self._server, address, material))
            await self._server.start()
        except BaseException:
            await self.stop()
            raise

    async def renew(self, material: TlsMaterial) -> None:
        """Serve new connections with new TLS material."""
        self._certificates = _configuration(material)

    async def move_on(self, material: TlsMaterial | None) -> None:
        """Nothing: gRPC itself ends connections that are as old as `max_connection_age_seconds` says."""

    async def stop(self) -> None:
        """Accept nothing more, let calls in flight finish, and give the addresses back."""
        self._ending.close()
        if self._server is not None:
            await self._server.stop(self._settings.drain_timeout_seconds)
        for path in self._unix_paths:
            path.remove()

    def _listen(self, server: grpc.aio.Server, address: Address, material: TlsMaterial | None) -> Address:
        try:
            if address.path:
                clear_stale(address.path)
                with _created_with(self._settings.unix_socket_mode):
                    server.add_insecure_port(str(address))
                self._unix_paths.append(UnixPath(address.path))
                return address
            port = (
                server.add_insecure_port(str(address))
                if material is None
                else server.add_secure_port(str(address), self._credentials(material))
            )
        except RuntimeError as error:
            raise ConfigError(f"listen address {address}: {error}") from None
        return Address(host=address.host, port=port)

    def _credentials(self, material: TlsMaterial) -> grpc.ServerCredentials:
        self._certificates = first = _configuration(material)
        return grpc.dynamic_ssl_server_credentials(
            first, lambda: self._certificates or first, require_client_authentication=True
        )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.client_ca
    )


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    age = int(settings.max_connection_age_seconds * 1000)
    return [
        ("grpc.max_receive_message_length", min(4 * settings.max_message_bytes, _MAX_INT32)),
        ("grpc.max_metadata_size", settings.max_header_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", int(settings.idle_timeout_seconds * 1000)),
        *([("grpc.max_connection_age_ms", age)] if age else []),
        ("grpc.server_handshake_timeout_ms", int(settings.handshake_timeout_seconds * 1000)),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_AND_GZIP),
        ("grpc.keepalive_permit_without_calls", 1),  # Envoy may keep its idle connections alive with pings
    ]


@contextmanager
def _created_with(mode: int) -> Iterator[None]:
    # gRPC binds and listens in one go, so a chmod afterwards would leave a moment of wider permissions.
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)
