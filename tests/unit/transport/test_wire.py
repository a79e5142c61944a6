"""gRPC's framing, as pure functions."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Reason, Refusal
from authz.transport.wire import PREFIX_BYTES, declared_bytes, frame, inflate, parse_timeout, unframe

LIMIT = 4096


@given(st.binary(max_size=LIMIT))
def test_what_was_framed_is_unframed(message):
    body = frame(message)
    assert declared_bytes(body) == len(message)
    assert unframe(body, b"identity", LIMIT) == message
    assert unframe(body, b"gzip", LIMIT) == message


@given(st.binary(max_size=LIMIT))
def test_a_compressed_message_is_inflated(message):
    body = frame(gzip.compress(message))
    compressed = b"\1" + body[1:]
    assert unframe(compressed, b"gzip", 2 * LIMIT) == message
    with pytest.raises(Refusal):
        unframe(compressed, b"identity", 2 * LIMIT)


@given(st.binary(max_size=64), st.sampled_from([b"identity", b"gzip", b""]))
def test_any_bytes_are_one_message_or_a_refusal(body, encoding):
    try:
        message = unframe(body, encoding, 32)
    except Refusal:
        return
    assert len(message) <= 32
    assert frame(message) == body or body[0] == 1


@given(st.binary(min_size=1, max_size=256), st.data())
def test_a_cut_or_longer_body_is_malformed(message, data):
    body = frame(message)
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    longer = body + data.draw(st.binary(min_size=1, max_size=8))
    for wrong in (cut, longer):
        with pytest.raises(Refusal) as raised:
            unframe(wrong, b"identity", LIMIT)
        assert raised.value.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("size", [LIMIT + 1, 2**31, 2**32 - 1])
def test_a_declared_length_over_the_limit_is_too_large_whatever_follows(size):
    with pytest.raises(Refusal) as raised:
        unframe(b"\0" + size.to_bytes(4, "big"), b"identity", LIMIT)
    assert raised.value.reason is Reason.REQUEST_TOO_LARGE


@given(st.integers(0, 3 * LIMIT))
def test_inflating_stops_at_the_limit(size):
    data = gzip.compress(bytes(size))
    if size <= LIMIT:
        assert inflate(data, LIMIT) == bytes(size)
    else:
        with pytest.raises(Refusal) as raised:
            inflate(data, LIMIT)
        assert raised.value.reason is Reason.REQUEST_TOO_LARGE


def test_a_bomb_never_takes_more_memory_than_the_limit():
    bomb = gzip.compress(bytes(16 * 1024 * 1024))
    tracemalloc.start()
    with pytest.raises(Refusal):
        inflate(bomb, LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1024 * 1024


@pytest.mark.parametrize("flag", [2, 3, 0x80, 0x81, 0xFF])
def test_only_the_flag_one_says_compressed(flag):
    data = gzip.compress(b"message")
    with pytest.raises(Refusal) as raised:
        unframe(bytes([flag]) + frame(data)[1:], b"gzip", LIMIT)
    assert raised.value.reason is Reason.REQUEST_MALFORMED


@given(st.binary(max_size=200))
def test_inflating_arbitrary_bytes_is_clean(data):
    with pytest.raises(Refusal) as raised:
        inflate(data, LIMIT)
    assert raised.value.reason is Reason.REQUEST_MALFORMED


@given(st.binary(max_size=200), st.data())
def test_inflating_agrees_with_the_gzip_module_on_damaged_members(message, data):
    good = gzip.compress(message)
    at = data.draw(st.integers(10, len(good) - 1))  # behind the header, whose flags the two read alike
    damaged = good[:at] + bytes([good[at] ^ (1 << data.draw(st.integers(0, 7)))]) + good[at + 1 :]
    try:
        expected = gzip.decompress(damaged)
    except (OSError, EOFError, zlib.error):
        with pytest.raises(Refusal):
            inflate(damaged, LIMIT)
    else:
        assert inflate(damaged, LIMIT) == expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"200m", 0.2),
        (b"1S", 1.0),
        (b"2M", 120.0),
        (b"1H", 3600.0),
        (b"5u", 5e-6),
        (b"7n", 7e-9),
        (b"0m", 0.0),
        (b"00000200m", 0.2),
        (b"99999999H", 99999999 * 3600.0),
        (b"", None),
        (b"m", None),
        (b"1", None),
        (b"1s", None),
        (b"1h", None),
        (b"-1S", None),
        (b"+1S", None),
        (b" 1S", None),
        (b"1S\n", None),
        (b"1.5S", None),
        (b"1e3S", None),
        (b"123456789S", None),
        ("\u0661S".encode(), None),
    ],
)
def test_a_timeout_is_at_most_eight_digits_and_a_unit(header, seconds):
    if seconds is None:
        with pytest.raises(Refusal) as raised:
            parse_timeout(header)
        assert raised.value.reason is Reason.REQUEST_MALFORMED
    else:
        assert parse_timeout(header) == pytest.approx(seconds)


@given(st.binary(max_size=12))
def test_any_timeout_is_a_number_that_is_not_negative_or_a_refusal(header):
    try:
        seconds = parse_timeout(header)
    except Refusal:
        return
    assert 0 <= seconds <= 99_999_999 * 3600
    assert header[:-1].isdigit()


def test_the_prefix_is_a_flag_and_a_length():
    assert frame(b"abc") == b"\0\0\0\0\3abc"
    assert PREFIX_BYTES == 5
