"""Messages of a known form mean what they mean to the thorough decoder, and whatever is not of it is read by that."""

import pathlib
import tracemalloc

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import given
from hypothesis import strategies as st
from proxied import proxied

from authz.errors import Refusal
from authz.extauthz import forms
from authz.extauthz.codec import ExtAuthzCodec
from authz.extauthz.forms import FormDecoder
from authz.extauthz.request import Decoder, DecodeSettings
from authz.extauthz.response import Encoder, ResponseSettings

CAPTURES = [p.read_bytes() for p in sorted(pathlib.Path(__file__).parents[2].glob("corpus/captures/*.bin"))]
SHORT = [capture for capture in CAPTURES if len(capture) < 4_000]
SETTINGS = {
    "as by default": DecodeSettings(),
    "with metadata": DecodeSettings(metadata_namespaces=("lab.dyn",), non_utf8_headers="hide"),
    "with little room": DecodeSettings(max_memo_entries=2, max_headers=12, max_header_bytes=400, max_form_bytes=10_000),
}
LISTED = pytest.mark.parametrize("listed", [False, True], ids=["map", "list"])


def answer(decode, message):
    try:
        return decode(message)
    except Refusal as refusal:
        return refusal.reason, refusal.detail


class Pair:
    def __init__(self, settings=SETTINGS["as by default"]):
        self.fast = FormDecoder(settings)
        self.slow = Decoder(settings)

    def demand_same(self, message):
        """Read by both: equal, whoever reads it. Answers what it is, as the fast one says."""
        found = answer(self.fast.decode, message)
        assert found == answer(self.slow.decode, message)
        return found

    def recurs(self, message):
        return getattr(self.demand_same(message), "recurrence", None)


def request(path="/v1/a", host="h", method="GET", address="10.0.0.1", body=b"", **headers):
    message = CheckRequest()
    attributes = message.attributes
    for end, text in ((attributes.source, address), (attributes.destination, "10.0.0.2")):
        end.address.socket_address.address = text
        end.address.socket_address.port_value = 443
    http = attributes.request.http
    http.method, http.path, http.host, http.raw_body = method, path, host, body
    for name, value in headers.items():
        http.headers[name.replace("_", "-")] = value
    return message.SerializeToString()


def learnt(pair, message, listed, **more):
    """Send it until its form is known; the recurrence of the last."""
    for number in range(3):
        pair.demand_same(proxied(message, number, listed=listed, **more))
    return pair.recurs(proxied(message, 3, listed=listed, **more))


@LISTED
def test_what_differs_in_ids_only_is_of_one_form(listed):
    pair = Pair()
    known = learnt(pair, request(), listed)
    assert known is not None
    assert known.differing == {"x-request-id"}
    again = pair.demand_same(proxied(request(), 99, listed=listed))
    assert again.recurrence is known
    assert again.request_id.startswith("00000063-")
    assert again.stream_id == str(10**18 + 99 * 1_000_003)


@LISTED
def test_a_path_of_the_same_length_is_no_other_form(listed):
    pair = Pair()
    known = learnt(pair, request("/v1/a"), listed)
    other = pair.demand_same(proxied(request("/v1/b"), 8, listed=listed))
    assert (other.path, other.headers[":path"]) == ("/v1/b", "/v1/b")
    assert other.recurrence is known
    assert pair.recurs(proxied(request("/v1/bb"), 9, listed=listed)) is not known


@LISTED
@pytest.mark.parametrize(
    "other",
    [
        {"method": "PUT"},
        {"host": "g"},
        {"x_team": "b"},
        {"x_team": "aa"},
        {"address": "10.0.0.9"},
        {"body": b"x"},
        {"x_new": "1"},
    ],
    ids=str,
)
def test_what_differs_in_anything_else_is_of_another(other, listed):
    pair = Pair()
    known = learnt(pair, request(x_team="a"), listed)
    different = request(**{"x_team": "a", **other})
    assert pair.recurs(proxied(different, 8, listed=listed)) is not known
    assert learnt(pair, different, listed) is not known


