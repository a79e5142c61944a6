"""Latencies as HDR histograms: percentiles to three digits, mergeable, and small enough to be kept whole in results."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from hdrh.histogram import HdrHistogram

LOWEST_NS, HIGHEST_NS, DIGITS = 100, 60_000_000_000, 3
PERCENTILES = [50.0, 90.0, 99.0, 99.9]
CURVE = [0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999, 100]


def histogram(seconds: Iterable[float]) -> HdrHistogram:
    """Put latencies into a histogram of nanoseconds; above a minute counts as a minute."""
    found = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    # Grouped first: recording is the slow part, and microseconds are finer than three digits from 1 ms on.
    for tenths, count in Counter(int(value * 1e7) for value in seconds).items():
        found.record_value(min(HIGHEST_NS, max(LOWEST_NS, tenths * 100)), count)
    return found


def summary(seconds: Sequence[float]) -> dict[str, object]:
    """Percentiles, maximum and mean in microseconds, and the whole histogram, encoded (HdrHistogram V2, base 64)."""
    if not seconds:
        raise ValueError("no latency to sum up")
    found = histogram(seconds)
    percentiles = found.get_percentile_to_value_dict(PERCENTILES)
    return {
        "mean_us": round(statistics.fmean(seconds) * 1e6, 2),
        **{f"p{share:g}_us": percentiles[share] / 1e3 for share in PERCENTILES},
        "max_us": round(max(seconds) * 1e6, 1),
        "hdr": found.encode().decode(),
    }


def merged(encoded: Iterable[str]) -> HdrHistogram:
    """Add histograms of several rounds up."""
    total = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for one in encoded:
        total.add(HdrHistogram.decode(one))
    return total


def curve(found: HdrHistogram) -> list[tuple[float, float]]:
    """(percentile, microseconds) along the distribution, denser towards its end."""
    values = found.get_percentile_to_value_dict(CURVE)
    return [(share, values[share] / 1e3) for share in CURVE]
