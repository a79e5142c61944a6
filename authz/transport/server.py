"""The data plane: listeners, TLS that is renewed, overload protection, health, and an end that cuts nothing off."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from authz.errors import ConfigError
from authz.transport.admission import Admission
from authz.transport.answer import Answerer
from authz.transport.callers import AllowedCallers
from authz.transport.h2corn_server import NOTHING_HANDED, H2cornServer, LogFormat
from authz.transport.health import Health
from authz.transport.listeners import Address, Handed, demand_safe, parse_address
from authz.transport.pdp import DecisionPoint, ServerObserver
from authz.transport.readiness import Readiness
from authz.transport.services import Services
from authz.transport.settings import ServerSettings, TlsSettings
from authz.transport.tls import TlsMaterial, read_material

LISTENERS = "listeners"
"""The readiness condition that holds while the data plane listens."""


class Transport(Protocol):
    """What carries the services over a network."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""

    async def start(self, addresses: Sequence[Address], material: TlsMaterial | None) -> None:
        """Listen and serve, or raise ConfigError."""

    async def renew(self, material: TlsMaterial) -> None:
        """Serve new connections with new TLS material, or raise ConfigError."""

    async def move_on(self, material: TlsMaterial | None) -> None:
        """Have the clients connect anew, with no call cut off."""

    async def stop(self) -> None:
        """End, with calls in flight finished."""


class DataPlane:
    """Serves one PDP to Envoy; made, started and stopped once, all in one event loop."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        settings: ServerSettings,
        pdp: DecisionPoint,
        readiness: Readiness,
        observer: ServerObserver,
        *,
        log_format: LogFormat = "json",
        clock: Callable[[], float] = time.time,
        handed: Handed = NOTHING_HANDED,
    ) -> None:
        """Check what can be checked before anything listens.

        `log_format` is for the few lines that h2corn writes itself; `clock` answers seconds since the epoch;
        `handed` is what a supervisor has opened.

        Raises:
            ConfigError: an address that is none, or would be served without TLS; a caller that is no SPIFFE ID.
        """
        self._settings = settings
        self._requested = tuple(parse_address(text) for text in settings.listen)
        demand_safe(
            self._requested,
            encrypted=settings.tls is not None,
            allow_plaintext=settings.allow_plaintext,
            section="server",
        )
        self._readiness = readiness
        self._observer = observer
        self._clock = clock
        self._log = structlog.get_logger("authz.transport")
        self.admission = Admission(settings.overload, observer)
        self.health = Health(readiness, settings.max_health_watches)
        tls = settings.tls
        services = Services(
            answerer=Answerer(pdp, observer),
            admission=self.admission,
            health=self.health,
            callers=AllowedCallers(tls.allowed_callers) if tls and tls.allowed_callers else None,
            max_message_bytes=settings.max_message_bytes,
        )
        self._transport = self._carried_by(services, log_format, handed)
        self._material: TlsMaterial | None = None
        self._refused = ""
        self._watching: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()
        """Set when a listener ended that nobody stopped: the process can only be started again."""
        self._changing = asyncio.Lock()
        """Held while listeners are renewed or stopped: a timer, a signal and the end may ask for it at once."""
        self._stopped = False

    def _carried_by(self, services: Services, log_format: LogFormat, handed: Handed) -> Transport:
        settings = self._settings
        if settings.transport == "h2corn":
            return H2cornServer(settings, services, self._failed, log_format, handed)
        from authz.transport.aio_server import AioServer  # noqa: PLC0415 - a library that only this transport needs

        return AioServer(settings, services, share_port=handed.share_port)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, as `listen` would name it, with the ports that the kernel picked."""
        return tuple(str(address) for address in self._transport.addresses)

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: an address is taken, or the TLS files are not usable.
        """
        tls = self._settings.tls
        if tls is not None:
            self._material = await asyncio.to_thread(read_material, tls, self._clock())
        await self._transport.start(self._requested, self._material)
        self.admission.start()
        if tls is not None:
            self._watching.append(asyncio.create_task(self._watch(tls)))
        if self._settings.max_connection_age_seconds:
            self._watching.append(asyncio.create_task(self._age(self._settings.max_connection_age_seconds)))
        self._readiness.hold(LISTENERS)
        self._log.info("listening", addresses=self.addresses, transport=self._settings.transport, tls=tls is not None)

    async def stop(self, *, at_once: bool = False) -> None:
        """Say NOT_SERVING, wait until the proxies had time to see it (not `at_once`), then end with no call cut off."""
        if self._stopped:
            return
        self._stopped = True
        self._readiness.drain()
        await asyncio.sleep(0 if at_once else self._settings.drain_delay_seconds)
        async with self._changing:
            for task in self._watching:
                task.cancel()
            await self._transport.stop()
        self.admission.stop()

    async def renew_certificates(self) -> bool:
        """Read the TLS files again; answer whether they are new and in force. Broken ones are logged, and refused."""
        async with self._changing:
            if self._settings.tls is None or self._stopped:
                return False
            return await self._renew(self._settings.tls)

    async def move_on(self) -> None:
        """Ask every client to connect anew, with no call cut off, so that connections spread."""
        async with self._changing:
            if self._stopped:
                return
            try:
                await self._transport.move_on(self._material)
            except ConfigError as error:
                self._log.error("connections stay where they are", problem=str(error))

    async def _renew(self, tls: TlsSettings) -> bool:
        try:
            material = await asyncio.to_thread(read_material, tls, self._clock())
            if material == self._material:
                self._refused = ""
                return False
            await self._transport.renew(material)
        except ConfigError as error:
            if str(error) != self._refused:  # told once, not at every look
                self._refused = str(error)
                self._observer.reloaded("tls", succeeded=False)
                self._log.error("new TLS files are refused, the old ones stay in force", problem=str(error))
            return False
        self._material, self._refused = material, ""
        self._observer.reloaded("tls", succeeded=True)
        self._log.info("new TLS files are in force", fingerprint=material.fingerprint, not_after=material.not_after)
        return True

    async def _watch(self, tls: TlsSettings) -> None:
        while True:
            await asyncio.sleep(tls.reload_interval_seconds)
            try:
                await self.renew_certificates()
            except Exception as fault:  # noqa: BLE001 - were this task to end, certificates would expire unnoticed
                self._log.error("the TLS files could not be renewed", fault=type(fault).__name__)

    async def _age(self, seconds: float) -> None:
        while True:
            # Not all workers and replicas in one moment.
            await asyncio.sleep(seconds * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
            await self.move_on()

    def _failed(self, problem: str) -> None:
        self._log.critical("the data plane does not listen any more", problem=problem)
        self._readiness.fail(LISTENERS, "a listener ended by itself")
        self.failed.set()
