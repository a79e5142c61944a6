"""Stopping, over both transports: health first, then the listeners, and no call cut off."""

import asyncio

import grpc
import pytest
from ports import free_port
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
        assert reason_of(await asyncio.wait_for(call, 30)) == "allowed"
        await asyncio.wait_for(stopping, 30)


async def test_a_call_that_never_ends_does_not_hold_up_the_server_for_longer_than_configured(transport):
    settings = settings_for(transport, drain_timeout_seconds=0.3)
    async with serving(settings) as server, channel_to(server.target) as channel:
        call = channel.stream_unary(CHECK)()
        await call.wait_for_connection()
        await until(lambda: server.plane.admission.inflight == 1)
        await asyncio.wait_for(server.plane.stop(), 30)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        await until(lambda: server.plane.admission.inflight == 0)


async def test_calls_are_still_taken_while_the_proxies_learn_that_it_stops(transport):
    settings = settings_for(transport, drain_delay_seconds=600.0)
    async with serving(settings) as server, channel_to(server.target) as channel:
        stopping = asyncio.ensure_future(server.plane.stop())
        await until(lambda: not server.readiness.ready)
        for _ in range(3):
            assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "allowed"
        async with channel_to(server.target) as late:
            assert reason_of(await late.unary_unary(CHECK)(check_request(), timeout=30)) == "allowed"
        assert not stopping.done()
        stopping.cancel()  # nobody waits for the end of the delay
        server.plane._stopped = False
        await server.plane.stop(at_once=True)


async def test_after_the_end_nobody_listens_and_the_port_is_free(transport):
    # A port that the kernel gives to nobody else in between.
    async with serving(settings_for(transport, listen=(f"127.0.0.1:{free_port()}",))) as server:
        target = server.target
        await server.plane.stop()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)
    async with serving(settings_for(transport, listen=(target,))) as again, channel_to(again.target) as channel:
        assert again.target == target
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "allowed"


async def test_an_idle_connection_does_not_hold_up_the_end(transport):
    settings = settings_for(transport, drain_timeout_seconds=90.0)
    async with serving(settings) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "allowed"
        await asyncio.wait_for(server.plane.stop(), 30)


async def test_old_connections_move_on_without_a_call_cut_off(transport):
    # A machine may be busy: its clients hear late of the end, and a call should not be moved twice.
    settings = settings_for(transport, goaway_seconds=0.8, max_connection_age_seconds=2.0)
    async with serving(settings) as server, channel_to(server.target) as channel:
        check, stop, answered = channel.unary_unary(CHECK), asyncio.Event(), []

        async def ask():
            while not stop.is_set():
                answered.append(reason_of(await check(check_request(), timeout=30)))

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for _ in range(3):
            await until(lambda: channel.get_state() is grpc.ChannelConnectivity.READY)
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 20)
        stop.set()
        await asyncio.gather(*asking)
        assert set(answered) == {"allowed"}
