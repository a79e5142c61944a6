"""The adapter between h2corn and the PDP, call after call: what it remembers of one must not decide another."""

import asyncio
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_kit import FakeObserver, FakePdp, check_request, framed, reason_of

from authz.errors import Reason, Refusal
from authz.transport.admission import Admission
from authz.transport.answer import Answerer
from authz.transport.asgi import CHECK_PATH, GrpcApp
from authz.transport.ending import Ending
from authz.transport.health import Health
from authz.transport.readiness import Readiness
from authz.transport.services import Services
from authz.transport.settings import OverloadSettings

LIMIT = 4096
MESSAGE = check_request()
HEADERS = ((b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"grpc-timeout", b"5S"))
USUAL = {
    "type": "http",
    "method": "POST",
    "raw_path": CHECK_PATH,
    "query_string": b"",
    "headers": list(HEADERS),
    "extensions": {"http.response.trailers": {}},
}


class _ReadyAwaitable:  # the name of h2corn's
    def __init__(self, event: object) -> None:
        self._event = event

    def __await__(self):
        return self._event
        yield


class _ReadyNone:  # the name of h2corn's
    awaited = 0

    def __await__(self):
        _ReadyNone.awaited += 1
        return iter(())


class World:
    """An app with a PDP, and what it was sent."""

    def __init__(self, gate=None, *, sent: object = None, **overload: object) -> None:
        self.pdp = FakePdp()
        self.admission = Admission(
            OverloadSettings(default_deadline_seconds=3.0, max_deadline_seconds=30.0, **overload),
            FakeObserver(),
            lambda: 1_000.0,  # no time passes
        )
        self.ending = Ending()
        services = Services(
            Answerer(self.pdp, FakeObserver()), self.admission, Health(Readiness(("x",)), 1), None, LIMIT
        )
        self.app = GrpcApp(services, self.ending, gate)
        self.sent = sent
        self.events: list[dict[str, object]] = []

    def send(self, event: dict[str, object]):
        self.events.append(event)
        return self.sent or _ReadyAwaitable(None)

    async def call(self, scope: dict[str, object] = USUAL, receive=None) -> str:
        """Answer in short what the call got."""
        self.events = []
        await self.app({**scope}, receive or arriving(framed(MESSAGE)), self.send)
        assert self.admission.inflight == 0
        assert self.admission.buffered_bytes == 0
        return told(self.events)


def told(events: list[dict[str, object]]) -> str:
    if not events:
        return "nothing"
    start, *rest = events
    headers = dict(start.get("headers", ()))
    if b"grpc-status" in headers:
        return f"status {headers[b'grpc-status'].decode()}"
    if headers.get(b"content-type") != b"application/grpc":
        return f"HTTP {start.get('status')}"
    body, trailers = rest
    assert dict(trailers["headers"]) == {b"grpc-status": b"0"}
    message = body["body"][5:]
    assert body["body"] == framed(message)
    return reason_of(message)


def arriving(*parts: bytes | None, ready: Iterable[bool] = itertools.repeat(True)):
    """A receive that hands over these parts and the end; None is a client that is gone."""
    events = [
        {"type": "http.disconnect"} if part is None else {"type": "http.request", "body": part, "more_body": True}
        for part in parts
    ]
    for event in events:
        if event.get("body") == b"":
            del event["body"]
    coming, at_once = iter([*events, {"type": "http.request"}]), iter(ready)

    async def later(event):
        await asyncio.sleep(0)
        return event

    def receive():
        event = next(coming)
        return _ReadyAwaitable(event) if next(at_once, True) else later(event)

    return receive


def with_headers(*changes: tuple[bytes, bytes | None]) -> dict[str, object]:
    headers = dict(HEADERS)
    for name, value in changes:
        headers.pop(name, None)
        if value is not None:
            headers[name] = value
    return {**USUAL, "headers": list(headers.items())}


UNUSUAL = {
    "another method": ({**USUAL, "method": "GET"}, "HTTP 405"),
    "another path": ({**USUAL, "raw_path": CHECK_PATH + b"/"}, "status 12"),
    "a query": ({**USUAL, "query_string": b"a=b"}, "status 12"),
    "no trailers": ({**USUAL, "extensions": {}}, "HTTP 400"),
    "another content type": (with_headers((b"content-type", b"application/json")), "HTTP 415"),
    "no content type": (with_headers((b"content-type", None)), "HTTP 415"),
    "an encoding that is not spoken": (with_headers((b"grpc-encoding", b"br")), "status 12"),
    "a deadline that cannot be read": (with_headers((b"grpc-timeout", b"5x")), "request_malformed"),
    "no time": (with_headers((b"grpc-timeout", b"0n")), "deadline_exceeded"),
    "a second content type": (
        {**USUAL, "headers": [*HEADERS, (b"content-type", b"text/plain")]},
        "HTTP 415",
    ),
    "a WebSocket": (
        {key: value for key, value in USUAL.items() if key != "method"} | {"type": "websocket"},
        "HTTP None",
    ),
    "something else": ({**USUAL, "type": "lifespan"}, "nothing"),
}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_a_call_that_differs_from_the_last_one_is_looked_at_in_full(name):
    scope, answer = UNUSUAL[name]
    world = World()
    assert await world.call(scope) == answer
    for _ in range(2):
        assert await world.call() == "allowed"
        asked = len(world.pdp.messages)
        assert await world.call(scope) == answer
        assert len(world.pdp.messages) == asked
    assert await world.call() == "allowed"


