"""Calls that no gRPC client would make, in raw HTTP/2: whatever arrives at Check is denied, whatever else is refused.

h2corn hands all of these to its application; a careless one answers OK, which Envoy reads as an allow.
"""

import asyncio
import contextlib
import gzip
import struct
import zlib

import pytest
from transport_kit import (
    CHECK,
    GRPC_HEADERS,
    FakePdp,
    check_request,
    deny,
    framed,
    headers_with,
    raw_client,
    serving,
    settings_for,
    until,
)

from authz.errors import Reason
from authz.transport.settings import OverloadSettings

MESSAGE = check_request()


@contextlib.asynccontextmanager
async def attacked(**changes):
    """A server that is attacked, and must serve an honest caller afterwards."""
    async with serving(settings_for("h2corn", **changes)) as server:
        yield server
        asked = len(server.pdp.messages)
        async with raw_client(server.port) as honest:
            assert (await honest.call(framed(MESSAGE), headers_with(("grpc-timeout", "30S")))).reason == "allowed"
        assert len(server.pdp.messages) == asked + 1
        await until(lambda: server.plane.admission.inflight == 0)
        assert server.plane.admission.buffered_bytes == 0


MALFORMED_BODIES = {
    "nothing": b"",
    "half a prefix": b"\0\0\0",
    "a prefix without its message": framed(b"", length=10),
    "a cut message": framed(MESSAGE)[:-1],
    "a length that is too short": framed(MESSAGE, length=len(MESSAGE) - 1),
    "two messages": framed(MESSAGE) + framed(MESSAGE),
    "two empty messages": framed(b"") + framed(b""),
    "a message and half a prefix": framed(MESSAGE) + b"\0\0",
    "a message and a byte": framed(MESSAGE) + b"\0",
    "an unknown flag": framed(MESSAGE, flag=2),
    "the flag of gRPC-Web's trailers": framed(MESSAGE, flag=0x80),
    "all flags": framed(MESSAGE, flag=0xFF),
    "compressed, it says, but not how": framed(gzip.compress(MESSAGE), flag=1),
}


