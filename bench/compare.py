"""A regression gate: compares two results files by ratio, and says no when something got worse.

    python bench/compare.py OLD.json NEW.json [--threshold 0.15]

What is compared are ratios to the do-nothing floor of the same run, which depend little on the machine; where both
files come from one machine (or with --absolute), in-process microseconds and growth curves, too. Each figure must be
worse by more than the threshold, and by more than both runs' own spread, to count. Exit codes: 0 no regression, 1
regression, 2 the files cannot be compared.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_THRESHOLD = 0.15


@dataclass(frozen=True, slots=True)
class Figure:
    """One comparable figure of a results file."""

    value: float
    mad: float
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both files; `ratio` is above 1 where the new one is better."""

    name: str
    old: Figure
    new: Figure

    @property
    def ratio(self) -> float:
        """New against old, such that more is better."""
        new, old = self.new.value, self.old.value
        return new / old if self.new.higher_is_better else old / new

    def worse(self, threshold: float) -> bool:
        """Whether it got worse by more than the threshold and by more than what the rounds differ by themselves."""
        spread = (self.old.mad + self.new.mad) / min(self.old.value, self.new.value)
        return self.ratio < 1 - max(threshold, spread)


def figures(results: Mapping[str, Any], *, absolute: bool) -> dict[str, Figure]:
    """Every figure of a results file that can be compared, by name."""
    return dict(_figures(results, absolute=absolute))


def _figures(results: Mapping[str, Any], *, absolute: bool) -> Iterator[tuple[str, Figure]]:
    for group, cells in results.get("grpc", {}).items():
        for cell in cells:
            # Rates are shares of each run's own peak and differ from run to run: a cell is named by its place.
            load = f"{cell['in_flight']} in flight" if cell["in_flight"] else f"rate {_place(cells, cell)}"
            name = f"grpc/{group}/{cell['server']}/{cell['traffic']}/{load}/{cell['connections']} connections"
            for key, better in (("per_second", True), ("mean_us", False)):
                # In an open loop the rate is given.
                if "of_floor" in cell and not (cell["rate"] and key == "per_second"):
                    yield f"{name}: {key} x floor", _figure(cell["of_floor"][key], higher_is_better=better)
    if absolute:
        for name, found in results.get("in_process", {}).items():
            yield f"in process/{name}: us", _figure(found, higher_is_better=False)
        for kind, points in results.get("scale", {}).items():
            for point in points:
                for key, value in point.items():
                    if kind in point and key.endswith(" us"):
                        figure = Figure(value, point.get(f"{key} MAD", 0.0), higher_is_better=False)
                        yield f"scale/{point[kind]} {kind}: {key}", figure


def _place(cells: Sequence[Mapping[str, Any]], cell: Mapping[str, Any]) -> int:
    return sorted({one["rate"] for one in cells if one["rate"]}).index(cell["rate"]) + 1


def _figure(found: Mapping[str, float], *, higher_is_better: bool) -> Figure:
    return Figure(found["median"], found["mad"], higher_is_better)


def changes(old: Mapping[str, Any], new: Mapping[str, Any], *, absolute: bool = False) -> list[Change]:
    """What both files tell of, the worst first.

    Raises:
        ValueError: they have nothing in common.
    """
    absolute = absolute or old.get("machine") == new.get("machine")
    before, after = (figures(one, absolute=absolute) for one in (old, new))
    common = [
        Change(name, before[name], after[name])
        for name in before
        if name in after and before[name].value > 0 and after[name].value > 0
    ]
    if not common:
        raise ValueError("the files have no figure in common")
    return sorted(common, key=lambda change: change.ratio)


def main(arguments: Sequence[str]) -> int:
    """Compare; see the head of this file."""
    parser = argparse.ArgumentParser(description="compares two results files; exit code 1: something got worse")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=DEFAULT_THRESHOLD, help="0.15: worse by 15 %% counts")
    parser.add_argument("--absolute", action="store_true", help="compare microseconds of different machines, too")
    asked = parser.parse_args(arguments)
    try:
        old, new = (json.loads(path.read_text()) for path in (asked.old, asked.new))
        found = changes(old, new, absolute=asked.absolute)
    except (OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except (KeyError, TypeError, AttributeError) as error:
        print(f"compare: not a results file of this suite: {error!r}", file=sys.stderr)
        return 2
    if not 0 < asked.threshold < 1:
        print("compare: a threshold is between 0 and 1", file=sys.stderr)
        return 2
    worse = [change for change in found if change.worse(asked.threshold)]
    for change in found:
        mark = "WORSE " if change in worse else "better" if change.ratio > 1 + asked.threshold else "      "
        print(f"{mark} {change.ratio:5.2f}  {change.old.value:10.3f} -> {change.new.value:10.3f}  {change.name}")
    print(f"\n{len(worse)} of {len(found)} figures got worse by more than {asked.threshold:.0%} and their own spread")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
