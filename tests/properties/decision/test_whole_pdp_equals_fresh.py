"""I3 and I4 with nothing left out: a PDP that remembers, in memories far too small, against one made for each call.

Certificates and tokens are real, and so are the codec, the catalogue and the recorder: answer, decision and record must
be those of a PDP that has never seen a call before.
"""

import json
import os
import random
from functools import partial

import grant_kit as grants
import identity_pki as pki
import msgspec
import pytest
from cache_world import ACTIONS
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from mcp_kit import call, rpc
from proxied import proxied

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.decision.bind import Binder, BindSettings, reads_attribute, token_values
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.catalogue import CatalogueSettings, parse_catalogue
from authz.decision.check import Checker, CheckerParts
from authz.decision.hops import every_hop_allowed
from authz.decision.key import KeyMaker, ResourceClasses, basis_of
from authz.decision.pending import Pending
from authz.decision.snapshot import Moment, Snapshot
from authz.errors import Reason
from authz.extauthz.canonical import Canonicaliser, RequestRules
from authz.extauthz.codec import ExtAuthzCodec
from authz.extauthz.mutations import MutationSettings
from authz.extauthz.request import DecodeSettings
from authz.extauthz.response import Encoder, ResponseSettings
from authz.grants.token import sign_grant
from authz.grants.verifier import GrantVerifier
from authz.identity.bundles import Trust
from authz.identity.delegation import DelegationSettings
from authz.identity.inventory import InventorySettings, parse_inventory
from authz.identity.resolve import IdentityResolver, IdentitySettings
from authz.model import CURRENT
from authz.policy.compile import CompiledEngine
from authz.policy.obligations import APPLY, GRANT, MAX_AGE
from authz.policy.roles import RoleSettings
from authz.policy.source import CompileSettings

HISTORIES = int(os.environ.get("AUTHZ_CACHE_HISTORIES", "40")) // 4
STEPS = 250

ROOT = pki.authority()
MIDDLE = pki.authority("middle", ROOT, uris=(), not_before=pki.NOW - 60, not_after=pki.NOW + 60)
KEYS = pki.key_set(pki.jwk(pki.EC_KEY))
IDP, USERS = "https://idp.example", "https://users.example"
TRUST = Trust({pki.TD: ROOT.bundle(keys=KEYS)}, {IDP: KEYS, USERS: KEYS}, {"https://tts.example": KEYS})
LEAVES = [
    ROOT.issue(),
    ROOT.issue(not_after=pki.NOW + 30),
    ROOT.issue(uris=(pki.LEDGER,), not_before=pki.NOW - 20),
    MIDDLE.issue(uris=(pki.ADMIN,)),
]
URIS = [pki.PLANNER, pki.PLANNER, pki.LEDGER, pki.ADMIN]
CHAINED = 3
"""The leaf that needs an intermediate."""
PEMS = [pki.url_pem(leaf) for leaf in LEAVES]


def claims(issuer, **more):
    return {"iss": issuer, "aud": ["ledger"], "exp": pki.NOW + 300, "iat": pki.NOW - 10, "sub": "s1", **more}


