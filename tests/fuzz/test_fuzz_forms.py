"""Messages put together otherwise mean, to a decoder that knows forms, what they mean to one that knows none.

Each goes through in several turns that differ in ids and path alone, so that forms of odd messages are learnt as well,
and all that was learnt is kept from one message to the next. `make fuzz` runs this far longer.
"""

import pathlib
import random
from dataclasses import dataclass, replace

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import given
from hypothesis import strategies as st
from proxied import proxied

from authz.errors import Refusal
from authz.extauthz.forms import FormDecoder
from authz.extauthz.request import Decoder, DecodeSettings

CAPTURES = [p.read_bytes() for p in sorted(pathlib.Path(__file__).parents[1].glob("corpus/captures/*.bin"))]
SHORT = [capture for capture in CAPTURES if len(capture) < 2_500]
IDS = ("x-request-id", "traceparent")
HEADS = (
    b"\n\x0cx-request-id\x12$",
    b"\n\x0cx-request-id\x1a$",
    b"\n\x0btraceparent",
    b"\n\x0btraceparent\x12",
    b"\n\x0btraceparent\x1a\xff\xff\xff\xff\xff\xff",
    b"\n\x05:path\x12\x05",
)
_PEER = {1: {1: {}}}
_ENTRY: dict = {}
_STRUCT = {1: _ENTRY}
SHAPE = {
    1: {
        1: _PEER,
        2: _PEER,
        4: {1: {}, 2: {3: _ENTRY, 13: {1: _ENTRY}}},
        10: _ENTRY,
        11: {1: {2: _STRUCT}},
        12: {},
    }
}
"""Which fields of a CheckRequest are messages, by number."""


