"""The loops of the load generator, closed and open: a deck of requests dealt over a few connections.

What it uses of a core is measured and reported with every figure.
"""

import os
import select
import ssl
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.connection import ANSWER_SECONDS, Connection, Dealt, WrongAnswer
from bench.frames import Card
from bench.pacing import Pace

SHED = frozenset({14, 8})
"""UNAVAILABLE and RESOURCE_EXHAUSTED: the server refused to decide for want of time. Not wrong, but not an answer."""
MAX_OPEN = 900
"""Calls open at once on one connection in an open loop: the server allows about a thousand."""
_ONCE_SECONDS = 60.0
_OPENING_IDS = 50_000_000


@dataclass
class Result:
    """What one measurement saw. Latencies in seconds, one a call."""

    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    late: "array[float]" = field(default_factory=lambda: array("d"))
    """Open loop: how late each call was sent; what of the latency is the generator's own."""
    wrong: dict[str, int] = field(default_factory=dict)
    shed: int = 0
    moved: int = 0
    """How often a server asked a connection to be made anew."""
    seconds: float = 0.0


class Deck:
    """The requests of a scenario, dealt in order, over and over, each with an id of its own."""

    def __init__(self, cards: Sequence[Card], order: Sequence[tuple[int, int]]) -> None:
        """`order`: which card, with which resource id; an id of -1 is another one every time."""
        self.cards = cards
        self._asked = order
        self._order = [(cards[card], b"" if number < 0 else b"%08d" % number) for card, number in order]
        self._dealt = 0
        self._salt = b"%04d" % (int.from_bytes(os.urandom(2)) % 10_000)  # digits, as a proxy's stream ids are

    @property
    def size(self) -> int:
        """How many are dealt before they come again."""
        return len(self._order)

    @cached_property
    def opening(self) -> "Deck":
        """Every card once, so that what a server keeps of each is there before anything is measured."""
        first: dict[int, int] = {}
        for card, number in self._asked:
            first.setdefault(card, number)
        opening = Deck(self.cards, list(first.items()))
        opening._dealt = _OPENING_IDS  # ids that are another one every time must not be those of what is measured
        return opening

    def deal(self) -> Dealt:
        """The next one."""
        self._dealt = number = self._dealt + 1
        card, resource = self._order[number % len(self._order)]
        return card, b"%b%08d" % (self._salt, number % 100_000_000), resource or b"%08d" % (number % 100_000_000)


