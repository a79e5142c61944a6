"""The same calls over both transports, from the real gRPC client."""

import asyncio
import gzip
import threading
import time

import grpc
import pytest
import uvloop
from transport_kit import (
    CHECK,
    FakePdp,
    allow,
    channel_to,
    check_request,
    deny,
    reason_of,
    serving,
    settings_for,
    until,
)

from authz.errors import Reason
from authz.transport.settings import OverloadSettings

MIB = 1024 * 1024

pytestmark = pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])


async def test_message_and_answer_pass_unchanged(transport):
    message, answer = check_request(padding=2000), deny(Reason.DENIED_BY_RULE)
    async with (
        serving(settings_for(transport), FakePdp(lambda *_: answer)) as server,
        channel_to(server.target) as channel,
    ):
        assert await channel.unary_unary(CHECK)(message, timeout=30) == answer
    assert server.pdp.messages == [message]


async def test_an_empty_request_is_for_the_pdp_to_judge(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.unary_unary(CHECK)(b"", timeout=30)) == "allowed"
    assert server.pdp.messages == [b""]


async def test_bytes_that_are_no_protobuf_get_the_pdps_denial(transport):
    garbage = b"\xff" * 100
    pdp = FakePdp(lambda message, _: deny(Reason.REQUEST_MALFORMED) if message == garbage else allow())
    async with serving(settings_for(transport), pdp) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.unary_unary(CHECK)(garbage, timeout=30)) == "request_malformed"


async def test_the_sync_client_is_served_too(transport):
    async with serving(settings_for(transport)) as server:

        def ask() -> bytes:
            with grpc.insecure_channel(server.target) as channel:
                return channel.unary_unary(CHECK)(check_request(), timeout=30)

        assert reason_of(await asyncio.to_thread(ask)) == "allowed"


def test_uvloop_serves_like_asyncio(transport):
    async def ask() -> str:
        async with serving(settings_for(transport)) as server:

            def call() -> bytes:
                with grpc.insecure_channel(server.target) as channel:
                    return channel.unary_unary(CHECK)(check_request(), timeout=30)

            return reason_of(await asyncio.to_thread(call))

    answers = []
    thread = threading.Thread(target=lambda: answers.append(uvloop.run(ask())))
    thread.start()
    thread.join(60)
    assert answers == ["allowed"]


@pytest.mark.parametrize(("asked", "at_most", "at_least"), [(30, 30.1, 1), (None, 60, 31), (900, 120, 61)])
async def test_the_pdp_is_given_what_is_left_of_the_deadline(transport, asked, at_most, at_least):
    overload = OverloadSettings(default_deadline_seconds=60, max_deadline_seconds=120, max_lag_share=1.0)
    async with serving(settings_for(transport, overload=overload)) as server, channel_to(server.target) as channel:
        await channel.unary_unary(CHECK)(check_request(), timeout=asked)
    # gRPC writes a time with three digits, rounded up: of 30 s and a little more it makes 30.1.
    assert at_least < server.pdp.budgets[0] < at_most


async def test_a_call_past_its_deadline_is_given_up_and_the_next_one_served(transport):
    given_up = threading.Event()

    def slow(message: bytes, budget: float) -> bytes:
        given_up.wait(60)  # a decision is synchronous; this one is too slow
        return allow()

    pdp = FakePdp(slow)
    async with serving(settings_for(transport), pdp) as server:
        with grpc.insecure_channel(server.target) as channel:
            call = channel.unary_unary(CHECK)
            asked = call.future(check_request(), timeout=3)  # by threads of gRPC's: the event loop will stand still
            asked.add_done_callback(lambda _: given_up.set())
            failed = await asyncio.to_thread(asked.exception, 60)
            assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            pdp.on_check = allow
            assert reason_of(await asyncio.to_thread(call, check_request(), timeout=30)) == "allowed"
        await until(lambda: server.plane.admission.inflight == 0)
    assert len(pdp.messages) == 2


