"""How cost grows: with rules, principals and cached entries; and what reloads and invalidations do under load.

    python -m bench.scale KIND NUMBER        one point, as JSON, in a process of its own

Each point of the first three is a process of its own, so that memory is its own, too.
"""

import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from bench.inside import Inside, bare, messages, stream
from bench.processes import ProcessError, resident_bytes
from bench.rounds import Cell, Suite
from bench.servers import Server, Servers
from bench.stats import mad, spread
from bench.timing import over, sample
from bench.traffic import ever_new
from bench.world import PRINCIPALS, ROOT, Setup, make_identities

RULES = (10, 100, 1_000, 10_000, 100_000)
CALLERS = (10, 100, 1_000, 10_000)
ENTRIES = (1_000, 10_000, 100_000)
REUSE = (10_000, 100_000, 1_000_000)
STORM = (0, 10, 100, 1_000, 10_000)
FEW = 2
"""How many of the largest sizes a quick run leaves out."""
SHIPPED_RULES = 7
"""Rules that a benchmark's policy has without filler."""
_BEFORE_MEMORY = 20_000
"""Requests before memory is looked at, so that what the memos take is not counted as the cache's."""
_ASKED_OF_ENTRIES = 2_000
_STORM_SECONDS = 0.5
_STORM_REQUESTS = 16
_POINT_SECONDS = 400.0
_ROUNDS = 5
_BETWEEN_RELOADS_SECONDS, _RELOAD_MOST_SECONDS = 0.3, 30.0
_RELOAD_SECONDS = 3.0
"""Long enough for several reloads."""


def sizes(all_sizes: tuple[int, ...], *, quick: bool) -> tuple[int, ...]:
    """Those that are measured."""
    return all_sizes[:-FEW] if quick else all_sizes


def rules(number: int, directory: Path) -> dict[str, Any]:
    """One point: loading and deciding with so many rules."""
    identities = make_identities(directory / "pki", 100)
    asked = messages("hit", identities, 100)
    before, begin = resident_bytes(["self"]), time.perf_counter()
    inside = Inside(Setup(rules=max(0, number - SHIPPED_RULES)), identities, directory / "pdp", 100)
    loaded, after = time.perf_counter() - begin, resident_bytes(["self"])
    return {
        "rules": inside.snapshot.engine.rule_count,
        "load s": round(loaded, 2),
        "memory MB": round((after - before) / 1e6, 1),
        **_timed({"uncached us": inside.uncached(), "hit us": inside}, asked),
    }


def principals(number: int, directory: Path) -> dict[str, Any]:
    """One point: deciding for so many callers in turn."""
    identities = make_identities(directory / "pki", number)
    inside = Inside(Setup(), identities, directory / "pdp", number)
    insides = {"uncached us": inside.uncached(), "hit us": inside}
    return {"principals": number, **_timed(insides, messages("each", identities, number))}