class Load:
    """Drives a deck against a server over some connections."""

    def __init__(
        self,
        addresses: Sequence[str],
        tls: ssl.SSLContext | None,
        deck: Deck,
        *,
        connections: int,
        expect: int | None,
        apart_seconds: float = 0.0,
    ) -> None:
        """Connect, to one address after the other, with that much time between two.

        `expect`: the right answer to everything (of a server that does not decide), instead of each card's own.
        """
        self._deck = deck
        self._expect = expect
        self._result = Result()
        self._now = time.perf_counter()
        self._addresses = addresses
        self._tls = tls
        self._connections: list[Connection] = []
        for index in range(connections):
            time.sleep(apart_seconds if index else 0)
            self._connections.append(self._connect(index))
        self._left: list[Connection] = []
        """Connections that the server asked us to leave, with calls under way."""
        self._by_socket = {one.socket: one for one in self._connections}

    def _connect(self, index: int) -> Connection:
        address = self._addresses[index % len(self._addresses)]
        return Connection(address, self._tls, self._answer, grpc=self._deck.cards[0].body_bytes > 0)

    def close(self) -> None:
        """End all connections."""
        for one in self._everywhere:
            one.close()

    def once(self, in_flight: int) -> Result:
        """Deal the whole deck once."""
        return self.closed(min(in_flight, self._deck.size), _ONCE_SECONDS, self._deck.size)

    def closed(self, in_flight: int, seconds: float, most: int = sys.maxsize) -> Result:
        """Keep `in_flight` calls open for that long, or until `most` have been sent."""
        clock = time.perf_counter
        connections = self._connections
        self._begin()
        begin = self._now = clock()
        end = begin + seconds
        for turn in range(in_flight):
            connections[turn % len(connections)].issue(self._deck.deal(), begin)
        sent = in_flight
        while True:
            self._turn(ANSWER_SECONDS)
            if self._now < end and sent < most:
                # An answer that came makes room for the next call, on the connection that it came on.
                for one in connections:
                    room = max(0, min(self._share(one, in_flight) - one.open, most - sent))
                    sent += room
                    for _ in range(room):
                        one.issue(self._deck.deal(), self._now)
            elif not any(one.open for one in self._everywhere):
                break
        return self._end(begin)

    def open(self, rate: float, seconds: float, until: Callable[[], bool] = lambda: False) -> Result:
        """Send `rate` calls a second for that long, or `until` it holds, whatever becomes of them."""
        clock = time.perf_counter
        connections = self._connections
        self._begin()
        late = self._result.late
        begin = self._now = clock()
        pace = Pace(begin=begin, rate=rate, seconds=seconds)
        turn = 0
        while True:
            pace.stopped = pace.stopped or until()
            if pace.done and not any(one.open for one in self._everywhere):
                break
            room = MAX_OPEN * len(connections) - sum(one.open for one in self._everywhere)
            for due in pace.take(self._now, max(0, room)):
                late.append(self._now - due)
                connections[turn % len(connections)].issue(self._deck.deal(), due)
                turn += 1
            wait = ANSWER_SECONDS if pace.done or room <= 0 else pace.wait(clock())
            self._turn(wait, quiet=not pace.done and room > 0)
        return self._end(begin)

    def _share(self, one: Connection, in_flight: int) -> int:
        count = len(self._connections)
        return in_flight // count + (self._connections.index(one) < in_flight % count) if count > 1 else in_flight

    def _begin(self) -> None:
        self._result = Result()

    def _end(self, begin: float) -> Result:
        self._result.seconds = time.perf_counter() - begin
        return self._result

    def _turn(self, wait: float, *, quiet: bool = False) -> None:
        """Send what is queued, wait for something to happen, and take it in."""
        writing = []
        for one in self._everywhere:
            if one.out:
                one.flush()
                if one.out:
                    writing.append(one.socket)
        readable, writable, _ = select.select(self._by_socket, writing, (), wait)
        self._now = time.perf_counter()
        if not readable and not writable and not quiet:
            calls = sum(one.open for one in self._everywhere)
            raise WrongAnswer(f"no answer for {ANSWER_SECONDS:g} s, {calls} calls open")
        for ready in readable:
            self._by_socket[ready].receive()
        self._now = time.perf_counter()
        if self._left or any(one.leaving for one in self._connections):
            self._move()

    def _move(self) -> None:
        """Connect anew where the server asks for it, make there what it did not take, and close what is done."""
        for index, one in enumerate(self._connections):
            if one.leaving:
                fresh = self._connections[index] = self._connect(index)
                self._by_socket[fresh.socket] = fresh
                self._left.append(one)
                self._result.moved += 1
        for one in self._left:
            for turn, (dealt, start) in enumerate(one.refused):
                self._connections[turn % len(self._connections)].issue(dealt, start)
            one.refused.clear()
            if not one.open:
                del self._by_socket[one.socket]
                one.close()
        self._left = [one for one in self._left if one.open]

    @property
    def _everywhere(self) -> list[Connection]:
        return [*self._connections, *self._left] if self._left else self._connections

    def _answer(self, seconds: float, expected: int, got: int) -> None:
        result = self._result
        result.latencies.append(seconds)
        if self._expect is not None:
            expected = self._expect
        if got != expected:
            if got in SHED:
                result.shed += 1
            else:
                told = f"{_words(got)} instead of {_words(expected)}"
                result.wrong[told] = result.wrong.get(told, 0) + 1


def _words(code: int) -> str:
    return {-2: "an error without an answer", -1: "an answer without a status"}.get(code, f"code {code}")
