"""Two PDPs over the same random policies, requests and clock: one that uses decisions again, one that never does."""

import json
import random

import grant_kit
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from proxied import proxied

from authz.actions.mcp.decoder import McpDecoder
from authz.actions.mcp.settings import McpSettings
from authz.actions.reader import ActionReader
from authz.actions.settings import ActionSettings, RouteSettings
from authz.budgets.ledger import Ledger
from authz.budgets.settings import BreakerSettings, BudgetSettings, TaskSettings
from authz.decision.bind import Binder, BindSettings, reads_attribute, token_values
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.catalogue import CatalogueSettings, parse_catalogue
from authz.decision.check import Checker, CheckerParts
from authz.decision.hops import PAIR, PairJudge, every_hop_allowed
from authz.decision.key import KeyMaker, ResourceClasses, basis_of
from authz.decision.snapshot import Moment, Snapshot
from authz.decision.spending import NOTHING_COSTS, Accounts, NoStore
from authz.errors import PolicyError, Reason, Refusal
from authz.extauthz.canonical import Canonicaliser, RequestRules
from authz.extauthz.codec import ExtAuthzCodec
from authz.extauthz.mutations import MutationSettings
from authz.extauthz.request import DecodeSettings
from authz.extauthz.response import Encoder, ResponseSettings
from authz.grants.changes import CutOff, CutOffKind, EndCutOff, Restore, RevocationKind, Revoke
from authz.grants.revocations import RevocationView
from authz.grants.revoked import Revoked
from authz.grants.scope import access
from authz.grants.token import sign_grant
from authz.grants.verifier import GrantVerifier
from authz.identity.chains import ChainJoiner
from authz.identity.delegation import DelegationSettings
from authz.identity.inventory import EMPTY_INVENTORY
from authz.identity.sharing import SharingTracker
from authz.identity.sharing_settings import SharingSettings
from authz.identity.subjects import SubjectFactory
from authz.identity.transactions import TransactionSettings, TransactionVerifier
from authz.model import CURRENT, Credential, Kind, Subject
from authz.policy.compile import CompiledEngine
from authz.policy.obligations import APPLY, GRANT, LOG, MAX_AGE
from authz.policy.source import Sections
from authz.spiffe import TrustDomain