@pytest.mark.parametrize("body", MALFORMED_BODIES.values(), ids=MALFORMED_BODIES.keys())
@pytest.mark.parametrize("parts", [1, 7])
async def test_a_body_that_is_not_one_message_is_denied(body, parts):
    async with attacked() as server, raw_client(server.port) as client:
        stream = await client.open(end=not body)
        size = max(1, -(-len(body) // parts))
        for at in range(0, len(body), size):
            await client.send(stream, body[at : at + size], end=at + size >= len(body))
            await asyncio.sleep(0)
        assert (await client.answer(stream)).reason == "request_malformed"
        assert server.pdp.messages == []
        assert server.pdp.refusals == [Reason.REQUEST_MALFORMED]


COMPRESSED = gzip.compress(MESSAGE)
MALFORMED_COMPRESSION = {
    "not compressed": MESSAGE,
    "empty": b"",
    "cut": COMPRESSED[:-1],
    "broken": COMPRESSED[:12] + b"\xff\xff\xff" + COMPRESSED[15:],
    "wrong checksum": COMPRESSED[:-8] + bytes(8),
    "two members": COMPRESSED + COMPRESSED,
    "trailing bytes": COMPRESSED + b"\0",
    "zlib": zlib.compress(MESSAGE),
    "raw deflate": zlib.compress(MESSAGE)[2:-4],
}


async def test_a_message_without_its_prefix_is_denied():
    async with attacked() as server, raw_client(server.port) as client:
        # its first bytes are taken for a prefix, and that names an absurd length
        assert (await client.call(MESSAGE)).reason == "request_too_large"
        assert server.pdp.messages == []


@pytest.mark.parametrize("data", MALFORMED_COMPRESSION.values(), ids=MALFORMED_COMPRESSION.keys())
async def test_broken_compression_is_denied(data):
    async with attacked() as server, raw_client(server.port) as client:
        answer = await client.call(framed(data, flag=1), headers_with(("grpc-encoding", "gzip")))
        assert answer.reason == "request_malformed"
        assert server.pdp.messages == []


async def test_compression_that_is_named_but_not_used_is_fine():
    async with attacked() as server, raw_client(server.port) as client:
        assert (await client.call(framed(MESSAGE), headers_with(("grpc-encoding", "gzip")))).reason == "allowed"
        assert (
            await client.call(framed(COMPRESSED, flag=1), headers_with(("grpc-encoding", "gzip")))
        ).reason == "allowed"
        assert server.pdp.messages == [MESSAGE, MESSAGE]


async def test_a_bomb_is_denied_without_being_inflated_whole():
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 100_000
    async with attacked() as server, raw_client(server.port) as client:
        answer = await client.call(framed(bomb, flag=1), headers_with(("grpc-encoding", "gzip")))
        assert answer.reason == "request_too_large"


@pytest.mark.parametrize("encoding", ["deflate", "snappy", "br", "GZIP", "gzip,identity", "identity,gzip", ""])
async def test_an_encoding_that_is_not_spoken_is_unimplemented_and_says_what_is(encoding):
    async with attacked() as server, raw_client(server.port) as client:
        answer = await client.call(framed(MESSAGE, flag=1), headers_with(("grpc-encoding", encoding)))
        assert (answer.headers[":status"], answer.headers["grpc-status"]) == ("200", "12")
        assert answer.headers["grpc-accept-encoding"] == "identity,gzip"
        assert not answer.data
        assert server.pdp.messages == []


@pytest.mark.parametrize(
    "timeout", ["", "1", "m", "0.2S", "-1S", "+1S", "1s", "1 S", "123456789n", "1SS", "1S ", "inf", "\u0661S", "0x1S"]
)
async def test_a_deadline_that_cannot_be_read_is_denied(timeout):
    async with attacked() as server, raw_client(server.port) as client:
        answer = await client.call(framed(MESSAGE), headers_with(("grpc-timeout", timeout)))
        if answer.headers.get(":status") == "200":
            assert answer.reason == "request_malformed"
        assert server.pdp.messages == []


@pytest.mark.parametrize("timeout", ["0n", "0m", "0H", "1n", "10u", "9m"])
async def test_a_deadline_with_no_time_in_it_is_denied(timeout):
    async with attacked() as server, raw_client(server.port) as client:
        assert (
            await client.call(framed(MESSAGE), headers_with(("grpc-timeout", timeout)))
        ).reason == "deadline_exceeded"
        assert server.pdp.messages == []
        assert server.observer.sheds == [Reason.DEADLINE_EXCEEDED]


async def test_the_longest_deadline_that_can_be_named_is_cut():
    async with attacked() as server, raw_client(server.port) as client:
        assert (await client.call(framed(MESSAGE), headers_with(("grpc-timeout", "99999999H")))).reason == "allowed"
        assert server.pdp.budgets[0] <= 30.0


NOT_CHECK = [
    "/envoy.service.auth.v3.Authorization/Check/",
    "/envoy.service.auth.v3.Authorization/Check?x=1",
    "/envoy.service.auth.v3.Authorization//Check",
    "//envoy.service.auth.v3.Authorization/Check",
    "/envoy.service.auth.v3.Authorization/%43heck",
    "/envoy.service.auth.v3.Authorization/CHECK",
    "/x/../envoy.service.auth.v3.Authorization/Check",
    "/envoy.service.auth.v3.Authorization/Check#x",
    "/envoy.service.auth.v3.Authorization/Check%00",
    "/envoy.service.auth.v3.Authorization/Check;x",
    "/livez",
    "/",
]


@pytest.mark.parametrize("path", NOT_CHECK)
async def test_a_path_that_only_resembles_check_is_not_it(path):
    async with attacked() as server, raw_client(server.port) as client:
        answer = await client.call(framed(MESSAGE), headers_with((":path", path)))
        assert not answer.data or answer.headers.get(":status") != "200"
        assert (
            answer.reset is not None or answer.headers.get("grpc-status") == "12" or answer.headers[":status"] == "400"
        )
        assert server.pdp.messages == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({":method": "GET"}, "405"),
        ({":method": "PUT"}, "405"),
        ({":method": "post"}, "405"),
        ({":method": "OPTIONS"}, "405"),
        ({"content-type": None}, "415"),
        ({"content-type": ""}, "415"),
        ({"content-type": "application/json"}, "415"),
        ({"content-type": "application/grpc-web"}, "415"),
        ({"content-type": "application/grpc-web+proto"}, "415"),
        ({"content-type": "application/grpcx"}, "415"),
        ({"content-type": "application/grpc+json"}, "415"),
        ({"content-type": "application/x-protobuf"}, "415"),
        ({"te": None}, "400"),
    ],
    ids=str,
)
async def test_what_is_not_grpc_gets_plain_http(changes, status):
    async with attacked() as server, raw_client(server.port) as client:
        answer = await client.call(framed(MESSAGE), headers_with(*changes.items()))
        assert answer.headers[":status"] == status
        assert "grpc-status" not in answer.headers
        if status == "405":
            assert answer.headers["allow"] == "POST"
        assert server.pdp.messages == []


