"""gRPC over ASGI, as little of it as ext_authz and health need: unary calls, and one stream of answers.

The server below (h2corn) hands over whatever HTTP/2 it can parse, so everything is checked here: method, path, content
type, frame, length, compression, deadline. A handler that does not answers OK to garbage.
Source: grpc/doc/PROTOCOL-HTTP2.md.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import grpc

from authz.errors import Refusal
from authz.transport.answer import LEFT_ALONE
from authz.transport.bodies import CallerGoneError, Receive, read_body
from authz.transport.ending import Ending
from authz.transport.health import MAX_REQUEST_BYTES, GrpcError
from authz.transport.services import Services
from authz.transport.wire import ENCODINGS, frame, parse_timeout, unframe

Scope: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Headers: TypeAlias = dict[bytes, bytes]
Route: TypeAlias = Callable[[Scope, Headers, Receive, Send], Awaitable[None]]
Gate: TypeAlias = Callable[[Scope], None]
"""Says whether the client of a call may ask at all: returns, or raises Refusal."""

CHECK_PATH: Final = b"/envoy.service.auth.v3.Authorization/Check"
HEALTH_CHECK_PATH: Final = b"/grpc.health.v1.Health/Check"
HEALTH_WATCH_PATH: Final = b"/grpc.health.v1.Health/Watch"

_CONTENT_TYPES: Final = frozenset({b"application/grpc", b"application/grpc+proto"})
_IDENTITY: Final = b"identity"
_CONTENT_TYPE: Final = (b"content-type", b"application/grpc")
_START: Final = {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE], "trailers": True}
_OK: Final = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}
_END: Final = {"type": "http.response.body"}
_ACCEPT_ENCODING: Final = (b"grpc-accept-encoding", b"identity,gzip")


class GrpcApp:
    """The ASGI application of one listener generation."""

    def __init__(self, services: Services, ending: Ending, gate: Gate) -> None:
        """Take the parts apart once; `ending` and `gate` are this generation's own."""
        self._answerer = services.answerer
        self._admission = services.admission
        self._health = services.health
        self._max_message_bytes = services.max_message_bytes
        self._ending = ending
        self._gate = gate
        self._routes: dict[bytes, Route] = {
            CHECK_PATH: self._check,
            HEALTH_CHECK_PATH: self._health_check,
            HEALTH_WATCH_PATH: self._health_watch,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await _refuse_other(scope, send)
            return
        headers: Headers = dict(scope["headers"])
        if (
            scope["method"] != "POST"
            or headers.get(b"content-type") not in _CONTENT_TYPES
            or "http.response.trailers" not in scope["extensions"]
        ):
            await _not_grpc(scope, headers, send)
            return
        route = self._routes.get(scope["raw_path"])
        if route is None or scope["query_string"]:
            await _send_error(send, GrpcError(grpc.StatusCode.UNIMPLEMENTED, "unknown method"))
        elif headers.get(b"grpc-encoding", _IDENTITY) not in ENCODINGS:
            await _send_error(send, GrpcError(grpc.StatusCode.UNIMPLEMENTED, "unknown message encoding"))
        else:
            try:
                await route(scope, headers, receive, send)
            except GrpcError as error:
                await _send_error(send, error)
            except CallerGoneError:
                return

    async def _check(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Serve Authorization/Check: from here on every failure is a denied CheckResponse (I2)."""
        admission = self._admission
        arrived = admission.clock()
        try:
            admission.enter()
            self._gate(scope)
            timeout = headers.get(b"grpc-timeout")
            claim = admission.claim(None if timeout is None else parse_timeout(timeout), arrived)
            body = await read_body(receive, self._max_message_bytes, claim)
            message = unframe(body, headers.get(b"grpc-encoding", _IDENTITY), self._max_message_bytes)
            response = self._answerer.answer(message, claim)
        except Refusal as refusal:
            response = self._answerer.refuse(refusal)
        except (CallerGoneError, *LEFT_ALONE):
            raise
        except BaseException as fault:  # noqa: BLE001 - I2: a fault of the transport must deny, too
            response = self._answerer.fault("the transport failed", fault)
        finally:
            admission.leave()
        await send(_START)
        await send({"type": "http.response.body", "body": frame(response)})
        if self._ending.holding:
            await self._ending.hold(scope.get("client"))
        await send(_OK)

    async def _health_check(self, _: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        message = self._health.check(await self._health_request(headers, receive))
        await send(_START)
        await send({"type": "http.response.body", "body": frame(message)})
        await send(_OK)

    async def _health_request(self, headers: Headers, receive: Receive) -> bytes:
        claim = self._admission.claim(None, self._admission.clock())
        try:
            body = await read_body(receive, MAX_REQUEST_BYTES, claim)
            return unframe(body, headers.get(b"grpc-encoding", _IDENTITY), MAX_REQUEST_BYTES)
        except Refusal:
            raise GrpcError(grpc.StatusCode.INVALID_ARGUMENT, "not one HealthCheckRequest") from None

    async def _health_watch(self, _: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        request = await self._health_request(headers, receive)
        started = False
        try:
            # h2corn cancels this task when the stream is reset or the connection lost.
            async with aclosing(self._health.watch(request, self._ending)) as statuses:
                async for status in statuses:
                    if not started:
                        await send(_START)
                        started = True
                    await send({"type": "http.response.body", "body": frame(status), "more_body": True})
        except GrpcError as error:
            if not started:
                raise
            await send(_END)
            await send({"type": "http.response.trailers", "headers": _status_headers(error)})


async def _send_error(send: Send, error: GrpcError) -> None:
    """Answer a gRPC status alone, in the headers ("Trailers-Only")."""
    headers = [_CONTENT_TYPE, _ACCEPT_ENCODING, *_status_headers(error)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send(_END)


def _status_headers(error: GrpcError) -> list[tuple[bytes, bytes]]:
    return [(b"grpc-status", str(error.code.value[0]).encode()), (b"grpc-message", error.message.encode("ascii"))]


async def _not_grpc(scope: Scope, headers: Headers, send: Send) -> None:
    """Answer in plain HTTP what no gRPC client sends."""
    extra: list[tuple[bytes, bytes]] = []
    if scope["method"] != "POST":
        status, text, extra = 405, b"only POST\n", [(b"allow", b"POST")]
    elif headers.get(b"content-type") not in _CONTENT_TYPES:
        status, text = 415, b"only application/grpc\n"
    else:
        status, text = 400, b"gRPC needs HTTP/2 and te: trailers\n"
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain"), *extra]})
    await send({"type": "http.response.body", "body": text})


async def _refuse_other(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
