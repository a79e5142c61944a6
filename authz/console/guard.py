"""What every request passes before anything else, and every answer on its way out.

A flood waits here: of the requests that the listener lets in at once, so many are begun in a second, and no more than
that they take a share of the event loop's time; the loop, which decides for the data plane, has the rest to itself. Who
is not signed in gets half of each at most, so that a flood of strangers keeps nobody from the kill switch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

import structlog

from authz.console.pace import Pace, Share, Timed
from authz.console.settings import ConsoleSettings

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # not "no-referrer": with that, forms would be sent with the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_NO_STORE: Final = (b"cache-control", b"no-store")
_ENCODED: Final = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())
STREAMS: Final = frozenset({"/decisions/stream"})
"""What goes on until somebody ends it, so that no time limit is on it here."""


class Guard:
    """The ASGI application in front of the application."""

    def __init__(
        self, settings: ConsoleSettings, app: App, host: Callable[[], str], known: Callable[[Scope], bool]
    ) -> None:
        """`host` answers under what name browsers reach the console; `known` whether somebody signed in is asking."""
        self._app = app
        self._host = host
        self._known = known
        self._timeout = settings.timeout_seconds
        self._strangers = 0
        self._most_strangers = max(1, settings.max_concurrent_requests // 2)
        self._strangers_pace = Pace(settings.max_requests_per_second / 2, settings.timeout_seconds)
        self._pace = Pace(settings.max_requests_per_second, settings.timeout_seconds)
        self._share = Share(settings.max_time_share, settings.timeout_seconds)
        self._strangers_share = Share(settings.max_time_share / 2, settings.timeout_seconds)
        self._log = structlog.get_logger("authz.console")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            return
        if self._known(scope):
            await self._serve(scope, receive, send, busy=False)
            return
        busy = self._strangers >= self._most_strangers
        self._strangers += 1
        try:
            expected = None if busy or not await self._strangers_pace.turn() else await self._strangers_share.turn()
            took = await self._serve(scope, receive, send, busy=expected is None)
            if expected is not None:
                self._strangers_share.took(took, expected)
        finally:
            self._strangers -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, busy: bool) -> float:
        """Answer a request; answer how long it kept the loop."""
        begun = False
        goes_on = scope["path"] in STREAMS

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = _hardened(message.get("headers", ()))
            if goes_on:  # who does not take what is sent holds no place for ever
                async with asyncio.timeout(self._timeout):
                    await send(message)
            else:
                await send(message)

        problem: tuple[int, bytes] | None = None
        expected: float | None = None
        work: Timed | None = None
        try:
            if busy or not await self._pace.turn() or (expected := await self._share.turn()) is None:
                problem = 503, b"the console is busy; try again in a moment\n"
            elif _host_of(scope) != self._host():  # a name that another pointed here (DNS rebinding)
                problem = 421, b"this is not the console of that host\n"
            else:
                work = Timed(self._app(scope, receive, guarded))
                async with asyncio.timeout(None if goes_on else self._timeout):
                    await work
        except TimeoutError:
            problem = 503, b"it took too long\n"
        except Exception as fault:  # noqa: BLE001 - nothing of a fault is told but that there was one
            self._log.error("a console request failed", path=scope["path"][:256], exc_info=fault)
            problem = 500, b"it failed; the server's log says how\n"
        finally:
            # Live views are few, and each goes on for an hour: what they take is no pace for those who come after.
            took = work.seconds if work is not None and not goes_on else 0.0
            if expected is not None:
                self._share.took(took, expected)
        if problem is not None and not begun:
            await _plain(guarded, *problem)
        return took


def _host_of(scope: Scope) -> str:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""


def _hardened(headers: Any) -> list[tuple[bytes, bytes]]:
    own = {name for name, _ in _ENCODED}
    kept = [(name, value) for name, value in headers if name.lower() not in own]
    if not any(name.lower() == b"cache-control" for name, _ in kept):
        kept.append(_NO_STORE)
    return [*kept, *_ENCODED]


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
