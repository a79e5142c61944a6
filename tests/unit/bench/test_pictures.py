"""Pictures: that every line is in the frame, and that what is drawn can be read as XML."""

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from bench.latency import summary
from bench.plots import draw
from bench.svg import HEIGHT, WIDTH, Line, chart, linear_axis, log_axis, short, tail_axis


def spread(value):
    return {"median": value, "mad": 0.0, "lowest": value, "highest": value}


def cell(server, in_flight, rate=None):
    hdr = summary([1e-4, 2e-4, 5e-3])["hdr"]
    return {
        "server": server,
        "traffic": "hit",
        "in_flight": in_flight,
        "rate": rate,
        "connections": 1,
        "per_second": spread(1000.0 * in_flight if in_flight else 100.0),
        "hdr": hdr,
    }


def points(picture):
    root = ET.fromstring(picture)
    return [(float(one.get("cx")), float(one.get("cy"))) for one in root.iter("{http://www.w3.org/2000/svg}circle")]


def test_every_point_lies_in_the_frame():
    lines = [Line("a & b", [(1, 3.0), (32, 40_000.0), (256, 7.5)]), Line("c", [(8, 999.0)])]
    x, y = log_axis("in flight", [1, 8, 32, 256]), linear_axis("calls", [40_000.0])
    found = points(chart("title <1>", x, y, lines))
    assert len(found) == 4
    assert all(0 < across < WIDTH and 0 < down < HEIGHT for across, down in found)


@pytest.mark.parametrize("values", [[1.0], [0.5, 3], [10, 100], [7, 120_000], [1000, 1000]])
def test_an_axis_holds_its_values_and_rises(values):
    for axis in (log_axis("", values), linear_axis("", values)):
        assert list(axis.ticks) == sorted(set(axis.ticks))
        assert len(axis.ticks) >= 2
        assert axis.place(axis.ticks[-1]) == pytest.approx(1)
        assert all(-1e-9 <= axis.place(value) <= 1 + 1e-9 for value in values)


def test_each_nine_of_a_percentile_is_as_wide_as_the_one_before():
    axis = tail_axis("percentile")
    nines = [axis.place(share) for share in (90, 99, 99.9, 99.99)]
    steps = [after - before for before, after in pairwise(nines)]
    assert axis.place(0) == 0
    assert nines[-1] == pytest.approx(1)
    assert steps == pytest.approx([steps[0]] * 3)


def test_numbers_are_short():
    assert [short(value) for value in (0.5, 20, 1500, 2e6)] == ["0.5", "20", "1.5k", "2M"]


def test_a_results_file_is_drawn_whole(tmp_path):
    results = {
        "grpc": {
            "loads": [cell(name, flight) for flight in (1, 32) for name in ("do-nothing (h2corn)", "authz (h2corn)")],
            "rates": [cell("authz (h2corn)", None, rate) for rate in (100.0, 200.0)],
        },
        "envoy": [cell("Envoy, no-filter", 1), cell("Envoy, authz", 1)],
        "scale": {"rules": [{"rules": 10, "uncached us": 20.0}, {"rules": 100, "uncached us": 21.0}]},
    }
    drawn = draw(results, tmp_path, "run")
    assert {path.name for path in drawn} == {
        f"run-{name}.svg"
        for name in ("latency-1", "latency-32", "throughput", "latency-rate", "latency-envoy", "scale-rules")
    }
    for path in drawn:
        assert points(path.read_text())
        assert path.stat().st_size < 20_000


def test_a_run_of_one_part_draws_what_there_is(tmp_path):
    assert draw({"in_process": {}}, tmp_path, "run") == []