START = 1_795_483_170.0  # 2026-11-24 01:19:30 UTC, a Tuesday
MARKS = [START + seconds for seconds in (0, 30, 40, 50, 100, 330, 2_430, 81_630)]
"""Moments at which some condition below changes: an hour ends at one, and the day."""
EFFECTS = (
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "some(where (p.eft == allow))",
    "priority(p.eft) || deny",
)
MODEL = """
[request_definition]
r = sub, obj, act, env
r2 = delegator, delegate, obj, act, env
[policy_definition]
p = name, rule, path, method, eft, obligations
p2 = rule, obligations
[policy_effect]
e = {effect}
e2 = some(where (p.eft == allow))
[matchers]
m = {matcher}
m2 = eval(p2.rule)
"""
MATCHERS = (
    "keyMatch(r.obj.path, p.path) && keyMatch(r.act.method, p.method) && eval(p.rule)",
    "eval(p.rule) && keyMatch2(r.obj.path, p.path) && r.act.method in (p.method, 'HEAD')",
    "(r.sub.kind == 'agent' || eval(p.rule)) && keyMatch(r.obj.path, p.path)",
)
CONDITIONS = (
    "True",
    "r.sub.kind == 'agent'",
    "r.sub.id == 'spiffe://td/a'",
    "r.sub.id != 'spiffe://td/b'",
    "r.sub.clearance > 2",
    "r.sub.claims.team == 'x'",
    "r.sub.sources == r.sub.hops",
    "r.obj.id == '7'",
    "r.obj.id in ('1', '2', '12')",
    "'1' in r.obj.id",
    "r.obj.id in ('1' + '2')",
    "r.obj.id not in ('1' + '4')",
    "r.obj.id < '13'",
    "r.act.method >= 'HEAD'",
    "r.obj.sensitivity == 'restricted'",
    "r.obj.cardholder_data",
    "r.obj.host == 'a.example'",
    "r.obj.port == 8443",
    "keyMatch2(r.obj.path, '/v1/docs/:name')",
    "keyMatch5(r.obj.path, '/v1/{kind}/7')",
    "regexMatch(r.obj.path, '^/v1/[a-z]+/[0-9]*[02468]$')",
    "globMatch(r.obj.path, '/v1/*/1*')",
    "keyGet2(r.obj.path, '/v1/accounts/:id', 'id') == '1'",
    "ipMatch(r.env.source_address, '10.0.0.0/8')",
    "r.env.source_address == '10.0.0.1'",
    "r.act.protocol == 'grpc'",
    "r.act.name == 'GET'",
    "r.act.query.dry == '1'",
    "r.env.headers['x-tier'] == 'gold'",
    "r.env.context.tenant == 'a'",
    "r.env.context == r.env.metadata",
    "r.env.metadata.ns.level == 1",
    "r.env.metadata.ns.level",
    "r.env.metadata.ns.level > 0",
    "r.env.size > 10",
    "r.env.body_partial",
    "r.env.task.id == 't1'",
    "r.env.task.purpose == 'audit'",
    "r.env.hour < 2",
    "r.env.weekday == 1",
    f"r.env.time < {START + 100}",
    f"r.env.time >= {START + 40} && r.env.time <= {START + 4000}",
    f"r.env.time == {START + 50}",
    "r.env.time % 4 < 2",
    "r.sub.credential.age < 90",
    "30 <= r.sub.credential.age",
    "r.sub.credential.age > 600 && r.sub.credential.lifetime < 4000",
    "r.sub.credential.kind == 'x509-svid'",
    "r.env.grant.valid",
    "r.env.grant.valid && r.env.grant.id == '0000000000000000000001'",
    "r.env.grant.lifetime < 500",
    "r.env.grant.age > 45",
    "!r.env.grant.valid || r.env.grant.age <= 200",
    "r.env.task.purpose == 'pay' && !r.env.task.declared",
    "timeMatch('2026-11-24 01:20:00', '2026-11-24 01:25:00')",
    "timeMatch('_', '2026-11-24 02:00:00')",
    "'spiffe://td/c' in r.sub.chain",
    "r.sub.via('spiffe://td/c')",
    "via(r.sub.chain, 'spiffe://td/*') && r.sub.depth < 2",
    "!r.sub.via('spiffe://td/d')",
    "r.sub.origin == 'spiffe://td/d'",
)
BODY_CONDITIONS = (
    "r.act.kind == 'mcp'",
    "r.act.tool == 'pay'",
    "r.act.tool != 'pay' || r.act.args.amount <= 10",
    "keyMatch(r.act.name, 'mcp:tools/*')",
    "r.act.name == 'mcp:tools/call:pay'",
    "r.act.tool != 'pay' || r.act.args.amount > 5",
    "r.act.tool == 'pay' && r.act.args.amount == 10",
    "r.act.tool != 'pay' || r.act.args.amount != 10 && 3 < r.act.args.amount",
    "r.act.tool != 'pay' || r.act.args.amount <= 9007199254740993",
    "r.act.tool == 'pay' && r.act.args.to.account == '42'",
    "r.act.args == r.env.metadata",
    "r.obj.uri == 'file:///a'",
    "keyMatch(r.obj.uri, 'file:///a*')",
)
"""Of which most err, or are false, for whatever has no body: for histories that have many."""
SHARING_CONDITIONS = (
    "!r.sub.shared",
    "r.sub.shared || r.sub.sharing.owners == 2",
    "r.sub.sharing.addresses < 2",
    "r.sub.sharing.certificates in (1, 2)",
)
"""Only where they are asked for: what they read changes so often that little would be used again."""
SHARING_FOCUS = "r.sub.shar"
ID_CONDITIONS = ("r.env.headers['x-request-id'] < '00000080'", "r.env.headers['x-request-id'] > '00000040'")
"""They hold for the first requests, or the last: what differs in every request decides."""
ID_FOCUS = "x-request-id"
SHARING = SharingSettings(
    window_seconds=10.0,
    resolution_seconds=0.01,
    address_handover_seconds=0.0,
    certificate_handover_seconds=0.0,
    task_owner_header="x-owner",
    max_identities=8,
)
PAIRS = (
    "True",
    "r2.delegator.id == 'spiffe://td/d'",
    "r2.delegate.id != 'spiffe://td/b'",
    "r2.delegate.depth < 2",
    "r2.delegate.credential.age < 90 || r2.delegate.id == 'spiffe://td/c'",
    "r2.obj.id in ('1', '2', '12')",
    "r2.act.query.dry == '1' || r2.env.size > 10",
    "r2.env.hour < 2",
    "r2.env.source_address == '10.0.0.1'",
)
"""What rules about delegation ask of two neighbours of a chain."""
FOCUSES = (
    "",
    "",
    "r.sub.",
    "r.obj.",
    "r.env.metadata",
    "credential.age",
    "r.env.hour",
    "r.env.time",
    "timeMatch",
    "r.act.",
    "r.act.args",
    "r.act.",
    "r.obj.uri",
    "via(",
)
BODIES = (
    *(
        {"name": "pay", "arguments": {"amount": amount}}
        for amount in (1, 3, 10, 10.0, 10.5, 11, "10", True, None, 2.0**53)
    ),
    {"name": "pay", "arguments": {"to": {"account": "42"}, "amount": 4}},
    {"name": "pay", "arguments": {"to": {"account": 42}}},
    {"name": "pay"},
    {"name": "read", "arguments": {"amount": 1}},
)
"""What tools are called with, some of it alike to some rules."""
PATHS = ("/v1/accounts/*", "/v1/docs/*", "/v1/accounts/7", "/v1/*", "*", "/v1/pay/*", "/mcp")
OBLIGATIONS = ("", "", "", "grant=required", "max_age=2s", "max_age=0s", "apply=told", "max_age=30s;apply=plain")
CATALOGUE = {
    "resources": [
        {"host": "*", "path": "/v1/accounts/{id}", "type": "account", "sensitivity": "internal"},
        {"host": "a.example", "path": "/v1/accounts/{id}", "type": "account", "sensitivity": "restricted"},
        {"host": "*", "path": "/v1/pay/{id}", "methods": ["POST"], "type": "payment", "cardholder_data": True},
        {"host": "*", "path": "/v1/docs/*", "type": "document"},
    ]
}
DOMAINS = frozenset({TrustDomain("td")})
BUDGETS = (
    BudgetSettings(name="calls", limit=60, window_seconds=30.0, slots=5),
    BudgetSettings(name="wide", count="resources", per=("task",), limit=6, window_seconds=10.0),
    BudgetSettings(name="again", count="retries", limit=9, window_seconds=5.0),
)
FACTS = (
    "r.env.task.calls < 9",
    "r.env.task.calls % 5 < 4",
    "r.env.task.denials < 5",
    "'restricted' in r.env.task.seen",
    "r.env.task.seen == r.sub.hops",
    "r.env.task.max_sensitivity != 'restricted'",
    "r.env.task.first_use",
    "r.env.zone == 'office'",
)
GRANTS = grant_kit.settings(leeway_seconds=0.0)
ACTIONS = ActionReader(
    ActionSettings(
        routes=(RouteSettings(decoder="few", host="a.example", path="/mcp"), RouteSettings(decoder="mcp", path="/mcp"))
    ),
    {"mcp": McpDecoder(McpSettings(tools=("pay", "read"))), "few": McpDecoder(McpSettings(tools=("read",)))},
)