TOKENS = [
    pki.token(pki.svid_claims()),
    pki.token(pki.svid_claims(exp=pki.NOW + 20)),
    pki.token(pki.svid_claims(sub=pki.LEDGER)),
    pki.token(claims(IDP, team="x")),
    pki.token(claims(IDP, team="y", exp=pki.NOW + 40)),
    pki.token(claims(USERS, team="x")),
    pki.token(claims(USERS, team=1)),
    pki.token(claims(USERS, team=True, nbf=pki.NOW + 15)),
    pki.token(claims(USERS, cnf={"x5t#S256": "x"})),
    pki.token(claims("https://elsewhere.example")),
    "not-a-token",
]
WIDE = grants.scope(grants.access(["GET", "POST"], ["a.example"], ["/v1/*"]))
NARROW = grants.scope(grants.access(["GET"], ["a.example"], ["/v1/accounts/7"]))
GRANTED = [
    sign_grant(grants.grant(id=grants.grant_id(number), holder=pki.PLANNER, **changes), grants.ED_KEY)
    for number, changes in enumerate(
        [
            {"scope": WIDE},
            {"scope": WIDE, "expires": grants.NOW + 20},
            {"scope": NARROW},
            {"scope": WIDE, "not_before": grants.NOW + 10},
            {"scope": WIDE, "uses": 2},
            {"scope": WIDE, "certificate": pki.fingerprint(LEAVES[0])},
            {"scope": WIDE, "task": grants.Task("task-2", "audit")},
            {"scope": WIDE, "delegators": (pki.LEDGER,)},
            {"scope": WIDE, "delegators": (pki.LEDGER, pki.ADMIN)},
            {"scope": WIDE, "delegators": (pki.ADMIN, pki.LEDGER)},
        ]
    )
]
TRANSACTION = {"iat": pki.NOW - 10, "exp": pki.NOW + 300, "aud": "prod.example", "txn": "t", "scope": "pay"}
TRANSACTIONS = [
    pki.token({**TRANSACTION, "sub": "alice", "req_wl": pki.PLANNER, **changes}, typ="txntoken+jwt")
    for changes in (
        {"tctx": {"n": 1, "task": "task-1"}},
        {"tctx": {"n": 2, "task": "task-1"}, "exp": pki.NOW + 25},
        {"req_wl": pki.LEDGER},
        {"sub": pki.ADMIN, "req_wl": pki.ADMIN},
        {"aud": "elsewhere.example"},
    )
]
DELEGATION = {
    "transaction_tokens": {
        "issuers": [{"issuer": "https://tts.example", "jwks": "x", "audiences": ["prod.example"]}],
    },
    "unseen_hops": "allow",
}
IDENTITY = {
    "trust_domain": "prod.example",
    "anonymous": "policy",
    "certificates": {"trust": "bundle"},
    "xfcc": {"mode": "sanitize_set"},
    "tokens": {
        "jwt_svid": {"audiences": ["ledger"]},
        "issuers": [
            {"issuer": IDP, "form": "oidc", "jwks": "x", "audiences": ["ledger"], "claims": ["team"]},
            {
                "issuer": USERS,
                "form": "oidc",
                "jwks": "x",
                "audiences": ["ledger"],
                "claims": ["team"],
                "binds": "other",
                "subject_kind": "human",
            },
        ],
    },
}
INVENTORY = parse_inventory(
    {"workloads": {pki.PLANNER: {"owner": "o", "kind": "agent", "clearance": 3}}}, "i", InventorySettings()
)
CATALOGUE = parse_catalogue(
    {
        "resources": [
            {"host": "*", "path": "/v1/accounts/{id}", "type": "account", "sensitivity": "internal"},
            {"host": "*", "path": "/v1/pay/{id}", "methods": ["POST"], "type": "pay", "cardholder_data": True},
            {"host": "*", "path": "tcp:5432", "methods": ["connect"], "type": "database"},
        ]
    },
    "c",
    CatalogueSettings(),
)
MODEL = """
[request_definition]
r = {tokens}
[policy_definition]
p = rule, eft, obligations
[role_definition]
g = _, _
g2 = _, _, (_, _)
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = eval(p.rule)
"""
GRANTS = """
g, spiffe://prod.example/ns/agents/*, callers
g, /v1/accounts/*, books
g, books, things
"""
TIMED = "g2, {planner}, night, 2026-09-21 14:26:50, _"
"""A role that holds for a time: nothing is used again."""
WHOLE = (
    "True",
    "r.sub.kind == 'agent'",
    "r.sub.kind == 'anonymous'",
    "r.sub.credential.kind == 'x509-svid'",
    "r.sub.credential.age < 70",
    "r.sub.credential.lifetime < 200",
    "r.sub.claims.team == 'x'",
    "r.sub.claims.team == 1",
    "r.sub.claims.team",
    "r.sub.sources == ('certificate', 'principal')",
    "r.sub.clearance > 2",
    f"r.sub.via('{pki.LEDGER}')",
    f"!r.sub.via('{pki.ADMIN}')",
    "via(r.sub.chain, 'spiffe://prod.example/*') && r.sub.depth < 2",
    "r.sub.origin != r.sub.id",
    "r.sub.transaction.valid",
    "r.sub.transaction.context.n == 1",
    "g(r.sub.id, 'callers')",
    "g(r.obj.path, 'things')",
    "g(r.obj.path, r.sub.owner)",
    "g2(r.sub.id, 'night')",
    "keyMatch(r.obj.path, '/v1/accounts/*')",
    "keyMatch2(r.obj.path, '/v1/:kind/7')",
    "r.obj.path in ('/v1/pay/7', 'tcp:5432')",
    "r.obj.id == '7'",
    "r.obj.type == 'database'",
    "r.obj.cardholder_data",
    "ipMatch(r.obj.host, '10.0.0.0/8')",
    "r.obj.port > 5000",
    "r.act.method == 'CONNECT'",
    "r.act.name == 'connect'",
    "r.act.protocol in ('tcp', 'grpc')",
    "r.act.query.dry == '1'",
    "r.act.kind == 'mcp'",
    "r.act.tool != 'pay' || r.act.args.amount <= 10",
    "keyMatch(r.obj.uri, 'file:///a*')",
    "ipMatch(r.env.source_address, '10.0.0.0/8')",
    "r.env.headers['x-tier'] == 'gold'",
    "r.env.metadata.ns.level > 0",
    "r.env.size == 0",
    "r.env.grant.valid",
    "r.env.grant.id == '0000000000000000000000'",
    "r.env.grant.age < 12",
    "r.env.task.purpose == 'audit'",
    "r.env.task.declared",
    "r.env.hour == 14",
    f"r.env.time < {pki.NOW + 25}",
    "timeMatch('_', '2026-09-21 14:27:10')",
)
MAY_ERR = ("context.n", "claims", "query", "headers", "metadata", "r.obj.host", "r.team", "r.ns", "r.tier")
MAPPED = {
    "sub": ("sub.id", ["r.sub == '{planner}'", "g(r.sub, 'callers')", "keyMatch(r.sub, 'spiffe://prod.example/*')"]),
    "obj": ("obj.path", ["keyMatch(r.obj, '/v1/*')", "g(r.obj, 'books')", "r.obj == 'tcp:5432'", "r.obj < '/v1/b'"]),
    "act": ("act.method", ["r.act == 'GET'", "r.act in ('POST', 'CONNECT')"]),
    "tier": ("env.headers.x-tier", ["r.tier == 'gold'"]),
    "time": ("env.time", [f"r.time < {pki.NOW + 25}", "r.time % 2 > 1"]),
    "age": ("sub.credential.age", ["r.age < 70"]),
    "team": ("sub.claims.team", ["r.team == 1"]),
    "grant": ("env.grant.id", ["r.grant == '0000000000000000000000'"]),
    "id": ("obj.id", ["r.id == '7'", "r.id in ('7', '8')"]),
    "ns": ("env.metadata.ns", ["r.ns.level > 0"]),
}
BODIES = (
    *(call("pay", amount=amount, note="x" * length) for amount in (1, 10, 11, 1.0, "1") for length in (0, 600)),
    call("read"),
    rpc("tools/list"),
    rpc("resources/read", {"uri": "file:///a"}),
    rpc("resources/read", {"uri": "file:///b/" + "x" * 600}),
    rpc("resources/read", {"uri": "file:///a/../b"}),
    [call("pay", amount=1), call("pay", amount=2)],
    [call("pay", amount=1), call("pay", amount=11)],
    [rpc("tools/list"), rpc("resources/read", {"uri": "file:///a"})],
)
TEMPLATES = (
    "{obj.id}",
    "{sub.claims.team}",
    "{env.headers}",
    "{env.metadata}",
    "{act.name} {sub.kind}",
    "{act.tool} {act.args} {obj.uri}",
    "{env.sni}",
    "{env.grant.issuer}",
    "{env.grant.id}",
)


