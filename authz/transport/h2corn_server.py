"""The data plane on h2corn: our sockets, and on them one server after another.

h2corn reads its certificate once. So when that changes, a new server starts to accept on the same sockets before the
old one sends GOAWAY: the kernel's queue of connections is never without somebody who takes from it, calls in flight
finish where they are, and a stream that the old server did not take is refused in the way that gRPC clients retry.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, cast

import structlog
from h2corn import Application, Config, RequestPolicy, Server

from authz.errors import ConfigError, Refusal
from authz.transport.asgi import Gate, GrpcApp, Scope
from authz.transport.callers import NOT_ALLOWED
from authz.transport.ending import Ending
from authz.transport.listeners import Address, Handed, Listener
from authz.transport.services import Services
from authz.transport.settings import ServerSettings
from authz.transport.tls import TlsMaterial
from authz.transport.wire import PREFIX_BYTES

LogFormat = Literal["json", "text"]
NOTHING_HANDED = Handed()


class H2cornServer:
    """Serves on h2corn."""

    def __init__(
        self,
        settings: ServerSettings,
        services: Services,
        on_failure: Callable[[str], None],
        log_format: LogFormat,
        handed: Handed = NOTHING_HANDED,
    ) -> None:
        """Prepare; `on_failure` is told when a listener died that was not stopped."""
        self._handed = handed.listeners
        self._settings = settings
        self._services = services
        self._on_failure = on_failure
        self._log_format = log_format
        self._plain: list[Listener] = []
        self._encrypted: list[Listener] = []
        self._generations: dict[bool, Generation] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that the kernel picked."""
        return tuple(listener.address for listener in (*self._plain, *self._encrypted))

    async def start(self, addresses: Sequence[Address], material: TlsMaterial | None) -> None:
        """Listen and serve.

        Raises:
            ConfigError: an address or the TLS material is not usable.
        """
        mute_systemd()
        try:
            for address in addresses:
                # TLS is for TCP; a Unix socket is guarded by its mode.
                group = self._plain if material is None or address.path else self._encrypted
                group.append(self._listener(address))
            if self._plain:
                self._generations[False] = await self._begin(self._plain, None)
            if self._encrypted:
                self._generations[True] = await self._begin(self._encrypted, material)
        except BaseException:
            await self.stop()
            raise

    async def renew(self, material: TlsMaterial) -> None:
        """Serve new connections with new TLS material, and let the old ones finish: they do after this has returned.

        Raises:
            ConfigError: h2corn does not take the material; nothing has changed then.
        """
        if self._encrypted:
            await self._replace(encrypted=True, material=material)

    async def move_on(self, material: TlsMaterial | None) -> None:
        """Have every client connect anew; calls in flight finish where they are.

        Raises:
            ConfigError: h2corn does not start once more; nothing has changed then.
        """
        for encrypted in tuple(self._generations):
            await self._replace(encrypted=encrypted, material=material if encrypted else None)

    async def _replace(self, *, encrypted: bool, material: TlsMaterial | None) -> None:
        listeners = self._encrypted if encrypted else self._plain
        old, self._generations[encrypted] = self._generations[encrypted], await self._begin(listeners, material)
        retiring = asyncio.create_task(old.end())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        await old.told()

    async def stop(self) -> None:
        """Accept nothing more, let calls in flight finish, and give the addresses back."""
        endings = [generation.end() for generation in self._generations.values()]
        self._generations.clear()
        await asyncio.gather(*endings, *self._retiring)
        for listener in (*self._plain, *self._encrypted):
            listener.close()

    def _listener(self, address: Address) -> Listener:
        settings = self._settings
        return Listener(address, settings.backlog, settings.unix_socket_mode, self._handed.get(str(address)))

    async def _begin(self, listeners: Sequence[Listener], material: TlsMaterial | None) -> "Generation":
        services, ending = self._services, Ending(self._settings.goaway_seconds)
        app = GrpcApp(services, ending, self._gate(material))
        with ExitStack() as files:
            config = self._config(listeners, material, files)
            server = Server(cast("Application", app), config)
            serving = asyncio.create_task(server.serve())
            try:
                await server.wait_started()
            except (OSError, ValueError, RuntimeError) as error:
                await asyncio.gather(serving, return_exceptions=True)
                raise ConfigError(f"server: h2corn does not start: {error}") from None
            except asyncio.CancelledError:
                server.shutdown()
                raise
        return Generation(server, serving, ending, self._on_failure)

    def _gate(self, material: TlsMaterial | None) -> Gate | None:
        callers = self._services.callers
        if material is None or callers is None:
            return None

        def demand(scope: Scope) -> None:
            chain = scope["extensions"].get("tls", {}).get("client_cert_chain")
            if not chain:
                raise Refusal(NOT_ALLOWED, "the proxy showed no certificate")
            callers.demand(chain[0])

        return demand

    def _config(self, listeners: Sequence[Listener], material: TlsMaterial | None, files: ExitStack) -> Config:
        settings = self._settings
        return Config(
            bind=tuple(listener.bind for listener in listeners),
            grpc=True,
            http1=False,
            lifespan="off",
            access_log=False,
            log_format=self._log_format,
            date_header=False,
            runtime_threads=1,
            backlog=settings.backlog,
            max_concurrent_streams=settings.max_streams_per_connection,
            limit_connections=settings.max_connections,
            limit_request_fields=settings.max_headers,
            h2_max_header_list_size=settings.max_header_bytes,
            h2_max_header_block_size=settings.max_header_bytes,
            timeout_handshake=settings.handshake_timeout_seconds,
            timeout_request_header=settings.stall_timeout_seconds,
            timeout_request_body_idle=settings.stall_timeout_seconds,
            timeout_keep_alive=settings.idle_timeout_seconds,
            timeout_graceful_shutdown=settings.drain_timeout_seconds,
            h2_timeout_response_stall=settings.stall_timeout_seconds,
            h2_timeout_write=settings.stall_timeout_seconds,
            # gRPC has no limits of its own in h2corn. This one is behind ours, which denies where it would reset.
            request_policies=(
                RequestPolicy(
                    path="/*",
                    max_request_body_size=4 * (settings.max_message_bytes + PREFIX_BYTES),
                    timeout_request_body_idle=settings.stall_timeout_seconds,
                    h2_timeout_response_stall=settings.stall_timeout_seconds,
                ),
            ),
            # Not limit_concurrency: it answers 503, which is a gRPC error (I2). Admission sheds, with denials.
            certfile=files.enter_context(in_memory(material.certificate)) if material else None,
            keyfile=files.enter_context(in_memory(material.key)) if material else None,
            ca_certs=files.enter_context(in_memory(material.client_ca)) if material else None,
            cert_reqs="required" if material else "none",
        )


