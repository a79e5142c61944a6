"""What agents cost: reading bodies, and the rest of what is decided of them.

    python -m bench.agents [--only bodies] [--rounds 25] [--name agents]

Each part measures in this process, its pieces interleaved, and is compared within one run alone. Writes
bench/results/NAME.json.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.agents_bodies import bodies
from bench.agents_budgets import budgets
from bench.facts import facts, load
from bench.report import table
from bench.stats import paired, spread
from bench.timing import Piece, sample
from bench.world import ROOT

RESULTS = ROOT / "bench" / "results"

Part = Callable[[Path], tuple[Mapping[str, Piece], Sequence[tuple[str, str, float]]]]
"""Answers pieces by name, and what is demanded: (a piece, what it is compared with, at most how many times as slow)."""
PARTS: dict[str, Part] = {"bodies": bodies, "budgets": budgets}


def measure(part: Part, directory: Path, rounds: int) -> dict[str, Any]:
    """The figures of one part."""
    pieces, demands = part(directory)
    samples = sample(pieces, rounds)
    return {
        "us": {name: spread(values) for name, values in samples.items()},
        "ratios": [
            {"of": one, "to": other, "at_most": at_most, **paired(samples[one], samples[other])}
            for one, other, at_most in demands
        ],
    }


def show(name: str, told: Mapping[str, Any]) -> None:
    """Print one part."""
    rows = [[piece, f"{found['median']:.1f}", f"{found['mad']:.1f}"] for piece, found in told["us"].items()]
    print(f"\n{name}: microseconds of CPU a call\n{table(['piece', 'median', 'MAD'], rows)}")
    for ratio in told["ratios"]:
        kept = "kept" if ratio["median"] <= ratio["at_most"] else "MISSED"
        print(f"{ratio['of']} : {ratio['to']} = {ratio['median']:.2f} (at most {ratio['at_most']}: {kept})")


def main(arguments: Sequence[str]) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--name", default="agents")
    asked = parser.parse_args(arguments)
    told: dict[str, Any] = {"facts": facts()}
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as directory:
        for name in asked.only:
            told[name] = measure(PARTS[name], Path(directory) / name, asked.rounds)
            show(name, told[name])
    told["facts"]["load_after"] = load()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{Path(asked.name).name}.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