class Pdp:
    """One PDP of a world: remembering, or made anew for every call."""

    def __init__(self, world, small):
        self.world = world
        self.small = small
        self.recalled = 0
        self.forget()

    def forget(self):
        """Begin with empty memories."""
        world, memo = self.world, {"max_memo_entries": self.world.memory if self.small else 1000}
        basis = basis_of((world.engine,), world.mapping, world.encoder.reads)
        settings = msgspec.convert({"expose_headers": ["x-tier"], "request": world.mapping, **memo}, BindSettings)
        binder = Binder(
            settings,
            CATALOGUE,
            reads_query=reads_attribute(world.engine.reads, world.mapping, "act.query"),
            classify=ResourceClasses(basis),
            read=ACTIONS,
        )
        resolver = IdentityResolver(msgspec.convert({**IDENTITY, **memo}, IdentitySettings), TRUST, INVENTORY)
        delegation = msgspec.convert({**DELEGATION, **memo}, DelegationSettings)
        self.current = Snapshot(
            version=world.version,
            loaded_at=0.0,
            resolver=resolver,
            canonicalise=Canonicaliser(msgspec.convert(memo, RequestRules)),
            binder=binder,
            engine=world.engine,
            read_tokens=token_values(world.engine.tokens, world.mapping),
            keys=KeyMaker(basis, binder),
            moment=world.moment,
            grants=GrantVerifier(grants.settings(**memo), grants.KEYS),
            chains=resolver.chains(delegation, grants=True),
            judges=world.judges,
        )
        # What recurs is known to the one that remembers only; to the other every message is the first.
        forms = {} if self.small else {"max_form_bytes": 0}
        codec = ExtAuthzCodec(DecodeSettings(metadata_namespaces=("ns",), **forms), world.encoder)
        self.recorder = Recorder(AuditSettings(args=("amount",)))
        self.cache = DecisionCache(
            CacheSettings(max_allowed_entries=12 if self.small else 0, max_denied_entries=12 if self.small else 0),
            LocalEpoch(),
        )
        self.checker = Checker(
            CheckerParts(
                snapshots=self,
                codec=codec,
                trail=self,
                meter=self,
                clock=lambda: world.now,
                monotonic=world.monotonic,
                new_id=world.new_id,
                report_fault=self.fault,
                cache=self.cache,
                standing=world,
            )
        )

    def fault(self, error):
        raise AssertionError("a fault in the PDP") from error

    def offer(self, outcome):
        self.outcome, self.record = outcome, json.loads(self.recorder.line(outcome))
        return True

    def decided(self, outcome):
        pass

    def ask(self, message):
        """What is answered, decided and recorded."""
        answer = self.checker.check(message, 60.0)
        if isinstance(answer, Pending):
            answer = answer.conclude(None)
        decided = self.outcome.decision_id
        for each_call_s_own in ("decision_id", "latency_us", "cached"):
            self.record.pop(each_call_s_own, None)
        self.recalled += self.outcome.recalled
        return answer.replace(decided.encode(), b"ID"), self.outcome.decision, self.record


