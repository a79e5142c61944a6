"""What Prometheus sees: counters, histograms and gauges, named `authz_*`.

What is counted on the request path is counted in plain lists (well under a microsecond) and only turned into
Prometheus samples when somebody asks. Everything is used from the event loop's thread, so that no lock is needed.
Labels are bounded (I12): reasons are members of `Reason`, everything else comes from the short lists below.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from authz.decision.cache import CacheStats
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

RELOADED: Final = frozenset({"policy", "inventory", "resources", "trust_bundle", "jwks", "tls", "snapshot", "shadow"})
"""What is read again while serving; anything else counts as "other"."""
SHED: Final = frozenset({Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED})
"""Why a call is shed."""

_OTHER: Final = "other"


class CacheView(Protocol):
    """What is asked of the decision cache; `decision.cache.DecisionCache` answers it."""

    @property
    def stats(self) -> CacheStats:
        """What it has been through."""

    @property
    def entries(self) -> tuple[int, int]:
        """How many allows and denials it keeps."""

    @property
    def bytes(self) -> int:
        """What they take."""


class SharingView(Protocol):
    """What is asked of whoever watches identities; `identity.sharing.SharingTracker` answers it."""

    detected: int
    forgotten: int

    def __len__(self) -> int:
        """How many identities are watched."""

    def shared(self) -> int:
        """How many of them are shared."""


class LedgerView(Protocol):
    """What is asked of the accounts of this process; `budgets.ledger.Ledger` answers it."""

    @property
    def exceeded(self) -> Mapping[str, int]:
        """How many calls each budget refused."""

    @property
    def suspensions(self) -> int:
        """How many tasks were suspended here."""

    @property
    def untracked(self) -> Mapping[str, int]:
        """How often there was no room, by what for."""

    @property
    def kept(self) -> Mapping[str, int]:
        """How many accounts and counters there are."""


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
        self._allows, self._denials = dict.fromkeys(Reason, 0), dict.fromkeys(Reason, 0)
        self._decisions = {Effect.ALLOW: self._allows, Effect.DENY: self._denials}
        self._check_seconds = Tally(CHECK_SECONDS)
        self._lag_seconds = Tally(LAG_SECONDS)
        self._shed = dict.fromkeys((reason.value for reason in SHED), 0)
        self._reloads: dict[tuple[str, str], int] = {}
        self._reloaded_at: dict[str, float] = {}
        self._audit = dict.fromkeys(AUDIT_OUTCOMES, 0)
        self._snapshot = ""
        self._policies_kept, self._policy_pinned = 0, False
        self._bundle = 0, 0.0
        self._shadow: Callable[[], Mapping[str, int]] = dict
        self._inflight: Callable[[], float] = _nothing
        self._queued: Callable[[], float] = _nothing
        self._cache: CacheView | None = None
        self._sharing: SharingView | None = None
        self._ledger: LedgerView | None = None
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def decided(self, outcome: Outcome) -> None:
        """Count one decision. Cost: about half a microsecond."""
        decision = outcome.decision
        counts = self._allows if decision.effect is Effect.ALLOW else self._denials  # hashing an Enum calls Python code
        counts[decision.reason] += 1
        if outcome.latency_seconds > 0.0:  # else it never reached the PDP, and would look like a very fast check
            self._check_seconds.observe(outcome.latency_seconds)

    def calls(self) -> int:
        """Answer how many calls were decided in all. Cost: a few microseconds."""
        return sum(sum(counts.values()) for counts in self._decisions.values())

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

    def policies(self, *, kept: int, pinned: bool) -> None:
        """Say how many policies could be gone back to, and whether one of them is in force by an operator's wish."""
        self._policies_kept, self._policy_pinned = kept, pinned

    def bundle(self, revision: int, expires: float) -> None:
        """Say which bundle was loaded last, and when it expires (0: never)."""
        self._bundle = revision, expires

    def watch_shadow(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Ask `counts` how the candidate's decisions compared whenever somebody looks."""
        self._shadow = counts

    def watch_inflight(self, count: Callable[[], float]) -> None:
        """Ask `count` for the calls in flight whenever somebody looks."""
        self._inflight = count

    def watch_audit_queue(self, depth: Callable[[], float]) -> None:
        """Ask `depth` for the audit records that wait whenever somebody looks."""
        self._queued = depth

    def watch_cache(self, cache: CacheView) -> None:
        """Ask `cache` what it has been through whenever somebody looks."""
        self._cache = cache

    def watch_sharing(self, sharing: SharingView) -> None:
        """Ask `sharing` which identities are shared whenever somebody looks."""
        self._sharing = sharing

    def watch_ledger(self, ledger: LedgerView) -> None:
        """Ask `ledger` what was refused and what is kept whenever somebody looks."""
        self._ledger = ledger

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
        if self._cache is not None:
            yield from _of_cache(self._cache)
        if self._sharing is not None:
            yield from _of_sharing(self._sharing)
        if self._ledger is not None:
            yield from _of_ledger(self._ledger)
        yield InfoMetricFamily("authz_snapshot", "The policy version in force.", {"version": self._snapshot})
        yield GaugeMetricFamily(
            "authz_policies_kept", "Policies in memory, that in force included.", self._policies_kept
        )
        yield GaugeMetricFamily(
            "authz_policy_pinned", "1 while an operator holds an earlier policy in force.", float(self._policy_pinned)
        )
        if self._bundle[0]:
            yield GaugeMetricFamily(
                "authz_policy_bundle_revision", "The revision of the bundle loaded last.", self._bundle[0]
            )
        if self._bundle[1]:
            yield GaugeMetricFamily(
                "authz_policy_bundle_expiry_timestamp_seconds", "When that bundle expires.", self._bundle[1]
            )
        shadowed = self._shadow()
        if shadowed:
            yield _counter(
                "authz_shadow_decisions", "Calls that a candidate was to decide, by how.", ("kind",), shadowed
            )
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


def _of_ledger(ledger: LedgerView) -> Iterator[Metric]:
    yield _counter("authz_budget_refusals", "Calls that a budget refused.", ("budget",), ledger.exceeded)
    yield CounterMetricFamily(
        "authz_task_suspensions", "Tasks that the circuit breaker suspended.", value=ledger.suspensions
    )
    yield _counter("authz_budget_untracked", "What was new and found no room.", ("what",), ledger.untracked)
    kept = GaugeMetricFamily("authz_budget_entries", "Accounts and counters that are kept.", labels=("what",))
    for what, count in ledger.kept.items():
        kept.add_metric((what,), count)
    yield kept


def _of_cache(cache: CacheView) -> Iterator[Metric]:
    stats, (allowed, denied) = cache.stats, cache.entries
    misses = {
        "absent": stats.absent,
        "expired": stats.expired,
        "epoch": stats.epoch,
        "clock": stats.clock,
    }
    dropped = {
        "reload": stats.invalidated_by_reload,
        "epoch": stats.invalidated_by_epoch,
        "cleared": stats.cleared,
    }
    hits = {"allow": stats.hits_allowed, "deny": stats.hits_denied}
    evicted = {"allow": stats.evicted_allowed, "deny": stats.evicted_denied}
    yield _counter("authz_cache_hits", "Decisions used again.", ("effect",), hits)
    yield _counter("authz_cache_misses", "Look-ups that found nothing to use again, by why.", ("why",), misses)
    yield _counter("authz_cache_evictions", "Decisions dropped for want of room.", ("effect",), evicted)
    yield _counter("authz_cache_invalidations", "Decisions dropped before their end, by why.", ("why",), dropped)
    policies = {
        (name, kind): count
        for name, use in stats.policies.items()
        for kind, count in (("again", use.again), ("afresh", use.afresh))
    }
    yield _counter(
        "authz_cache_policy_decisions",
        "Decisions, by the policy file whose rule decided, and whether they were used again or made.",
        ("policy", "used"),
        policies,
    )
    uncacheable = CounterMetricFamily("authz_cache_uncacheable", "Decisions that may not be used again.")
    uncacheable.add_metric((), stats.uncacheable)
    yield uncacheable
    entries = GaugeMetricFamily("authz_cache_entries", "Decisions that are kept.", labels=("effect",))
    entries.add_metric(("allow",), allowed)
    entries.add_metric(("deny",), denied)
    yield entries
    yield GaugeMetricFamily("authz_cache_bytes", "Memory that kept decisions take, estimated.", cache.bytes)


def _of_sharing(sharing: SharingView) -> Iterator[Metric]:
    # Processes that share a store know of the same identities: of several the greatest number counts (merge.py).
    yield GaugeMetricFamily("authz_watched_identities", "Identities that are watched for sharing.", len(sharing))
    yield GaugeMetricFamily("authz_shared_identities", "Identities used by more than they are for.", sharing.shared())
    detected = CounterMetricFamily("authz_sharing_detected", "How often an identity became shared.")
    detected.add_metric((), sharing.detected)
    yield detected
    forgotten = CounterMetricFamily("authz_sharing_forgotten", "Identities that were forgotten for want of room.")
    forgotten.add_metric((), sharing.forgotten)
    yield forgotten


def _counter(
    name: str, text: str, labels: Sequence[str], counts: Mapping[str, int] | Mapping[tuple[str, str], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values if isinstance(values, tuple) else (values,), count)
    return family


def _nothing() -> float:
    return 0.0
