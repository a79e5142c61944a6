"""The body of one ASGI request, bounded in size and in time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from authz.errors import Reason, Refusal
from authz.transport.admission import Claim
from authz.transport.wire import PREFIX_BYTES, declared_bytes

Event: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]

_READY = "_ReadyAwaitable"
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

    Cost: two events for nearly every call, the message and its end, and both are there already.
    """
    event = await _next(receive, claim)
    body: bytes = event.get("body", b"")  # h2corn leaves out what is empty or false
    if event.get("more_body", False):
        event = await _next(receive, claim)
        if event.get("body") or event.get("more_body", False):
            return await _gather(body, event, receive, max_message_bytes, claim)
    return body


async def _gather(head: bytes, event: Event, receive: Receive, max_message_bytes: int, claim: Claim) -> bytes:
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
    body += event.get("body", b"")
    return bool(event.get("more_body", False))


async def _next(receive: Receive, claim: Claim) -> Event:
    coming = receive()
    if type(coming).__name__ == _READY:
        event = await coming
    else:
        try:
            async with asyncio.timeout(claim.patience()):
                event = await coming
        except TimeoutError:
            raise Refusal(Reason.DEADLINE_EXCEEDED, "the message did not arrive in time") from None
    if event["type"] != "http.request":
        raise CallerGoneError
    return event
