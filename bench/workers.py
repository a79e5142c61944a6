"""How evenly the workers of one server share the calls of few connections, and how many calls they answer together.

    python -m bench.workers [--seconds 0.8] [--name workers]

Each case: so many HTTP/2 connections, opened one after another ("apart") or all within a moment ("at once"), each with
8 calls in flight, against one shared Unix socket or a socket for each worker. Prints a table and writes every figure to
bench/results/NAME.json. How to read it: bench/README.md.
"""

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.facts import facts
from bench.generator import Generator, write_deck
from bench.report import table
from bench.servers import Server, Servers
from bench.traffic import traffic
from bench.world import ROOT, Setup, make_identities

PRINCIPALS = 100
CONNECTIONS = (1, 2, 4, 8)
IN_FLIGHT_EACH = 8
APART_SECONDS = 0.06
LONG_SECONDS = 4.0
"""Long enough for what is uneven to be moved."""
RESULTS = ROOT / "bench" / "results"


def per_worker(server: Server, name: str) -> list[float]:
    """A metric of each worker; empty where one process serves alone."""
    pattern = rf'^{name}\{{worker="\d+"\}} (\S+)$'
    return [float(value) for value in re.findall(pattern, server.get("/metrics"), re.MULTILINE)]


def addresses(server: Server) -> list[str]:
    """Where it listens: one address, or one for each worker."""
    assert server.setup is not None
    return [server.address.replace("{worker}", str(number)) for number in range(server.setup.workers)]


def case(
    generator: Generator, server: Server, deck: str, count: int, seconds: float, *, at_once: bool
) -> dict[str, Any]:
    """Measure one case."""
    before = per_worker(server, "authz_worker_decisions_total")
    told = generator.measure(
        deck=deck,
        address=addresses(server) if "{worker}" in server.address else server.address,
        connections=count,
        in_flight=IN_FLIGHT_EACH * count,
        seconds=seconds,
        warm_seconds=0.05,
        apart_seconds=0.0 if at_once else APART_SECONDS,
        pids=server.pids,
    )
    server.demand_alive()
    after = per_worker(server, "authz_worker_decisions_total")
    decided = [new - old for old, new in zip(before, after, strict=True)] or [float(told["calls"])]
    return {
        "connections": count,
        "opened": "at once" if at_once else "apart",
        "seconds": seconds,
        "calls_per_worker": decided,
        "least_share": round(min(decided) / sum(decided), 3),
        "per_second": told["per_second"],
        "generator_cpu_share": told["generator_cpu_share"],
        "moved": told.get("moved", 0),
    }


def cases(generator: Generator, servers: Servers, deck: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Every case, one after the other."""
    setups = {
        "one worker": Setup(rebalance_seconds=1),
        "one address": Setup(workers=2, rebalance_seconds=1),
        "a socket each": Setup(workers=2, listen="unix-each", rebalance_seconds=1),
    }
    for label, setup in setups.items():
        server = servers.authz(setup, PRINCIPALS)
        server.wait()
        for count in CONNECTIONS:
            for at_once in (False, True) if label == "one address" and count > 1 else (False,):
                yield {"server": label, **case(generator, server, deck, count, seconds, at_once=at_once)}
        if label == "one address":
            yield {"server": label, **case(generator, server, deck, 4, LONG_SECONDS, at_once=True)}
        servers.stop(server)


def main() -> None:
    """Measure, print and keep."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("--seconds", type=float, default=0.8)
    arguments.add_argument("--name", default="workers")
    asked = arguments.parse_args()
    generator = Generator(ROOT)
    try:
        with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
            directory = Path(name)
            identities = make_identities(directory / "pki", PRINCIPALS)
            dealt = traffic("hit", identities)
            deck = str(write_deck(directory / "deck", dealt.cards, dealt.order))
            with Servers(directory, identities) as servers:
                figures = list(cases(generator, servers, deck, asked.seconds))
    finally:
        generator.stop()
    columns = ("server", "connections", "opened", "seconds", "least_share", "per_second", "moved")
    print(table(columns, [[one[column] for column in columns] for one in figures]))
    shares = {
        label: statistics.fmean(
            one["least_share"] for one in figures if one["server"] == label and one["connections"] > 1
        )
        for label in dict.fromkeys(one["server"] for one in figures)
    }
    told = {**facts(), "mean_least_share": shares, "figures": figures}
    (RESULTS / f"{asked.name}.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
