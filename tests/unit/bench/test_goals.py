"""The goals: read from results, with the generator's share of the machine accounted for."""

import pytest

from bench.goals import goals, two_workers


def spread(value):
    return {"median": value, "mad": 0.0, "lowest": value, "highest": value}


def cell(server, in_flight=32, traffic="hit", *, rate=None, share=0.7, mean=1.2, connections=1, **more):
    return {
        "server": server,
        "traffic": traffic,
        "in_flight": in_flight,
        "rate": rate,
        "connections": connections,
        "of_floor": {"per_second": spread(share), "mean_us": spread(mean)},
        **more,
    }


def worker_cell(server, connections, per_second, generator):
    rounds = [{"per_second": per_second * speed, "generator_cpu_share": generator} for speed in (1.0, 0.5, 1.1)]
    return cell(server, 64, connections=connections, per_second=spread(per_second), rounds=rounds)


def worker_cells(one, two, generator):
    return {
        "machine": {"cpus": 2},
        "grpc": {
            "workers": [
                worker_cell("authz", 4, one, 0.3),
                worker_cell("authz (2 workers)", 4, two, generator),
                worker_cell("authz (2 workers)", 2, one, generator),
            ]
        },
    }


def test_two_workers_are_held_against_what_the_generator_leaves_them():
    # Two workers on two cores, of which the generator took a half: they had three quarters of two cores.
    assert two_workers(worker_cells(10_000.0, 15_000.0, 0.5)) == pytest.approx(2.0)
    assert two_workers({"grpc": {}}) is None


def test_what_was_not_measured_is_not_promised():
    assert list(goals({"machine": {"cpus": 2}})) == []


def test_each_promise_is_kept_or_not():
    loads = [
        cell("authz (h2corn, unix)", 32, share=0.65),
        cell("authz (h2corn, unix)", 1, mean=1.5),
        cell("authz (h2corn, unix, no cache)", 32, share=0.01),
        cell("authz (h2corn, unix, 10,000 rules, no cache)", 32, share=0.31),
    ]
    rates = [
        cell("authz", None, "mixed", rate=rate, p50_us=spread(100.0), p99_us=spread(p99))
        for rate, p99 in ((250.0, 150.0), (500.0, 250.0), (900.0, 9000.0))
    ]
    found = {
        promise: (reached, kept)
        for promise, _, reached, kept in goals(
            {
                "machine": {"cpus": 2},
                "grpc": {"loads": loads, "rates": rates},
                "peak_per_second": 1000.0,
                "scale": {
                    "entries": [{"entries": 100_000, "memory MB": 120.0}],
                    "reuse": [{"requests": 10_000, "hit ratio": 0.9}, {"requests": 1_000_000, "hit ratio": 0.995}],
                },
            }
        )
    }
    assert [found[promise] for promise in sorted(found)] == [
        (0.995, True),
        (120.0, False),
        (2.5, True),
        (0.65, True),
        (1.5, False),
        (0.31, True),
    ]
