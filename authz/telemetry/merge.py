"""One set of metrics out of those of several workers; nothing that counts ever goes backwards.

Counters and histograms are added up, those of workers that are gone included. A gauge tells of now, so only workers
that live count, and each is put together by a rule that its name tells: see `rule_of`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

Key: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...]]
"""Family, sample, labels in order of their names."""
Values: TypeAlias = dict[Key, float]

_RISING: Final = frozenset({"counter", "histogram", "summary"})
_MIN_ENDINGS: Final = ("_timestamp_seconds", "_start_time_seconds", "_created")
_MAX_ENDINGS: Final = ("_info", "_max_fds", "_max_bytes", "_limit", "_identities")
_MEAN_ENDINGS: Final = ("_ratio",)


def rule_of(name: str) -> Callable[[Sequence[float]], float]:
    """Answer how a gauge is put together: the least of times (who is behind shows), the greatest of limits, of infos
    (each version in force shows) and of identities (of which workers tell one another), the mean of ratios, and the sum
    of everything else.
    """
    if name.endswith(_MIN_ENDINGS):
        return min
    if name.endswith(_MAX_ENDINGS):
        return max
    if name.endswith(_MEAN_ENDINGS):
        return _mean
    return sum


class Totals:
    """The metrics of all workers, living and gone."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kinds: dict[str, tuple[str, str]] = {}
        self._living: dict[int, str] = {}
        self._gone: Values = {}

    def tell(self, worker: int, text: str) -> None:
        """Take what a worker told of itself, as Prometheus text; read only when somebody asks for the whole."""
        self._living[worker] = text

    def bury(self, worker: int) -> None:
        """Keep what a worker that ended has counted."""
        for key, value in self._read(self._living.pop(worker, "")).items():
            if self._rises(key[0]):
                self._gone[key] = self._gone.get(key, 0.0) + value

    def collect(self) -> Iterator[Metric]:
        """Yield the whole, for a registry."""
        values: dict[Key, list[float]] = {key: [value] for key, value in self._gone.items()}
        for told in self._living.values():
            for key, value in self._read(told).items():
                values.setdefault(key, []).append(value)
        families: dict[str, Metric] = {}
        for (name, sample, labels), found in values.items():
            if name not in families:
                kind, text = self._kinds[name]
                families[name] = Metric(name, text, kind)
            together = sum(found) if self._rises(name) and not sample.endswith("_created") else rule_of(name)(found)
            families[name].add_sample(sample, dict(labels), together)
        yield from families.values()

    def render(self, own: Iterable[Metric]) -> bytes:
        """Answer everything, and `own` metrics with it, in the Prometheus text format."""
        registry = CollectorRegistry()
        registry.register(_Collected([*self.collect(), *own]))
        return generate_latest(registry)

    def _read(self, text: str) -> Values:
        values: Values = {}
        for family in text_string_to_metric_families(text):
            self._kinds[family.name] = (family.type, family.documentation)
            for sample in family.samples:
                values[family.name, sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return values

    def _rises(self, family: str) -> bool:
        return self._kinds[family][0] in _RISING


class _Collected:
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