def _token(number, holder, lifetime, *, task="t1", path="/v1/*", via=""):
    issued = int(START) - 30
    grant = grant_kit.grant(
        id=grant_kit.grant_id(number),
        holder=f"spiffe://td/{holder}",
        delegators=tuple(f"spiffe://td/{name}" for name in via),
        task=grant_kit.Task(task, "pay"),
        scope=grant_kit.scope(access(["GET"], ["a.example"], [path])),
        issued_at=issued,
        not_before=issued,
        expires=issued + lifetime,
    )
    return sign_grant(grant, grant_kit.ED_KEY)


TOKENS = (
    _token(1, "a", 120),
    _token(2, "a", 600),
    _token(3, "b", 300, task="t2"),
    _token(4, "b", 300, path="/v1/accounts/*"),
    _token(5, "a", 300, via="cd"),
    _token(6, "b", 200, via="d", task="t2"),
    "no grant at all",
)
HOLDERS = "aabbab"
CHANGES = (
    Revoke(RevocationKind.PRINCIPAL, "spiffe://td/a"),
    Restore(RevocationKind.PRINCIPAL, "spiffe://td/a"),
    Revoke(RevocationKind.PRINCIPAL, "spiffe://td/b", START + 60),
    Restore(RevocationKind.PRINCIPAL, "spiffe://td/b"),
    Revoke(RevocationKind.PRINCIPAL, "spiffe://td/d", START + 60),
    Restore(RevocationKind.PRINCIPAL, "spiffe://td/d"),
    Revoke(RevocationKind.TASK, "t1", START + 200),
    Restore(RevocationKind.TASK, "t1"),
    Revoke(RevocationKind.GRANT, grant_kit.grant_id(4)),
    Restore(RevocationKind.GRANT, grant_kit.grant_id(4)),
    CutOff(CutOffKind.PRINCIPAL, "spiffe://td/c", START - 100),
    EndCutOff(CutOffKind.PRINCIPAL, "spiffe://td/c"),
)
TOLD = ({"x-resource": "{obj.id}", "x-purpose": "{env.task.purpose}"}, {"x-kind": "{sub.kind}"})


