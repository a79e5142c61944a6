"""The admin listener: `/livez`, `/readyz` and `/metrics` over HTTP/1.1, read only."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import msgspec
from h2corn import Application, Config, Server

from authz.errors import ConfigError
from authz.transport.asgi import Scope, Send
from authz.transport.bodies import Receive
from authz.transport.h2corn_server import LogFormat, mute_systemd
from authz.transport.listeners import Listener, demand_safe, parse_address
from authz.transport.readiness import Readiness
from authz.transport.settings import AdminSettings

_TEXT: Final = b"text/plain; charset=utf-8"
_JSON: Final = b"application/json"
_METHODS: Final = frozenset({"GET", "HEAD"})

Answer = tuple[int, bytes, bytes]
"""Status, content type, body."""


class AdminApp:
    """The ASGI application of the admin listener."""

    def __init__(
        self, readiness: Readiness, metrics: Callable[[], bytes | Awaitable[bytes]], metrics_type: str
    ) -> None:
        """Answer from `readiness` and from what `metrics` renders, in the format that `metrics_type` names."""
        self._readiness = readiness
        self._metrics = metrics
        self._metrics_type = metrics_type.encode("ascii")
        self._pages: dict[str, Callable[[], Answer | Awaitable[Answer]]] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._show_metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are not read
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            return
        page = self._pages.get(scope["path"])
        extra: list[tuple[bytes, bytes]] = []
        if page is None:
            status, kind, body = 404, _TEXT, b"not found\n"
        elif scope["method"] not in _METHODS:
            status, kind, body = 405, _TEXT, b"only GET and HEAD\n"
            extra.append((b"allow", b"GET, HEAD"))
        else:
            answer = page()
            status, kind, body = answer if isinstance(answer, tuple) else await answer
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})  # which h2corn does not send for a HEAD

    def _live(self) -> Answer:
        """Alive is who still answers: the event loop turns."""
        return 200, _TEXT, b"ok\n"

    def _ready(self) -> Answer:
        failing = self._readiness.failing
        body: dict[str, Any] = {"ready": not failing, "failing": failing}
        return (503 if failing else 200), _JSON, msgspec.json.encode(body) + b"\n"

    async def _show_metrics(self) -> Answer:
        text = self._metrics()
        return 200, self._metrics_type, text if isinstance(text, bytes) else await text


class AdminServer:
    """Serves an AdminApp on h2corn."""

    def __init__(self, settings: AdminSettings, app: AdminApp, *, log_format: LogFormat = "json") -> None:
        """Check the address.

        Raises:
            ConfigError: it is none, or others reach it and that was not permitted.
        """
        self._settings = settings
        self._requested = parse_address(settings.listen)
        demand_safe((self._requested,), encrypted=False, allow_plaintext=settings.allow_plaintext, section="admin")
        self._app = app
        self._log_format = log_format
        self._listener: Listener | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens, with the port that the kernel picked; "" when it does not."""
        return str(self._listener.address) if self._listener else ""

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: the address is not to be had.
        """
        settings = self._settings
        mute_systemd()
        self._listener = Listener(self._requested, backlog=128, unix_mode=settings.unix_socket_mode)
        config = Config(
            bind=(self._listener.bind,),
            lifespan="off",
            access_log=False,
            log_format=self._log_format,
            runtime_threads=1,
            limit_connections=settings.max_connections,
            limit_concurrency=settings.max_concurrent_requests,
            limit_request_head_size=settings.max_header_bytes,
            limit_request_line=settings.max_header_bytes,
            limit_request_field_size=settings.max_header_bytes,
            h2_max_header_list_size=settings.max_header_bytes,
            h2_max_header_block_size=settings.max_header_bytes,
            max_request_body_size=1,  # nothing here takes a body, and 0 would mean no limit
            timeout_handshake=settings.timeout_seconds,
            timeout_request_header=settings.timeout_seconds,
            timeout_request_body_idle=settings.timeout_seconds,
            timeout_keep_alive=settings.idle_timeout_seconds,
            timeout_graceful_shutdown=settings.timeout_seconds,
            h2_timeout_response_stall=settings.timeout_seconds,
            h2_timeout_write=settings.timeout_seconds,
        )
        self._server = Server(cast("Application", self._app), config)
        self._serving = asyncio.create_task(self._server.serve())
        try:
            await self._server.wait_started()
        except (OSError, ValueError, RuntimeError) as error:
            await self.stop()
            raise ConfigError(f"admin: h2corn does not start: {error}") from None

    async def stop(self) -> None:
        """End, and give the address back."""
        if self._server is not None and self._serving is not None:
            self._server.shutdown()
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
