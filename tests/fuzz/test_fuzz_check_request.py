"""Bytes from outside become a call or a clean refusal, never anything else. `make fuzz` runs this far longer."""

import pathlib

from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refusal
from authz.extauthz.canonical import RequestRules, canonicalise
from authz.extauthz.request import DecodeSettings, decode
from authz.model import CheckCall

CAPTURES = [p.read_bytes() for p in sorted(pathlib.Path(__file__).parents[1].glob("corpus/captures/*.bin"))]
SETTINGS = DecodeSettings(
    metadata_namespaces=("lab.dyn", "envoy.filters.http.mcp"), route_metadata_namespaces=("lab.route",)
)


def survives(octets):
    try:
        call = decode(octets, SETTINGS)
        assert isinstance(call, CheckCall)
        canonicalise(call, RequestRules())
    except Refusal:
        pass


@given(st.binary(max_size=400))
def test_random_bytes(octets):
    survives(octets)


@given(
    st.sampled_from([c for c in CAPTURES if len(c) < 5000]),
    st.lists(
        st.tuples(st.integers(0, 5000), st.sampled_from(["flip", "cut", "insert", "repeat"]), st.integers(0, 255)),
        max_size=8,
    ),
)
def test_captured_messages_with_damage(octets, damages):
    mutable = bytearray(octets)
    for position, kind, value in damages:
        at = position % max(1, len(mutable))
        if kind == "flip" and mutable:
            mutable[at] = value
        elif kind == "cut":
            del mutable[at : at + value]
        elif kind == "insert":
            mutable[at:at] = bytes([value]) * 3
        else:
            mutable[at:at] = mutable[at : at + value]
    survives(bytes(mutable))


def test_the_corpus_is_there():
    assert len(CAPTURES) > 100
