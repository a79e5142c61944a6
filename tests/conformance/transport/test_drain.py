"""Stopping, over both transports: health first, then the listeners, and no call cut off."""

import asyncio
import time

import grpc
import pytest
from transport_kit import CHECK, channel_to, check_request, reason_of, serving, settings_for, until

pytestmark = pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])


async def test_a_call_in_flight_is_answered_before_the_server_ends(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        call = channel.stream_unary(CHECK)()
        await call.wait_for_connection()
        await until(lambda: server.plane.admission.inflight == 1)
        stopping = asyncio.ensure_future(server.plane.stop())
        await asyncio.sleep(0.1)  # time to go wrong in
        assert not stopping.done()
        await call.write(check_request())
        await call.done_writing()
        assert reason_of(await asyncio.wait_for(call, 5)) == "allowed"
        await asyncio.wait_for(stopping, 5)


async def test_a_call_that_never_ends_does_not_hold_up_the_server_for_longer_than_configured(transport):
    settings = settings_for(transport, drain_timeout_seconds=0.3)
    async with serving(settings) as server, channel_to(server.target) as channel:
        call = channel.stream_unary(CHECK)()
        await call.wait_for_connection()
        await until(lambda: server.plane.admission.inflight == 1)
        started = time.monotonic()
        await asyncio.wait_for(server.plane.stop(), 5)
        assert time.monotonic() - started < 3
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        await until(lambda: server.plane.admission.inflight == 0)


async def test_calls_are_still_taken_while_the_proxies_learn_that_it_stops(transport):
    settings = settings_for(transport, drain_delay_seconds=0.5)
    async with serving(settings) as server, channel_to(server.target) as channel:
        stopping = asyncio.ensure_future(server.plane.stop())
        await until(lambda: not server.readiness.ready)
        for _ in range(3):
            assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=5)) == "allowed"
        async with channel_to(server.target) as late:
            assert reason_of(await late.unary_unary(CHECK)(check_request(), timeout=5)) == "allowed"
        assert not stopping.done()
        await stopping


async def test_after_the_end_nobody_listens_and_the_port_is_free(transport):
    async with serving(settings_for(transport)) as server:
        target = server.target
        await server.plane.stop()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)
    async with serving(settings_for(transport, listen=(target,))) as again, channel_to(again.target) as channel:
        assert again.target == target
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=5)) == "allowed"


async def test_an_idle_connection_does_not_hold_up_the_end(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=5)) == "allowed"
        started = time.monotonic()
        await asyncio.wait_for(server.plane.stop(), 4)
        assert time.monotonic() - started < 2
