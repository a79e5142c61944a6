"""Medians, spreads, paired ratios, and Zipf's law: the arithmetic of the suite."""

import bisect
import itertools
import random
import statistics
from collections.abc import Sequence


def mad(values: Sequence[float]) -> float:
    """The median absolute deviation: a spread that one outlier does not move."""
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, MAD, lowest and highest."""
    return {
        "median": statistics.median(values),
        "mad": mad(values),
        "lowest": min(values),
        "highest": max(values),
    }


def paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The ratio ours : theirs, round by round: what disturbs the machine for a while disturbs both of a pair."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds cannot be paired with {len(theirs)}")
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def bootstrap(values: Sequence[float], share: float = 0.95, draws: int = 4_000) -> tuple[float, float]:
    """The interval in which the median of such values lies, by drawing from them anew, always the same draws."""
    lot = random.Random(2026)
    medians = sorted(statistics.median(lot.choices(values, k=len(values))) for _ in range(draws))
    edge = (1.0 - share) / 2.0
    return medians[int(draws * edge)], medians[min(draws - 1, int(draws * (1.0 - edge)))]


class Zipf:
    """Draws 0 .. n-1, the first most often: rank k with a weight of 1 / k**exponent."""

    def __init__(self, size: int, exponent: float, seed: int) -> None:
        if size < 1:
            raise ValueError("nothing to draw from")
        self._sums = list(itertools.accumulate(1.0 / rank**exponent for rank in range(1, size + 1)))
        self._random = random.Random(seed)

    def draw(self) -> int:
        """The next one."""
        return min(bisect.bisect(self._sums, self._random.random() * self._sums[-1]), len(self._sums) - 1)

    def share(self, rank: int) -> float:
        """The probability of 0-based `rank`."""
        before = self._sums[rank - 1] if rank else 0.0
        return (self._sums[rank] - before) / self._sums[-1]
