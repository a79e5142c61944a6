"""One ASGI application on one listener, on h2corn; with new TLS material a new server takes over the socket."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Generic, TypeVar, cast

import structlog
from h2corn import Application, Config, Server

from authz.errors import ConfigError
from authz.transport.h2corn_server import mute_systemd
from authz.transport.listeners import Address, Listener

_Material = TypeVar("_Material")
Configure = Callable[[tuple[str, ...], _Material, ExitStack], Config]
"""Answers h2corn's configuration for what it is bound to and the TLS material; the stack holds files that it names."""


class AppServer(Generic[_Material]):
    """Serves an application."""

    def __init__(
        self, section: str, requested: Address, unix_mode: int, app: Any, configure: Configure[_Material]
    ) -> None:
        """`section`: where configuration speaks of it, for errors."""
        self._section = section
        self._requested = requested
        self._unix_mode = unix_mode
        self._app = app
        self._configure = configure
        self._listener: Listener | None = None
        self._serving: tuple[Server, asyncio.Task[None]] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where it listens, with the port that the kernel picked."""
        return str(self._listener.address) if self._listener else ""

    async def start(self, material: _Material) -> None:
        """Listen and serve.

        Raises:
            ConfigError: the address is not to be had.
        """
        mute_systemd()
        self._listener = Listener(self._requested, backlog=128, unix_mode=self._unix_mode)
        try:
            self._serving = await self._begin(material)
        except BaseException:
            await self.stop()
            raise

    async def renew(self, material: _Material) -> None:
        """Serve new connections with new TLS material, and let the old ones finish.

        Raises:
            ConfigError: h2corn does not take the material; nothing has changed then.
        """
        old, self._serving = self._serving, await self._begin(material)
        if old is not None:
            ending = asyncio.create_task(_end(*old))
            self._retiring.add(ending)
            ending.add_done_callback(self._retiring.discard)

    async def stop(self) -> None:
        """End, and give the address back."""
        serving, self._serving = self._serving, None
        if serving is not None:
            await _end(*serving)
        await asyncio.gather(*self._retiring)
        if self._listener is not None:
            self._listener.close()

    async def _begin(self, material: _Material) -> tuple[Server, "asyncio.Task[None]"]:
        bound = (self._listener.bind,) if self._listener else ()
        with ExitStack() as files:
            server = Server(cast("Application", self._app), self._configure(bound, material, files))
            serving = asyncio.create_task(server.serve())
            try:
                await server.wait_started()
            except (OSError, ValueError, RuntimeError) as error:
                await asyncio.gather(serving, return_exceptions=True)
                raise ConfigError(f"{self._section}: h2corn does not start: {error}") from None
        serving.add_done_callback(self._ended)
        return server, serving

    def _ended(self, done: "asyncio.Task[None]") -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            log = structlog.get_logger("authz.transport")
            log.error("a listener ended", section=self._section, fault=type(error).__name__)


async def _end(server: Server, serving: "asyncio.Task[None]") -> None:
    server.shutdown()
    await asyncio.gather(serving, return_exceptions=True)
