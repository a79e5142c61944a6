"""Frames, verdicts and decks: what is sent is what was meant, and no wrong answer is taken for a right one."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from bench.client import Deck
from bench.frames import (
    DATA,
    END_STREAM,
    HEAD,
    HEADERS,
    ID_SLOT,
    REQUEST_SLOT,
    VERDICT_BYTES,
    call_headers,
    check_card,
    get_card,
    http_status,
    quick_verdict,
    verdict,
)


def response(code, message="", *, denied=False):
    made = CheckResponse()
    made.status.code = code
    made.status.message = message
    if denied:
        made.denied_response.status.code = 403
    return made.SerializeToString()


@given(st.integers(0, 20), st.text(max_size=300), st.booleans())
def test_the_quick_verdict_is_the_slow_one_or_none(code, message, denied):
    answer = response(code, message, denied=denied)
    assert quick_verdict(answer[:VERDICT_BYTES]) in (None, verdict(answer))


@pytest.mark.parametrize("code", [0, 7, 14, 16])
def test_what_servers_send_is_told_quickly(code):
    assert quick_verdict(response(code, "OK" if not code else "denied")[:VERDICT_BYTES]) == code


def test_an_answer_without_status_is_no_allow():
    assert verdict(b"") == -1
    assert quick_verdict(b"") is None


def test_a_card_fills_its_slots_and_keeps_its_length():
    message = b"before " + REQUEST_SLOT + b" between " + ID_SLOT + b" and " + ID_SLOT + b" after"
    sent = check_card(message, 0).render((b"\0\0\0\x05", b"r" * len(REQUEST_SLOT), b"12345678"))
    high, low, kind, flags, stream = HEAD.unpack_from(sent)
    assert (kind, flags, stream) == (DATA, END_STREAM, 5)
    assert (high << 16 | low) == len(sent) - HEAD.size == len(message) + 5
    assert sent[HEAD.size + 5 :] == b"before rrrrrrrrrrrr between 12345678 and 12345678 after"
    assert int.from_bytes(sent[HEAD.size + 1 : HEAD.size + 5], "big") == len(message)


def test_a_get_is_one_header_frame_that_decodes():
    sent = get_card("example.org", f"/a/{ID_SLOT.decode()}", 200).render((b"\0\0\0\x07", b"", b"00000042"))
    _, low, kind, _, stream = HEAD.unpack_from(sent)
    assert (kind, stream, low) == (HEADERS, 7, len(sent) - HEAD.size)
    assert dict(Decoder().decode(sent[HEAD.size :]))[":path"] == "/a/00000042"


def test_the_later_header_blocks_of_a_connection_say_the_same_as_the_first():
    decoder, (first, later) = Decoder(), call_headers()
    said = decoder.decode(first)
    assert decoder.decode(later) == said == decoder.decode(later)
    assert len(later) < 10


@pytest.mark.parametrize("huffman", [True, False])
@pytest.mark.parametrize("status", ["200", "404", "403", "503"])
def test_a_status_is_read_without_a_table(status, huffman):
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([(":status", status), ("date", "now")], huffman=huffman)
    assert http_status(block[:8]) == int(status)


def test_what_is_no_status_is_none():
    assert http_status(b"") == 0
    assert http_status(b"\xff") == 0


def test_a_deck_deals_in_order_with_a_new_request_id_each_time():
    cards = [check_card(b"a" + ID_SLOT, 0), check_card(b"b" + ID_SLOT, 7)]
    deck = Deck(cards, [(0, 5), (1, -1)])
    dealt = [deck.deal() for _ in range(6)]
    assert [card.expect for card, _, _ in dealt] == [7, 0, 7, 0, 7, 0]
    assert len({request for _, request, _ in dealt}) == 6
    assert {resource for card, _, resource in dealt if card.expect == 0} == {b"00000005"}
    assert len({resource for card, _, resource in dealt if card.expect == 7}) == 3
    assert {len(request) for _, request, _ in dealt} == {len(REQUEST_SLOT)}