class World:
    """One random history; `step` is one request, `drift` moves what lies under it."""

    def __init__(self, seed, focus=None, *, accounts=False, **settings):
        """`focus`: a text that the conditions must hold, so that what it names comes up often; None: any, or none.

        `accounts`: what tasks did is remembered, budgets hold, and rules read both.
        """
        self.random = random.Random(seed)
        self.accounts = accounts
        focus = self.random.choice(FOCUSES) if focus is None else focus
        self.presents = 0.8 if "grant" in focus or "via" in focus else 0.1
        """How many requests come with a grant that may be presented."""
        self.tells = 0.9 if "metadata" in focus else 0.4
        """How many come with metadata of the proxy."""
        self.calls_tools = focus == "r.act.args"
        """Whether bodies do nothing else."""
        about_bodies = focus.startswith(("r.act.", "r.obj.uri"))
        self.posts = 0.8 if about_bodies else 0.03
        """How many have a body that is read."""
        self.shares = focus == SHARING_FOCUS
        reads_ids = focus == ID_FOCUS
        every = (
            *CONDITIONS,
            *ID_CONDITIONS * reads_ids,
            *SHARING_CONDITIONS * self.shares,
            *BODY_CONDITIONS * about_bodies,
        )
        self.conditions = [text for text in (FACTS if accounts else every) if accounts or focus in text]
        if self.calls_tools and not accounts:  # what reads all arguments at once would hide that one of them is missing
            self.conditions = [text for text in self.conditions if ".args." in text]
        self.now = START
        self.epoch = LocalEpoch()
        mutations = {
            "told": MutationSettings(set_request_headers=self.random.choice(TOLD)),
            "plain": MutationSettings(remove_request_headers=("cookie",)),
        }
        self.encoder = Encoder(ResponseSettings(mutations=mutations))
        self._speak()
        self.listed = self.random.random() < 0.5
        self.bind = BindSettings(
            expose_headers=("x-tier", *["x-request-id"] * reads_ids),
            zones={"office": ("10.0.0.0/31",), "lab": ("10.0.0.1/32",)},
        )
        self.catalogue = parse_catalogue(CATALOGUE, "c", CatalogueSettings())
        self.subjects = [self._subject(name) for name in "abcd"]
        self.messages: list[bytes] = []
        self.view = RevocationView(Revoked(0.0, 1_000))
        self.sharing = SharingTracker(SHARING)
        self.hits = 0
        self.recalled = 0
        self.steps = 0
        self.reload()
        self.cache = DecisionCache(CacheSettings(**settings), self.epoch)
        none = CacheSettings(max_allowed_entries=0, max_denied_entries=0)
        self.cached = _Side(self, self.cache, self.codec)
        self.fresh = _Side(self, DecisionCache(none, LocalEpoch()), self.thorough)

    def _speak(self):
        """The codec, and one that reads each message anew, so that no call is known to come again."""
        self.codec = ExtAuthzCodec(DecodeSettings(metadata_namespaces=("ns",)), self.encoder)
        self.thorough = ExtAuthzCodec(DecodeSettings(metadata_namespaces=("ns",), max_form_bytes=0), self.encoder)

    def _subject(self, name):
        pick = self.random
        begun = START - pick.choice([0, 20, 30, 60, 300, 900])
        return Subject(
            id=f"spiffe://td/{name}",
            kind=pick.choice([Kind.AGENT, Kind.WORKLOAD]),
            trust_domain="td",
            sources=("certificate",),
            credential=Credential("x509-svid", name, begun, begun + pick.choice([100, 400, 3_000, 3_600, 200_000])),
            claims=pick.choice([{}, {"team": "x"}]),
            attributes={"clearance": pick.randrange(5)},
        )

    # The Resolver and the snapshot holder of both sides.

    def identify(self, call, now):
        for subject in self.subjects:
            if subject.id == call.principal:
                if not subject.credential.not_before <= now < subject.credential.not_after:
                    raise Refusal(Reason.CERTIFICATE_EXPIRED)
                return subject
        raise Refusal(Reason.IDENTITY_MISSING)

    def refusal(self, subject, grant, now):
        return self.view.refusal(subject, grant, now)

    def freshness(self):
        return CURRENT

    @property
    def current(self):
        return self.snapshot

    def reload(self):
        """Put another random policy in force; one that does not load changes nothing (I11)."""
        pick = self.random
        model = MODEL.format(effect=pick.choice(EFFECTS), matcher=pick.choice(MATCHERS))
        rules = []
        for number in range(pick.choice([1, 3, 8, 20])):
            rule = " && ".join(self._conditions())
            effect = pick.choice(["allow", "allow", "deny"])
            demands = pick.choice(OBLIGATIONS) if effect == "allow" else ""
            method = pick.choice(["GET", "POST", "*"])
            rules.append(f"p, n{number}, {rule}, {pick.choice(PATHS)}, {method}, {effect}, {demands}")
        rules.extend(
            f"p2, {pick.choice(PAIRS)}, {pick.choice(['', '', 'max_age=2s'])}" for _ in range(pick.choice([0, 1, 3]))
        )
        judged = pick.choice([(), (), ("hops",), ("pairs",), ("hops", "pairs")])
        self.judged = () if self.posts > 0.5 else judged  # one at a time, or what is looked for comes up too rarely
        try:
            self._put_in_force(model, "\n".join(rules), {})
        except PolicyError:
            if not hasattr(self, "snapshot"):
                self.reload()

    def _put_in_force(self, model, rules, mapping):
        moment = Moment()
        engine = CompiledEngine.load(
            model, "m", [("p", rules)], known_obligations={APPLY, GRANT, LOG, MAX_AGE}, clock=moment
        )
        pairs = [engine.under(Sections.numbered(2))] if "pairs" in self.judged else []
        judges = [every_hop_allowed] if "hops" in self.judged else []
        stands_for = {**mapping, **dict.fromkeys(PAIR, "sub")}
        basis = basis_of((engine, *pairs), stands_for, self.encoder.reads)
        binder = Binder(
            self.bind,
            self.catalogue,
            reads_query=reads_attribute(engine.reads.union(*(one.reads for one in pairs)), stands_for, "act.query"),
            classify=ResourceClasses(basis),
            read=ACTIONS,
        )
        self.snapshot = Snapshot(
            version=f"v{self.random.random()}",
            loaded_at=self.now,
            resolver=self,
            canonicalise=Canonicaliser(RequestRules()),
            binder=binder,
            engine=engine,
            read_tokens=token_values(engine.tokens, mapping),
            keys=KeyMaker(basis, binder),
            moment=moment,
            grants=GrantVerifier(GRANTS, grant_kit.KEYS),
            chains=ChainJoiner(
                DelegationSettings(),
                TransactionVerifier(TransactionSettings(), {}, DOMAINS, 0.0, 64),
                SubjectFactory((), EMPTY_INVENTORY),
                DOMAINS,
                {},
            ),
            judges=(*judges, *map(PairJudge, pairs)),
        )
        self.rules = model + rules

    def drift(self):
        """Move the clock, mostly a little, now and then back or to a moment that matters; renew, reload, invalidate."""
        pick = self.random
        what = pick.random()
        if what < 0.30:
            self.now += pick.choice([0.0, 0.001, 0.4, 1.3])
        elif what < 0.32:
            self.now += pick.choice([7, 29, 61])
        elif what < 0.34:
            self.now -= pick.choice([0.5, 3, 40])
        elif what < 0.355:
            self.now = pick.choice(MARKS) - pick.choice([0.0, 0.3, 1.0])
        elif what < 0.38:
            at = pick.randrange(len(self.subjects))
            self.subjects[at] = self._subject(self.subjects[at].id[-1])
        elif what < 0.385:
            self.reload()
        elif what < 0.39:
            self.epoch.advance()
        elif what < 0.40:
            self.view.apply(self.view.sequence + 1, pick.choice(CHANGES))

    def _conditions(self):
        pick = self.random
        return [pick.choice(self.conditions), *pick.sample(CONDITIONS, pick.choice([0, 0, 1]))]

    def asked_again(self):
        """A message: nearly always one of a few that were sent before."""
        pick = self.random
        if len(self.messages) < 8 or pick.random() < 0.02:
            self.messages.append(self.message())
        elif pick.random() < 0.08:
            self.messages.append(self._sibling(pick.choice(self.messages)))
        else:
            return pick.choice(self.messages)
        del self.messages[:-12]
        return self.messages[-1]

    def _sibling(self, message):
        """The same request but for one part."""
        request, other = CheckRequest.FromString(message), CheckRequest.FromString(self.message())
        ours, theirs = request.attributes, other.attributes
        part = self.random.choice(["source", "request", "context_extensions", "metadata_context", "headers", "http"])
        if part == "headers":
            ours.request.http.headers.clear()
            ours.request.http.headers.update(theirs.request.http.headers)
        elif part == "http":
            name = self.random.choice(["method", "host", "path", "size", "raw_body"])
            setattr(ours.request.http, name, getattr(theirs.request.http, name))
            if name == "raw_body":
                ours.request.http.size = len(ours.request.http.raw_body)
        else:
            ours.ClearField(part)
            if part == "context_extensions":
                ours.context_extensions.update(theirs.context_extensions)
            else:
                getattr(ours, part).CopyFrom(getattr(theirs, part))
        return request.SerializeToString()

    def message(self):
        """A random request from few enough that they come again."""
        pick = self.random
        request = CheckRequest()
        attributes = request.attributes
        attributes.source.principal = f"spiffe://td/{pick.choice('abcde')}"
        attributes.source.address.socket_address.address = pick.choice(["10.0.0.1", "10.0.0.2", "192.0.2.1"])
        http = attributes.request.http
        http.method = pick.choice(["GET", "GET", "POST", "HEAD"])
        http.host = pick.choice(["a.example", "b.example", "a.example:8443"])
        http.path = pick.choice(["/v1/accounts/", "/v1/docs/", "/v1/pay/", "/health/"]) + pick.choice(
            ["1", "2", "7", "12", "14", "x", "1/2"]
        )
        http.path += pick.choice(["", "", "", "?dry=1", "?dry=0", "?dry=1&dry=2"])
        http.size = pick.choice([0, 20])
        if pick.random() < 0.5:
            for name, values in _HEADERS.items():
                if pick.random() < 0.3:
                    http.headers[name] = pick.choice(values)
        if pick.random() < 0.4:
            attributes.context_extensions["tenant"] = pick.choice(["a", "b"])
        if pick.random() < self.tells:
            level = attributes.metadata_context.filter_metadata["ns"].fields["level"]
            kind, value = pick.choice(
                [("number_value", 1), ("bool_value", True), ("string_value", "1"), ("number_value", 0)]
            )
            setattr(level, kind, value)
        if pick.random() < self.presents:
            at = pick.randrange(len(HOLDERS))
            attributes.source.principal = f"spiffe://td/{HOLDERS[at]}"
            http.method, http.host, http.path = "GET", "a.example", f"/v1/accounts/{pick.choice('127')}"
            http.headers[GRANTS.header] = TOKENS[at]
        if pick.random() < self.posts:
            self._post(http)
        return request.SerializeToString()

    def _post(self, http):
        """Make a request one to an MCP server, now and then a batch."""
        pick = self.random
        http.method, http.path = "POST", "/mcp"
        http.headers["content-type"] = "application/json"
        body = (
            self._rpc()
            if self.calls_tools or pick.random() < 0.85
            else [self._rpc() for _ in range(pick.choice([1, 2, 3]))]
        )
        http.raw_body = json.dumps(body).encode()
        http.size = len(http.raw_body)

    def _rpc(self):
        pick = self.random
        what = 1.0 if self.calls_tools else pick.random()
        if what < 0.15:
            asked = {"method": "tools/list"}
        elif what < 0.3:
            uri = pick.choice(["file:///a", "file:///a/b", "file:///b", "file:///a/../b"])
            asked = {"method": "resources/read", "params": {"uri": uri}}
        else:
            asked = {"method": "tools/call", "params": pick.choice(BODIES)}
        return {"jsonrpc": "2.0", "id": 1, **asked}

    def step(self):
        """Ask both sides the same, and answer how their answers differ, or None."""
        self.drift()
        message = proxied(self.asked_again(), self.steps, listed=self.listed)
        told, outcome = self.cached.ask(message)
        wanted, expected = self.fresh.ask(message)
        self.steps += 1
        self.hits += outcome.cached
        self.recalled += outcome.recalled
        if told != wanted or outcome.decision != expected.decision:
            return message, outcome, expected
        return None


