"""Tells humans of requests: one delivery after the other, tried again for a while, and never waited for by anything."""

import asyncio
import contextlib
import http.client
import ipaddress
import secrets
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog

from authz.approvals.settings import WebhookSettings
from authz.control.webhook_payload import EVENTS, payload, read_secret, signature
from authz.errors import ConfigError
from authz.stores.daemon_thread import in_daemon_thread
from authz.stores.database.errors import ChangesLostError, StoreError
from authz.stores.database.store import Store
from authz.stores.reading import read_text

_MAX_FILE_BYTES: Final = 8_192
_RETRIED: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_OK: Final = range(200, 300)


class _Delivery(msgspec.Struct, frozen=True):
    event: str
    approval_id: str
    message_id: str
    """The same at every attempt, so that a receiver counts it once."""


class Webhook:
    """Tells one receiver, for as long as it runs."""

    def __init__(
        self,
        settings: WebhookSettings,
        store: Store,
        base: Path,
        url_of: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`base`: where relative file names start; `url_of`: where a human sees a request.

        Raises:
            ConfigError: the URL is not one to tell secrets to, or a file is not usable.
        """
        self.given_up = 0
        """Deliveries that never arrived."""
        self._settings = settings
        self._store = store
        self._url_of = url_of
        self._clock = clock
        url = read_text(base / settings.url_file, _MAX_FILE_BYTES).strip() if settings.url_file else settings.url
        self._url = urlsplit(_checked(url))
        self._secret = b""
        if settings.secret_file:
            text = read_text(base / settings.secret_file, _MAX_FILE_BYTES)
            self._secret = read_secret(text, settings.secret_file)
        self._tls = _tls(settings, base) if self._url.scheme == "https" else None
        self._events = frozenset(settings.events)
        self._waiting: deque[_Delivery] = deque()
        self._some = asyncio.Event()
        self._log = structlog.get_logger("authz.webhook")

    @property
    def waiting(self) -> int:
        """How many deliveries wait."""
        return len(self._waiting)

    async def run(self) -> None:
        """Tell what happens from now on."""
        delivering = asyncio.create_task(self._deliver())
        try:
            after, store_id = self._store.head, self._store.store_id
            while True:
                try:
                    async for changes in self._store.watch(after, store_id):
                        for change in changes:
                            event = EVENTS.get(change.kind, "")
                            if event in self._events:
                                self._put(_Delivery(event, change.about, f"{store_id}-{change.seq}"))
                        after = changes[-1].seq
                except ChangesLostError:
                    self._log.error("events were deleted before they could be told")
                    after, store_id = self._store.head, self._store.store_id
                else:
                    return
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    def _put(self, delivery: _Delivery) -> None:
        if len(self._waiting) >= self._settings.max_queue:
            self._give_up(self._waiting.popleft(), "too many wait")
        self._waiting.append(delivery)
        self._some.set()

    def _give_up(self, delivery: _Delivery, why: str) -> None:
        self.given_up += 1
        self._log.error("a delivery is given up", approval=delivery.approval_id, happened=delivery.event, why=why)

    async def _deliver(self) -> None:
        while True:
            while self._waiting:
                delivery = self._waiting.popleft()
                try:
                    await self._try(delivery)
                except Exception as fault:  # noqa: BLE001 - were this task to end, nobody would be told any more
                    self._give_up(delivery, type(fault).__name__)
            self._some.clear()
            await self._some.wait()

    async def _try(self, delivery: _Delivery) -> None:
        settings = self._settings
        pause = settings.retry_min_seconds
        body = b""
        for attempt in range(1, settings.max_attempts + 1):
            status = 0
            with contextlib.suppress(StoreError):
                if not body:  # the same at every attempt
                    found = await self._store.approval(delivery.approval_id)
                    body = payload(delivery.event, found, self._url_of(delivery.approval_id))
                status = await self._post(delivery.message_id, body)
            if status in _OK:
                return
            if status and status not in _RETRIED and status < _SERVER_ERROR:
                self._give_up(delivery, f"the receiver answers {status}")  # a redirect, too: it is not followed
                return
            if attempt < settings.max_attempts:
                await asyncio.sleep(pause * (1 + secrets.randbelow(256) / 1024))
                pause = min(pause * 2, settings.retry_max_seconds)
        self._give_up(delivery, f"not delivered in {settings.max_attempts} attempts")

    async def _post(self, message_id: str, body: bytes) -> int:
        """Deliver once; answer the status, 0 when there was none in time."""
        connection = self._connection()
        at = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "authz",
            "webhook-id": message_id,
            "webhook-timestamp": str(at),
        }
        if self._secret:
            headers["webhook-signature"] = signature(self._secret, message_id, at, body)
        path = f"{self._url.path or '/'}?{self._url.query}" if self._url.query else self._url.path or "/"

        def post() -> int:
            try:
                connection.request("POST", path, body, headers)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException, ValueError):
                return 0
            finally:
                connection.close()

        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await in_daemon_thread(post)
        except TimeoutError:
            # The socket's own timeout bounds one read only; a receiver could answer a byte now and then.
            _cut(connection)
            return 0

    def _connection(self) -> http.client.HTTPConnection:
        host, port, timeout = self._url.hostname or "", self._url.port, self._settings.timeout_seconds
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=timeout)


def _checked(url: str) -> str:
    """The URL, if what is told there cannot be read on the way. It is not quoted: it may be a secret itself (I10)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    local = False
    with contextlib.suppress(ValueError):
        local = ipaddress.ip_address(host).is_loopback
    fine = host and not parts.username and not parts.fragment and url.isascii() and url.isprintable()
    if not fine or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise ConfigError(
            "approvals.webhook.url: expected https://, or http:// with a loopback address, without user and fragment"
        )
    return url


def _tls(settings: WebhookSettings, base: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(base / settings.ca_file) if settings.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"approvals.webhook.ca_file: {settings.ca_file}: no usable certificates: {type(error).__name__}"
        ) from None


def _cut(connection: http.client.HTTPConnection) -> None:
    found = connection.sock
    if found is not None:
        with contextlib.suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)
