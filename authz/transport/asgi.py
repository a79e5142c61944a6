"""gRPC over ASGI, as little of it as ext_authz and health need: unary calls, and one stream of answers.

The server below (h2corn) hands over whatever HTTP/2 it can parse, so everything is checked here: method, path, content
type, frame, length, compression, deadline. A handler that does not answers OK to garbage.
Source: grpc/doc/PROTOCOL-HTTP2.md.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from operator import itemgetter
from typing import Any, Final, TypeAlias

from authz.errors import Refusal
from authz.transport.answer import LEFT_ALONE
from authz.transport.bodies import BODY, END, READY, CallerGoneError, Event, Receive, gather, in_time, read_body
from authz.transport.codes import Code
from authz.transport.ending import Ending
from authz.transport.health import MAX_REQUEST_BYTES, GrpcError
from authz.transport.services import Services
from authz.transport.wire import ENCODINGS, frame, parse_timeout, unframe

Scope: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Headers: TypeAlias = dict[bytes, bytes]
Route: TypeAlias = Callable[[Headers, Receive, Send], Awaitable[None]]
Gate: TypeAlias = Callable[[Scope], None]
"""Says whether the client of a call may ask at all: returns, or raises Refusal."""

CHECK_PATH: Final = b"/envoy.service.auth.v3.Authorization/Check"
HEALTH_CHECK_PATH: Final = b"/grpc.health.v1.Health/Check"
HEALTH_WATCH_PATH: Final = b"/grpc.health.v1.Health/Watch"

_ASKED: Final = itemgetter("type", "method", "raw_path", "query_string", "headers")
_TRAILERS: Final = "http.response.trailers"
"""The extension that is there for a client that said `te: trailers`."""
_CONTENT_TYPES: Final = frozenset({b"application/grpc", b"application/grpc+proto"})
_IDENTITY: Final = b"identity"
_CONTENT_TYPE: Final = (b"content-type", b"application/grpc")
_START: Final = {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE], "trailers": True}
_OK: Final = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}
_END: Final = {"type": "http.response.body"}
_ACCEPT_ENCODING: Final = (b"grpc-accept-encoding", b"identity,gzip")
_SENT: Final = "_ReadyNone"
"""h2corn's type of what it answers, always the same object, when it has taken an event at once."""


class Head:
    """What a call to Check says before its message; a proxy says the same in nearly every call."""

    __slots__ = ("asked", "deadline", "encoding")

    def __init__(self, asked: object, deadline: float, encoding: bytes) -> None:
        self.asked = asked
        """All that was looked at, as it came."""
        self.deadline = deadline
        """How long the call may take, in seconds, by its caller and by the settings."""
        self.encoding = encoding
        """That of its message; one of `ENCODINGS`."""