async def test_a_compressed_message_is_not_read_as_a_plain_one_said_it_was():
    world = World()
    compressed = framed(b"", flag=1)
    assert await world.call(receive=arriving(compressed)) == "request_malformed"
    assert await world.call(with_headers((b"grpc-encoding", b"gzip")), arriving(compressed)) == "request_malformed"
    assert await world.call() == "allowed"
    assert await world.call(receive=arriving(compressed)) == "request_malformed"


async def test_each_call_has_its_own_deadline():
    world = World()
    for timeout, most in ((b"5S", 5.0), (b"5S", 5.0), (b"2S", 2.0), (None, 3.0), (b"2S", 2.0), (b"99H", 30.0)):
        assert await world.call(with_headers((b"grpc-timeout", timeout))) == "allowed"
        assert world.pdp.budgets.pop() == pytest.approx(most - world.admission.margin)


async def test_a_client_that_may_not_ask_is_denied_every_time():
    allowed = [True]

    def gate(_: object) -> None:
        if not allowed[0]:
            raise Refusal(Reason.PROXY_NOT_ALLOWED)

    world = World(gate)
    assert await world.call() == "allowed"
    allowed[0] = False
    assert [await world.call() for _ in range(2)] == ["proxy_not_allowed"] * 2


async def test_more_calls_than_may_be_in_flight_are_denied():
    world = World(max_inflight_calls=1)
    arrived, never = asyncio.Event(), asyncio.Event()

    async def waiting():
        arrived.set()
        await never.wait()

    first = asyncio.create_task(world.app({**USUAL}, waiting, world.send))
    await arrived.wait()
    await world.app({**USUAL}, arriving(framed(MESSAGE)), world.send)
    assert told(world.events) == "overloaded"
    first.cancel()
    await asyncio.wait([first])
    assert await world.call() == "allowed"


@given(st.lists(st.integers(0, len(framed(MESSAGE))), max_size=6), st.lists(st.booleans(), max_size=8))
def test_a_message_is_the_same_however_it_came(cuts, ready):
    body = framed(MESSAGE)
    at = [0, *sorted(cuts), len(body)]
    parts = [body[start:end] for start, end in itertools.pairwise(at)]

    async def ask():
        world = World()
        for _ in range(2):  # the second finds what the first has left in memory
            assert await world.call(receive=arriving(*parts, ready=ready)) == "allowed"
        assert world.pdp.messages == [MESSAGE, MESSAGE]

    asyncio.run(ask())


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize(
    "parts", [(None,), (framed(MESSAGE)[:7], None), (framed(MESSAGE), None), (b"\0", b"\0", None)], ids=range(4)
)
async def test_a_client_that_is_gone_gets_no_answer(parts, ready):
    world = World()
    for _ in range(2):
        assert await world.call(receive=arriving(*parts, ready=itertools.repeat(ready))) == "nothing"
    assert world.pdp.messages == []
    assert await world.call() == "allowed"


async def test_a_body_with_no_parts_to_come_is_read_without_waiting_for_one():
    def receive():
        return _ReadyAwaitable({"type": "http.request", "body": framed(MESSAGE)})

    assert await World().call(receive=receive) == "allowed"


async def test_what_cannot_be_sent_yet_is_waited_for():
    world, taken, asked = World(), asyncio.Event(), asyncio.Event()

    class _ReadyNow:  # not the name that may be passed over
        awaited = 0

        def __await__(self):
            self.awaited += 1
            asked.set()
            return taken.wait().__await__()

    world.sent = _ReadyNow()
    call = asyncio.create_task(world.app({**USUAL}, arriving(framed(MESSAGE)), world.send))
    await asked.wait()
    assert [event["type"] for event in world.events] == ["http.response.start"]
    taken.set()
    await call
    assert told(world.events) == "allowed"
    assert world.sent.awaited == 3


async def test_what_was_sent_at_once_is_not_waited_for_again():
    _ReadyNone.awaited = 0
    world = World(sent=_ReadyNone())
    for _ in range(3):
        assert await world.call() == "allowed"
    assert _ReadyNone.awaited == 1


async def test_a_send_that_fails_ends_the_call():
    world = World()

    def broken(_: object):
        raise OSError("the stream is closed")

    world.send = broken
    with pytest.raises(OSError, match="closed"):
        await world.app({**USUAL}, arriving(framed(MESSAGE)), world.send)
    assert world.admission.inflight == 0
