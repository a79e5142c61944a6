"""The benchmark suite. `make bench`, or:

    python -m bench [--quick] [--only PART ...] [--name NAME] [--peer NAME=ADDRESS[@PID]] [--minutes N]

Parts: process (stages), grpc, envoy, scale. Prints tables, writes bench/results/NAME.json and pictures beside it. How
to read them: bench/README.md.
"""

import argparse
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import over_grpc, plots, report, scale, stages, through_envoy
from bench.connection import WrongAnswer
from bench.facts import facts, load
from bench.generator import Generator, write_deck
from bench.goals import goals
from bench.processes import ProcessError
from bench.rounds import Suite
from bench.servers import Server, Servers, peer
from bench.traffic import KINDS, traffic
from bench.world import PRINCIPALS, ROOT, make_identities

RESULTS = ROOT / "bench" / "results"
PARTS = ("process", "grpc", "envoy", "scale")
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="what a decision costs, beside the floor")
    parser.add_argument("--quick", action="store_true", help="fewer cells and rounds: within three minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--name", default="latest", help="of the results file")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=ADDRESS[@PID]", help="see bench/peers/")
    parser.add_argument("--rounds", type=int, help="of every cell")
    parser.add_argument("--seconds", type=float, help="of one cell in one round")
    parser.add_argument("--minutes", type=float, help="begin no further round after this")
    asked = parser.parse_args(arguments)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", asked.name):
        parser.error("--name: letters, digits, dot, underline and hyphen")
    asked.rounds = asked.rounds or (2 if asked.quick else 5)
    asked.seconds = asked.seconds or (0.5 if asked.quick else 1.0)
    asked.minutes = asked.minutes or (2.0 if asked.quick else 12.0)
    try:
        asked.peers = [peer(text) for text in asked.peer]
    except ValueError as error:
        parser.error(f"--peer: {error}")
    return asked


class Run:
    """One run of the suite: results are kept as they come, so that a late failure loses nothing."""

    def __init__(self, asked: argparse.Namespace, directory: Path) -> None:
        self.asked = asked
        self.directory = directory
        self.results: dict[str, Any] = facts()
        self.begin = time.monotonic()

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(f"[{time.monotonic() - self.begin:6.1f} s] {text}", file=sys.stderr, flush=True)

    def keep(self) -> Path:
        """Write the results file."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.asked.name}.json"
        self.results["load_after"] = load()
        self.results["seconds"] = round(time.monotonic() - self.begin, 1)
        path.write_text(json.dumps(self.results, indent=1) + "\n")
        return path

    def stages(self) -> None:
        """In process."""
        quick = self.asked.quick
        found = stages.measure(2 if quick else 5, 3 if quick else 7, self.say)
        self.results["in_process"] = found
        print(report.stages(found) + "\n")
        self.keep()

    def served(self) -> None:
        """All that needs servers."""
        identities = make_identities(self.directory / "pki", PRINCIPALS)
        decks = {}
        for kind in KINDS:
            dealt = traffic(kind, identities)
            decks[kind] = str(write_deck(self.directory / f"deck-{kind}", dealt.cards, dealt.order))
        generator = Generator(ROOT)
        try:
            with Servers(self.directory, identities) as servers:
                suite = Suite(
                    generator,
                    decks,
                    self.asked.rounds,
                    self.asked.seconds,
                    self.say,
                    self.begin + self.asked.minutes * 60,
                )
                if "grpc" in self.asked.only:
                    self.grpc(suite, servers)
                if "envoy" in self.asked.only:
                    found = through_envoy.measure(
                        suite, servers, identities, self.directory, self.asked.peers, quick=self.asked.quick
                    )
                    self.results["envoy"] = found
                    print(report.envoy_cells(found) + "\n")
                    self.keep()
                    servers.stop_all()
                if "scale" in self.asked.only:
                    self.results.setdefault("scale", {})["reload"] = scale.reloads(suite, servers, self.peak())
        finally:
            generator.stop()

    def grpc(self, suite: Suite, servers: Servers) -> None:
        """Over gRPC."""
        found: dict[str, Any] = self.results.setdefault("grpc", {})
        peers: list[Server] = self.asked.peers
        for name, cells in over_grpc.measure(suite, servers, peers, quick=self.asked.quick):
            found[name] = cells
            self.results["peak_per_second"] = self.peak()
            print(f"{name}\n{report.grpc_cells(cells)}\n")
            self.keep()

    def peak(self) -> float:
        """The most mixed calls a second of this run; without that part of it, a modest rate."""
        rates = [
            cell["per_second"]["median"]
            for cell in self.results.get("grpc", {}).get("loads", ())
            if cell["traffic"] == "mixed"
        ]
        return max(rates, default=2_000.0)

    def grow(self) -> None:
        """Scale, in process."""
        found = self.results.setdefault("scale", {})
        over_at = self.begin + (self.asked.minutes + (0.5 if self.asked.quick else 2.0)) * 60
        for kind in scale.POINTS:
            found[kind] = scale.grow(kind, quick=self.asked.quick, over_at=over_at, say=self.say)
            self.keep()
        print(report.scaling(found) + "\n")

    def all(self) -> Path:
        """Every part that was asked for."""
        asked = self.asked
        if "process" in asked.only:
            self.stages()
        if {"grpc", "envoy", "scale"} & set(asked.only):
            self.served()
        if "scale" in asked.only:
            self.grow()
        path = self.keep()
        kept = list(goals(self.results))
        self.results["goals"] = [dict(zip(("promise", "bound", "reached", "kept"), one, strict=True)) for one in kept]
        if kept:
            rows = [(promise, bound, reached, "yes" if good else "NO") for promise, bound, reached, good in kept]
            print(report.table(("goal", "bound", "reached", "kept"), rows) + "\n")
        self.keep()
        for drawn in plots.draw(self.results, RESULTS, asked.name):
            print(drawn.relative_to(ROOT))
        return path


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Run the suite; 1: an answer was wrong, or something did not run."""
    asked = parse(arguments)
    for number in _SIGNALS:
        signal.signal(number, _end)  # as an exception, so that children are stopped and files removed
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="authz-bench-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        run = Run(asked, directory)
        try:
            print(run.all().relative_to(ROOT))
        except KeyboardInterrupt:
            return 130
        except (WrongAnswer, ProcessError, AssertionError, RuntimeError, OSError, subprocess.SubprocessError) as error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            print(f"bench: {type(error).__name__}: {error}{f' ({notes})' if notes else ''}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
