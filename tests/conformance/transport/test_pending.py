"""An allow that waits for the store, on either transport: other calls go on meanwhile."""

import asyncio
import time

import pytest
from transport_kit import CHECK, FakePdp, allow, channel_to, check_request, deny, reason_of, serving, settings_for

from authz.errors import Reason

pytestmark = pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])


class Waiting:
    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.spending = asyncio.Event()
        self.concluded: list[Reason | None] = []

    async def spend(self) -> Reason | None:
        self.spending.set()
        await self.left.wait()
        return Reason.GRANT_USED_UP if self.concluded else None

    def conclude(self, refused: Reason | None) -> bytes:
        self.concluded.append(refused)
        return allow() if refused is None else deny(refused)


async def test_a_call_that_waits_for_the_store_holds_up_no_other(transport):
    waiting = Waiting()
    pdp = FakePdp(lambda message, _: waiting if b"/counted" in message else deny(Reason.DENIED_BY_RULE))
    async with serving(settings_for(transport), pdp) as running, channel_to(running.target) as channel:
        call = channel.unary_unary(CHECK)
        first = asyncio.ensure_future(call(check_request("/counted"), timeout=10))
        await asyncio.wait_for(waiting.spending.wait(), 30)
        assert reason_of(await call(check_request("/other"), timeout=10)) == "denied_by_rule"
        waiting.left.set()
        assert reason_of(await first) == "allowed"
        assert reason_of(await call(check_request("/counted"), timeout=10)) == "grant_used_up"
    assert waiting.concluded == [None, Reason.GRANT_USED_UP]


async def test_a_call_whose_use_is_not_counted_in_time_is_denied(transport):
    waiting = Waiting()

    def decided(*_):
        admission = running.plane.admission
        admission.stop()  # what follows is no lag
        admission.clock = lambda: time.monotonic() + 29.5  # so long it took, and the store takes longer
        return waiting

    # As far before the client's own deadline as a busy machine may be late.
    async with serving(settings_for(transport), FakePdp(decided)) as running, channel_to(running.target) as channel:
        answer = await channel.unary_unary(CHECK)(check_request("/counted"), timeout=60)
    assert reason_of(answer) == "deadline_exceeded"
    assert waiting.concluded == [Reason.DEADLINE_EXCEEDED]