_HEADERS = {
    "x-tier": ["gold", "tin"],
    "content-type": ["application/grpc", "application/json"],
    "upgrade": ["websocket"],
    "x-task-id": ["t1", "t2"],
    "x-task-purpose": ["audit", "p"],
    "x-authz-subject": ["forged"],
    GRANTS.header: TOKENS,
    "x-envoy-auth-partial-body": ["true", "false"],
}


class _Side:
    def __init__(self, world, cache, codec):
        self.outcome = None
        self.ledger = Ledger(BUDGETS, TaskSettings(breaker=BreakerSettings(denials=25, suspend_seconds=5.0)))
        parts = CheckerParts(
            snapshots=world,
            codec=codec,
            trail=self,
            meter=self,
            clock=lambda: world.now,
            monotonic=lambda: max(0.0, world.now - START) if world.accounts else 0.0,
            new_id=lambda: "0123456789abcdef" * 2,
            report_fault=self.fault,
            cache=cache,
            standing=world,
            sharing=world.sharing,
            spending=Accounts(self.ledger, START, NoStore(), tracks=True) if world.accounts else NOTHING_COSTS,
        )
        self.checker = Checker(parts)

    def offer(self, outcome):
        self.outcome = outcome
        return True

    def decided(self, outcome):
        pass

    def fault(self, error):
        raise AssertionError("a fault in the PDP") from error

    def ask(self, message):
        return CheckResponse.FromString(self.checker.check(message, 60.0)), self.outcome


