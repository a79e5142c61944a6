"""What Prometheus sees: counters, histograms and gauges, named `authz_*`.

What is counted on the request path is counted in plain lists (well under a microsecond) and only turned into
Prometheus samples when somebody asks. Everything is used from the event loop's thread, so that no lock is needed.
Labels are bounded (I12): reasons are members of `Reason`, everything else comes from the short lists below.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from authz.errors import Reason
from authz.model import Effect, Outcome

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""The media type of what `Metrics.render` answers."""

CHECK_SECONDS: Final = (
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3,
)  # fmt: skip
"""Bucket bounds of a check's duration: from a cached decision to beyond Envoy's deadline."""
LAG_SECONDS: Final = (1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3, 1.0)
"""Bucket bounds of the event loop's lag."""
IDENTITY_PREFIXES: Final = (
    "identity_", "principal_", "certificate_", "spiffe_", "trust_domain_", "credential_", "xfcc_", "token_",
)  # fmt: skip
"""How the codes of the reasons begin that say an identity was not accepted."""
AUDIT_OUTCOMES: Final = ("written", "dropped", "failed")
"""What can become of an audit record."""

RELOADED: Final = frozenset({"policy", "inventory", "resources", "trust_bundle", "jwks", "tls", "snapshot"})
"""What is read again while serving; anything else counts as "other"."""
SHED: Final = frozenset({Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED})
"""Why a call is shed."""

_OTHER: Final = "other"


class Tally:
    """A histogram in plain lists."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` rise; the last bucket, without a bound, is added."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value: a bucket holds what is at most its bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        """Answer the samples."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self._sum)


class Metrics:
    """All of a process's metrics, in a registry of their own."""

    def __init__(self, version: str, clock: Callable[[], float] = time.time) -> None:
        """Count from 0; `version` is the program's, `clock` answers seconds since the epoch."""
        self.registry = CollectorRegistry()
        self._version = version
        self._clock = clock
        self._decisions = {Effect.ALLOW: dict.fromkeys(Reason, 0), Effect.DENY: dict.fromkeys(Reason, 0)}
        self._check_seconds = Tally(CHECK_SECONDS)
        self._lag_seconds = Tally(LAG_SECONDS)
        self._shed = dict.fromkeys((reason.value for reason in SHED), 0)
        self._reloads: dict[tuple[str, str], int] = {}
        self._reloaded_at: dict[str, float] = {}
        self._audit = dict.fromkeys(AUDIT_OUTCOMES, 0)
        self._snapshot = ""
        self._inflight: Callable[[], float] = _nothing
        self._queued: Callable[[], float] = _nothing
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def decided(self, outcome: Outcome) -> None:
        """Count one decision. Cost: about half a microsecond."""
        decision = outcome.decision
        self._decisions[decision.effect][decision.reason] += 1
        if outcome.latency_seconds > 0.0:  # else it never reached the PDP, and would look like a very fast check
            self._check_seconds.observe(outcome.latency_seconds)

    def shed(self, reason: Reason) -> None:
        """Count one call that was refused because it could not have been answered in time."""
        self._shed[reason.value] += 1

    def lag(self, seconds: float) -> None:
        """Count how late the event loop was at one tick."""
        self._lag_seconds.observe(seconds)

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        """Count one reload of `what`, a short constant such as "policy" or "tls"."""
        if what not in RELOADED:
            what = _OTHER
        key = (what, "success" if succeeded else "failure")
        self._reloads[key] = self._reloads.get(key, 0) + 1
        if succeeded:
            self._reloaded_at[what] = self._clock()

    def audited(self, outcome: str, records: int = 1) -> None:
        """Count what became of audit records; `outcome` is one of AUDIT_OUTCOMES."""
        self._audit[outcome] += records

    def snapshot(self, version: str) -> None:
        """Say which policy version is in force."""
        self._snapshot = version

    def watch_inflight(self, count: Callable[[], float]) -> None:
        """Ask `count` for the calls in flight whenever somebody looks."""
        self._inflight = count

    def watch_audit_queue(self, depth: Callable[[], float]) -> None:
        """Ask `depth` for the audit records that wait whenever somebody looks."""
        self._queued = depth

    def render(self) -> bytes:
        """Answer everything in the Prometheus text format. Cost: a millisecond or two."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what is counted here, for the registry."""
        yield from self._of_decisions()
        yield self._check_seconds.family(
            "authz_check_duration_seconds", "Time from a call's arrival at the PDP to its decision."
        )
        yield self._lag_seconds.family("authz_event_loop_lag_seconds", "How late the event loop came to its ticks.")
        yield _counter("authz_shed", "Calls refused for lack of time or room.", ("reason",), self._shed)
        yield _counter("authz_reloads", "Reloads, by what and how it went.", ("what", "outcome"), self._reloads)
        times = GaugeMetricFamily("authz_reload_timestamp_seconds", "When a reload last succeeded.", labels=("what",))
        for what, moment in self._reloaded_at.items():
            times.add_metric((what,), moment)
        yield times
        yield _counter("authz_audit_records", "Audit records, by what became of them.", ("outcome",), self._audit)
        yield GaugeMetricFamily("authz_audit_queue_depth", "Audit records that wait to be written.", self._queued())
        yield GaugeMetricFamily("authz_inflight_checks", "Calls begun and not answered yet.", self._inflight())
        yield InfoMetricFamily("authz_snapshot", "The policy version in force.", {"version": self._snapshot})
        yield InfoMetricFamily("authz_build", "The program.", {"version": self._version})

    def _of_decisions(self) -> Iterator[Metric]:
        # Every series that can be is there from the start, at 0, so that a first denial shows as a rise.
        decisions: dict[tuple[str, str], int] = {}
        for effect, counts in self._decisions.items():
            for reason, count in counts.items():
                if (effect is Effect.ALLOW) == (reason is Reason.ALLOWED) or count:
                    decisions[effect.value, reason.value] = count
        failures = {
            reason.value: count
            for reason, count in self._decisions[Effect.DENY].items()
            if reason.value.startswith(IDENTITY_PREFIXES)
        }
        yield _counter("authz_decisions", "Decisions, by effect and reason.", ("effect", "reason"), decisions)
        yield _counter("authz_identity_failures", "Denials for want of an accepted identity.", ("reason",), failures)


def _counter(
    name: str, text: str, labels: Sequence[str], counts: Mapping[str, int] | Mapping[tuple[str, str], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values if isinstance(values, tuple) else (values,), count)
    return family


def _nothing() -> float:
    return 0.0