@LISTED
def test_clients_that_are_described_alike_at_first_are_told_apart(listed):
    """A connection may begin where another ended, at the same address and port, with another certificate."""
    pair = Pair()
    for number in range(12):
        message = CheckRequest.FromString(request())
        message.attributes.source.principal = "spiffe://td/" + "a" * 200
        message.attributes.source.certificate = "ab"[number // 3 % 2] * 2_000
        pair.demand_same(proxied(message.SerializeToString(), number, listed=listed))


@LISTED
def test_ids_of_tracing_may_differ(listed):
    pair, ids = Pair(), ("x-request-id", "traceparent", "x-b3-traceid")
    known = learnt(pair, request(), listed, ids=ids)
    assert known.differing == set(ids)


@LISTED
def test_an_id_of_another_kind_is_read_thoroughly(listed):
    pair = Pair()
    assert learnt(pair, request(), listed) is not None
    message = proxied(request(), 9, listed=listed)
    uuid = pair.demand_same(message).request_id
    for odd in ("\n", "\0", "Z", "é"):
        text = (odd + uuid[len(odd.encode()) :]).encode()
        assert pair.recurs(message.replace(uuid.encode(), text)) is None


@LISTED
def test_a_path_of_another_kind_is_read_thoroughly(listed):
    pair = Pair()
    assert learnt(pair, request("/v1/abc"), listed) is not None
    message = proxied(request("/v1/abc"), 9, listed=listed)
    for odd in (b"/v1/a\xff\xff", b"/v1/a\n/", "/v1/aé".encode()):
        assert pair.recurs(message.replace(b"/v1/abc", odd)) is None
    assert pair.recurs(message.replace(b"/v1/abc", b"/v1/xyz", 1)) is None  # told of in two ways


@LISTED
def test_what_looks_like_an_id_within_a_body_is_none(listed):
    """The body stands before the list of headers: who writes it cannot have his own text taken for the id."""
    entry = b"\n\x0cx-request-id" + (b"\x1a$" if listed else b"\x12$") + b"0" * 36
    pair = Pair()
    for number in range(4):
        body = entry + b"%d" % number
        call = pair.demand_same(proxied(request(body=body), number, listed=listed))
        assert call.body == body
        assert call.request_id.startswith(f"{number:08x}-")


@LISTED
def test_nor_is_it_where_the_id_is_known_to_who_writes_the_body(listed):
    """Some proxies keep the id that a client sends: then its body can hold the very same."""
    pair = Pair()
    plain = proxied(request(), 1, listed=listed)
    known_id = pair.demand_same(plain).request_id.encode()
    tag = b"\x1a$" if listed else b"\x12$"
    for turn in range(4):
        pair.demand_same(proxied(request(body=b"\n\x0cx-request-id" + tag + known_id), 1, listed=listed))
        other = b"f" * 8 + known_id[8:]
        body = b"\n\x0cx-request-id" + tag + other
        call = pair.demand_same(proxied(request(body=body), 1, listed=listed))
        assert (call.body, call.request_id) == (body, known_id.decode()), turn


@LISTED
def test_an_id_that_came_twice_is_none(listed):
    pair = Pair()
    twice = "00000000-0000-4000-8000-000000000000"
    for number in range(4):
        message = proxied(request(), number, listed=listed)
        if listed:
            parsed = CheckRequest.FromString(message)
            parsed.attributes.request.http.header_map.headers.add(key="x-request-id", raw_value=twice.encode())
            message = parsed.SerializeToString(deterministic=True)
        call = pair.demand_same(message)
    assert (call.recurrence is None) == listed  # a map holds a name once


def test_a_client_of_which_nothing_comes_again_is_learnt_from_a_few_times_only(monkeypatch):
    pair, tried = Pair(), []
    monkeypatch.setattr(forms, "_spans", lambda *_: tried.append(1) or [])
    for number in range(50):
        pair.demand_same(proxied(request(x_new=str(number)), number))
    assert 0 < len(tried) <= forms._CREDIT
    for number in range(2 * forms._REST):
        pair.demand_same(proxied(request(x_new=str(number)), number))
    assert len(tried) <= forms._CREDIT + 2


def test_who_sends_nothing_twice_over_a_shared_connection_hinders_others_not_for_good():
    pair = Pair()
    for number in range(2 * forms._CREDIT):
        pair.demand_same(proxied(request(x_new=str(number)), number))
    found = [pair.recurs(proxied(request(), number)) is not None for number in range(2 * forms._REST)]
    assert (found[0], found[-1]) == (False, True)


def test_forms_take_no_more_than_their_room():
    decoder = FormDecoder(DecodeSettings(max_form_bytes=20_000))
    most = 0
    for number in range(400):
        for turn in range(3):
            decoder.decode(proxied(request(address=f"10.0.{number // 100}.{number % 100}"), 3 * number + turn))
        kept = [len(alike) for client in decoder._clients.values() for alike in client.forms.values()]
        most = max(most, sum(kept))
    assert 1 < most <= 20_000 // forms._FORM_BYTES
    last = [decoder.decode(proxied(request(address="10.0.3.99"), number)).recurrence for number in range(5)]
    assert last[-1] is not None, "when there is no room left, what comes last is learnt all the same"


@LISTED
@pytest.mark.parametrize(
    ("number", "value"), [(200, ""), (80, "x" * 20), (40, "x" * 30 + "\U0001f600")], ids=["bare", "plain", "wide"]
)
def test_forms_take_no_more_than_their_room_whatever_headers_are_sent(number, value, listed):
    """A short header takes ten times its bytes, and one with a character beyond U+FFFF four times."""
    room = 1_000_000
    decoder = FormDecoder(DecodeSettings(max_form_bytes=room, max_memo_entries=2_000))
    headers = {f"x{each}": value for each in range(number)}
    tracemalloc.start()
    try:
        most = 0
        for client in range(150):
            message = request(address=f"10.0.0.{client}", **headers)
            for turn in range(3):
                decoder.decode(proxied(message, turn, listed=listed))
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert room / 4 < most < room * 1.3


def test_without_room_nothing_is_learnt():
    codec = ExtAuthzCodec(DecodeSettings(max_form_bytes=0), Encoder(ResponseSettings()))
    assert all(codec.decode(proxied(request(), number)).recurrence is None for number in range(4))


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_captured_message_means_the_same_however_often_it_comes(settings):
    pair = Pair(SETTINGS[settings])
    for number in range(4):
        for capture in SHORT:
            pair.demand_same(proxied(capture, number, listed=number % 2 == 1) if number else capture)


DAMAGE = st.tuples(st.integers(0, 5_000), st.sampled_from(["flip", "cut", "insert", "repeat"]), st.integers(0, 255))
KNOWING = {name: Pair(settings) for name, settings in SETTINGS.items()}
"""They go from one damaged message to the next with all that they have learnt."""


@given(
    st.sampled_from(sorted(SETTINGS)),
    st.sampled_from(SHORT),
    st.booleans(),
    st.integers(0, 10**6),
    st.lists(DAMAGE, max_size=3),
)
def test_damaged_messages_mean_the_same(settings, octets, listed, number, damages):
    pair = KNOWING[settings]
    for turn in range(3):
        pair.demand_same(proxied(octets, number + turn, listed=listed))
    mutable = bytearray(proxied(octets, number + 3, listed=listed))
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
    pair.demand_same(bytes(mutable))


@LISTED
def test_one_changed_byte_anywhere_means_what_it_means(listed):
    """Of a form that is known, each byte is compared or read: none may go unnoticed."""
    message, pair = proxied(request(x_team="a"), 7_042, listed=listed), Pair()
    for at, was in enumerate(message):
        for value in {0, 0x0A, 0x12, 0x1A, 0x22, 0x7F, 0x80, 0xFF, was ^ 1, was ^ 0x80, was + 1 & 0xFF, was - 1 & 0xFF}:
            pair.recurs(message)  # among others there is room for few
            pair.demand_same(message[:at] + bytes([value]) + message[at + 1 :])
    assert pair.recurs(message) is not None


@LISTED
def test_lengths_that_change_together_are_noticed(listed):
    """One field longer by what another is shorter: what is said moves between them, and no byte is missing."""
    pair, message = Pair(), proxied(request(x_team="a"), 7_042, listed=listed)
    lengths = [at for at in range(len(message)) if _is_length(message, at)]
    assert len(lengths) > 12
    for one in lengths:
        for another in lengths:
            for by in (1, 2, 3):
                changed = bytearray(message)
                changed[one] = changed[one] + by & 0xFF
                changed[another] = changed[another] - by & 0xFF
                pair.recurs(message)
                pair.demand_same(bytes(changed))
                shorter = bytearray(message)
                shorter[one] = shorter[one] - by & 0xFF
                shorter[another] = shorter[another] - by & 0xFF
                pair.demand_same(bytes(shorter[:-by]))
    assert pair.recurs(message) is not None


def _is_length(message, at):
    """Whether a byte tells how long a field is, as far as can be told: the message means another thing without it."""
    return at > 0 and message[at - 1] in (0x0A, 0x12, 0x1A, 0x22, 0x2A) and 0 < message[at] <= len(message) - at


@LISTED
def test_more_behind_the_request_is_noticed(listed):
    pair = Pair(DecodeSettings(route_metadata_namespaces=("ns",)))
    assert learnt(pair, request(), listed) is not None
    more = CheckRequest.FromString(request())
    more.attributes.route_metadata_context.filter_metadata["ns"].fields["a"].number_value = 1
    assert pair.demand_same(proxied(more.SerializeToString(), 9, listed=listed)).route_metadata == {"ns": {"a": 1.0}}


@LISTED
@pytest.mark.parametrize(
    "body",
    [b"\n\x0btraceparent", b"\n\x0btraceparent\x12", b"\n\x0btraceparent\x12" + b"\xff" * 6, b"\n\x05:path\x12\x7f"],
    ids=["name", "name and tag", "endless length", "length past the end"],
)
def test_half_a_header_at_the_end_of_a_body_is_a_body(body, listed):
    """Whoever calls chooses the body: it must not make a fault of a request, nor hide that it comes again."""
    pair = Pair()
    assert learnt(pair, request(method="POST", body=body), listed) is not None


def test_headers_without_the_path_are_of_one_path():
    """A proxy may be told to send some headers only."""
    pair = Pair()

    def without_path(number, path="/v1/a"):
        message = CheckRequest.FromString(proxied(request(path), number))
        del message.attributes.request.http.headers[":path"]
        return message.SerializeToString(deterministic=True)

    for number in range(3):
        known = pair.recurs(without_path(number))
    assert known is not None
    assert pair.recurs(without_path(4, "/v1/b")) is not known


def read(pair, *fields):
    """What a message with these fields of a request says, besides its id and method."""
    asked = field(0x0A, b"\x08\x01\x10\x01") + field(0x12, field(0x0A, b"7") + field(0x12, b"GET") + b"".join(fields))
    return pair.demand_same(field(0x0A, field(0x0A, b"") + field(0x12, b"") + field(0x22, asked)))


def field(tag, content):
    """A field of protobuf that has a length."""
    size = len(content)
    return bytes([tag, *([size & 0x7F | 0x80, size >> 7] if size > 0x7F else [size])]) + content


def test_what_stands_between_fields_is_no_value():
    """An entry's begin within another field, so that what seems its value are fields: other ids are other fields."""
    value = b"802c"  # field 7, and the begin of field 6, which is 99 bytes long
    early = field(0x1A, b"\n\x8c\x00x-request-id" + field(0x12, value))  # at greater length than its name needs
    late = field(0x1A, b"\n\x0cx-request-id" + field(0x12, b"0000"))
    about = field(0x42, b"\n\x0cx-request-id\x12\x04")
    after = late + field(0x3A, b"q" * (99 - len(late) - 2)), field(0x32, b"http")
    pair = Pair()
    assert [read(pair, early, about, value, *after).request_id for _ in range(4)] == ["802c"] * 4
    assert read(pair, early, about, b"8080", *after).request_id == "0000"


def test_an_id_that_stands_in_both_kinds_of_headers_is_that_of_the_list():
    pair = Pair()

    def ids(one, another):
        entries = [field(0x0A, b"x-request-id") + field(tag, each) for tag, each in ((0x1A, one), (0x12, another))]
        return read(pair, field(0x6A, field(0x0A, entries[0])), field(0x1A, entries[1])).request_id

    assert [ids(b"a", b"a") for _ in range(4)] == ["a"] * 4
    assert [ids(b"a", b"b"), ids(b"b", b"a")] == ["a", "b"]
