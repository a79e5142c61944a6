"""What the project promises of its speed, held against one results file."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Cell = Mapping[str, Any]
ENOUGH_ENTRIES = 100_000
ENOUGH_REQUESTS = 1_000_000
"""From the first request on: of fewer, the first of each principal would be what is seen."""


def goals(results: Mapping[str, Any]) -> Iterator[tuple[str, str, float, bool]]:
    """(promise, bound, reached, kept) of everything that this run measured."""
    loads: Sequence[Cell] = results.get("grpc", {}).get("loads", ())
    found = _ratio(loads, "per_second", 32, "hit", without=("no cache",))
    yield from _at_least("cached, 32 in flight: throughput of the floor's", found, 0.60)
    found = _ratio(loads, "mean_us", 1, "hit", without=("no cache",))
    yield from _at_most("cached, one in flight: mean latency of the floor's", found, 1.35)
    found = _ratio(loads, "per_second", 32, "hit", within=("10,000 rules",))
    yield from _at_least("uncached, 10,000 rules, 32 in flight: throughput of the floor's", found, 0.30)
    yield from _at_most("at half of the peak rate: p99 of p50's", _tail(results), 3.0)
    yield from _at_least("two workers: throughput of one's", two_workers(results), 1.7)
    scale = results.get("scale", {})
    reuse = [point for point in scale.get("reuse", ()) if point["requests"] >= ENOUGH_REQUESTS]
    yield from _at_least("1,000 principals, a million ids: hit ratio", reuse[0]["hit ratio"] if reuse else None, 0.99)
    memory = [point["memory MB"] for point in scale.get("entries", ()) if point["entries"] >= ENOUGH_ENTRIES]
    yield from _at_most("100,000 cached decisions: MB", memory[0] if memory else None, 100.0)


def _at_least(promise: str, reached: float | None, bound: float) -> Iterator[tuple[str, str, float, bool]]:
    if reached is not None:
        yield promise, f">= {bound:g}", reached, reached >= bound


def _at_most(promise: str, reached: float | None, bound: float) -> Iterator[tuple[str, str, float, bool]]:
    if reached is not None:
        yield promise, f"<= {bound:g}", reached, reached <= bound


def _ratio(
    cells: Sequence[Cell],
    name: str,
    in_flight: int,
    traffic: str,
    *,
    within: Sequence[str] = (),
    without: Sequence[str] = (),
) -> float | None:
    for cell in cells:
        server = cell["server"]
        fits = all(part in server for part in within) and not any(part in server for part in without)
        if fits and "of_floor" in cell and cell["in_flight"] == in_flight and cell["traffic"] == traffic:
            return float(cell["of_floor"][name]["median"])
    return None


def _tail(results: Mapping[str, Any]) -> float | None:
    rates: Sequence[Cell] = [cell for cell in results.get("grpc", {}).get("rates", ()) if "of_floor" in cell]
    if not rates:
        return None
    peak = results.get("peak_per_second", 0.0)
    cell = min(rates, key=lambda one: (abs(one["rate"] - peak / 2), one["traffic"] != "mixed"))
    return float(cell["p99_us"]["median"] / cell["p50_us"]["median"])


def two_workers(results: Mapping[str, Any]) -> float | None:
    """How much more two workers do than one, had the load generator a core of its own.

    On two cores generator and workers share what there is. One worker has a core to itself; two have what the generator
    leaves. So calls per second are divided by the share of the workers' cores that was theirs to use.
    """
    cells: Sequence[Cell] = [
        cell
        for cell in results.get("grpc", {}).get("workers", ())
        if cell["traffic"] == "hit" and "of_floor" in cell and cell["connections"] > 2
    ]
    one = [cell for cell in cells if "2 workers" not in cell["server"]]
    two = [cell for cell in cells if "2 workers" in cell["server"]]
    if not one or not two:
        return None
    single, double = (max(group, key=lambda cell: cell["per_second"]["median"]) for group in (one, two))
    cpus = results["machine"]["cpus"]
    return statistics.median(
        two_["per_second"] / one_["per_second"] / (min(2.0, cpus - two_["generator_cpu_share"]) / 2)
        for one_, two_ in zip(single["rounds"], double["rounds"], strict=True)
    )