@dataclass(frozen=True)
class Field:
    """A field: what it holds, taken apart where it is a message; `fat`: needless bytes of its tag and length."""

    number: int
    wire: int
    held: "int | bytes | tuple[Field, ...]"
    fat: int = 0

    def write(self):
        tag = _varint(self.number << 3 | self.wire, self.fat // 4)
        if self.wire == 2:
            content = self.held if isinstance(self.held, bytes) else _written(self.held)
            return tag + _varint(len(content), self.fat % 4) + content
        if self.wire == 3:
            return tag + _written(self.held) + _varint(self.number << 3 | 4)
        return tag + (_varint(self.held, self.fat % 4) if self.wire == 0 else self.held)


def _written(fields):
    return b"".join(each.write() for each in fields)


def _varint(value, fat=0):
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    for _ in range(fat):
        octets[-1] |= 0x80
        octets.append(0)
    return bytes(octets)


def _read_varint(octets, at):
    value = shift = 0
    while octets[at] > 0x7F:
        value |= (octets[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | octets[at] << shift, at + 1


def _apart(octets, shape):
    fields, at = [], 0
    while at < len(octets):
        tag, at = _read_varint(octets, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            held, at = _read_varint(octets, at)
        else:
            size, at = _read_varint(octets, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            held, at = octets[at : at + size], at + size
            if wire == 2 and number in shape:
                held = _apart(held, shape[number])
        fields.append(Field(number, wire, held))
    return tuple(fields)


def _places(fields, above=()):
    """Where all the fields are: each as the way from the outside in."""
    found = []
    for at, each in enumerate(fields):
        found.append((*above, at))
        if isinstance(each.held, tuple):
            found += _places(each.held, (*above, at))
    return found


def _with(fields, place, change):
    """The fields with those among which `place` is replaced by what `change(siblings, at)` answers."""
    if len(place) == 1:
        return tuple(change(fields, place[0]))
    at = place[0]
    inside = replace(fields[at], held=_with(fields[at].held, place[1:], change))
    return (*fields[:at], inside, *fields[at + 1 :])


def _changed(siblings, at, kind, value):
    before, each, after = siblings[:at], siblings[at], siblings[at + 1 :]
    other = siblings[value % len(siblings)]
    if kind == "double":
        return (*siblings, each) if value % 2 else (*before, each, each, *after)
    if kind == "drop":
        return (*before, *after)
    if kind == "move":
        rest = (*before, *after)
        return (*rest[: value % (len(rest) + 1)], each, *rest[value % (len(rest) + 1) :])
    if kind == "fatten":
        return (*before, replace(each, fat=1 + value % 15), *after)
    if kind == "renumber":
        return (*before, replace(each, number=1 + value % 18), *after)
    if kind == "group":
        return (*before, Field(1 + value % 18, 3, (each,)), *after)
    if kind == "wrap":
        return (*before, Field(1 + value % 18, 2, (each,)), *after)
    if kind == "exchange":
        return (*before, replace(each, held=other.held, wire=other.wire), *after)
    if kind == "swallow":  # what comes next becomes a part of a text, whole or as far as its value
        eaten = _written(after[: value % 3])
        return (*before, Field(each.number, 2, _written((each,)) + eaten), *after[value % 3 :])
    # A text that ends like the begin of a header, so that what follows, up to some length, seems to be its value.
    feigned = Field(1 + value % 13, 2, HEADS[value // 13 % len(HEADS)])
    return (*before, feigned, each, *after) if value % 2 else (*before, each, *after, feigned)


KINDS = ["double", "drop", "move", "fatten", "renumber", "group", "wrap", "exchange", "swallow", "feign"]
CHANGES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 10**4), st.integers(0, 10**4)), max_size=4)


def _altered(message, changes):
    fields = _apart(message, SHAPE)
    for kind, where, value in changes:
        places = _places(fields)
        if places:
            fields = _with(
                fields,
                places[where % len(places)],
                lambda siblings, at, kind=kind, value=value: _changed(siblings, at, kind, value),
            )
    return _written(fields)


def _answer(decode, message):
    try:
        return decode(message)
    except Refusal as refusal:
        return refusal.reason, refusal.detail


class Pair:
    def __init__(self, settings):
        self.fast, self.slow = FormDecoder(settings), Decoder(settings)
        self.known = 0

    def demand_same(self, message):
        for client in self.fast._clients.values():  # else little is learnt of connections on which little recurs
            client.credit = 9
        found = _answer(self.fast.decode, message)
        assert found == _answer(self.slow.decode, message)
        self.known += getattr(found, "recurrence", None) is not None


SETTINGS = {
    "as by default": DecodeSettings(),
    "with metadata": DecodeSettings(metadata_namespaces=("lab.dyn",), non_utf8_headers="hide"),
    "with little room": DecodeSettings(max_memo_entries=2, max_headers=12, max_header_bytes=400, max_form_bytes=20_000),
}
PAIRS = {name: Pair(settings) for name, settings in SETTINGS.items()}
"""They go from one message to the next with all that they have learnt."""


@given(
    st.sampled_from(sorted(PAIRS)),
    st.tuples(st.sampled_from(SHORT), st.booleans()),
    st.integers(0, 10**6),
    CHANGES,
    st.integers(0, 2**32),
)
def test_messages_put_together_otherwise_mean_the_same(settings, message, number, changes, seed):
    pair, pick, (octets, listed) = PAIRS[settings], random.Random(seed), message
    plain = proxied(octets, number, listed=listed, ids=IDS[: 1 + seed % 2])
    texts = [f"{number:08x}-0000-4000-8000-{number * 7:012x}".encode()]
    path = CheckRequest.FromString(plain).attributes.request.http.path.encode()
    texts += [path] if len(path) > 4 else []
    for turn in range(5):
        pair.demand_same(plain if turn == 3 else _altered(plain, changes))
        for at, text in enumerate(texts):
            # Some would be other fields where they are taken for such: "2c", "b0", "80" are begins of some.
            fresh = b"".join(pick.choice((b"0", b"8", b"b", b"2c", b"-", b"f", b"a1")) for _ in text)[: len(text)]
            plain, texts[at] = plain.replace(text, fresh), fresh


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_each_kind_makes_another_message(kind):
    plain = proxied(SHORT[0], 1, ids=IDS)
    assert _altered(plain, []) == plain
    assert any(_altered(plain, [(kind, where, 7)]) != plain for where in range(40))


def test_forms_of_odd_messages_are_learnt():
    pair = Pair(DecodeSettings())
    for where in range(60):
        for number in range(4):
            pair.demand_same(_altered(proxied(SHORT[0], number, ids=IDS), [("double", where, 1), ("fatten", where, 2)]))
    assert pair.known > 60
