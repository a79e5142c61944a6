"""What a proxy says again and again is remembered, and every message means what it means to the thorough decoder."""

import pathlib

import pytest
from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refusal
from authz.extauthz import recurring
from authz.extauthz.recurring import RecurringDecoder
from authz.extauthz.request import Decoder, DecodeSettings

CAPTURES = [p.read_bytes() for p in sorted(pathlib.Path(__file__).parents[2].glob("corpus/captures/*.bin"))]
SHORT = [capture for capture in CAPTURES if len(capture) < 5_000]
SETTINGS = {
    "as by default": DecodeSettings(),
    "with metadata": DecodeSettings(
        metadata_namespaces=("lab.dyn",), route_metadata_namespaces=("lab.route",), non_utf8_headers="hide"
    ),
    "with little room": DecodeSettings(max_memo_entries=2, max_headers=12, max_header_bytes=400),
}


def answer(decode, message):
    try:
        return decode(message)
    except Refusal as refusal:
        return refusal.reason, refusal.detail


class Pair:
    def __init__(self, settings):
        self.fast = RecurringDecoder(settings)
        self.slow = Decoder(settings)

    def demand_same(self, message):
        expected = answer(self.slow.decode, message)
        assert answer(self.fast.decode, message) == expected
        return expected


@pytest.fixture(params=SETTINGS)
def pair(request):
    return Pair(SETTINGS[request.param])


def count_thorough(decoder, monkeypatch):
    """Count the messages that are read as a whole."""
    whole = decoder._decoder.decode
    seen = []

    def decode(message):
        seen.append(message)
        return whole(message)

    monkeypatch.setattr(decoder._decoder, "decode", decode)
    return seen


def test_every_captured_message_means_the_same_however_often_it_comes(pair):
    for _ in range(3):
        for capture in CAPTURES:
            pair.demand_same(capture)


def test_a_connection_is_read_once(monkeypatch):
    decoder = RecurringDecoder(DecodeSettings())
    seen = count_thorough(decoder, monkeypatch)
    first, second = message(path="/a"), message(path="/b")
    assert decoder.decode(first).path == "/a"
    assert decoder.decode(second).path == "/b"
    assert seen == [first]


def message(path="/", address="10.0.0.1", sni="h", **context):
    request = CheckRequest()
    attributes = request.attributes
    for end, text in ((attributes.source, address), (attributes.destination, "10.0.0.2")):
        end.address.socket_address.address = text
        end.address.socket_address.port_value = 443
    attributes.request.time.seconds = 1
    attributes.request.http.path = path
    attributes.tls_session.sni = sni
    for name, value in context.items():
        attributes.context_extensions[name] = value
    return request.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"address": "10.0.0.9"}, "source_address"),
        ({"sni": "other"}, "sni"),
        ({"route": "r"}, "context_extensions"),
    ],
)
def test_what_differs_is_seen(other, differs):
    decoder = RecurringDecoder(DecodeSettings())
    once = decoder.decode(message())
    again = decoder.decode(message(**other))
    assert getattr(once, differs) != getattr(again, differs)
    assert decoder.decode(message()) == once


def doubled(first, second):
    """One message whose attributes stand twice: Protocol Buffers put the two together."""
    return first + second


def rewritten(extra):
    """A message that says something of its source once more, after all else, in the same attributes."""
    inner = CheckRequest.FromString(message()).attributes.SerializeToString(deterministic=True) + extra
    return bytes([0x0A, len(inner) & 0x7F | 0x80, len(inner) >> 7]) + inner


def test_what_is_said_twice_is_never_taken_for_what_was_said_once(pair):
    extra = AttributeContext()
    extra.source.principal = "spiffe://td/another"
    twice = rewritten(extra.SerializeToString())
    assert pair.demand_same(twice).principal == "spiffe://td/another"
    # Neither may the first half of it be remembered as if it said all, nor the second.
    assert pair.demand_same(message()).principal == ""
    assert pair.demand_same(twice).principal == "spiffe://td/another"
    pair.demand_same(doubled(message(path="/a"), message(path="/b", sni="other")))
    pair.demand_same(message(path="/c"))


def test_long_pieces_are_not_remembered(monkeypatch):
    monkeypatch.setattr(recurring, "_PIECE_BYTES", 16)
    decoder = RecurringDecoder(DecodeSettings())
    seen = count_thorough(decoder, monkeypatch)
    assert decoder.decode(message()) == decoder.decode(message())
    assert len(seen) == 2


DAMAGE = st.tuples(st.integers(0, 5_000), st.sampled_from(["flip", "cut", "insert", "repeat"]), st.integers(0, 255))
KNOWING = {name: Pair(settings) for name, settings in SETTINGS.items()}
"""They go from one damaged message to the next with all that they have learnt."""


@given(st.sampled_from(sorted(SETTINGS)), st.sampled_from(SHORT), st.lists(DAMAGE, max_size=3))
def test_damaged_messages_mean_the_same(settings, octets, damages):
    mutable = bytearray(octets)
    for position, kind, value in damages:
        at = position % max(1, len(mutable))
        if kind == "flip" and mutable:
            mutable[at] = value
        elif kind == "cut":
            del mutable[at : at + value]
        elif kind == "insert":
            mutable[at:at] = bytes([value])
        else:
            mutable[at:at] = mutable[at : at + value]
    pair = KNOWING[settings]
    pair.demand_same(octets)
    pair.demand_same(bytes(mutable))
    pair.demand_same(octets)