async def test_the_protobuf_subtype_is_spoken():
    async with attacked() as server, raw_client(server.port) as client:
        headers = headers_with(("content-type", "application/grpc+proto"))
        assert (await client.call(framed(MESSAGE), headers)).reason == "allowed"


async def test_an_extended_connect_is_not_answered_with_a_stream():
    async with attacked() as server, raw_client(server.port) as client:
        headers = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", CHECK),
            (":authority", "authz"),
            ("sec-websocket-version", "13"),
        ]
        stream = await client.open(headers)
        answer = await client.answer(stream)
        assert answer.headers.get(":status") != "200"
        assert server.pdp.messages == []


async def test_http_1_is_not_spoken():
    async with attacked() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            f"POST {CHECK} HTTP/1.1\r\nhost: authz\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
            f"content-length: {len(framed(MESSAGE))}\r\n\r\n".encode()
            + framed(MESSAGE)
        )
        answer = await asyncio.wait_for(reader.read(65536), 30)
        writer.close()
        assert b"200 OK" not in answer
        assert server.pdp.messages == []


async def test_a_body_in_single_bytes_is_put_together_without_keeping_others_waiting():
    message = check_request(padding=20_000)
    async with attacked() as server, raw_client(server.port) as slow, raw_client(server.port) as other:
        stream = await slow.open(headers_with(("grpc-timeout", "30S")))
        for byte in framed(message):
            slow.h2.send_data(stream, bytes([byte]))
        slow.h2.end_stream(stream)
        await slow.flush()
        assert (await other.call(framed(MESSAGE), headers_with(("grpc-timeout", "30S")))).reason == "allowed"
        assert (await slow.answer(stream)).reason == "allowed"
        assert sorted(server.pdp.messages) == sorted([message, MESSAGE])


async def test_empty_frames_without_end_are_given_up_at_the_deadline():
    overload = OverloadSettings(default_deadline_seconds=0.3, max_deadline_seconds=30.0, max_lag_share=1.0)
    async with attacked(overload=overload) as server, raw_client(server.port) as client:
        stream = await client.open()
        answer = client.answers[stream]
        while not answer.ended and answer.reset is None and not client.closed:
            with contextlib.suppress(Exception):
                client.h2.send_data(stream, b"")
            await client.flush()
            await asyncio.sleep(0.001)
        assert client.closed or answer.reset is not None or answer.reason == "deadline_exceeded"
        assert server.pdp.messages == []


@pytest.mark.parametrize("begun", [b"", b"\0\0", framed(MESSAGE)[:20], framed(MESSAGE)])
async def test_a_body_that_stalls_is_denied_at_the_deadline(begun):
    async with attacked() as server, raw_client(server.port) as client:
        stream = await client.open(headers_with(("grpc-timeout", "150m")))
        if begun:
            await client.send(stream, begun)
        assert (await client.answer(stream)).reason == "deadline_exceeded"
        assert server.pdp.messages == []