class GrpcApp:
    """The ASGI application of one listener generation."""

    def __init__(self, services: Services, ending: Ending, gate: Gate | None) -> None:
        """Take the parts apart once; `ending` and `gate` (None: whoever calls may ask) are this generation's own."""
        self._answerer = services.answerer
        self._decide = services.answerer.decide
        self._admission = services.admission
        self._health = services.health
        self._max_message_bytes = services.max_message_bytes
        self._ending = ending
        self._gate = gate
        self._others: dict[bytes, Route] = {
            HEALTH_CHECK_PATH: self._health_check,
            HEALTH_WATCH_PATH: self._health_watch,
        }
        self._usual = Head((), 0.0, _IDENTITY)
        """That of the last call whose head was read. One that says the same needs no reading."""
        # What h2corn answers when there is nothing to wait for, once it was seen.
        self._ready: object = None
        self._sent: object = None

    async def __call__(  # noqa: C901, PLR0912, PLR0915 - in one piece, for its cost
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve one call; if it is one to Check, from `try` on every failure is a denied CheckResponse (I2).

        Cost: it is one coroutine, and it makes and awaits as little as it can, since most calls find all that they need
        here already: their message, an answer, and room to send it. Awaiting what is not there yet is for others.
        """
        head = self._usual
        try:
            asked = _ASKED(scope)
        except KeyError:  # what is no HTTP request
            asked = None
        if asked != head.asked or _TRAILERS not in scope["extensions"]:
            unusual = await self._read_head(scope, asked, receive, send)
            if unusual is None:
                return
            head = unusual
        admission, gate, decide, ready = self._admission, self._gate, self._decide, self._ready
        clock = admission.clock
        arrived = clock()
        admission.inflight += 1
        try:
            if admission.inflight > admission.max_inflight:
                admission.demand_room()
            if gate is not None:
                gate(scope)
            coming = receive()
            event = await (coming if type(coming) is ready else self._coming(coming, head, arrived))
            body = event.get("body", b"")  # h2corn leaves out what is empty or false
            if event.get("more_body"):
                coming = receive()
                event = await (coming if type(coming) is ready else self._coming(coming, head, arrived))
                if event != END:
                    claim = admission.claim(head.deadline, arrived)
                    body = await gather(body, event, receive, self._max_message_bytes, claim)
            elif event["type"] != BODY:
                return
            message = unframe(body, head.encoding, self._max_message_bytes)
            response = decide(message, admission.budget(head.deadline, arrived, clock()))
            if not isinstance(response, bytes):
                response = await self._answerer.settle(response, admission.claim(head.deadline, arrived))
        except Refusal as refusal:
            response = self._answerer.refuse(refusal)
        except CallerGoneError:
            return
        except LEFT_ALONE:
            raise
        except BaseException as fault:  # noqa: BLE001 - I2: a fault of the transport must deny, too
            response = self._answerer.fault("the transport failed", fault)
        finally:
            admission.inflight -= 1
        sent = send(_START)
        if sent is not self._sent:
            await self._sending(sent)
        sent = send({"type": "http.response.body", "body": frame(response)})
        if sent is not self._sent:
            await self._sending(sent)
        if self._ending.holding:
            await self._ending.hold(scope.get("client"))
        sent = send(_OK)
        if sent is not self._sent:
            await self._sending(sent)

    def _coming(self, coming: Awaitable[Event], head: Head, arrived: float) -> Awaitable[Event]:
        """Answer what to await for an event that may not be there yet."""
        if type(coming).__name__ != READY:
            return in_time(coming, self._admission.claim(head.deadline, arrived))
        self._ready = type(coming)
        return coming

    async def _sending(self, sent: Awaitable[None]) -> None:
        """Wait until an event is taken."""
        if type(sent).__name__ == _SENT:
            # Awaiting it does nothing, ever, and costs a tenth of a whole call, as it ends in an exception.
            self._sent = sent
        await sent

    async def _read_head(self, scope: Scope, asked: object, receive: Receive, send: Send) -> Head | None:
        """Answer what the call says before its message; None: it is not to be decided, and was answered."""
        if scope["type"] != "http":
            await _refuse_other(scope, send)
            return None
        headers: Headers = dict(scope["headers"])
        if (
            scope["method"] != "POST"
            or headers.get(b"content-type") not in _CONTENT_TYPES
            or _TRAILERS not in scope["extensions"]
        ):
            await _not_grpc(scope, headers, send)
            return None
        path, encoding = scope["raw_path"], headers.get(b"grpc-encoding", _IDENTITY)
        other = self._others.get(path)
        if scope["query_string"] or (path != CHECK_PATH and other is None):
            await _send_error(send, GrpcError(Code.UNIMPLEMENTED, "unknown method"))
            return None
        if encoding not in ENCODINGS:
            await _send_error(send, GrpcError(Code.UNIMPLEMENTED, "unknown message encoding"))
            return None
        if other is not None:
            await self._serve_other(other, headers, receive, send)
            return None
        timeout = headers.get(b"grpc-timeout")
        try:
            seconds = None if timeout is None else parse_timeout(timeout)
        except Refusal as refusal:  # I2: who asks Check is denied
            await _send_message(send, self._answerer.refuse(refusal))
            return None
        head = self._usual = Head(asked, self._admission.deadline(seconds), encoding)
        return head

    async def _serve_other(self, route: Route, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            await route(headers, receive, send)
        except GrpcError as error:
            await _send_error(send, error)
        except CallerGoneError:
            return

    async def _health_check(self, headers: Headers, receive: Receive, send: Send) -> None:
        await _send_message(send, self._health.check(await self._health_request(headers, receive)))

    async def _health_request(self, headers: Headers, receive: Receive) -> bytes:
        claim = self._admission.claim(None, self._admission.clock())
        try:
            body = await read_body(receive, MAX_REQUEST_BYTES, claim)
            return unframe(body, headers.get(b"grpc-encoding", _IDENTITY), MAX_REQUEST_BYTES)
        except Refusal:
            raise GrpcError(Code.INVALID_ARGUMENT, "not one HealthCheckRequest") from None

    async def _health_watch(self, headers: Headers, receive: Receive, send: Send) -> None:
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


async def _send_message(send: Send, message: bytes) -> None:
    await send(_START)
    await send({"type": "http.response.body", "body": frame(message)})
    await send(_OK)


async def _send_error(send: Send, error: GrpcError) -> None:
    """Answer a gRPC status alone, in the headers ("Trailers-Only")."""
    headers = [_CONTENT_TYPE, _ACCEPT_ENCODING, *_status_headers(error)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send(_END)


def _status_headers(error: GrpcError) -> list[tuple[bytes, bytes]]:
    return [(b"grpc-status", str(error.code.value).encode()), (b"grpc-message", error.message.encode("ascii"))]


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
