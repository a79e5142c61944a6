"""The request path: whatever happens inside, the answer is a decision (I1, I2, I9)."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from pdp_world import ALLOW, RULE, World

from authz.decision.cache import DecisionCache
from authz.decision.standing import NothingRevoked
from authz.errors import Reason, Refusal
from authz.model import NOT_SHARED, Effect, Kind, Subject
from authz.policy.engine import Verdict


def test_an_allow_is_answered_recorded_and_counted():
    world = World()
    response = world.check()
    assert response.status.code == 0
    assert response.HasField("ok_response")
    assert world.recorded is Reason.ALLOWED
    assert world.counted == [Reason.ALLOWED]
    assert world.snapshot_reads == 1  # I11: one snapshot for the whole request


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict(effect=Effect.DENY), Reason.NO_MATCHING_RULE),
        (Verdict(effect=Effect.DENY, rule=RULE), Reason.DENIED_BY_RULE),
        (Verdict(effect=Effect.ALLOW, rule=RULE, error="boom"), Reason.RULE_ERROR),
        (Refusal(Reason.DEADLINE_EXCEEDED), Reason.DEADLINE_EXCEEDED),
        (RuntimeError("bug"), Reason.INTERNAL_ERROR),
        (RecursionError(), Reason.INTERNAL_ERROR),
        (MemoryError(), Reason.INTERNAL_ERROR),
    ],
)
def test_whatever_the_engine_does_short_of_an_allow_denies(verdict, reason):
    world = World()
    world.verdict = verdict
    assert world.check().status.code != 0
    assert world.recorded is reason
    assert world.counted == [reason]


@pytest.mark.parametrize("message", [b"", b"\xff", b"not protobuf"])
def test_a_message_that_cannot_be_read_is_denied_and_recorded(message):
    world = World()
    response = world.check(message)
    assert response.denied_response.status.code == 400
    assert world.recorded is Reason.REQUEST_MALFORMED


def test_a_denial_without_identity_is_a_401_even_where_policy_was_asked():
    world = World()
    world.subject = Subject()
    world.verdict = Verdict(effect=Effect.DENY)
    assert world.check().denied_response.status.code == 401
    assert world.recorded is Reason.IDENTITY_MISSING


def test_a_refused_identity_denies_with_its_reason():
    world = World()
    world.subject = Refusal(Reason.CERTIFICATE_EXPIRED, "by 3 s")
    assert world.check().denied_response.status.code == 401
    assert world.recorded is Reason.CERTIFICATE_EXPIRED
    assert world.outcomes[-1].decision.detail == "by 3 s"


def test_an_allow_that_comes_too_late_is_a_denial():
    world = World()

    def slow():
        world.time += 0.3
        return ALLOW

    world.verdict = slow
    assert world.check(budget=0.2).status.code != 0
    assert world.recorded is Reason.DEADLINE_EXCEEDED
    assert world.outcomes[-1].latency_seconds == pytest.approx(0.3)


def test_an_allow_that_cannot_be_encoded_is_a_denial_and_recorded_as_one():
    world = World()
    world.verdict = Verdict(effect=Effect.ALLOW, rule=RULE, obligations=(("apply", "no-such-set"),))
    assert world.check().status.code != 0
    assert [o.decision.reason for o in world.outcomes] == [Reason.INTERNAL_ERROR]
    assert isinstance(world.faults[0], KeyError)


def test_a_decision_that_cannot_be_kept_stands(monkeypatch):
    world = World()

    def broken(*_):
        raise MemoryError

    monkeypatch.setattr(DecisionCache, "keep", broken)
    assert world.check().status.code == 0
    assert world.recorded is Reason.ALLOWED
    assert isinstance(world.faults[0], MemoryError)


def test_no_record_no_allow_by_default():
    world = World()
    world.keeps = False
    assert world.check().denied_response.status.code == 503
    assert world.counted == [Reason.AUDIT_UNAVAILABLE]


def test_a_trail_that_breaks_has_not_kept_the_record():
    world = World()
    world.keeps = RuntimeError("bug")
    assert world.check().denied_response.status.code == 503
    assert world.counted == [Reason.AUDIT_UNAVAILABLE]
    assert len(world.faults) == 1


def test_without_a_record_an_allow_stands_only_where_configured():
    world = World(no_record_no_allow=False)
    world.keeps = False
    assert world.check().status.code == 0
    assert world.counted == [Reason.ALLOWED]


def test_faults_are_reported_and_never_told_to_the_client():
    world = World()
    world.verdict = RuntimeError("secret-detail")
    response = world.check()
    assert len(world.faults) == 1
    assert "secret-detail" not in str(response)
    assert "secret-detail" not in str(world.outcomes[-1])


def test_a_call_that_never_reached_the_path_is_denied_recorded_and_counted():
    world = World()
    response = CheckResponse.FromString(world.checker.refuse(Reason.OVERLOADED, "128 calls in flight"))
    assert response.denied_response.status.code == 503
    assert world.recorded is Reason.OVERLOADED
    assert world.counted == [Reason.OVERLOADED]


# Who calls from where


class Watcher:
    def __init__(self, answer):
        self.answer = answer
        self.seen = []

    def observe(self, call, subject, now):
        self.seen.append((call.path, subject.id, now))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_every_call_is_told_and_policy_sees_the_answer():
    state = {"shared": True, "sharing": {"certificates": 1, "addresses": 2, "owners": 0}}
    watcher = Watcher(state)
    world = World(sharing=watcher)
    world.check()
    assert watcher.seen == [("/", "spiffe://td/a", 1_000_000.0)]
    sub = world.outcomes[-1].request.sub
    assert sub["shared"] is True
    assert sub["sharing"] == state["sharing"]


class Revoked(NothingRevoked):
    def refusal(self, subject, grant, now):
        return Reason.CREDENTIAL_REVOKED


def test_what_is_revoked_is_not_told_as_in_use():
    """Else who stole a certificate could go on having its owner refused wherever rules ask for an unshared identity."""
    watcher = Watcher(NOT_SHARED)
    world = World(sharing=watcher, standing=Revoked())
    world.check()
    assert world.recorded is Reason.CREDENTIAL_REVOKED
    assert world.outcomes[-1].asked is not None
    assert watcher.seen == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Refusal(Reason.REQUEST_MALFORMED), Reason.REQUEST_MALFORMED), (KeyError("x"), Reason.INTERNAL_ERROR)],
)
def test_a_call_that_cannot_be_told_is_denied(fault, reason):
    world = World(sharing=Watcher(fault))
    world.check()
    assert world.recorded is reason


def test_nobody_is_shared_where_nobody_watches():
    world = World()
    world.check()
    assert world.outcomes[-1].request.sub["shared"] is False


def test_no_inventory_speaks_over_what_was_seen():
    world = World()
    world.subject = Subject(id="spiffe://td/a", kind=Kind.WORKLOAD, attributes={"shared": "no", "sharing": 1})
    world.check()
    assert world.outcomes[-1].request.sub["shared"] is False