async def test_a_stalled_body_of_unknown_length_is_cut_by_the_server_if_all_else_fails():
    async with attacked(stall_timeout_seconds=2.0) as server, raw_client(server.port) as client:
        stream = await client.open(headers_with(("grpc-timeout", "30S")))
        await client.send(stream, b"\0")
        answer = await client.answer(stream)
        assert answer.reset is not None or answer.headers.get(":status") != "200"
        assert server.pdp.messages == []


async def test_a_large_declared_message_is_denied_before_it_is_sent():
    async with attacked() as server, raw_client(server.port) as client:
        stream = await client.open()
        await client.send(stream, framed(bytes(70_000), length=2**32 - 1))
        assert (await client.answer(stream)).reason == "request_too_large"


async def test_incomplete_large_messages_are_bounded_together():
    overload = OverloadSettings(default_deadline_seconds=5, max_lag_share=1.0, max_buffered_bytes=2_000_000)
    async with attacked(overload=overload) as server, raw_client(server.port) as client:
        first = await client.open()
        await client.send(first, framed(bytes(70_000), length=1_500_000))
        await until(lambda: server.plane.admission.buffered_bytes == 1_500_000)
        second = await client.open()
        await client.send(second, framed(bytes(70_000), length=1_500_000))
        assert (await client.answer(second)).reason == "overloaded"
        await client.send(first, bytes(1_500_000 - 70_000), end=True)
        assert (await client.answer(first)).reason == "allowed"


async def test_a_connection_lost_in_the_middle_of_a_body_leaves_nothing_behind():
    async with attacked() as server:
        async with raw_client(server.port) as client:
            stream = await client.open()
            await client.send(stream, framed(bytes(70_000), length=1_000_000))
            await until(lambda: server.plane.admission.buffered_bytes == 1_000_000)
        await until(lambda: server.plane.admission.inflight == 0)
        assert (server.pdp.messages, server.pdp.refusals) == ([], [])


async def test_a_stream_that_is_reset_leaves_nothing_behind():
    async with attacked() as server, raw_client(server.port) as client:
        stream = await client.open()
        await client.send(stream, framed(bytes(70_000), length=1_000_000))
        await until(lambda: server.plane.admission.buffered_bytes == 1_000_000)
        client.h2.reset_stream(stream, 8)
        await client.flush()
        await until(lambda: server.plane.admission.inflight == 0)
        assert server.pdp.refusals == []  # nobody is there who could be answered
        assert (await client.call(framed(MESSAGE))).reason == "allowed"


async def test_headers_over_the_limit_never_reach_the_pdp():
    async with attacked(max_header_bytes=4096, max_headers=20) as server:
        for extra in ([("x-pad", "p" * 8000)], [(f"x-{n}", "v") for n in range(60)]):
            async with raw_client(server.port) as client:
                stream = await client.open([*GRPC_HEADERS, *extra])
                with contextlib.suppress(Exception):
                    await client.send(stream, framed(MESSAGE), end=True)
                answer = await client.answer(stream)
                assert answer.headers.get(":status") != "200"
        assert server.pdp.messages == []


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


BROKEN_CONNECTIONS = {
    "a garbage preface": b"\xff" * 64,
    "data on an idle stream": PREFACE + frame(4, 0, 0, b"") + frame(0, 1, 1, framed(MESSAGE)),
    "broken header compression": PREFACE + frame(4, 0, 0, b"") + frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
    "an even stream": PREFACE + frame(4, 0, 0, b"") + frame(1, 5, 2, b"\x83\x86\x84"),
    "a frame over the limit": PREFACE + frame(4, 0, 0, b"") + b"\xff\xff\xff\0\0\0\0\0\1",
    "settings of odd length": PREFACE + frame(4, 0, 0, b"\0\0\0"),
    "a window of nothing": PREFACE + frame(4, 0, 0, b"") + frame(8, 0, 0, bytes(4)),
    "a continuation of nothing": PREFACE + frame(4, 0, 0, b"") + frame(9, 4, 1, b"\x84"),
    "a push": PREFACE + frame(4, 0, 0, b"") + frame(5, 4, 1, bytes(4) + b"\x84"),
}


