"""grpc.health.v1 over both transports, from the real gRPC client."""

import asyncio

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from transport_kit import channel_to, headers_with, raw_client, serving, settings_for, until

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
AUTHORIZATION = "envoy.service.auth.v3.Authorization"

pytestmark = pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])


def health_check(channel: grpc.aio.Channel, service: str = ""):
    call = channel.unary_unary(
        CHECK,
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return call(HealthCheckRequest(service=service), timeout=30)


def health_watch(channel: grpc.aio.Channel, service: str = ""):
    call = channel.unary_stream(
        WATCH,
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return call(HealthCheckRequest(service=service))


@pytest.mark.parametrize("service", ["", AUTHORIZATION])
async def test_check_tells_readiness(transport, service):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        assert (await health_check(channel, service)).status == SERVING
        server.readiness.fail("policies", "none loaded")
        assert (await health_check(channel, service)).status == NOT_SERVING
        server.readiness.hold("policies")
        assert (await health_check(channel, service)).status == SERVING
        server.readiness.drain()
        assert (await health_check(channel, service)).status == NOT_SERVING


@pytest.mark.parametrize("service", ["envoy.service.auth.v3", "grpc.health.v1.Health", "\u00e9", " "])
async def test_check_of_an_unknown_service_is_not_found(transport, service):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health_check(channel, service)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0a\xff\x1f" + b"a" * 4095])
async def test_what_is_no_health_request_is_an_invalid_argument(transport, body):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        for method in (CHECK, WATCH):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                async for _ in channel.unary_stream(method)(body, timeout=30):
                    pass
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("service", ["", AUTHORIZATION])
async def test_watch_tells_every_change_and_ends_with_the_server(transport, service):
    seen = asyncio.Queue()

    async def follow(channel):
        try:
            async for response in health_watch(channel, service):
                seen.put_nowait(response.status)
        except grpc.aio.AioRpcError as error:
            return error.code()

    settings = settings_for(transport, drain_delay_seconds=600.0)
    async with serving(settings) as server, channel_to(server.target) as channel:
        watching = asyncio.ensure_future(follow(channel))
        assert await asyncio.wait_for(seen.get(), 30) == SERVING
        server.readiness.fail("policies", "none loaded")
        assert await asyncio.wait_for(seen.get(), 30) == NOT_SERVING
        server.readiness.fail("policies", "still none")  # no change of status, so nothing is told
        server.readiness.hold("policies")
        assert await asyncio.wait_for(seen.get(), 30) == SERVING
        stopping = asyncio.ensure_future(server.plane.stop())
        assert await asyncio.wait_for(seen.get(), 30) == NOT_SERVING
        assert not stopping.done()
        assert not watching.done()
        stopping.cancel()  # nobody waits for the end of the delay
        server.plane._stopped = False
        await asyncio.wait_for(server.plane.stop(at_once=True), 30)  # a watch must not hold up the end
        assert await asyncio.wait_for(watching, 30) is grpc.StatusCode.UNAVAILABLE
        assert seen.empty()
        assert server.plane.health.watches == 0


async def test_watch_of_an_unknown_service_says_so_and_stays(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        call = health_watch(channel, "nobody")
        assert (await call.read()).status == UNKNOWN
        server.readiness.fail("policies", "none loaded")
        await health_check(channel)
        assert not call.done()
        call.cancel()


async def test_watches_are_bounded_and_an_ended_one_makes_room(transport):
    settings = settings_for(transport, max_health_watches=2)
    async with serving(settings) as server, channel_to(server.target) as channel:
        calls = [health_watch(channel) for _ in range(2)]
        for call in calls:
            assert (await call.read()).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health_watch(channel).read()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls[0].cancel()
        await until(lambda: server.plane.health.watches == 1)
        third = health_watch(channel)
        assert (await third.read()).status == SERVING
        third.cancel()
        calls[1].cancel()
        await until(lambda: server.plane.health.watches == 0)


async def test_a_watch_ends_with_its_connection(transport):
    async with serving(settings_for(transport)) as server:
        async with raw_client(server.port) as client:
            stream = await client.open(headers_with((":path", WATCH)))
            await client.send(stream, bytes(5), end=True)
            await until(lambda: bool(client.answers[stream].data))
            assert server.plane.health.watches == 1
        await until(lambda: server.plane.health.watches == 0)