class World:
    """A random policy, and calls that come again."""

    def __init__(self, seed, focus=""):
        """`focus`: a text that the rules' conditions must hold."""
        self.random = pick = random.Random(seed)
        self.now = pki.NOW
        self.ids = 0
        self.ticks = 0
        self.version = f"v{seed}"
        self.memory = pick.choice([2, 8, 8, 100])
        self.moment = Moment()
        self.revoked = set()
        self.judges = pick.choice([(), (every_hop_allowed,)])
        templates = {f"x-{number}": pick.choice(TEMPLATES) for number in range(pick.choice([0, 1, 2]))}
        mutations = {"told": MutationSettings(set_request_headers=templates), "plain": MutationSettings()}
        self.encoder = Encoder(ResponseSettings(mutations=mutations))
        self.listed = pick.random() < 0.5
        self.steps = 0
        mapped = pick.random() < 0.5 and not focus
        names = [*["sub", "obj", "act"], pick.choice(sorted(set(MAPPED) - {"sub", "obj", "act"}))] if mapped else []
        self.mapping = {name: MAPPED[name][0] for name in names}
        conditions = ["True", *[text for name in names for text in MAPPED[name][1]]] if mapped else WHOLE
        if pick.random() < 0.7:  # else most calls would err
            conditions = [text for text in conditions if not any(part in text for part in MAY_ERR)]
        conditions = [text for text in conditions if focus in text]
        rules = []
        for _ in range(pick.choice([1, 2, 4, 12])):
            rule = f" {pick.choice(['&&', '&&', '||'])} ".join(pick.sample(conditions, pick.choice([1, 1, 2])))
            effect = pick.choice(["allow", "allow", "allow", "deny"])
            demands = (
                pick.choice(["", "", "apply=told", "apply=plain", "max_age=3s", "grant=required"])
                if effect == "allow"
                else ""
            )
            rules.append(f"p, {rule}, {effect}, {demands}")
        self.text = ("\n".join(rules) + GRANTS + TIMED * (pick.random() < 0.1)).replace("{planner}", pki.PLANNER)
        self.engine = CompiledEngine.load(
            MODEL.format(tokens=", ".join(names or ["sub", "obj", "act", "env"])),
            "m",
            [("p", self.text)],
            known_obligations={APPLY, GRANT, MAX_AGE},
            settings=CompileSettings(roles=RoleSettings(role_matching={"g": "keyMatch"})),
            clock=self.moment,
        )
        bodies = pick.random() < 0.25
        self.new_message = partial(self.sibling, self.plain()) if focus else self.posted if bodies else self.message
        self.messages = [self.new_message() for _ in range(6)]
        self.remembering, self.fresh = Pdp(self, small=True), Pdp(self, small=False)

    def freshness(self):
        """How old what is known of revocations is."""
        return CURRENT

    def refusal(self, subject, grant, now):
        """What is revoked now."""
        if grant is not None and grant.id in self.revoked:
            return Reason.GRANT_REVOKED
        parties = {subject.id, *(hop.id for hop in subject.chain)}
        return None if self.revoked.isdisjoint(parties) else Reason.PRINCIPAL_REVOKED

    def monotonic(self):
        self.ticks += 1
        return self.ticks / 1e6

    def new_id(self):
        self.ids += 1
        return f"{self.ids:032x}"

    def plain(self):
        """A call that nothing is wrong with."""
        request = CheckRequest()
        request.attributes.source.certificate = PEMS[0]
        http = request.attributes.request.http
        http.method, http.host, http.path = "GET", "a.example", "/v1/accounts/7"
        return request.SerializeToString()

    def posted(self):
        """A call of an MCP server that nothing else is wrong with."""
        request = CheckRequest.FromString(self.plain())
        http = request.attributes.request.http
        http.method, http.path = "POST", "/mcp"
        http.headers["content-type"] = "application/json"
        http.raw_body = json.dumps(self.random.choice(BODIES)).encode()
        http.size = len(http.raw_body)
        return request.SerializeToString()

    def message(self):
        """A random call of either layer."""
        pick = self.random
        request = CheckRequest()
        attributes = request.attributes
        who = pick.randrange(len(LEAVES))
        proof = "xfcc" if who == CHAINED else pick.choice(["certificate", "certificate", "certificate", "xfcc", "none"])
        if proof == "certificate":
            attributes.source.certificate = PEMS[who]
            attributes.source.principal = URIS[who] if pick.random() < 0.98 else pki.LEDGER
        attributes.source.address.socket_address.address = pick.choice(["10.0.0.1", "192.0.2.1"])
        attributes.destination.address.socket_address.address = pick.choice(["10.9.9.9", "192.0.2.9"])
        attributes.destination.address.socket_address.port_value = pick.choice([5432, 6379])
        attributes.tls_session.sni = pick.choice(["a", "b"])
        if pick.random() < 0.4:
            level = attributes.metadata_context.filter_metadata["ns"].fields["level"]
            kind, value = pick.choice(
                [("number_value", 1), ("number_value", -0.0), ("number_value", 0.0), ("bool_value", True)]
            )
            setattr(level, kind, value)
        if pick.random() < 0.15:
            return request.SerializeToString()
        http = attributes.request.http
        http.method = pick.choice(["GET", "GET", "POST", *["CONNECT", "get"] * (pick.random() < 0.2)])
        odd = pick.random() < 0.15
        http.host = pick.choice(["a.example", "A.example", "a.example:8443", "10.1.1.1", *["a..b"] * odd])
        http.path = pick.choice(["/v1/accounts/7", "/v1/accounts/8", "/v1/pay/7", *["/v1/%61", "", "//"] * odd])
        http.path += pick.choice(["", "", "x" * 600, "?dry=1", *["?dry=1&dry=2", "?a=%00#"] * odd])
        http.size = pick.choice([0, 9])
        headers = http.headers
        if proof == "xfcc":
            chain = f';Chain="{pki.url_pem(LEAVES[who], MIDDLE.certificate)}"' if who == CHAINED else ""
            headers["x-forwarded-client-cert"] = f'Cert="{PEMS[who]}"{chain};URI={URIS[who]}'
        if proof == "none" or pick.random() < 0.25:
            headers["authorization"] = (
                f"Bearer {pick.choice(TOKENS if pick.random() < 0.5 else TOKENS[:1] + TOKENS[3:8])}"
            )
        if URIS[who] == pki.PLANNER and pick.random() < 0.5:
            headers["authz-grant"] = pick.choice(GRANTED)
        if URIS[who] == pki.PLANNER and pick.random() < 0.2:
            headers["txn-token"] = pick.choice(TRANSACTIONS)
        for name, value in _HEADERS:
            if pick.random() < 0.08:
                headers[name] = value
        return request.SerializeToString()

    def sibling(self, message):
        """The same call with another grant, or none."""
        request = CheckRequest.FromString(message)
        if request.attributes.request.HasField("http"):
            headers = request.attributes.request.http.headers
            headers.pop("authz-grant", None)
            if self.random.random() < 0.8:
                headers["authz-grant"] = self.random.choice(GRANTED)
        return request.SerializeToString()

    def step(self):
        """Ask both, and answer how they differ, or None."""
        pick = self.random
        self.now += pick.choice([0, 0, 0, 0, 0, 0.1, 0.4, 1.3, -0.1, -2])
        if pick.random() < 0.03:
            self.now = pki.NOW + pick.choice([-70, -11, 0, 14.9995, 24.9995, 29, 34, 39, 59.5, 62, 66, 300, 306])
        if pick.random() < 0.05:
            self.messages[pick.randrange(6)] = self.new_message()
        if pick.random() < 0.1:
            self.messages[pick.randrange(6)] = self.sibling(pick.choice(self.messages))
        if pick.random() < 0.05:
            self.revoked = (
                {pick.choice([pki.PLANNER, pki.LEDGER, grants.grant_id(0)])} if pick.random() < 0.5 else set()
            )
        self.steps += 1
        message = proxied(pick.choice(self.messages), self.steps, listed=self.listed)
        found = self.remembering.ask(message)
        self.fresh.forget()
        wanted = self.fresh.ask(message)
        return None if found == wanted else (self.now - pki.NOW, message, found, wanted)


