"""What grants and revocations cost, and how fast a revocation bites: at the verifier, the store, and running servers.

    python -m bench.grants [--quick] [--rate 500] [--only sight,checks,lookup,store,control,force] [--name grants]

Writes every figure to bench/results/NAME.json. PostgreSQL is the system's own, on its own data, fsync on.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from authz.stores.database.settings import StoreSettings
from authz.stores.database.store import Store
from bench import grants_served as served
from bench import store as at_store
from bench.facts import facts, load
from bench.generator import Generator
from bench.grants_inside import apart
from bench.report import table
from bench.world import ROOT, make_identities

PARTS = ("sight", "checks", "lookup", "store", "control", "force")
PRINCIPALS = 420
RESULTS = ROOT / "bench" / "results"


class Run:
    """One run; results are kept as they come."""

    def __init__(self, asked: argparse.Namespace, directory: Path) -> None:
        self.asked = asked
        self.directory = directory
        self.begin = time.monotonic()
        self.results: dict[str, Any] = facts() | {"command": " ".join(["python -m bench.grants", *sys.argv[1:]])}
        self.identities = make_identities(directory / "pki", PRINCIPALS)
        self._postgres: Any = None

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(f"[{time.monotonic() - self.begin:6.1f} s] {text}", file=sys.stderr, flush=True)

    def keep(self, name: str, found: Any) -> None:
        """Write the results so far."""
        self.results[name] = {"load": load(), "found": found}
        self.results["seconds"] = round(time.monotonic() - self.begin, 1)
        path = RESULTS / f"{self.asked.name}.json"
        path.write_text(json.dumps(self.results, indent=1) + "\n")
        self.say(f"{name}: done")

    def new_database(self, kind: str) -> str:
        """The URL of an empty store."""
        if kind == "sqlite":
            return ""
        if self._postgres is None:
            self._postgres = at_store.PostgresServer(durable=True)
        url: str = self._postgres.new_database()
        return url

    def close(self) -> None:
        """End the database server."""
        if self._postgres is not None:
            self._postgres.close()

    def sight(self) -> None:
        """The first sight of a token."""
        self.keep("sight", apart("sight", 300 if self.asked.quick else 2_000))

    def lookup(self) -> None:
        """Looking up among ten and among a million revocations, and loading them."""
        most = 100_000 if self.asked.quick else 1_000_000
        sizes = [size for size in (10, 1_000, 100_000, 1_000_000) if size <= most]
        found = {"lookups": [apart("lookup", size) for size in sizes], "load_at_start": apart("load", most)}
        self.keep("lookup", found)

    def store(self) -> None:
        """Issue and complete at the store itself, by as many callers as over the control plane."""
        how = SimpleNamespace(seconds=1.5 if self.asked.quick else 4.0, callers=served.CALLERS)
        self.keep("store", {kind: asyncio.run(self._store(kind, how)) for kind in ("sqlite", "postgresql")})

    async def _store(self, kind: str, how: SimpleNamespace) -> dict[str, Any]:
        settings = StoreSettings(url=self.new_database(kind), state_directory=str(self.directory / f"store-{kind}"))
        async with Store.opened(settings, self.directory) as store:
            found = {"issue": await at_store.load(store, at_store.issue, itertools.count(), how, 1e9)}
            done = found["issue"]["operations"]
            found["complete"] = await at_store.load(store, at_store.complete, iter(range(done)), how, done)
        return found

    def control(self) -> None:
        """The same over the control plane."""
        seconds = 1.5 if self.asked.quick else 4.0
        found = {}
        for kind in ("sqlite", "postgresql"):
            url = self.new_database(kind)
            found[kind] = served.control(self.identities, self.directory / f"control-{kind}", url, seconds)
        self.keep("control", found)

    def checks(self) -> None:
        """Checks with a grant beside checks without."""
        rounds, seconds = (3, 0.6) if self.asked.quick else (9, 1.0)
        generator = Generator(ROOT)
        try:
            self.keep(
                "checks",
                served.checks(generator, self.identities, self.directory, rounds=rounds, seconds=seconds, say=self.say),
            )
        finally:
            generator.stop()

    def force(self) -> None:
        """How fast a revocation bites."""
        generator = Generator(ROOT)
        count = 40 if self.asked.quick else 220
        try:
            where, url = self.directory / "force", self.new_database("postgresql")
            self.keep(
                "force", served.in_force(generator, self.identities, where, url, count=count, rate=self.asked.rate)
            )
        finally:
            generator.stop()


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures that matter."""
    told: list[tuple[str, str]] = []
    part = {name: results[name]["found"] for name in PARTS if name in results}
    for name, one in part.get("sight", {}).items():
        told.append((name, f"{one['clock_p50_us']} us by the clock, {one['cpu_p50_us']} us of CPU (medians)"))
    for name, one in part.get("checks", {}).items():
        for what, ratio in one["with_a_grant_to_without"].items():
            told.append((f"with a grant to without, {name}, {what}", f"{ratio['median']:.3f} (MAD {ratio['mad']:.3f})"))
    told += [
        (f"look-up, {one['entries']:,}", f"{one['lookup_us']['median']:.2f} us, {one['memory_mb']} MB")
        for one in part.get("lookup", {}).get("lookups", ())
    ]
    if "lookup" in part:
        one = part["lookup"]["load_at_start"]
        told.append((f"load {one['entries']:,}", f"{one['seconds']} s, {one['peak_mb']} MB at most"))
    written = [(f"store, {kind}", both) for kind, both in part.get("store", {}).items()]
    written += [
        (f"control, {kind}, {way}", both)
        for kind, ways in part.get("control", {}).items()
        for way, both in ways.items()
    ]
    for where, both in written:
        for what, one in both.items():
            told.append((f"{where}, {what}", f"{one['per_second']:,.0f}/s, p99 {one['p99_ms']} ms"))
    for name, one in part.get("force", {}).items():
        told.append((f"revocation: {name}", str(one)))
    return told


def main(arguments: Sequence[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within a minute or two, to see that it runs")
    parser.add_argument("--rate", type=float, default=500.0, help="checks a second while revocations are timed")
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS)
    parser.add_argument("--name", default="grants")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as directory:
        run = Run(asked, Path(directory))
        try:
            for part in PARTS:
                if part in asked.only:
                    getattr(run, part)()
        finally:
            run.close()
    print(table(("figure", "measured"), rows(run.results)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
