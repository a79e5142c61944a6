"""Results as tables on a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Sequence[object]


def table(head: Sequence[str], rows: Iterable[Row]) -> str:
    """Columns aligned: the first to the left, the others to the right."""
    texts = [list(head), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _middle(cell: Mapping[str, Any], name: str) -> float | None:
    return cell[name]["median"] if name in cell else None


def _between(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} [{found['lowest']:.2f}-{found['highest']:.2f}]"


def _load(cell: Mapping[str, Any]) -> str:
    text = f"{cell['rate']:,.0f}/s" if cell["rate"] else f"{cell['in_flight']} open"
    return text + (f", {cell['connections']} conn" if cell["connections"] > 1 else "")


def grpc_cells(cells: Sequence[Mapping[str, Any]]) -> str:
    """Cells of over_grpc; shares of the floor as median [lowest-highest] of the pairs."""
    head = (
        "server", "traffic", "load", "calls/s", "of floor", "mean x floor", "p50", "p90", "p99", "p99.9", "max",
        "per CPU-s", "generator", "hits", "shed",
    )  # fmt: skip
    rows = []
    for cell in cells:
        beside = cell.get("of_floor")
        ratio = cell.get("hit_ratio")
        rows.append(
            (
                cell["server"], cell["traffic"], _load(cell), _middle(cell, "per_second"),
                _between(beside["per_second"]) if beside and not cell["rate"] else None,
                _between(beside["mean_us"]) if beside else None,
                *(_middle(cell, f"p{share}_us") for share in ("50", "90", "99", "99.9")),
                cell["max_us"], _middle(cell, "per_cpu_second"), cell.get("generator_cpu_share"),
                None if ratio is None else f"{ratio:.2%}", cell["shed"] or None,
            )
        )  # fmt: skip
    return table(head, rows)


def envoy_cells(cells: Sequence[Mapping[str, Any]]) -> str:
    """Cells of through_envoy: what each adds to the same Envoy without the filter."""
    head = ("through", "traffic", "load", "requests/s", "p50", "p99", "p99.9", "adds to p50", "adds to p99")
    rows = []
    for cell in cells:
        added = cell.get("added")
        rows.append(
            (
                cell["server"], cell["traffic"].removeprefix("envoy "), _load(cell), _middle(cell, "per_second"),
                *(_middle(cell, f"p{share}_us") for share in ("50", "99", "99.9")),
                *(
                    f"{added[name]['median']:+,.0f} [{added[name]['lowest']:,.0f}-{added[name]['highest']:,.0f}]"
                    if added
                    else None
                    for name in ("p50_us", "p99_us")
                ),
            )
        )  # fmt: skip
    return table(head, rows)


def stages(found: Mapping[str, Mapping[str, float]]) -> str:
    """In-process figures, in microseconds."""
    rows = [(name, one["median"], one["mad"], one["lowest"], int(one["samples"])) for name, one in found.items()]
    return table(("in process, us", "median", "MAD", "lowest", "samples"), rows)


def scaling(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The scale tables, one after the other."""
    parts = []
    for name, points in found.items():
        if points:
            columns = list(points[0])
            parts.append(f"{name}\n" + table(columns, [[point.get(one) for one in columns] for point in points]))
    return "\n\n".join(parts)