class Generation:
    """One h2corn server, from its start to its end."""

    def __init__(
        self, server: Server, serving: "asyncio.Task[None]", ending: Ending, on_failure: Callable[[str], None]
    ) -> None:
        """Watch over a server that has started."""
        self._server = server
        self._serving = serving
        self._ending = ending
        self._on_failure = on_failure
        self._ended = False
        serving.add_done_callback(self._done)

    async def told(self) -> None:
        """Return once the end has begun: clients know, and no connection is accepted any more."""
        await self._ending.told.wait()

    async def end(self) -> None:
        """Send GOAWAY, let calls in flight finish, and return when all is over."""
        self._ended = True
        await self._ending.run(self._server.shutdown)
        await asyncio.wait((self._serving,))

    def _done(self, serving: "asyncio.Task[None]") -> None:
        error = None if serving.cancelled() else serving.exception()
        if not self._ended:
            self._on_failure(f"h2corn ended by itself: {error}")
        elif error is not None:
            structlog.get_logger("authz.transport").warning("h2corn did not end well", fault=str(error))


def mute_systemd() -> None:
    """Keep h2corn from telling systemd that the whole service stops whenever one of its servers does.

    Whoever wants to tell systemd anything reads NOTIFY_SOCKET before the first server starts.
    """
    os.environ.pop("NOTIFY_SOCKET", None)


@contextmanager
def in_memory(content: bytes) -> Iterator[Path]:
    """Give bytes a path that only this process can open, so that h2corn reads what was checked and no disk has it."""
    descriptor = os.memfd_create("authz-tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
