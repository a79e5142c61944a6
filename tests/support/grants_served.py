"""A checker over real files, with grants on: its clock, what is revoked, and its store in the hands of a test."""

from dataclasses import replace

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from grant_kit import ISSUER, KEYS

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.decision.spending import Accounts, NoStore
from authz.grants.revoked import Revoked
from authz.model import CURRENT
from authz.stores.holder import SnapshotHolder

NOW = 1_790_000_000
HOLDER = "spiffe://prod.example/ns/agents/sa/payer"
MODEL = """
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = rule, eft, obligations
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = eval(p.rule)
"""
ANYBODY = "p, r.sub.trust_domain == 'prod.example', allow,\n"


class Served:
    """A checker over real files, its clock, its standing and its store in the hands of a test."""

    def __init__(self, base, policy=ANYBODY, settings="", *, model=MODEL, identity="", grants=True, accounts=True):
        (base / "model.conf").write_text(model)
        (base / "policy.csv").write_text(policy)
        (base / "authz.toml").write_text(
            f'[identity]\ntrust_domain = "prod.example"\nrequire_certificate = false\n{identity}'
            '[policy]\nmodel = "model.conf"\npolicies = ["policy.csv"]\n'
            + (f'[grants]\nissuer = "{ISSUER}"\n' if grants else "")
            + settings
        )
        composition = Composition(load(base / "authz.toml", Config, {}), base)
        composition.own_grant_keys = KEYS
        if composition.key_sources:
            composition.read_keys_once()
        self.begin()
        parts = composition.parts(
            SnapshotHolder(composition.build_snapshot()),
            self,
            self,
            clock=lambda: self.now,
            standing=self,
            spend=self.spend,
        )
        if accounts:
            spending = Accounts(composition.ledger, NOW, NoStore(), tracks=True)
            parts = replace(parts, spending=spending, monotonic=lambda: self.tick)
        self.ledger = composition.ledger
        self.checker = Checker(parts)

    def begin(self):
        """Begin anew, with the same cache."""
        self.now = NOW
        self.tick = 0.0
        self.keeps = True
        self.revoked = Revoked(5.0, 1_000)
        self.left = {}
        self.spent = []
        self.outcomes = []
        self.trouble = None
        self.fresh = CURRENT

    def refusal(self, subject, presented, now):
        return self.revoked.refusal(subject, presented, now)

    def freshness(self):
        return self.fresh

    async def spend(self, grant, decision):
        self.spent.append((grant, decision))
        if self.trouble is not None:
            raise self.trouble
        left = self.left.setdefault(grant, 1)
        self.left[grant] = left - 1
        return left > 0

    def offer(self, outcome):
        self.outcomes.append(outcome)
        return self.keeps

    def decided(self, outcome):
        pass

    def ask(
        self, token=None, *, path="/v1/accounts/7", method="GET", host="accounts.prod.example", who=HOLDER, **headers
    ):
        request = CheckRequest()
        http = request.attributes.request.http
        http.method, http.host, http.path = method, host, path
        request.attributes.source.principal = who
        for name, value in headers.items():
            http.headers[name.replace("_", "-")] = value
        if token is not None:
            http.headers["authz-grant"] = token
        return self.checker.check(request.SerializeToString(), 60.0)

    def reason(self, *args, **kwargs):
        answer = self.ask(*args, **kwargs)
        assert isinstance(answer, bytes)
        response = CheckResponse.FromString(answer)
        outcome = self.outcomes[-1]
        assert (response.status.code == 0) is outcome.decision.allowed
        return outcome.decision.reason

    @property
    def cached(self):
        return self.outcomes[-1].cached
