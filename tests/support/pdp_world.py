"""A checker over parts that a test can break one at a time, with real decoding and encoding."""

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from authz.decision.bind import Binder, BindSettings, token_values
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.check import Checker, CheckerParts
from authz.decision.key import NOTHING_REUSED, KeyMaker
from authz.decision.snapshot import Moment, Snapshot
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
        binder = Binder(BindSettings(), self)
        self.codec = ExtAuthzCodec(DecodeSettings(), encoder)
        self.snapshot = Snapshot(
            version="v1",
            loaded_at=0.0,
            resolver=self,
            canonicalise=lambda call: canonicalise(call, RequestRules()),
            binder=binder,
            engine=self,
            read_tokens=token_values(("sub", "obj", "act"), {}),
            keys=KeyMaker(NOTHING_REUSED, binder),
            moment=Moment(),
        )
        self.parts = CheckerParts(
            snapshots=self,
            codec=self.codec,
            trail=self,
            meter=self,
            clock=lambda: 1_000_000.0,
            monotonic=lambda: self.time,
            new_id=lambda: "d1",
            cache=DecisionCache(CacheSettings(), LocalEpoch()),
            report_fault=self.faults.append,
            **settings,
        )
        self.checker = Checker(self.parts)

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