async def test_a_call_taken_back_leaves_nothing_behind(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        call = channel.stream_unary(CHECK)()
        await call.wait_for_connection()
        await until(lambda: server.plane.admission.inflight == 1)
        call.cancel()
        await until(lambda: server.plane.admission.inflight == 0)
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "allowed"
    assert server.pdp.messages == [check_request()]
    if transport == "h2corn":  # grpc.aio shows it as a call without message, and that goes on record
        assert server.pdp.refusals == []


async def test_a_compressed_message_is_read(transport):
    message = check_request(padding=3000)
    assert len(gzip.compress(message)) < len(message)
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        call = channel.unary_unary(CHECK)
        assert reason_of(await call(message, timeout=30, compression=grpc.Compression.Gzip)) == "allowed"
    assert server.pdp.messages == [message]


async def test_an_encoding_that_is_not_spoken_is_unimplemented(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(CHECK)(
                check_request(padding=3000), timeout=30, compression=grpc.Compression.Deflate
            )
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert server.pdp.messages == []


async def test_a_message_of_five_mebibytes_is_denied_and_never_an_error(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.unary_unary(CHECK)(bytes(5 * MIB), timeout=30)) == "request_too_large"
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "allowed"
    assert server.pdp.refusals == [Reason.REQUEST_TOO_LARGE]


async def test_a_message_of_exactly_the_limit_is_decided(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.unary_unary(CHECK)(bytes(4 * MIB), timeout=30)) == "allowed"
        assert reason_of(await channel.unary_unary(CHECK)(bytes(4 * MIB + 1), timeout=30)) == "request_too_large"
    assert [len(message) for message in server.pdp.messages] == [4 * MIB]
    assert server.plane.admission.buffered_bytes == 0


async def test_a_message_far_over_the_limit_never_reaches_the_pdp(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        call = channel.unary_unary(CHECK)(bytes(20 * MIB), timeout=30)
        if transport == "h2corn":
            assert reason_of(await call) == "request_too_large"
        else:  # documented: over four times the limit gRPC's core answers by itself
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.pdp.messages == []


async def test_a_small_message_that_decompresses_to_a_large_one_never_reaches_the_pdp(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        call = channel.unary_unary(CHECK)(bytes(20 * MIB), timeout=30, compression=grpc.Compression.Gzip)
        if transport == "h2corn":
            assert reason_of(await call) == "request_too_large"
        else:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.pdp.messages == []


@pytest.mark.parametrize(
    "method",
    [
        "/envoy.service.auth.v3.Authorization/Checks",
        "/envoy.service.auth.v3.Authorization/check",
        "/envoy.service.auth.v2.Authorization/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/",
    ],
)
async def test_an_unknown_method_is_unimplemented(transport, method):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(method)(check_request(), timeout=30)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert server.pdp.messages == []


@pytest.mark.parametrize("count", [0, 2, 3])
async def test_anything_but_one_message_is_denied(transport, count):
    async def messages():
        for _ in range(count):
            yield check_request()

    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.stream_unary(CHECK)(messages(), timeout=30)) == "request_malformed"
    assert server.pdp.messages == []
    assert server.pdp.refusals == [Reason.REQUEST_MALFORMED]


async def test_a_thousand_calls_at_once_on_one_channel_are_all_answered(transport):
    async with serving(settings_for(transport)) as server, channel_to(server.target) as channel:
        call = channel.unary_unary(CHECK)
        answers = await asyncio.gather(*(call(check_request(f"/{n}"), timeout=30) for n in range(1000)))
    assert {reason_of(answer) for answer in answers} == {"allowed"}
    assert len(set(server.pdp.messages)) == 1000


async def test_a_message_that_does_not_come_is_denied_at_the_deadline(transport):
    overload = OverloadSettings(default_deadline_seconds=0.2, max_lag_share=1.0)
    async with serving(settings_for(transport, overload=overload)) as server, channel_to(server.target) as channel:
        call = channel.stream_unary(CHECK)()
        await call.wait_for_connection()
        assert reason_of(await asyncio.wait_for(call, 30)) == "deadline_exceeded"
    assert server.observer.sheds == [Reason.DEADLINE_EXCEEDED]
    assert server.pdp.messages == []


async def test_a_deadline_that_is_spent_on_arrival_is_denied(transport):
    overload = OverloadSettings(default_deadline_seconds=5.0, deadline_margin_seconds=4.0, max_lag_share=1.0)
    async with serving(settings_for(transport, overload=overload)) as server, channel_to(server.target) as channel:
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=3.9)) == "deadline_exceeded"
    assert server.pdp.messages == []


async def test_more_calls_than_may_be_in_flight_are_denied_at_once(transport):
    overload = OverloadSettings(
        default_deadline_seconds=60, max_deadline_seconds=60, max_lag_share=1.0, max_inflight_calls=2
    )
    async with serving(settings_for(transport, overload=overload)) as server, channel_to(server.target) as channel:
        waiting = [channel.stream_unary(CHECK)() for _ in range(2)]
        await until(lambda: server.plane.admission.inflight == 2)
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "overloaded"
        for call in waiting:
            await call.write(check_request())
            await call.done_writing()
            assert reason_of(await call) == "allowed"
        assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "allowed"
    assert server.observer.sheds == [Reason.OVERLOADED]


async def test_a_call_that_waited_too_long_for_the_event_loop_is_denied_until_it_recovers(transport):
    overload = OverloadSettings(
        default_deadline_seconds=20.0,
        max_deadline_seconds=20.0,
        max_lag_share=0.1,
        lag_probe_interval_seconds=1.0,  # so long a lag is remembered whole: gRPC's threads hand a call over in steps
    )
    sent = threading.Event()

    def message():
        yield check_request()
        sent.set()

    async with serving(settings_for(transport, overload=overload)) as server:
        with grpc.insecure_channel(server.target) as channel:
            call = channel.unary_unary(CHECK)
            assert reason_of(await asyncio.to_thread(call, check_request(), timeout=30)) == "allowed"
            waiting = channel.stream_unary(CHECK).future(message(), timeout=30)  # sent by threads of gRPC's
            assert sent.wait(60)
            for _ in range(35):
                time.sleep(0.1)  # whatever blocks the event loop: here, this
            assert reason_of(await asyncio.to_thread(waiting.result, 30)) == "overloaded"
            await until(lambda: server.plane.admission.lag(time.monotonic()) < 1)
            assert reason_of(await asyncio.to_thread(call, check_request(), timeout=30)) == "allowed"
    assert server.observer.sheds == [Reason.OVERLOADED]
    assert max(server.observer.lags) > 2


class PanicError(BaseException):
    """What a panic in a Rust extension looks like: no Exception."""


def _raise(error: BaseException):
    raise error


@pytest.mark.parametrize(
    "broken",
    [
        lambda *_: b"",
        lambda *_: None,
        lambda *_: "text",
        lambda *_: bytearray(allow()),
        lambda *_: b"\x1a\x00",  # a CheckResponse without a status is an allow to Envoy
        lambda *_: _raise(ValueError("secret")),
        lambda *_: _raise(MemoryError()),
        lambda *_: _raise(PanicError()),
    ],
    ids=["empty", "none", "text", "bytearray", "no-status", "error", "memory", "panic"],
)
class TestBrokenPdp:
    async def test_a_pdp_that_fails_is_a_denial(self, transport, broken):
        pdp = FakePdp(on_check=broken)
        async with serving(settings_for(transport), pdp) as server, channel_to(server.target) as channel:
            assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) == "internal_error"
            assert server.plane.admission.inflight == 0
        assert pdp.refusals == [Reason.INTERNAL_ERROR]

    async def test_a_pdp_that_cannot_even_refuse_is_a_denial(self, transport, broken):
        pdp = FakePdp(on_check=broken, on_refuse=broken)
        async with serving(settings_for(transport), pdp) as server, channel_to(server.target) as channel:
            assert reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30)) not in {"allowed", "OK"}
