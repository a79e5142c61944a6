"""Records are kept, or the caller is told at once that they are not."""

import errno
import itertools
import queue
import threading
from collections import Counter

import msgspec
import pytest

from authz.audit.settings import AuditSettings
from authz.audit.trail import AuditTrail
from authz.errors import ConfigError

WAIT_SECONDS = 30


class MemorySink:
    """Keeps lines in memory; fails while `fault` is set, and waits in `write` while `gate` is closed."""

    name = "memory"

    def __init__(self):
        self.lines: list[bytes] = []
        self.sizes: list[int] = []
        self.fault: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.writing = threading.Event()
        self.reopened = threading.Event()
        self.closed = False

    def open(self):
        if self.fault:
            raise self.fault

    def write(self, lines):
        self.sizes.append(len(lines))
        self.writing.set()
        assert self.gate.wait(3 * WAIT_SECONDS)
        if self.fault:
            raise self.fault
        self.lines += lines
        lines.clear()

    def reopen(self):
        self.reopened.set()

    def close(self):
        self.closed = True

    def records(self, event="decision"):
        return [record for record in map(msgspec.json.decode, self.lines) if record["event"] == event]


class Trail:
    """A trail with everything that it tells, and a short way to offer."""

    def __init__(self, offered, sink=None, **settings):
        self.sink = sink or MemorySink()
        self.counts: Counter[str] = Counter()
        self.ticks = itertools.count(1)
        self.reports: queue.Queue[str] = queue.Queue()
        given = {"flush_seconds": 0.001, "retry_seconds": 0.001, "shutdown_seconds": WAIT_SECONDS} | settings
        self.trail = AuditTrail(
            AuditSettings(**given), count=self.count, report=self.reports.put, sink=self.sink, clock=self.ticks.__next__
        )
        self._offered = offered
        self.close = self.trail.close

    def count(self, what, records):
        self.counts[what] += records

    def offer(self, decision_id="d", **parts):
        return self.trail.offer(msgspec.structs.replace(self._offered, decision_id=decision_id, **parts))

    def told(self):
        return self.reports.get(timeout=WAIT_SECONDS)


@pytest.fixture
def start(outcome):
    """A function that starts a trail with settings; every trail is stopped after the test."""
    started = []

    def start(**settings):
        trail = Trail(outcome, **settings)
        trail.trail.start()
        started.append(trail)
        return trail

    yield start
    for trail in started:
        trail.sink.gate.set()
        trail.close()


def test_every_record_offered_is_written_once_and_in_order(start):
    trail = start(batch_records=7)
    ids = [f"d-{n}" for n in range(1000)]
    assert all(trail.offer(n) for n in ids)
    assert trail.close() == 0
    assert [record["decision_id"] for record in trail.sink.records()] == ids
    assert trail.counts == {"written": 1000}


