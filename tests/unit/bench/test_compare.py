"""The regression gate."""

import copy
import json

import pytest

from bench.compare import changes, main


def spread(value, mad=0.0):
    return {"median": value, "mad": mad, "lowest": value - mad, "highest": value + mad}


def cell(rate=None, share=0.6, mean=1.3, **more):
    return {
        "server": "authz",
        "traffic": "hit",
        "in_flight": None if rate else 32,
        "rate": rate,
        "connections": 1,
        "of_floor": {"per_second": spread(share, 0.01), "mean_us": spread(mean, 0.02)},
        **more,
    }


RESULTS = {
    "machine": {"cpus": 2},
    "grpc": {"loads": [cell()], "rates": [cell(rate=500.0), cell(rate=1000.0)]},
    "in_process": {"stage: decode": spread(7.0, 0.1)},
    "scale": {"rules": [{"rules": 10, "uncached us": 20.0, "uncached us MAD": 0.5}], "reload": [{"policy": "x"}]},
}


def worse(old, new, **options):
    return [change.name for change in changes(old, new, **options) if change.worse(0.15)]


def changed(**paths):
    new = copy.deepcopy(RESULTS)
    for path, value in paths.items():
        *way, last = path.split("__")
        at = new
        for step in way:
            at = at[int(step) if step.isdigit() else step]
        at[last] = value
    return new


def test_the_same_is_no_regression():
    assert worse(RESULTS, RESULTS) == []
    assert len(changes(RESULTS, RESULTS)) == 6


def test_less_throughput_and_more_latency_are_regressions_and_the_reverse_is_not():
    new = changed(grpc__loads__0__of_floor={"per_second": spread(0.4), "mean_us": spread(2.0)})
    assert [name.rpartition(": ")[2] for name in worse(RESULTS, new)] == ["mean_us x floor", "per_second x floor"]
    assert worse(new, RESULTS) == []


def test_what_lies_within_the_threshold_or_the_rounds_own_spread_is_no_regression():
    slightly = changed(grpc__loads__0__of_floor={"per_second": spread(0.55), "mean_us": spread(1.4)})
    assert worse(RESULTS, slightly) == []
    noisy = changed(grpc__loads__0__of_floor={"per_second": spread(0.4, 0.3), "mean_us": spread(1.3)})
    assert worse(RESULTS, noisy) == []


def test_in_an_open_loop_cells_are_matched_by_their_place_and_only_latency_counts():
    new = changed(grpc__rates=[cell(rate=700.0, share=0.1), cell(rate=1400.0, mean=3.0)])
    assert worse(RESULTS, new) == ["grpc/rates/authz/hit/rate 2/1 connections: mean_us x floor"]


def test_microseconds_count_on_one_machine_only_unless_asked_for():
    new = changed(in_process={"stage: decode": spread(14.0, 0.1)})
    new["scale"]["rules"][0]["uncached us"] = 40.0
    names = ["in process/stage: decode: us", "scale/10 rules: uncached us"]
    assert sorted(worse(RESULTS, new)) == names
    new["machine"] = {"cpus": 64}
    assert worse(RESULTS, new) == []
    assert sorted(worse(RESULTS, new, absolute=True)) == names


@pytest.mark.parametrize(
    ("new", "code"),
    [
        (RESULTS, 0),
        (changed(in_process={"stage: decode": spread(14.0)}), 1),
        ({"machine": {}}, 2),
        ([], 2),
    ],
)
def test_the_exit_code_tells(tmp_path, capsys, new, code):
    for name, content in (("old", RESULTS), ("new", new)):
        (tmp_path / name).write_text(json.dumps(content))
    assert main([str(tmp_path / "old"), str(tmp_path / "new")]) == code
    assert "WORSE" in capsys.readouterr().out or code != 1


def test_a_file_that_is_not_there_or_no_json_cannot_be_compared(tmp_path):
    (tmp_path / "broken").write_text("{")
    assert main([str(tmp_path / "none"), str(tmp_path / "none")]) == 2
    assert main([str(tmp_path / "broken"), str(tmp_path / "broken")]) == 2


def test_a_threshold_is_a_share(tmp_path):
    (tmp_path / "old").write_text(json.dumps(RESULTS))
    old = str(tmp_path / "old")
    assert main([old, old, "--threshold", "2"]) == 2
