"""The request path: whatever happens inside, the answer is a decision (I1, I2, I9)."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from authz.decision.bind import Binder, BindSettings, token_values
from authz.decision.check import Checker, CheckerParts
from authz.decision.snapshot import Snapshot
from authz.errors import Reason, Refusal
from authz.extauthz.canonical import RequestRules, canonicalise
from authz.extauthz.codec import ExtAuthzCodec
from authz.extauthz.request import DecodeSettings
from authz.extauthz.response import Encoder, ResponseSettings
from authz.model import Effect, Kind, RuleRef, Subject
from authz.policy.engine import Verdict

RULE = RuleRef("p", "policy.csv", 1, "p, anyone")
ALLOW = Verdict(effect=Effect.ALLOW, rule=RULE)


class World:
    """A checker over parts that a test can break one at a time."""

    def __init__(self, **settings):
        self.verdict = ALLOW
        self.subject = Subject(id="spiffe://td/a", kind=Kind.WORKLOAD)
        self.keeps = True
        self.outcomes = []
        self.counted = []
        self.faults = []
        self.time = 0.0
        self.snapshot_reads = 0
        encoder = Encoder(ResponseSettings())
        self.codec = ExtAuthzCodec(DecodeSettings(), encoder)
        self.snapshot = Snapshot(
            version="v1",
            loaded_at=0.0,
            resolver=self,
            canonicalise=lambda call: canonicalise(call, RequestRules()),
            binder=Binder(BindSettings(), self),
            engine=self,
            read_tokens=token_values(("sub", "obj", "act"), {}),
        )
        self.checker = Checker(
            CheckerParts(
                snapshots=self,
                codec=self.codec,
                trail=self,
                meter=self,
                clock=lambda: 1_000_000.0,
                monotonic=lambda: self.time,
                new_id=lambda: "d1",
                report_fault=self.faults.append,
                **settings,
            )
        )

    @property
    def current(self):
        self.snapshot_reads += 1
        return self.snapshot

    def identify(self, call, now):
        if isinstance(self.subject, Exception):
            raise self.subject
        return self.subject

    def describe(self, host, path, method):
        return {}

    def evaluate(self, values, out_of_time):
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict() if callable(self.verdict) else self.verdict

    def offer(self, outcome):
        if isinstance(self.keeps, Exception):
            raise self.keeps
        self.outcomes.append(outcome)
        return self.keeps

    def decided(self, outcome):
        self.counted.append(outcome.decision.reason)

    def check(self, message=None, budget=0.2):
        request = CheckRequest()
        request.attributes.request.http.method = "GET"
        request.attributes.request.http.host = "h"
        request.attributes.request.http.path = "/"
        return CheckResponse.FromString(
            self.checker.check(request.SerializeToString() if message is None else message, budget)
        )

    @property
    def recorded(self):
        return self.outcomes[-1].decision.reason


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