def test_records_from_several_threads_are_all_written(start):
    trail = start(queue_records=100_000)
    threads = [
        threading.Thread(target=lambda name=name: [trail.offer(f"{name}-{n}") for n in range(500)]) for name in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    assert {r["decision_id"] for r in trail.sink.records()} == {f"{name}-{n}" for name in range(4) for n in range(500)}


def test_a_record_is_written_without_waiting_for_more(start):
    trail = start(batch_records=1000)
    trail.sink.writing.wait(WAIT_SECONDS)
    trail.sink.writing.clear()
    trail.offer("alone")
    assert trail.sink.writing.wait(WAIT_SECONDS)


def test_a_batch_is_written_at_once_however_long_records_may_wait(start):
    trail = start(flush_seconds=10, batch_records=2)
    for _ in range(3):
        trail.offer()
    assert trail.sink.writing.wait(8)


def test_after_a_failure_no_write_is_larger_than_a_batch(start):
    trail = start(batch_records=3)
    trail.sink.writing.wait(WAIT_SECONDS)
    trail.sink.gate.clear()
    assert all(trail.offer() for _ in range(30))
    trail.sink.fault = OSError(errno.EIO, "input/output error")
    trail.sink.gate.set()
    trail.told()
    trail.sink.fault = None
    trail.told()
    assert trail.close() == 0
    assert len(trail.sink.records()) == 30
    assert max(trail.sink.sizes) <= 3 + 1


def test_a_full_queue_refuses_at_once_and_says_so_in_the_trail(start):
    trail = start(queue_records=5, batch_records=2)
    trail.sink.gate.clear()
    trail.sink.writing.clear()
    # The writer takes at most a batch off the queue and is then held: so all but the last of these must be refused.
    kept = [trail.offer(f"d-{n}") for n in range(100)]
    assert not trail.trail.healthy
    assert 5 <= sum(kept) <= 5 + 2
    assert not any(kept[-93:])
    assert trail.counts["dropped"] == kept.count(False)
    trail.sink.gate.set()
    trail.close()
    written = [record["decision_id"] for record in trail.sink.records()]
    assert written == [f"d-{n}" for n, was_kept in enumerate(kept) if was_kept]
    gaps = trail.sink.records("trail_gap")
    assert sum(gap["queue_full"] for gap in gaps) == kept.count(False)
    assert all(gap["since"] <= gap["until"] <= gap["time"] for gap in gaps)
    assert any(gap["since"] < gap["until"] for gap in gaps)
    assert max(trail.sink.sizes) <= 2 + 1


def test_a_broken_sink_refuses_until_it_works_again_and_loses_nothing_that_was_accepted(start):
    trail = start()
    trail.sink.fault = OSError(errno.ENOSPC, "no space left on device")
    assert trail.offer("before")
    assert trail.told() == "audit: memory does not take records: no space left on device"
    assert not trail.trail.healthy
    assert not trail.offer("during")
    assert trail.counts == {"dropped": 1}
    trail.sink.fault = None
    assert trail.told() == "audit: memory takes records again"
    assert trail.trail.healthy
    assert trail.offer("after")
    trail.close()
    assert [record["decision_id"] for record in trail.sink.records()] == ["before", "after"]
    assert trail.counts == {"dropped": 1, "written": 2}
    (gap,) = trail.sink.records("trail_gap")
    assert gap["sink_broken"] == 1


def test_a_fault_is_reported_once_however_often_it_is_met(start):
    trail = start()
    trail.sink.fault = OSError(errno.EIO, "input/output error")
    trail.offer()
    trail.told()
    for _ in range(3):
        trail.sink.writing.clear()
        assert trail.sink.writing.wait(WAIT_SECONDS)
    assert trail.reports.empty()


def test_a_bug_in_the_sink_neither_kills_the_writer_nor_passes_for_success(start):
    trail = start()
    trail.sink.fault = ZeroDivisionError("a bug")
    trail.offer("kept")
    assert "ZeroDivisionError" in trail.told()
    assert not trail.offer()
    trail.sink.fault = None
    trail.told()
    assert trail.offer("next")
    trail.close()
    assert [record["decision_id"] for record in trail.sink.records()] == ["kept", "next"]


def test_a_fault_while_nothing_waits_is_recovered_from_too(start, monkeypatch):
    trail = start()
    trail.sink.writing.wait(WAIT_SECONDS)

    def fail():
        monkeypatch.undo()
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(trail.sink, "reopen", fail)
    trail.trail.reopen()
    assert "does not take" in trail.told()
    assert "again" in trail.told()
    assert trail.offer()


def test_what_cannot_be_put_in_words_is_on_record_all_the_same(start, asked):
    trail = start()
    assert trail.offer("odd", asked=msgspec.structs.replace(asked, target=7))
    trail.close()
    (record,) = trail.sink.records()
    assert (record["decision_id"], record["effect"]) == ("odd", "deny")
    assert "AttributeError" in trail.told()
    assert trail.counts == {"written": 1}


def test_nothing_is_accepted_before_start_or_after_close(outcome, start):
    unstarted = Trail(outcome)
    assert not unstarted.offer()
    assert not unstarted.trail.healthy
    assert unstarted.close() == 0
    trail = start()
    trail.close()
    assert not trail.offer()
    assert trail.counts == unstarted.counts == {"dropped": 1}


def test_start_and_stop_are_on_record_around_everything_else(start):
    trail = start()
    trail.offer()
    trail.close()
    assert [msgspec.json.decode(line)["event"] for line in trail.sink.lines] == [
        "trail_started",
        "decision",
        "trail_stopped",
    ]
    assert trail.sink.closed


def test_a_destination_that_cannot_be_written_to_stops_the_start(tmp_path):
    trail = AuditTrail(AuditSettings(destination=str(tmp_path / "absent" / "audit.jsonl")), count=print, report=print)
    with pytest.raises(ConfigError, match=r"audit: cannot write to .*audit\.jsonl: No such file"):
        trail.start()


def test_closing_does_not_wait_for_ever_for_a_sink_that_hangs(start):
    trail = start(shutdown_seconds=0.01)
    trail.sink.writing.wait(WAIT_SECONDS)
    trail.sink.gate.clear()
    trail.sink.writing.clear()
    trail.offer()
    assert trail.sink.writing.wait(WAIT_SECONDS)
    assert trail.close() == 1
    assert trail.trail._thread.is_alive()
    assert trail.counts["failed"] == 1


def test_closing_says_how_many_records_a_broken_sink_did_not_take(start):
    trail = start(retry_seconds=10)
    trail.sink.gate.clear()
    assert all(trail.offer() for _ in range(3))
    trail.sink.fault = OSError(errno.EIO, "input/output error")
    trail.sink.gate.set()
    assert trail.close() == trail.counts["failed"] == 3


def test_reopen_is_done_by_the_writer(start):
    trail = start(flush_seconds=9)
    trail.trail.reopen()
    assert trail.sink.reopened.wait(WAIT_SECONDS)


def test_rotation_under_traffic_loses_and_repeats_nothing(outcome, tmp_path):
    path = tmp_path / "audit.jsonl"
    trail = Trail(outcome)
    trail.trail = AuditTrail(
        AuditSettings(destination=str(path), flush_seconds=0.001, batch_records=3, queue_records=100_000),
        count=trail.count,
        report=trail.reports.put,
    )
    trail.trail.start()
    for turn in range(20):
        for number in range(50):
            assert trail.offer(f"{turn}-{number}")
        if path.exists():
            path.rename(tmp_path / f"audit.jsonl.{turn}")
        if turn % 2:
            trail.trail.reopen()
    assert trail.trail.close() == 0
    found = []
    for file in tmp_path.iterdir():
        for line in file.read_bytes().splitlines():
            record = msgspec.json.decode(line)
            if record["event"] == "decision":
                found.append(record["decision_id"])
    assert sorted(found) == sorted(f"{turn}-{number}" for turn in range(20) for number in range(50))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"destination": "stderr"}, "destination"),
        ({"destination": "audit.jsonl"}, "destination"),
        ({"destination": "/x\0"}, "destination"),
        ({"queue_records": 5, "batch_records": 6}, "batch_records"),
        ({"headers": ("authorization",)}, "headers"),
        ({"headers": ("x-team", "Cookie")}, "headers"),
        ({"headers": ("X-Team",)}, "headers"),
        ({"query_values": ("access_token",)}, "query_values"),
    ],
)
def test_settings_that_cannot_hold_are_named(settings, key):
    assert [at for at, _ in AuditSettings(**settings).problems()] == [key]


def test_the_defaults_have_no_problem():
    assert not list(AuditSettings().problems())
    assert not list(AuditSettings(destination="/var/log/authz/audit.jsonl", headers=("x-team",)).problems())
