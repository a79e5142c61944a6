"""What the load generator does when a server asks for connections to be made anew, as workers do to even them out."""

import contextlib
import socket
import struct
import threading

import pytest

from bench.client import Deck, Load
from bench.connection import WrongAnswer
from bench.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    check_card,
    frame,
    get_card,
)

ALLOW = b"\x0a\x04\x12\x02OK"
NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM = 0, 2, 7


class Server(threading.Thread):
    """Answers every call with an allow, but on its first connection only `taken` of them; then it does `farewell`."""

    def __init__(self, path, taken, farewell, kind=DATA):
        super().__init__(daemon=True)
        self.taken, self.farewell, self.kind = taken, farewell, kind
        self.answered = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(path)
        self.listening.listen()

    def run(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.answered.append(0)
            threading.Thread(target=self.serve, args=(connection, len(self.answered) - 1), daemon=True).start()

    def serve(self, connection, number):
        # The client closes as soon as it has what it wants.
        with contextlib.suppress(ConnectionError), connection, connection.makefile("rwb") as stream:
            assert stream.read(len(PREFACE)) == PREFACE
            stream.write(frame(SETTINGS, 0, 0))
            stream.flush()
            while head := stream.read(HEAD.size):
                high, low, kind, _, on = HEAD.unpack(head)
                stream.read(high << 16 | low)
                if kind == self.kind:
                    if number or self.answered[number] < self.taken:
                        self.answered[number] += 1
                        stream.write(answer(on))
                    else:
                        stream.write(self.farewell(on))
                    stream.flush()

    def stop(self):
        self.listening.close()


def answer(on):
    body = b"\0" + struct.pack(">I", len(ALLOW)) + ALLOW
    trailers = frame(HEADERS, END_HEADERS | END_STREAM, on, b"\x88")
    return frame(HEADERS, END_HEADERS, on, b"\x88") + frame(DATA, 0, on, body) + trailers


def goaway(last, code=NO_ERROR):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code))


@pytest.fixture
def serving(tmp_path):
    started = []

    def start(taken, farewell):
        server = Server(str(tmp_path / "s"), taken, farewell)
        server.start()
        started.append(server)
        deck = Deck([check_card(b"\x0a\x00" * 100, 0)], [(0, -1)])
        return server, Load([f"unix:{tmp_path / 's'}"], None, deck, connections=1, expect=None)

    yield start
    for server in started:
        server.stop()


@pytest.mark.parametrize(
    "farewell",
    [
        lambda on: goaway(on - 2),
        lambda on: goaway(2**31 - 1) + frame(RST_STREAM, 0, on, struct.pack(">I", REFUSED_STREAM)),
    ],
    ids=["by the last stream", "by refusing the stream"],
)
def test_what_a_leaving_server_did_not_take_is_asked_again_elsewhere(serving, farewell):
    server, load = serving(5, farewell)
    result = load.closed(4, 30.0, most=40)
    load.close()
    assert len(result.latencies) == 40
    assert not result.wrong
    assert result.moved == 1
    assert server.answered[0] == 5
    assert sum(server.answered) == 40


def test_an_open_loop_ends_when_it_is_told_to(serving):
    _, load = serving(1000, goaway)
    result = load.open(1000.0, 30.0, lambda: len(load._result.latencies) >= 20)
    load.close()
    assert 20 <= len(result.latencies) < 10_000


def test_an_open_loop_moves_likewise(serving):
    server, load = serving(2, lambda on: goaway(on - 2))
    result = load.open(500.0, 0.1)
    load.close()
    assert len(result.latencies) == 50
    assert (result.moved, sum(server.answered)) == (1, 50)


@pytest.mark.parametrize(
    "farewell",
    [
        lambda on: goaway(on, INTERNAL_ERROR),
        lambda on: frame(RST_STREAM, 0, on, struct.pack(">I", INTERNAL_ERROR)),
        lambda on: frame(RST_STREAM, 0, on, struct.pack(">I", REFUSED_STREAM)),
        lambda on: frame(HEADERS, END_HEADERS | END_STREAM, on, b"\x88") + goaway(on, INTERNAL_ERROR),
    ],
    ids=["connection error", "stream error", "refusal without a reason", "error after an empty answer"],
)
def test_a_server_that_gives_up_ends_the_measurement(serving, farewell):
    _, load = serving(5, farewell)
    with pytest.raises(WrongAnswer, match="gave"):
        load.closed(4, 30.0, most=40)
    load.close()


@pytest.mark.parametrize(
    ("status", "expect", "right"), [(b"\x88", 200, True), (b"\x08\x03403", 403, True), (b"\x88", 403, False)]
)
def test_of_a_proxy_the_status_counts_and_the_body_does_not(tmp_path, status, expect, right):
    def page(on):
        body = b"\x0a\xff no CheckResponse at all"
        return frame(HEADERS, END_HEADERS, on, status) + frame(DATA, END_STREAM, on, body)

    server = Server(str(tmp_path / "s"), 0, page, kind=HEADERS)
    server.start()
    deck = Deck([get_card("example.org", "/a", expect)], [(0, 0)])
    load = Load([f"unix:{tmp_path / 's'}"], None, deck, connections=1, expect=None)
    result = load.closed(2, 30.0, most=9)
    load.close()
    server.stop()
    assert len(result.latencies) == 9
    assert bool(result.wrong) != right


def test_an_answer_without_a_message_is_wrong(serving):
    _, load = serving(5, lambda on: frame(HEADERS, END_HEADERS | END_STREAM, on, b"\x88"))
    result = load.closed(1, 30.0, most=7)
    load.close()
    assert result.wrong == {"an error without an answer instead of code 0": 2}