class Fixed(World):
    """A world of one policy that stays: agents a to d, and one rule that allows."""

    def __init__(self, rule, *, tokens=(), mapping=None, told=None, obligations="", **settings):
        """`tokens`: further ones of the request, each of which `mapping` explains."""
        self._policy = rule, tokens, mapping or {}, told, obligations
        super().__init__(0, focus="", **settings)
        self.subjects = [
            Subject(
                id=f"spiffe://td/{name}",
                kind=Kind.AGENT,
                credential=Credential("x509-svid", name, START - 10, START + 90_000),
            )
            for name in "abcd"
        ]

    def reload(self):
        rule, tokens, mapping, told, obligations = self._policy
        self.judged = ()
        if told:
            self.encoder = Encoder(ResponseSettings(mutations={"told": told}))
            self._speak()
        model = MODEL.format(effect=EFFECTS[0], matcher="eval(p.rule)")
        model = model.replace("r = sub, obj, act, env", ", ".join(("r = sub, obj, act, env", *tokens)))
        model = model.replace("name, rule, path, method, eft", "rule, eft")
        self._put_in_force(model, f"p, {rule}, allow, {'apply=told' if told else obligations}", mapping)


def question(path="/v1/x", *, who="a", headers=(), metadata=(), context=()):
    """A CheckRequest."""
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.principal = f"spiffe://td/{who}"
    attributes.context_extensions.update(dict(context))
    http = attributes.request.http
    http.method, http.host, http.path = "GET", "a.example", path
    http.headers.update(dict(headers))
    for name, value in dict(metadata).items():
        attributes.metadata_context.filter_metadata["ns"].fields[name].number_value = value
    return request.SerializeToString()
