"""Shadow mode: the candidate is asked about every call that the policy decided, and changes nothing."""

import json

import msgspec
import pytest
from pdp_world import World

from authz.audit.settings import AuditSettings
from authz.audit.shared_sink import ThreadSharedSink
from authz.errors import Reason, Refusal
from authz.grants.verifier import NO_GRANT
from authz.model import Asked, CheckCall, Decision, Effect, Kind, Outcome, RuleRef, Subject, Target
from authz.policy.engine import Verdict
from authz.shadow.settings import ShadowSettings
from authz.shadow.trail import ShadowTrail
from authz.stores.policy_files import PolicySettings

ALLOWED = Decision(Effect.ALLOW, Reason.ALLOWED, "live", RuleRef("p", "policy.csv", 3, "p, x"), (("apply", "a"),))
DENIED = Decision(Effect.DENY, Reason.NO_MATCHING_RULE, "live")
ALLOW = Verdict(Effect.ALLOW, RuleRef("p", "candidate.csv", 9, "p, y"), (("apply", "a"),))
DENY = Verdict(Effect.DENY)
CALL = CheckCall(layer="http", method="GET", path="/a?token=secret", host="h", headers={"x-request-id": "r1"})


class Bench:
    """A shadow trail by hand: time, chance and the trail behind it are the test's."""

    def __init__(self, verdict: object = ALLOW, **settings: object) -> None:
        self.world = World()
        self.world.verdict = verdict
        self.world.subject = Subject(id="spiffe://td/a", kind=Kind.WORKLOAD)
        self.current = self.world.snapshot
        self.kept = True
        self.offered: list[Outcome] = []
        self.lines: list[bytes] = []
        self.broken = False
        self.told: list[str] = []
        self.slept: list[float] = []
        self.now = 0.0
        self.chance = 0.5
        self.trail = ShadowTrail(
            self,
            self,
            self,
            ShadowSettings(policy=PolicySettings(), **settings),
            AuditSettings(),
            report=self.told.append,
            chance=lambda: self.chance,
            monotonic=self.tick,
            sleep=self.slept.append,
        )

    def tick(self) -> float:
        self.now += 0.001
        return self.now

    def offer(self, outcome: Outcome) -> bool:
        self.offered.append(outcome)
        return self.kept

    def write(self, lines: list[bytes]) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        self.lines += lines
        lines.clear()

    def ask(self, decision: Decision = ALLOWED, call: CheckCall | None = CALL) -> bool:
        return self.trail.offer(
            Outcome("d1", decision, call, subject=None, request=None, time=1.0, latency_seconds=0.001)
        )

    def counted(self, decision: Decision = ALLOWED, call: CheckCall | None = CALL) -> dict[str, int]:
        self.ask(decision, call)
        self.trail.turn()
        return {kind: count for kind, count in self.trail.counts.items() if count}


@pytest.mark.parametrize(
    ("live", "verdict", "kind"),
    [
        (ALLOWED, ALLOW, "same"),
        (DENIED, DENY, "same"),
        (ALLOWED, DENY, "newly_denied"),
        (DENIED, ALLOW, "newly_allowed"),
        (ALLOWED, msgspec.structs.replace(ALLOW, obligations=()), "other_obligations"),
        (DENIED, Verdict(Effect.DENY, error="it errs"), "error"),
        (ALLOWED, Verdict(Effect.DENY, error="it errs"), "error"),
        (ALLOWED, ValueError("a bug"), "error"),
        (ALLOWED, Refusal(Reason.DEADLINE_EXCEEDED), "error"),
    ],
)
def test_how_a_call_is_counted_and_whether_it_is_recorded(live: Decision, verdict: object, kind: str):
    bench = Bench(verdict)
    assert bench.counted(live) == {kind: 1}
    assert len(bench.lines) == (kind != "same")


NEEDED = msgspec.structs.replace(ALLOW, obligations=(("grant", "required"),))
WITHOUT = Decision(Effect.DENY, Reason.GRANT_REQUIRED, "live")
WITH = msgspec.structs.replace(ALLOWED, obligations=(("grant", "required"),))
GRANT = {**NO_GRANT, "valid": True, "id": "g", "issued_at": 0}


