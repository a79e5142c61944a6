"""How long requests wait while a server reloads 100,000 rules: one run, beside the same server at rest.

    python -m bench.reload [--rules 100000] [--rounds 3] [--every 0.002] [--name reload]

Requests fall due at a fixed pace over one connection on a Unix socket; what counts is the time from then to the answer,
so that nothing is left out while the server is busy. In each round: at rest, then while a changed policy (other rules,
same number) is read, compiled, put in force and the one before last freed. Every answer is checked to be an allow, and
every one is decided afresh: the cache is off.
Also: how long the first load and each reload took, and the server's memory. Results: bench/results/NAME.json.
"""

import argparse
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.client import Deck, Load
from bench.connection import WrongAnswer
from bench.facts import facts
from bench.latency import summary
from bench.processes import ProcessError
from bench.scale import reloaded
from bench.servers import Server, Servers
from bench.traffic import traffic
from bench.world import ROOT, Setup, make_identities

PRINCIPALS = 500
SETTLED_SECONDS = 1.5
"""Seconds after a reload that still count as part of it: old rules are freed then."""
MOST_SECONDS = 600.0
RESULTS = ROOT / "bench" / "results"


def change(server: Server, generation: int) -> None:
    """Put other rules, as many, into the policy file."""
    assert server.directory is not None
    policy = server.directory / "policies" / "policy.csv"
    fresh = policy.with_suffix(".fresh")
    fresh.write_text(policy.read_text().replace(f"/v{generation}/team-", f"/v{generation + 1}/team-"))
    fresh.rename(policy)


def reload(server: Server) -> float:
    """Seconds until the new rules were in force."""
    assert server.process is not None
    before, begin = reloaded(server), time.perf_counter()
    os.kill(server.process.pid, signal.SIGHUP)
    while reloaded(server) == before:
        if time.perf_counter() - begin > MOST_SECONDS:
            raise ProcessError("the reload did not end")
        time.sleep(0.1)
    return time.perf_counter() - begin


def ask(server: Server, deck: Deck, every: float, until: Callable[[], bool]) -> dict[str, Any]:
    """Latencies of requests that fall due at that pace, until it holds."""
    load = Load([server.address], None, deck, connections=1, expect=None)
    try:
        result = load.open(1 / every, MOST_SECONDS, until)
    finally:
        load.close()
    if result.wrong:
        raise WrongAnswer(f"of {len(result.latencies)} answers, wrong: {result.wrong}")
    told = summary(result.latencies)
    del told["hdr"]
    return {"requests": len(result.latencies), "shed": result.shed, **told}


def at_rest(server: Server, deck: Deck, every: float, seconds: float) -> dict[str, Any]:
    """Latencies while nothing changes."""
    end = time.perf_counter() + seconds
    return ask(server, deck, every, lambda: time.perf_counter() > end)


def reloading(server: Server, deck: Deck, every: float) -> tuple[dict[str, Any], float]:
    """Latencies during a reload, and how long it took."""
    done = threading.Event()
    took: list[float] = []

    def run() -> None:
        try:
            took.append(reload(server))
            time.sleep(SETTLED_SECONDS)
        finally:
            done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    waited = ask(server, deck, every, done.is_set)
    thread.join()
    if not took:
        raise ProcessError("the reload did not end")
    return waited, took[0]


def measure(server: Server, deck: Deck, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds."""
    at_rest(server, deck, asked.every, 1.0)  # warm-up, not counted
    rounds = []
    for generation in range(asked.rounds):
        rest = at_rest(server, deck, asked.every, asked.rest)
        change(server, generation)
        found, seconds = reloading(server, deck, asked.every)
        rounds.append(
            {
                "at_rest": rest,
                "reloading": found,
                "ratio": {key: round(found[key] / rest[key], 2) for key in ("p50_us", "p99_us", "p99.9_us")},
                "reload_seconds": round(seconds, 2),
                "memory_mb": round(server.resident_bytes() / 1e6, 1),
            }
        )
        print(json.dumps(rounds[-1]), flush=True)
    return rounds


def main() -> None:
    """Measure, print and keep."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rules", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--every", type=float, default=0.002, help="seconds between requests")
    options.add_argument("--rest", type=float, default=4.0, help="seconds at rest, each round")
    options.add_argument("--name", default="reload", help="of the results file")
    asked = options.parse_args()
    told: dict[str, Any] = {**facts(), "rules": asked.rules}
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        directory = Path(name)
        identities = make_identities(directory / "pki", PRINCIPALS)
        dealt = traffic("hit", identities)
        with Servers(directory, identities) as servers:
            begin = time.perf_counter()
            server = servers.authz(Setup(cache=False, rules=asked.rules, poll_seconds=3600.0), PRINCIPALS)
            server.wait()
            told["first_load_seconds"] = round(time.perf_counter() - begin, 2)
            told["first_load_mb"] = round(server.resident_bytes() / 1e6, 1)
            rounds = told["rounds"] = measure(server, Deck(dealt.cards, dealt.order), asked)
    told["median_ratio"] = {key: statistics.median(one["ratio"][key] for one in rounds) for key in rounds[0]["ratio"]}
    print("reloading beside at rest, median of the rounds:", told["median_ratio"])
    (RESULTS / f"{asked.name}.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