@pytest.mark.parametrize("sent", BROKEN_CONNECTIONS.values(), ids=BROKEN_CONNECTIONS.keys())
async def test_broken_http_2_closes_its_connection_and_nothing_else(sent):
    async with attacked() as server, raw_client(server.port, preface=False) as client:
        await client.send_bytes(sent)
        await client.until_closed()
        assert server.pdp.messages == []


HALF_FRAMES = {
    "half a frame's header": b"\0\0",
    "a frame's header alone": frame(1, 4, 1, bytes(10))[:9],
    "one byte of a header block": frame(1, 4, 1, b"\x83" + bytes(9))[:10],
    "one byte of data": frame(1, 4, 1, b"\x83\x86\x84") + frame(0, 0, 1, bytes(10))[:10],
}


@pytest.mark.parametrize("sent", HALF_FRAMES.values(), ids=HALF_FRAMES.keys())
async def test_half_a_frame_is_waited_for_no_longer_than_configured(sent):
    limits = {"idle_timeout_seconds": 2.0, "stall_timeout_seconds": 2.0}  # the honest caller may be late, too
    async with attacked(**limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PREFACE + frame(4, 0, 0, b"") + sent)
        await asyncio.wait_for(reader.read(), 30)  # to the end
        writer.close()


@pytest.mark.parametrize("sent", [b"", PREFACE[:10], PREFACE + frame(4, 0, 0, b"") + frame(1, 1, 1, b"\x83\x86\x84")])
async def test_a_connection_that_does_not_get_on_is_closed(sent):
    limits = {"handshake_timeout_seconds": 2.0, "stall_timeout_seconds": 2.0}
    async with attacked(**limits) as server, raw_client(server.port, preface=False) as client:
        await client.send_bytes(sent)
        await client.until_closed()


async def test_rapid_resets_cost_their_connection_only():
    async with attacked() as server, raw_client(server.port) as client:
        for _ in range(2000):
            if client.closed or client.goaway:
                break
            with contextlib.suppress(Exception):
                stream = client.h2.get_next_available_stream_id()
                client.h2.send_headers(stream, GRPC_HEADERS)
                client.h2.reset_stream(stream, 8)
            await client.flush()
        await client.until_closed()
        assert server.pdp.messages == []


async def test_more_streams_than_allowed_are_refused_and_the_others_answered():
    async with attacked(max_streams_per_connection=10) as server, raw_client(server.port) as client:
        await until(lambda: client.h2.remote_settings.max_concurrent_streams == 10)
        client.h2.remote_settings[3] = 1000  # a client that does not listen
        client.h2.remote_settings.acknowledge()
        streams = [await client.open() for _ in range(15)]
        await until(lambda: sum(a.reset is not None for a in client.answers.values()) == 5)
        refused = {stream for stream in streams if client.answers[stream].reset is not None}
        assert {client.answers[stream].reset for stream in refused} == {7}  # REFUSED_STREAM: safe to try again
        for stream in set(streams) - refused:
            await client.send(stream, framed(MESSAGE), end=True)
            assert (await client.answer(stream)).reason == "allowed"


async def test_a_client_that_does_not_read_its_answer_does_not_hold_up_others():
    large = FakePdp(lambda *_: b"\x0a\x02\x08\x07" + b"\x12\x80\x80\x80\x04" + bytes(8 * 1024 * 1024))
    settings = settings_for("h2corn")
    async with serving(settings, large) as server, raw_client(server.port) as deaf, raw_client(server.port) as other:
        deaf.h2.acknowledge_received_data = lambda *_: None
        stream = await deaf.open()
        await deaf.send(stream, framed(MESSAGE), end=True)
        await until(lambda: len(server.pdp.messages) == 1)
        server.pdp.on_check = lambda *_: deny(Reason.DENIED_BY_RULE)
        assert (await other.call(framed(MESSAGE))).reason == "denied_by_rule"
        assert not deaf.answers[stream].ended
        await until(lambda: server.plane.admission.inflight == 0)