@pytest.mark.parametrize(
    ("live", "verdict", "presented", "kind"),
    [
        (WITH, NEEDED, "g", "same"),
        (WITHOUT, NEEDED, "", "same"),
        (WITHOUT, msgspec.structs.replace(ALLOW, obligations=()), "", "newly_allowed"),
        (ALLOWED, NEEDED, "", "newly_denied"),
        (WITH, DENY, "g", "newly_denied"),
    ],
)
def test_the_candidate_sees_the_grant_that_the_live_policy_saw(
    live: Decision, verdict: object, presented: str, kind: str
):
    bench = Bench(verdict)
    shown = {"grant": GRANT, "grant_key": "ab"} if presented else {"grant": NO_GRANT}
    asked = Asked(Target(method="GET", host="h", path="/a"), {}, "http", "GET", {"id": "t", "purpose": ""}, **shown)
    bench.trail.offer(Outcome("d1", live, CALL, None, None, time=1.0, latency_seconds=0.001, asked=asked))
    bench.trail.turn()
    assert {each: count for each, count in bench.trail.counts.items() if count} == {kind: 1}


def test_a_difference_is_recorded_with_both_decisions_and_no_secret():
    bench = Bench(DENY)
    bench.counted()
    (line,) = bench.lines
    record = json.loads(line)
    assert line.endswith(b"\n")
    assert record["event"] == "shadow_difference"
    assert record["kind"] == "newly_denied"
    assert record["decision_id"] == "d1"
    assert record["live"]["rule"]["id"] == "policy.csv:3"
    assert (record["candidate"]["reason"], record["candidate"]["policy_version"]) == ("no_matching_rule", "v1")
    assert (record["subject"], record["method"], record["host"], record["path"]) == ("spiffe://td/a", "GET", "h", "/a")
    assert b"secret" not in line


def test_the_answer_is_the_trails_own_and_comes_before_the_candidate_is_asked():
    bench = Bench(ValueError("a bug"))
    assert bench.ask() is True
    bench.kept = False
    assert bench.ask() is False
    assert len(bench.offered) == 2
    assert set(bench.trail.counts.values()) == {0}


def test_a_call_that_is_not_kept_is_not_compared():
    bench = Bench(DENY)
    bench.kept = False
    assert bench.counted() == {}


@pytest.mark.parametrize("reason", [Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED, Reason.TOKEN_EXPIRED])
def test_what_no_policy_decided_is_not_compared(reason: Reason):
    assert Bench(ALLOW).counted(Decision(Effect.DENY, reason, "live")) == {}


def test_a_call_that_could_not_be_decoded_is_not_compared():
    assert Bench(ALLOW).counted(DENIED, None) == {}


def test_a_full_queue_drops_and_counts():
    bench = Bench(ALLOW, queue_calls=2)
    for _ in range(3):
        assert bench.ask() is True
    bench.trail.turn()
    assert (bench.trail.counts["same"], bench.trail.counts["dropped"]) == (2, 1)


def test_only_the_sampled_share_is_asked_about():
    bench = Bench(ALLOW, sample=0.1)
    assert bench.counted() == {}
    bench.chance = 0.05
    assert bench.counted() == {"same": 1}


def test_the_candidate_takes_no_more_than_its_share_of_time():
    bench = Bench(ALLOW, max_cpu_share=0.25)
    bench.counted()
    (slept,) = bench.slept
    assert slept == pytest.approx(3 * 0.001, rel=1.5)
    assert slept > 0


def test_differences_beyond_the_rate_are_only_counted():
    bench = Bench(DENY, max_records_per_second=1.0)
    for _ in range(5):
        bench.ask()
    bench.trail.turn()
    assert (bench.trail.counts["newly_denied"], bench.trail.counts["unrecorded"], len(bench.lines)) == (5, 4, 1)
    bench.now += 10
    assert bench.counted()["unrecorded"] == 4


def test_a_destination_that_takes_nothing_is_told_once_and_stops_nothing():
    bench = Bench(DENY)
    bench.broken = True
    for _ in range(3):
        bench.counted()
    assert bench.trail.counts["unrecorded"] == 3
    assert bench.told == ["shadow: differences cannot be recorded: No space left on device"]


def test_without_a_candidate_calls_count_as_errors():
    bench = Bench()
    bench.current = None
    assert bench.counted() == {"error": 1}


def test_the_worker_asks_and_ends(tmp_path):
    bench = Bench(DENY)
    bench.ask()
    bench.trail.start()
    for _ in range(2_000):
        if bench.trail.counts["newly_denied"]:
            break
        bench.trail._stopping.wait(0.01)
    bench.trail.close()
    assert bench.trail.counts["newly_denied"] == 1
    assert not bench.trail._thread.is_alive()


def test_a_shared_destination_is_used_by_one_at_a_time():
    inside: list[bool] = []

    class Slow:
        name = "x"

        def write(self, lines):
            inside.append(shared._lock.locked())
            lines.clear()

        open = reopen = close = lambda self: inside.append(shared._lock.locked())

    shared = ThreadSharedSink(Slow())
    shared.open()
    shared.write([b"x\n"])
    shared.reopen()
    shared.close()
    assert inside == [True] * 4
    assert shared.name == "x"
