"""The load generator against a real server: it counts what was answered, and no wrong answer passes."""

import sys

import pytest
from ports import free_port

from bench.connection import WrongAnswer
from bench.frames import check_card
from bench.generator import Generator, write_deck
from bench.latency import merged
from bench.processes import Process, listens
from bench.world import ROOT

MESSAGE = b"\x0a\x00" + b"\x82\x01\x00" * 700  # some 2 kB; the server does not read it


@pytest.fixture(scope="module")
def generator():
    made = Generator(ROOT)
    yield made
    made.stop()


@pytest.fixture(scope="module", params=["h2corn", "grpc.aio"])
def floor(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("floor")
    address = f"unix:{directory}/s" if request.param == "h2corn" else f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "bench.do_nothing", request.param, address, "1"]
    process = Process(command, directory / "log", {"PYTHONPATH": str(ROOT)})
    try:
        process.wait(lambda: listens(address), "listening")
        yield {"address": address, "pids": process.pids}
    finally:
        process.stop()


@pytest.fixture
def deck(tmp_path):
    return lambda *expected: str(
        write_deck(
            tmp_path / "deck", [check_card(MESSAGE, one) for one in expected], [(n, -1) for n in range(len(expected))]
        )
    )


@pytest.mark.parametrize(("in_flight", "connections"), [(1, 1), (40, 3)])
def test_a_closed_loop_counts_every_answer(generator, floor, deck, in_flight, connections):
    told = generator.measure(
        deck=deck(0), seconds=0.2, warm_seconds=0.02, in_flight=in_flight, connections=connections, **floor
    )
    assert told["requests"] >= in_flight
    assert told["shed"] == 0
    assert merged([told["hdr"]]).get_total_count() == told["requests"]
    assert told["p50_us"] <= told["p99_us"] <= told["max_us"] * 1.01
    assert told["server_cpu_share"] >= 0


def test_an_open_loop_sends_exactly_what_its_rate_says(generator, floor, deck):
    told = generator.measure(deck=deck(0), seconds=0.3, warm_seconds=0.02, rate=200.0, **floor)
    assert told["requests"] == 60
    assert told["sent_late_p99_us"] >= 0


def test_a_wrong_answer_ends_the_measurement(generator, floor, deck):
    with pytest.raises(WrongAnswer, match="code 0 instead of code 7"):
        generator.measure(deck=deck(0, 7), seconds=0.1, warm_seconds=0.02, in_flight=2, **floor)


def test_of_a_server_that_does_not_decide_the_one_answer_is_expected(generator, floor, deck):
    told = generator.measure(deck=deck(0, 7), seconds=0.1, warm_seconds=0.02, in_flight=2, expect=0, **floor)
    assert told["requests"] > 0


def test_a_server_that_is_not_there_is_an_error(generator, deck, tmp_path):
    with pytest.raises(WrongAnswer, match="FileNotFoundError"):
        generator.measure(deck=deck(0), address=f"unix:{tmp_path}/none", seconds=0.1, in_flight=1)
