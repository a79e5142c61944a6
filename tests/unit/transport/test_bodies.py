"""A body in parts, however they come."""

import asyncio
import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_kit import FakeObserver, framed

from authz.errors import Reason, Refusal
from authz.transport.admission import Admission
from authz.transport.bodies import CallerGoneError, read_body
from authz.transport.settings import OverloadSettings

LIMIT = 1000


class _ReadyAwaitable:  # the name that read_body looks for
    def __init__(self, event: dict[str, object]) -> None:
        self._event = event

    def __await__(self):
        return self._event
        yield


def parts_of(*parts: bytes | None, ready: bool = True, final: bool = True):
    """A receive that hands over these parts; None is a client that is gone."""
    events = []
    for part in parts:
        event = {"type": "http.request" if part is not None else "http.disconnect"}
        if part:
            event["body"] = part
        event["more_body"] = True
        events.append(event)
    if final:
        events.append({"type": "http.request"})
    coming = iter(events)

    async def later():
        await asyncio.sleep(0)
        return next(coming)

    async def never():
        await asyncio.sleep(3600)

    def receive():
        try:
            return _ReadyAwaitable(next(coming)) if ready else later()
        except StopIteration:
            return never()

    return receive


def claim_of(seconds: float = 5.0, clock=time.monotonic, **changes: object):
    admission = Admission(
        OverloadSettings(default_deadline_seconds=seconds, max_deadline_seconds=60, **changes), FakeObserver(), clock
    )
    return admission, admission.claim(None, admission.clock())


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=12), st.booleans())
def test_a_body_is_the_same_however_it_was_cut(message, cuts, ready):
    body = framed(message)
    at = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    parts = [body[start:end] for start, end in itertools.pairwise(at)]
    admission, claim = claim_of()
    assert asyncio.run(read_body(parts_of(*parts, ready=ready), LIMIT, claim)) == body
    assert admission.buffered_bytes == 0


async def test_no_body_is_an_empty_one():
    assert await read_body(parts_of(), LIMIT, claim_of()[1]) == b""


async def refusal_of(receive, claim) -> Reason:
    with pytest.raises(Refusal) as raised:
        await read_body(receive, LIMIT, claim)
    return raised.value.reason


async def test_a_declared_length_over_the_limit_is_refused_at_the_second_part():
    receive = parts_of(framed(b"a", length=LIMIT + 1), b"b", final=False)
    assert await refusal_of(receive, claim_of()[1]) is Reason.REQUEST_TOO_LARGE


async def test_more_than_was_declared_is_refused_before_it_is_all_there():
    receive = parts_of(framed(b"a", length=3), b"b", b"cd", b"e", final=False)
    assert await refusal_of(receive, claim_of()[1]) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("begun", [(), (b"\0",), (framed(b"a", length=5),), (framed(b"a", length=5), b"b")])
async def test_a_part_that_does_not_come_is_a_refusal_in_time(begun):
    admission, claim = claim_of(0.05)
    assert await refusal_of(parts_of(*begun, final=False), claim) is Reason.DEADLINE_EXCEEDED
    assert admission.buffered_bytes == 0


async def test_parts_that_come_for_ever_are_a_refusal_in_time():
    def receive():
        return _ReadyAwaitable({"type": "http.request", "more_body": True})

    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    looks = itertools.count()
    claim = claim_of(0.1, lambda: next(looks) / 1_000)[1]  # by this clock a part takes a millisecond or two
    assert await refusal_of(receive, claim) is Reason.DEADLINE_EXCEEDED
    task.cancel()
    assert others > 10  # the event loop was not theirs alone


@pytest.mark.parametrize("begun", [(), (b"\0",), (framed(b"a", length=5), b"b")])
async def test_a_client_that_is_gone_gets_no_answer(begun):
    admission, claim = claim_of()
    with pytest.raises(CallerGoneError):
        await read_body(parts_of(*begun, None), LIMIT, claim)
    assert admission.buffered_bytes == 0


async def test_memory_for_incomplete_messages_is_bounded():
    admission, claim = claim_of(max_buffered_bytes=100)
    assert await refusal_of(parts_of(framed(b"a", length=101), b"b"), claim) is Reason.OVERLOADED
    assert admission.buffered_bytes == 0


async def test_a_body_in_many_parts_is_not_copied_for_each():
    count, size = 2000, 1024
    body = framed(bytes(count * size))
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    tracemalloc.start()
    assert len(await read_body(parts_of(*parts), len(body), claim_of(60)[1])) == len(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(body)