_HEADERS = [
    ("x-tier", "gold"),
    ("x-tier", "tin"),
    ("content-type", "application/grpc"),
    ("content-type", "application/grpcx"),
    ("upgrade", "WebSocket"),
    ("x-task-id", "t1"),
    ("x-task-purpose", "audit"),
    ("x_authz_subject", "forged"),
    ("x-http-method", "PUT"),
    (":authority", "a.example"),
    ("x-request-id", "r1"),
]


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_answer_decision_and_record_are_those_of_a_pdp_that_remembers_nothing(seed):
    world = World(seed)
    for step in range(STEPS):
        assert world.step() is None, f"seed {seed}, step {step}, {world.mapping}:\n{world.text}"


def test_the_histories_use_decisions_again():
    worlds = [World(seed) for seed in range(16)]
    for world in worlds:
        for _ in range(100):
            world.step()
    stats = [world.remembering.cache.stats for world in worlds]
    assert sum(each.hits_allowed for each in stats) > 20
    assert sum(each.hits_denied for each in stats) > 20
    assert sum(world.remembering.recalled for world in worlds) > 20


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_calls_that_differ_by_their_grants(seed):
    world = World(seed, focus="r.env.grant.")
    for step in range(STEPS):
        assert world.step() is None, f"seed {seed}, step {step}:\n{world.text}"


@pytest.mark.parametrize("seed", range(HISTORIES // 2))
def test_calls_that_differ_by_their_chains(seed):
    world = World(seed, focus="via(")
    for step in range(STEPS):
        assert world.step() is None, f"seed {seed}, step {step}:\n{world.text}"


def test_a_key_without_the_grant_is_found_out(monkeypatch):
    whole = KeyMaker.key

    def without_grant(self, call, asked, *more):
        return whole(self, call, msgspec.structs.replace(asked, grant_key=""), *more)

    monkeypatch.setattr(KeyMaker, "key", without_grant)
    worlds = [World(seed, focus="r.env.grant.") for seed in range(12)]
    assert any(world.step() is not None for world in worlds for _ in range(150))
