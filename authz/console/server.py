"""The console's listener: TLS, or this machine alone."""

import asyncio
import time
from contextlib import ExitStack
from typing import Any

import structlog
from h2corn import Config

from authz.console.settings import ConsoleSettings, ConsoleTlsSettings
from authz.errors import ConfigError
from authz.transport.app_server import AppServer
from authz.transport.h2corn_server import LogFormat, in_memory
from authz.transport.listeners import parse_address
from authz.transport.tls import TlsMaterial, read_own

_SECTION = "console.tls"


def check_listener(settings: ConsoleSettings) -> TlsMaterial | None:
    """Check address and files; answer the TLS material, None where another ends TLS.

    Raises:
        ConfigError: one of them is not usable, or others could listen in.
    """
    address = parse_address(settings.listen)
    if settings.tls is None:
        if not address.loopback:
            raise ConfigError(
                f"console.listen: {address} can be reached from other machines, and sessions would pass in the clear: "
                "configure [console.tls], or listen on 127.0.0.1 or a Unix socket behind a proxy that ends TLS"
            )
        return None
    return read_own(settings.tls, time.time(), _SECTION)


class ConsoleServer(AppServer[TlsMaterial | None]):
    """Serves the console, and follows its TLS files."""

    def __init__(self, settings: ConsoleSettings, app: Any, log_format: LogFormat = "json") -> None:
        """Check the address.

        Raises:
            ConfigError: it is none.
        """
        self._settings = settings
        self._log_format = log_format
        self._watching: asyncio.Task[None] | None = None
        super().__init__("console", parse_address(settings.listen), settings.unix_socket_mode, app, self._config)

    async def run(self) -> None:
        """Begin to serve.

        Raises:
            ConfigError: the address or the files are not usable.
        """
        material = check_listener(self._settings)
        await self.start(material)
        if self._settings.tls is not None:
            self._watching = asyncio.create_task(self._watch(self._settings.tls, material))

    async def stop(self) -> None:
        """End, and give the address back."""
        if self._watching is not None:
            self._watching.cancel()
        await super().stop()

    async def _watch(self, tls: ConsoleTlsSettings, current: TlsMaterial | None) -> None:
        log = structlog.get_logger("authz.console")
        refused = ""
        while True:
            await asyncio.sleep(tls.reload_interval_seconds)
            try:
                material = await asyncio.to_thread(read_own, tls, time.time(), _SECTION)
                if material != current:
                    await self.renew(material)
                    current = material
                refused = ""
            except ConfigError as error:
                problem = str(error)
                if problem != refused:  # told once, not at every look
                    log.error("new TLS files are refused, the old ones stay in force", problem=problem)  # noqa: TRY400 - the message says it
                refused = problem

    def _config(self, bound: tuple[str, ...], material: TlsMaterial | None, files: ExitStack) -> Config:
        settings = self._settings
        return Config(
            bind=bound,
            lifespan="off",
            access_log=False,
            log_format=self._log_format,
            server_header="off",
            runtime_threads=1,
            limit_connections=settings.max_connections,
            # Live views stay open, so they do not take the room of pages.
            limit_concurrency=settings.max_concurrent_requests + settings.max_live_streams,
            limit_request_head_size=settings.max_header_bytes,
            limit_request_line=settings.max_header_bytes,
            limit_request_field_size=settings.max_header_bytes,
            h2_max_header_list_size=settings.max_header_bytes,
            h2_max_header_block_size=settings.max_header_bytes,
            max_request_body_size=settings.max_body_bytes + 1,  # ours is the limit that answers
            timeout_handshake=settings.timeout_seconds,
            timeout_request_header=settings.timeout_seconds,
            timeout_request_body_idle=settings.timeout_seconds,
            timeout_keep_alive=settings.idle_timeout_seconds,
            timeout_graceful_shutdown=1.0,  # live views would never end by themselves
            h2_timeout_response_stall=settings.timeout_seconds,
            h2_timeout_write=settings.timeout_seconds,
            certfile=files.enter_context(in_memory(material.certificate)) if material else None,
            keyfile=files.enter_context(in_memory(material.key)) if material else None,
            cert_reqs="none",
        )