def entries(number: int, directory: Path) -> dict[str, Any]:
    """One point: so many cached decisions, what they take, and how fast one of them is found."""
    identities = make_identities(directory / "pki", 100)
    inside = Inside(Setup(by_id=True, entries=number + _BEFORE_MEMORY), identities, directory / "own", 100)
    asked = stream("miss", identities, number + _BEFORE_MEMORY)
    for message, expect in islice(asked, _BEFORE_MEMORY):
        inside.demand(message, expect)
    first = inside.cached
    gc.collect()
    before = resident_bytes(["self"])
    for message, expect in asked:
        inside.demand(message, expect)
    gc.collect()
    memory = resident_bytes(["self"]) - before
    found = {"entries": inside.cached - first, "memory MB": round(memory / 1e6, 1)}
    texts = list(islice(stream("miss", identities, number), 0, None, max(1, number // _ASKED_OF_ENTRIES)))
    return found | _timed({"hit us": inside}, texts)


def reuse(number: int, directory: Path) -> dict[str, Any]:
    """One point: so many requests of 1,000 callers from the first one on, with a million ids in their paths."""
    identities = make_identities(directory / "pki", PRINCIPALS)
    inside = Inside(Setup(), identities, directory / "cached", PRINCIPALS)
    ids = set()
    begin = time.process_time()
    for turn, (card, resource) in enumerate(ever_new(identities, number)):
        ids.add(resource)
        inside.demand(bare(card, b"%012d" % turn, b"%08d" % resource), card.expect)
    took = time.process_time() - begin
    stats = inside.parts.cache.stats
    return {
        "requests": number,
        "distinct ids": len(ids),
        "entries": inside.cached,
        "hit ratio": round((stats.hits_allowed + stats.hits_denied) / number, 5),
        "request us": round(took / number * 1e6, 2),
    }


def storm(number: int, directory: Path) -> dict[str, Any]:
    """One point: deciding while everything cached is made void so many times a second."""
    identities = make_identities(directory / "pki", 100)
    inside = Inside(Setup(), identities, directory / "cached", 100)
    asked = messages("hit", identities, _STORM_REQUESTS)
    for message, expect in asked:
        inside.demand(message, expect)
    took, hits = [], []
    for _ in range(_ROUNDS):
        calls, hit = _under_storm(inside, asked, number)
        took.append(_STORM_SECONDS / calls * 1e6)
        hits.append(hit)
    return {
        "invalidations/s": number,
        "us": round(spread(took)["median"], 2),
        "us MAD": round(mad(took), 2),
        "hit ratio": round(spread(hits)["median"], 4),
    }


def _under_storm(inside: Inside, asked: list[tuple[bytes, int]], number: int) -> tuple[int, float]:
    """Decide for a while, advancing the epoch when it is time; answers calls and the share of hits among them."""
    stats, clock = inside.parts.cache.stats, time.perf_counter
    before = stats.hits_allowed + stats.hits_denied
    begin = clock()
    calls, advanced = 0, 0
    while (passed := clock() - begin) < _STORM_SECONDS:
        while advanced < passed * number:
            inside.epoch.advance()
            advanced += 1
        message, expect = asked[calls % len(asked)]
        inside.demand(message, expect)
        calls += 1
    stats = inside.parts.cache.stats
    return calls, (stats.hits_allowed + stats.hits_denied - before) / calls


def _timed(insides: Mapping[str, Inside], asked: list[tuple[bytes, int]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for inside in insides.values():
        for message, expect in asked:
            inside.demand(message, expect)
    samples = sample({name: over(one.check, [(text,) for text, _ in asked]) for name, one in insides.items()}, _ROUNDS)
    for name, values in samples.items():
        middle = spread(values)["median"]
        found[name] = round(middle, 2)
        found[f"{name} MAD"] = round(mad(values), 2)
    return found


POINTS: Mapping[str, tuple[Callable[[int, Path], dict[str, Any]], tuple[int, ...]]] = {
    "rules": (rules, RULES),
    "principals": (principals, CALLERS),
    "entries": (entries, ENTRIES),
    "reuse": (reuse, REUSE),
    "storm": (storm, STORM),
}


def grow(name: str, *, quick: bool, over_at: float, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The points of one kind; none is begun after `over_at` on the clock time.monotonic."""
    found = []
    for number in sizes(POINTS[name][1], quick=quick):
        if time.monotonic() > over_at:
            say(f"time is up: no {number:,} {name}")
            break
        say(f"scale: {number:,} {name}")
        done = subprocess.run(
            [sys.executable, "-m", "bench.scale", name, str(number)],
            cwd=ROOT, capture_output=True, text=True, timeout=_POINT_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{number} {name}: {done.stderr[-2000:]}")
        found.append(json.loads(done.stdout))
    return found


class Changing:
    """Changes a policy again and again while the body of a `with` runs, each time once the last change is in force."""

    def __init__(self, server: Server) -> None:
        assert server.directory is not None
        self.seconds: list[float] = []
        """How long each change took to come into force."""
        self._server = server
        self._policy = server.directory / "policies" / "policy.csv"
        self._text = self._policy.read_text()
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            while not self._over.wait(_BETWEEN_RELOADS_SECONDS):
                self._change()
        except Exception as fault:  # noqa: BLE001 - told by the thread that waits
            self._fault = fault

    def _change(self) -> None:
        before, begin = reloaded(self._server), time.monotonic()
        fresh = self._policy.with_suffix(".new")
        fresh.write_text(f"{self._text}# {begin}\n")
        fresh.rename(self._policy)
        while reloaded(self._server) == before:
            if time.monotonic() - begin > _RELOAD_MOST_SECONDS:
                raise ProcessError(f"a changed policy is not in force after {_RELOAD_MOST_SECONDS:g} s")
            time.sleep(0.05)
        self.seconds.append(time.monotonic() - begin)


def reloads(suite: Suite, servers: Servers, peak: float) -> list[dict[str, Any]]:
    """Half of the peak rate in an open loop, while the policy file is left alone, and while it changes."""
    server = servers.authz(Setup(rules=1_000, poll_seconds=0.1))
    server.wait()
    cell = Cell(server=server, traffic="mixed", rate=max(10.0, peak / 2))
    suite = replace(suite, seconds=max(_RELOAD_SECONDS, suite.seconds))
    quiet, busy, took = [], [], []
    for _ in range(min(suite.rounds, 3)):
        quiet.append(suite.measure(cell))
        with Changing(server) as changing:
            busy.append(suite.measure(cell))
        took += changing.seconds
    return [_row("unchanged", quiet, []), _row("changing", busy, took)]


def reloaded(server: Server) -> float:
    """How many changes of its files have come into force."""
    lines = server.get("/metrics").splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("authz_reloads_total") and 'outcome="success"' in line
    )


def _row(name: str, rounds: list[dict[str, Any]], took: list[float]) -> dict[str, Any]:
    return {
        "policy": name,
        "reloads": len(took),
        "in force after s": round(spread(took)["median"], 2) if took else None,
        "calls/s": spread([one["per_second"] for one in rounds])["median"],
        **{f"{p} us": spread([one[f"{p}_us"] for one in rounds])["median"] for p in ("p50", "p99", "p99.9")},
        "max us": max(one["max_us"] for one in rounds),
        "shed": sum(one["shed"] for one in rounds),
    }


def main(kind: str, number: int) -> None:
    """One point."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        print(json.dumps(POINTS[kind][0](number, Path(name))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
