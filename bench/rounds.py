"""Interleaved rounds: every cell of a group once a round, so that what disturbs the machine disturbs all of them."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.generator import Generator
from bench.latency import PERCENTILES, merged
from bench.servers import Server
from bench.stats import paired, spread

SPREADS = ("per_second", "per_cpu_second", "mean_us", *(f"p{share:g}_us" for share in PERCENTILES))


@dataclass(slots=True, kw_only=True)
class Cell:
    """One server under one load."""

    server: Server
    traffic: str
    in_flight: int = 0
    rate: float = 0.0
    connections: int = 1
    beside: "Cell | None" = None
    """What it is compared with, round by round: the floor under the same load."""
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """A short name."""
        load = f"{self.rate:,.0f}/s" if self.rate else f"{self.in_flight} in flight"
        return f"{self.server.name} / {self.traffic} / {load} / {self.connections} connections"


@dataclass(slots=True)
class Suite:
    """What measuring takes: the generator, the decks, and how long."""

    generator: Generator
    decks: dict[str, str]
    rounds: int
    seconds: float
    say: Callable[[str], None]
    over_at: float
    """On the clock time.monotonic: no round is begun after this."""

    def run(self, cells: Sequence[Cell]) -> None:
        """Measure every cell once a round, back and forth: A B C, C B A, ..."""
        for cell in cells:
            cell.server.wait()
        for turn in range(self.rounds):
            if turn and time.monotonic() > self.over_at:
                self.say(f"time is up: {turn} of {self.rounds} rounds")
                return
            for cell in cells if turn % 2 == 0 else reversed(cells):
                cell.rounds.append(self.measure(cell))

    def measure(self, cell: Cell) -> dict[str, Any]:
        """One round of one cell."""
        server = cell.server
        deck, job = self.decks[cell.traffic], server.job()
        server.forget_records()
        try:
            # What the server keeps of each request is there before anything is measured, and is on record by then.
            opened = self.generator.measure(deck=deck, once=True, **job)
            if not opened["shed"]:
                server.records(opened["calls"])
            server.forget_records()
            told = self.generator.measure(
                deck=deck,
                seconds=self.seconds,
                in_flight=cell.in_flight,
                rate=cell.rate,
                connections=cell.connections,
                **job,
            )
            server.demand_alive()
            # Every call is on record, or the figure would be one of a server that left work undone.
            records = None if told["shed"] else server.records(told["calls"])
        except Exception as error:
            error.add_note(f"while measuring {cell.title}")
            raise
        if server.process:
            told["resident_mb"] = round(server.resident_bytes() / 1e6, 1)
        if records is not None:
            told["hit_ratio"] = round(records.cached / records.decisions, 5)
        self.say(
            f"{cell.title}: {told['per_second']:,.0f}/s, p50 {told['p50_us']:,.0f} us, p99 {told['p99_us']:,.0f} us"
        )
        return told


def told(cell: Cell) -> dict[str, Any]:
    """A cell as results keep it: spreads, ratios to the floor, and every round as it was."""
    rounds = cell.rounds
    found: dict[str, Any] = {
        "server": cell.server.name,
        "traffic": cell.traffic,
        "in_flight": cell.in_flight or None,
        "rate": round(cell.rate, 1) or None,
        "connections": cell.connections,
    }
    for name in SPREADS:
        values = [one[name] for one in rounds if one.get(name) is not None]
        if len(values) == len(rounds):
            found[name] = spread(values)
    found["shed"] = sum(one["shed"] for one in rounds)
    found["max_us"] = max(one["max_us"] for one in rounds)
    for name in (
        "server_cpu_us",
        "server_cpu_share",
        "generator_cpu_share",
        "hit_ratio",
        "sent_late_p99_us",
        "resident_mb",
    ):
        values = [one[name] for one in rounds if one.get(name) is not None]
        if values:
            found[name] = statistics.median(values)
    beside = cell.beside
    if beside is not None and len(beside.rounds) == len(rounds):
        found["of_floor"] = {
            name: paired([one[name] for one in rounds], [one[name] for one in beside.rounds])
            for name in ("per_second", "mean_us", "p50_us", "p99_us")
        }
        found["floor"] = beside.server.name
    found["hdr"] = merged(one["hdr"] for one in rounds).encode().decode()
    found["rounds"] = [{name: value for name, value in one.items() if name != "hdr"} for one in rounds]
    return found
