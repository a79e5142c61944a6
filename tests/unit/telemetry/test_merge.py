"""Metrics of several workers as one set: sums that never fall, gauges by the rule that their name tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from authz.errors import Reason
from authz.telemetry.merge import Totals
from authz.telemetry.metrics import Metrics


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def text(**values):
    lines = []
    for name, value in values.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} x", f"# TYPE {name} {kind}", f"{name} {value}"]
    return "\n".join(lines) + "\n"


def together(*told):
    totals = Totals()
    for index, one in enumerate(told):
        totals.tell(index, one)
    return samples(totals.render(()).decode())


def test_what_one_worker_tells_comes_out_as_it_was():
    metrics = Metrics("1.2.3")
    metrics.shed(Reason.OVERLOADED)
    metrics.lag(0.3)
    metrics.snapshot("abc")
    told = metrics.render().decode()
    came = together(told)
    assert came == samples(told)


def test_counters_and_histograms_add_up():
    one, two = Metrics("1"), Metrics("1")
    for metrics, times in ((one, 2), (two, 3)):
        for _ in range(times):
            metrics.lag(0.003)
            metrics.shed(Reason.OVERLOADED)
    came = together(one.render().decode(), two.render().decode())
    assert came["authz_shed_total", (("reason", "overloaded"),)] == 5
    assert came["authz_event_loop_lag_seconds_count", ()] == 5
    assert came["authz_event_loop_lag_seconds_bucket", (("le", "0.005"),)] == 5
    assert came["authz_event_loop_lag_seconds_bucket", (("le", "0.002"),)] == 0
    assert came["authz_event_loop_lag_seconds_sum", ()] == pytest.approx(0.015)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("authz_inflight_checks", 6),
        ("authz_cache_hit_ratio", 3),
        ("process_start_time_seconds", 2),
        ("authz_reload_timestamp_seconds", 2),
        ("process_max_fds", 4),
    ],
)
def test_a_gauge_is_put_together_by_its_name(name, expected):
    assert together(text(**{name: 2}), text(**{name: 4}))[name, ()] == expected


def test_both_versions_show_while_workers_differ():
    told = []
    for version in ("old", "new"):
        metrics = Metrics("1")
        metrics.snapshot(version)
        told.append(metrics.render().decode())
    came = together(*told)
    assert {key: value for key, value in came.items() if key[0] == "authz_snapshot_info"} == {
        ("authz_snapshot_info", (("version", "old"),)): 1,
        ("authz_snapshot_info", (("version", "new"),)): 1,
    }


def test_a_worker_that_is_gone_keeps_its_counts_and_loses_its_gauges():
    totals = Totals()
    totals.tell(0, text(authz_x_total=5, authz_inflight_checks=7))
    totals.tell(1, text(authz_x_total=1, authz_inflight_checks=1))
    totals.bury(0)
    totals.tell(0, text(authz_x_total=2, authz_inflight_checks=3))
    came = samples(totals.render(()).decode())
    assert came["authz_x_total", ()] == 8
    assert came["authz_inflight_checks", ()] == 4
    totals.bury(0)
    totals.bury(0)  # twice does not count twice
    assert samples(totals.render(()).decode())["authz_x_total", ()] == 8


@given(st.lists(st.tuples(st.sampled_from(["tell", "bury"]), st.integers(0, 2), st.integers(0, 5)), max_size=40))
def test_a_sum_never_falls_and_is_what_was_counted(steps):
    totals, alive, last, counted = Totals(), dict.fromkeys(range(3), 0), 0.0, 0
    for what, worker, more in steps:
        if what == "tell":
            alive[worker] += more
            counted += more
            totals.tell(worker, text(authz_x_total=alive[worker]))
        else:
            totals.bury(worker)
            alive[worker] = 0
        now = samples(totals.render(()).decode()).get(("authz_x_total", ()), 0.0)
        assert now >= last
        assert now == counted
        last = now
