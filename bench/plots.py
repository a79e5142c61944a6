"""The pictures of one results file: latency distributions and scaling curves.

python -m bench.plots bench/results/NAME.json      draws them anew
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.latency import curve, merged
from bench.svg import Line, chart, linear_axis, log_axis, tail_axis

_MOST = 99.99
Cell = Mapping[str, Any]


def draw(results: Mapping[str, Any], directory: Path, name: str) -> list[Path]:
    """Write the pictures beside the results; answers their paths."""
    pictures: dict[str, str] = {}
    grpc = results.get("grpc", {})
    loads: Sequence[Cell] = grpc.get("loads", ())
    for flight in sorted({cell["in_flight"] for cell in loads} & {1, 32}):
        cells = [cell for cell in loads if cell["in_flight"] == flight]
        pictures[f"latency-{flight}"] = distributions(f"Latency of one Check, {flight} in flight", cells)
    if loads:
        pictures["throughput"] = throughput(loads)
    rates: Sequence[Cell] = grpc.get("rates", ())
    if rates:
        half = min({cell["rate"] for cell in rates}, key=lambda rate: abs(rate - max(c["rate"] for c in rates) * 0.55))
        cells = [cell for cell in rates if cell["rate"] == half]
        pictures["latency-rate"] = distributions(f"Latency at a fixed rate of {half:,.0f}/s (open loop)", cells)
    envoy: Sequence[Cell] = [cell for cell in results.get("envoy", ()) if cell["in_flight"] == 1]
    if envoy:
        pictures["latency-envoy"] = distributions("Latency through Envoy, one request at a time", envoy)
    for kind in ("rules", "principals", "entries"):
        points = results.get("scale", {}).get(kind, ())
        if points:
            pictures[f"scale-{kind}"] = growth(kind, points)
    paths = []
    for key, picture in pictures.items():
        path = directory / f"{name}-{key}.svg"
        path.write_text(picture)
        paths.append(path)
    return paths


def distributions(title: str, cells: Sequence[Cell]) -> str:
    """Microseconds by percentile, one line a cell."""
    lines = [
        Line(_label(cell), [point for point in curve(merged([cell["hdr"]])) if point[0] <= _MOST]) for cell in cells
    ]
    values = [y for line in lines for _, y in line.points]
    return chart(title, tail_axis("percentile", _MOST), log_axis("microseconds", values), lines)


def throughput(cells: Sequence[Cell]) -> str:
    """Calls a second by calls in flight."""
    by_label: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        by_label.setdefault(_label(cell), []).append((cell["in_flight"], cell["per_second"]["median"]))
    lines = [Line(label, sorted(points)) for label, points in by_label.items()]
    x = log_axis("calls in flight", [x for line in lines for x, _ in line.points])
    y = linear_axis("calls a second", [y for line in lines for _, y in line.points])
    return chart("Throughput of one worker", x, y, lines)


def growth(kind: str, points: Sequence[Mapping[str, Any]]) -> str:
    """Microseconds of one decision in the process, by size."""
    names = [name for name in points[0] if name.endswith(" us")]
    lines = [Line(name.removesuffix(" us"), [(point[kind], point[name]) for point in points]) for name in names]
    x = log_axis(kind, [x for line in lines for x, _ in line.points])
    y = linear_axis("microseconds a decision", [y for line in lines for _, y in line.points])
    return chart(f"Cost of a decision by number of {kind}", x, y, lines)


def _label(cell: Cell) -> str:
    server = cell["server"]
    if server.startswith("do-nothing"):
        return "do-nothing"
    if server.startswith("Envoy, "):
        return f"{server.removeprefix('Envoy, ')} {cell['traffic'].removeprefix('envoy ').replace('open', '')}".strip()
    more = "".join(f", {part}" for part in ("no cache", "10,000 rules") if part in server)
    return f"{cell['traffic']}{more}"


def main(path: Path) -> None:
    """Draw the pictures of a results file."""
    for drawn in draw(json.loads(path.read_text()), path.parent, path.stem):
        print(drawn)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
