"""The pure parts of the benchmark: histograms, the open loop's schedule, ratios, Zipf's law."""

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.latency import curve, histogram, merged, summary
from bench.pacing import Pace
from bench.stats import Zipf, mad, paired, spread
from bench.timing import calibrate, over, sample


@settings(max_examples=20)  # making a histogram is slow
@given(st.lists(st.floats(2e-6, 50.0), min_size=1, max_size=200), st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_those_of_the_sorted_values_to_three_digits(seconds, share):
    found = histogram(seconds).get_value_at_percentile(share) / 1e9
    exact = sorted(seconds)[max(1, int(len(seconds) * share / 100 + 0.5)) - 1]
    assert found == pytest.approx(exact, rel=2e-3, abs=2e-7)


def test_rounds_add_up_to_what_one_histogram_of_both_says():
    first, second = [100e-6, 110e-6, 120e-6, 9.0], [90e-6] * 7
    together = merged([summary(first)["hdr"], summary(second)["hdr"]])
    assert curve(together) == curve(histogram(first + second))


def test_a_summary_tells_in_microseconds():
    told = summary([100e-6] * 98 + [1e-3, 5e-3])
    assert told["p50_us"] == pytest.approx(100, rel=1e-3)
    assert told["p99_us"] == pytest.approx(1000, rel=1e-3)
    assert told["max_us"] == 5000
    assert told["mean_us"] == pytest.approx(158, rel=1e-3)


def test_a_summary_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no latency"):
        summary([])


def test_calls_are_due_at_a_fixed_rate_whatever_was_late():
    pace = Pace(begin=10.0, rate=100.0, seconds=1.0)
    assert pace.take(10.0, most=50) == [10.0]
    assert pace.wait(10.0) == pytest.approx(0.01)
    # A stall of half a second: all that fell due in it are due when they were, not when it was over.
    due = pace.take(10.505, most=1000)
    assert len(due) == 50
    assert due[0] == pytest.approx(10.01)
    assert due[-1] == pytest.approx(10.5)


def test_what_there_is_no_room_for_keeps_its_due_time():
    pace = Pace(begin=0.0, rate=1000.0, seconds=1.0)
    assert len(pace.take(0.1, most=10)) == 10
    assert pace.take(0.2, most=1) == [pytest.approx(0.010)]


def test_a_schedule_ends_with_its_last_call():
    pace = Pace(begin=0.0, rate=7.0, seconds=2.0)
    assert len(pace.take(100.0, most=1000)) == pace.total == 14
    assert pace.done
    assert pace.take(200.0, most=1000) == []


def test_a_schedule_can_be_stopped():
    pace = Pace(begin=0.0, rate=10.0, seconds=100.0)
    assert len(pace.take(0.55, most=1000)) == 6
    pace.stopped = True
    assert pace.done
    assert pace.take(50.0, most=1000) == []


@pytest.mark.parametrize(("rate", "seconds"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_a_schedule_without_rate_or_length_is_an_error(rate, seconds):
    with pytest.raises(ValueError, match="above 0"):
        Pace(begin=0.0, rate=rate, seconds=seconds)


def test_one_outlier_does_not_move_the_spread():
    assert mad([1.0, 1.1, 0.9, 1.0, 100.0]) == pytest.approx(0.1)
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "mad": 1.0, "lowest": 1.0, "highest": 3.0}


def test_ratios_are_taken_round_by_round():
    # The machine was half as fast in the second round, for both.
    assert paired([60.0, 30.0, 66.0], [100.0, 50.0, 100.0])["median"] == pytest.approx(0.6)
    with pytest.raises(ValueError, match="paired"):
        paired([1.0], [1.0, 2.0])


def test_zipf_draws_the_first_most_often_and_as_often_as_its_law_says():
    zipf = Zipf(1000, 1.0, seed=1)
    drawn = [zipf.draw() for _ in range(20_000)]
    assert set(drawn) <= set(range(1000))
    assert sum(zipf.share(rank) for rank in range(1000)) == pytest.approx(1.0)
    assert zipf.share(0) == pytest.approx(2 * zipf.share(1))
    assert drawn.count(0) / len(drawn) == pytest.approx(zipf.share(0), rel=0.1)
    assert statistics.median(drawn) < 50


def test_zipf_draws_the_same_again_from_the_same_seed():
    first, again, other = (Zipf(100, 1.0, seed=seed) for seed in (7, 7, 8))
    drawn = [first.draw() for _ in range(50)]
    assert drawn == [again.draw() for _ in range(50)]
    assert drawn != [other.draw() for _ in range(50)]


def test_a_piece_runs_exactly_so_many_times_over_its_arguments_in_turn():
    seen = []
    over(seen.append, [(1,), (2,), (3,)])(8)
    assert seen == [1, 2, 3, 1, 2, 3, 1, 2]


def test_samples_come_from_every_round():
    piece = over(math.sqrt, [(2.0,)])
    assert calibrate(piece, 1e-4) >= 1
    found = sample({"a": piece, "b": piece}, rounds=3, seconds=1e-4)
    assert {name: len(values) for name, values in found.items()} == {"a": 3, "b": 3}
