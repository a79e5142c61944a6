"""The metrics, read as Prometheus would."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from authz.decision.cache import CacheSettings, DecisionCache, Entry, LocalEpoch
from authz.errors import Reason
from authz.identity.sharing import SharingTracker
from authz.identity.sharing_settings import SharingSettings
from authz.model import CheckCall, Decision, Effect, Outcome, Subject
from authz.telemetry.metrics import AUDIT_OUTCOMES, CHECK_SECONDS, IDENTITY_PREFIXES, LAG_SECONDS, Metrics, Tally


def outcome(effect: Effect, reason: Reason, seconds: float = 1e-4) -> Outcome:
    return Outcome(
        decision_id="d",
        decision=Decision(effect=effect, reason=reason),
        call=None,
        subject=None,
        request=None,
        time=0.0,
        latency_seconds=seconds,
    )


def samples(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Parse the exposition with Prometheus's own parser."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name][tuple(sorted(labels.items()))]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


def test_decisions_are_counted_by_effect_and_reason(metrics):
    metrics.decided(outcome(Effect.ALLOW, Reason.ALLOWED))
    metrics.decided(outcome(Effect.ALLOW, Reason.ALLOWED))
    metrics.decided(outcome(Effect.DENY, Reason.XFCC_MALFORMED))
    assert value(metrics, "authz_decisions_total", effect="allow", reason="allowed") == 2
    assert value(metrics, "authz_decisions_total", effect="deny", reason="xfcc_malformed") == 1
    assert value(metrics, "authz_identity_failures_total", reason="xfcc_malformed") == 1


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_series_from_the_start(metrics, reason):
    effect = "allow" if reason is Reason.ALLOWED else "deny"
    assert value(metrics, "authz_decisions_total", effect=effect, reason=reason.value) == 0
    metrics.decided(outcome(Effect(effect), reason))
    assert value(metrics, "authz_decisions_total", effect=effect, reason=reason.value) == 1


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.http_status == 401])
def test_every_reason_that_asks_for_an_identity_is_an_identity_failure(metrics, reason):
    metrics.decided(outcome(Effect.DENY, reason))
    assert reason.value.startswith(IDENTITY_PREFIXES)
    assert value(metrics, "authz_identity_failures_total", reason=reason.value) == 1


def test_labels_are_bounded(metrics):
    series = sum(len(found) for found in samples(metrics).values())
    for n in range(1000):
        metrics.reloaded(f"thing {n}", succeeded=bool(n % 2))
    with pytest.raises(KeyError):
        metrics.audited("whatever")
    assert sum(len(found) for found in samples(metrics).values()) <= series + 3
    assert series < 250


def test_durations_are_counted_like_a_prometheus_histogram(metrics):
    registry = CollectorRegistry()
    reference = Histogram("x", "x", buckets=CHECK_SECONDS, registry=registry)
    for seconds in (1e-6, 25e-6, 26e-6, 1e-3, 0.2, 0.25, 7.0):
        reference.observe(seconds)
        metrics.decided(outcome(Effect.ALLOW, Reason.ALLOWED, seconds))
    ours = samples(metrics)["authz_check_duration_seconds_bucket"]
    for (_, bound), count in ((labels[0], count) for labels, count in ours.items()):
        assert count == registry.get_sample_value("x_bucket", {"le": bound}), bound
    assert len(ours) == len(CHECK_SECONDS) + 1
    assert value(metrics, "authz_check_duration_seconds_count") == 7
    assert value(metrics, "authz_check_duration_seconds_sum") == pytest.approx(registry.get_sample_value("x_sum"))


def test_a_call_that_never_reached_the_pdp_has_no_duration(metrics):
    metrics.decided(outcome(Effect.DENY, Reason.OVERLOADED, 0.0))
    assert value(metrics, "authz_check_duration_seconds_count") == 0
    assert value(metrics, "authz_decisions_total", effect="deny", reason="overloaded") == 1


@given(st.lists(st.floats(0, 2), max_size=50))
def test_buckets_are_cumulative_and_end_with_all(values):
    tally = Tally(LAG_SECONDS)
    for each in values:
        tally.observe(each)
    buckets = [s.value for s in tally.family("x", "x").samples if s.name == "x_bucket"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == len(values)
    assert buckets[:-1] == [sum(each <= bound for each in values) for bound in LAG_SECONDS]


def test_reloads_are_counted_and_dated():
    metrics = Metrics("1", clock=lambda: 1234.5)
    metrics.reloaded("policy", succeeded=True)
    metrics.reloaded("policy", succeeded=False)
    metrics.reloaded("jwks", succeeded=False)
    assert value(metrics, "authz_reloads_total", what="policy", outcome="success") == 1
    assert value(metrics, "authz_reloads_total", what="policy", outcome="failure") == 1
    assert samples(metrics)["authz_reload_timestamp_seconds"] == {(("what", "policy"),): 1234.5}


def test_sheds_lags_and_audit_records_are_counted(metrics):
    metrics.shed(Reason.OVERLOADED)
    metrics.lag(0.003)
    metrics.audited("dropped", 3)
    assert value(metrics, "authz_shed_total", reason="overloaded") == 1
    assert value(metrics, "authz_shed_total", reason="deadline_exceeded") == 0
    assert value(metrics, "authz_event_loop_lag_seconds_bucket", le="0.002") == 0
    assert value(metrics, "authz_event_loop_lag_seconds_bucket", le="0.005") == 1
    assert {name: value(metrics, "authz_audit_records_total", outcome=name) for name in AUDIT_OUTCOMES} == {
        "written": 0,
        "dropped": 3,
        "failed": 0,
    }


def test_gauges_are_read_when_somebody_looks(metrics):
    depth = iter([5, 6])
    metrics.watch_audit_queue(lambda: next(depth))
    metrics.watch_inflight(lambda: 7)
    assert value(metrics, "authz_audit_queue_depth") == 5
    assert value(metrics, "authz_audit_queue_depth") == 6
    depth = iter([0, 0])
    assert value(metrics, "authz_inflight_checks") == 7


def test_versions_are_shown_and_only_the_last_one(metrics):
    metrics.snapshot("v1")
    metrics.snapshot("v2")
    found = samples(metrics)
    assert found["authz_snapshot_info"] == {(("version", "v2"),): 1}
    assert found["authz_build_info"] == {(("version", "1.2.3"),): 1}


def test_two_sets_of_metrics_share_nothing():
    one, other = Metrics("1"), Metrics("1")
    one.shed(Reason.OVERLOADED)
    assert value(other, "authz_shed_total", reason="overloaded") == 0


def test_one_decision_costs_little(metrics):
    decided, one = metrics.decided, outcome(Effect.DENY, Reason.NO_MATCHING_RULE)
    best = min(_time(lambda: decided(one)) for _ in range(5))
    assert best < 10e-6  # measured: 0.3 us; the rest is for a machine that is busy


def _time(call) -> float:
    started = time.perf_counter()
    for _ in range(2000):
        call()
    return (time.perf_counter() - started) / 2000


def test_the_decision_cache_is_watched():
    cache = DecisionCache(CacheSettings(), LocalEpoch())
    cache.find(snapshot := object(), ("a",), 0, 1.0)
    cache.keep(snapshot, ("a",), Entry(Decision(Effect.ALLOW, Reason.ALLOWED), (b"x",), Subject(), 1.0, 9.0, 0))
    cache.find(snapshot, ("a",), 0, 2.0)
    metrics = Metrics("1")
    metrics.watch_cache(cache)
    told = metrics.render().decode()
    assert 'authz_cache_hits_total{effect="allow"} 1.0' in told
    assert 'authz_cache_misses_total{why="absent"} 1.0' in told
    assert 'authz_cache_entries{effect="allow"} 1.0' in told
    assert 'authz_cache_policy_decisions_total{policy="",used="again"} 1.0' in told
    assert 'authz_cache_policy_decisions_total{policy="",used="afresh"} 1.0' in told
    assert f"authz_cache_bytes {float(cache.bytes)}" in told
    assert cache.bytes > 0
    assert "authz_cache_uncacheable_total 0.0" in told


def test_shared_identities(metrics):
    assert "authz_shared_identities" not in samples(metrics)
    tracker = SharingTracker(SharingSettings())
    metrics.watch_sharing(tracker)
    assert value(metrics, "authz_shared_identities") == 0
    subject = Subject(id="spiffe://td/a")
    for moment, address in ((0.0, "10.0.0.1"), (1.0, "10.0.0.2"), (70.0, "10.0.0.1")):
        tracker.observe(CheckCall("http", source_address=address), subject, 1_000.0 + moment)
    assert value(metrics, "authz_shared_identities") == 1
    assert value(metrics, "authz_watched_identities") == 1
    assert value(metrics, "authz_sharing_detected_total") == 1
    assert value(metrics, "authz_sharing_forgotten_total") == 0
