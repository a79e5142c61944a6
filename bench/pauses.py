"""How long the garbage collector keeps everybody waiting while decisions are cached.

    python -m bench.pauses [--entries 100000]

Decides that many requests, no two alike, in a process of its own: once with the interpreter's own settings for the
collector (after what lives at the start was set aside), once with ours (`authz/stores/collector.py`). Prints how long
passes took, in milliseconds of CPU time, which is that of the one thread that decides.
"""

import argparse
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from authz.stores.collector import keep_passes_short
from authz.stores.quiet import settle
from bench.inside import Inside, stream
from bench.report import table
from bench.world import Setup, make_identities

PRINCIPALS = 100
OWN, OURS = "the interpreter's own", "short passes"
LONG_MS = 20.0
COLUMNS = (
    "collector",
    "decisions",
    "passes",
    f"over {LONG_MS:g} ms",
    "median of the full ones",
    "longest",
    "all, of CPU time",
)


class Passes:
    """Takes the time of each pass; to be put among `gc.callbacks`."""

    def __init__(self) -> None:
        self.took: list[tuple[int, float]] = []
        """Generation, milliseconds."""
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        """Called by the collector."""
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.took.append((info["generation"], (time.thread_time() - self._began) * 1e3))


def measure(collector: str, entries: int) -> Sequence[Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        directory = Path(name)
        identities = make_identities(directory / "pki", PRINCIPALS)
        inside = Inside(Setup(by_id=True, entries=entries), identities, directory / "own", PRINCIPALS)
        if collector == OURS:
            keep_passes_short()
        settle()
        passes = Passes()
        gc.callbacks.insert(0, passes)
        spent = 0.0
        for message, expect in stream("miss", identities, entries):
            begin = time.thread_time()
            inside.demand(message, expect)
            spent += time.thread_time() - begin
    took = [milliseconds for _, milliseconds in passes.took]
    full = sorted(milliseconds for generation, milliseconds in passes.took if generation == 2) or [0.0]
    long = sum(milliseconds > LONG_MS for milliseconds in took)
    share = f"{sum(took) / spent / 1e3:.1%}"
    return collector, inside.cached, len(took), long, f"{full[len(full) // 2]:.1f}", f"{max(took):.1f}", share


def main() -> None:
    """Measure both and print."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("--entries", type=int, default=100_000)
    asked = arguments.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = [pool.apply(measure, (collector, asked.entries)) for collector in (OWN, OURS)]
    print(table(COLUMNS, rows))


if __name__ == "__main__":
    main()
