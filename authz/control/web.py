"""The control plane over HTTP: routes, bodies within bounds, and who is at the other end (I5)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import structlog

from authz.control.caller import Caller
from authz.control.faults import Code, ControlError
from authz.control.settings import HttpSettings

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
IdentifyPeer: TypeAlias = Callable[[str], Caller]
"""Answers who holds the certificate (PEM) that the TLS layer has verified; raises ControlError."""

JSON: Final = "application/json"
_MAX_REQUEST_ID: Final = 128


class WebRequest(msgspec.Struct, frozen=True):
    """One request, its body whole."""

    headers: Mapping[str, str]
    """Names in lower case; of a repeated one all values, joined by ","."""
    body: bytes
    caller: Caller | None
    """None where the route needs none."""

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class WebAnswer(msgspec.Struct, frozen=True):
    """What is answered."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Route(msgspec.Struct, frozen=True):
    """One path."""

    method: str
    handle: Callable[[WebRequest], Awaitable[WebAnswer]]
    fail: Callable[[ControlError], WebAnswer]
    """How this protocol words an error."""
    needs_caller: bool = True
    cache: str = "no-store"


Routes: TypeAlias = dict[str, Route]


class RecordsRefusals(Protocol):
    """Puts what is not even judged on record; the desk does."""

    def begin(self) -> None:
        """Say that a request is served from here on."""

    def refuse(self, action: str, error: ControlError, caller: Caller | None, path: str = "") -> None:
        """Put a request on record, unless it is already."""


_REFUSALS: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    413: Code.OUT_OF_RANGE,
}
"""The answers that say that a request was refused."""


class WebApp:
    """The ASGI application."""

    def __init__(
        self, settings: HttpSettings, routes: Routes, identify: IdentifyPeer, records: RecordsRefusals | None = None
    ) -> None:
        """`records` hears of requests that come to an end before they are judged."""
        self._records = records
        self._settings = settings
        self._routes = routes
        self._identify = identify
        self._log = structlog.get_logger("authz.control")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            return
        route = self._routes.get(scope["path"])
        if route is None:
            await _answer(send, WebAnswer(404, b"not found\n", "text/plain"), "no-store", "")
        elif scope["method"] != route.method and not (scope["method"] == "HEAD" and route.method == "GET"):
            wrong = WebAnswer(405, f"only {route.method}\n".encode(), "text/plain", (("allow", route.method),))
            await _answer(send, wrong, "no-store", "")
        else:
            headers = _headers(scope)
            answer = await self._serve(route, scope, headers, receive)
            cache = route.cache if answer.status == 200 else "no-store"  # noqa: PLR2004 - HTTP's
            await _answer(send, answer, cache, headers.get("x-request-id", ""))

    async def _serve(self, route: Route, scope: Scope, headers: Mapping[str, str], receive: Receive) -> WebAnswer:
        caller = None
        if self._records is not None:
            self._records.begin()
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                caller = self._caller(scope) if route.needs_caller else None
                body = await self._body(receive) if route.method == "POST" else b""
                answer = await route.handle(WebRequest(headers, body, caller))
                if answer.status in _REFUSALS:
                    self._refused(
                        scope, ControlError(_REFUSALS[answer.status], "MALFORMED", "not as it must be"), caller
                    )
                return answer
        except ControlError as error:
            self._refused(scope, error, caller)
            return route.fail(error)
        except TimeoutError:
            return route.fail(ControlError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "it took too long"))
        except Exception as fault:  # noqa: BLE001 - nothing of a fault is told but that there was one
            self._log.error("a control request failed", path=scope["path"], exc_info=fault)
            return route.fail(ControlError(Code.INTERNAL, "INTERNAL", "it failed; the server's log says how"))

    def _refused(self, scope: Scope, error: ControlError, caller: Caller | None) -> None:
        if self._records is not None:
            self._records.refuse("control:http", error, caller, scope["path"])

    def _caller(self, scope: Scope) -> Caller:
        chain = scope["extensions"].get("tls", {}).get("client_cert_chain")
        if not chain:
            raise ControlError(Code.UNAUTHENTICATED, "IDENTITY_MISSING", "no client certificate")
        return self._identify(chain[0])

    async def _body(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            event = await receive()
            if event["type"] != "http.request":
                raise ControlError(Code.CANCELLED, "GONE", "the client is gone")
            body += event.get("body", b"")
            if len(body) > self._settings.max_body_bytes:
                raise ControlError(
                    Code.OUT_OF_RANGE, "TOO_LARGE", f"the body is larger than {self._settings.max_body_bytes} bytes"
                )
            if not event.get("more_body", False):
                return bytes(body)


def to_json(status: int, document: object, *headers: tuple[str, str]) -> WebAnswer:
    """Answer a JSON document."""
    return WebAnswer(status, msgspec.json.encode(document), JSON, headers)


def http_status(error: ControlError) -> int:
    """Answer the HTTP status that says the same."""
    return {
        Code.INVALID_ARGUMENT: 400,
        Code.FAILED_PRECONDITION: 400,
        Code.OUT_OF_RANGE: 413,
        Code.UNAUTHENTICATED: 401,
        Code.PERMISSION_DENIED: 403,
        Code.NOT_FOUND: 404,
        Code.ABORTED: 409,
        Code.RESOURCE_EXHAUSTED: 429,
        Code.DEADLINE_EXCEEDED: 503,
        Code.UNAVAILABLE: 503,
    }.get(error.code, 500)


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


async def _answer(send: Send, answer: WebAnswer, cache: str, request_id: str) -> None:
    headers = [
        ("content-type", answer.content_type),
        ("content-length", str(len(answer.body))),
        ("cache-control", cache),
        ("x-content-type-options", "nosniff"),
        *answer.headers,
    ]
    if request_id and len(request_id) <= _MAX_REQUEST_ID and request_id.isascii() and request_id.isprintable():
        headers.append(("x-request-id", request_id))
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
