"""The body of one ASGI request, bounded in size and in time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from authz.errors import Reason, Refusal
from authz.transport.admission import Claim
from authz.transport.wire import PREFIX_BYTES, declared_bytes

Event: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]

BODY: Final = "http.request"
END: Final = {"type": BODY}
"""The event with which h2corn ends a body in parts, as all of gRPC are; what is empty or false is left out."""
READY: Final = "_ReadyAwaitable"
"""h2corn's type of an event that is there already. Awaiting it cannot suspend, so it needs no timer, and a timer would
cost a quarter of the whole call. Were it renamed, every event would get its timer: slower, not wrong."""


class CallerGoneError(Exception):
    """The client took its call back before it had sent it whole; there is nobody to answer."""


async def read_body(receive: Receive, max_message_bytes: int, claim: Claim) -> bytes:
    """Answer a request's whole body: the prefix, a message of at most `max_message_bytes`, and nothing after it.

    A body that came in one piece is answered as it is, unchecked; `unframe` checks it.

    Raises:
        Refusal: REQUEST_TOO_LARGE, REQUEST_MALFORMED, DEADLINE_EXCEEDED, OVERLOADED.
        CallerGoneError: the client is gone.
    """
    event = await _next(receive, claim)
    _demand_body(event)
    body: bytes = event.get("body", b"")
    if event.get("more_body", False):
        event = await _next(receive, claim)
        if event != END:
            return await gather(body, event, receive, max_message_bytes, claim)
    return body


async def gather(head: bytes, event: Event, receive: Receive, max_message_bytes: int, claim: Claim) -> bytes:
    """Read on, `head` and then `event` having come; see `read_body`."""
    _demand_body(event)
    body = bytearray(head)  # bytes += bytes copies what is there: quadratic, 20 s of CPU for one body of 64 MiB
    body += event.get("body", b"")
    more = event.get("more_body", False)
    while more and len(body) < PREFIX_BYTES:
        more = await _append(body, receive, claim)
    size = declared_bytes(body) if len(body) >= PREFIX_BYTES else 0
    if size > max_message_bytes:
        raise Refusal(Reason.REQUEST_TOO_LARGE, f"a message of {size} bytes, at most {max_message_bytes} allowed")
    with claim.buffering(size):
        while more:
            if len(body) > PREFIX_BYTES + size:
                raise Refusal(Reason.REQUEST_MALFORMED, "more than one message")
            more = await _append(body, receive, claim)
        return bytes(body)


async def _append(body: bytearray, receive: Receive, claim: Claim) -> bool:
    """Append the next part; answer whether more follow."""
    if not claim.patience():
        raise Refusal(Reason.DEADLINE_EXCEEDED, "the message did not arrive in time")
    await asyncio.sleep(0)  # a client that sends one byte a frame must not keep the event loop from everybody else
    event = await _next(receive, claim)
    _demand_body(event)
    body += event.get("body", b"")
    return bool(event.get("more_body", False))


def _next(receive: Receive, claim: Claim) -> Awaitable[Event]:
    """Answer what to await for the next event; one that is there already costs no coroutine of ours."""
    coming = receive()
    return coming if type(coming).__name__ == READY else in_time(coming, claim)


async def in_time(coming: Awaitable[Event], claim: Claim) -> Event:
    """Wait for an event. Raises Refusal: DEADLINE_EXCEEDED."""
    try:
        async with asyncio.timeout(claim.patience()):
            return await coming
    except TimeoutError:
        raise Refusal(Reason.DEADLINE_EXCEEDED, "the message did not arrive in time") from None


def _demand_body(event: Event) -> None:
    if event["type"] != BODY:
        raise CallerGoneError
