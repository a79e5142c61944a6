"""I7: what a chain may do is what each of its parties may do by itself, as far as each may act for the one before it.

Against brute force: a table of who may do what, and of who may act for whom, asked party by party.
"""

import itertools

import grant_kit
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.decision.bind import Binder, BindSettings, token_values
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.catalogue import EMPTY_CATALOGUE
from authz.decision.check import Checker, CheckerParts
from authz.decision.hops import PAIR, PairJudge, every_hop_allowed
from authz.decision.key import KeyMaker, ResourceClasses, basis_of
from authz.decision.snapshot import Moment, Snapshot
from authz.extauthz.canonical import Canonicaliser, RequestRules
from authz.extauthz.codec import ExtAuthzCodec
from authz.extauthz.request import DecodeSettings
from authz.extauthz.response import Encoder, ResponseSettings
from authz.grants.scope import access
from authz.grants.token import sign_grant
from authz.grants.verifier import GrantVerifier
from authz.identity.bundles import Trust
from authz.identity.delegation import DelegationSettings
from authz.identity.inventory import EMPTY_INVENTORY
from authz.identity.resolve import IdentityResolver, IdentitySettings
from authz.policy.compile import CompiledEngine
from authz.policy.source import Sections

NAMES = "abcdef"
PATHS = ("/x", "/y")
MODEL = """
[request_definition]
r = sub, obj, act, env
r2 = delegator, delegate, obj
[policy_definition]
p = who, path, eft
p2 = giver, taker
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
e2 = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.who && r.obj.path == p.path
m2 = r2.delegator.id == p2.giver && r2.delegate.id == p2.taker
"""


def party(name):
    return f"spiffe://td/{name}"


class World:
    """A PDP with a cache, over a table of rules."""

    def __init__(self, rules, pairs, *, hops, acts):
        text = "\n".join(
            [f"p, {party(who)}, {path}, {effect}" for who, path, effect in rules]
            + [f"p2, {party(giver)}, {party(taker)}" for giver, taker in pairs]
        )
        engine = CompiledEngine.load(MODEL, "m", [("p", text)])
        about = engine.under(Sections.numbered(2))
        encoder = Encoder(ResponseSettings())
        basis = basis_of((engine, about), dict.fromkeys(PAIR, "sub"), encoder.reads)
        binder = Binder(BindSettings(), EMPTY_CATALOGUE, classify=ResourceClasses(basis))
        identity = IdentitySettings(trust_domain="td", require_certificate=False)
        resolver = IdentityResolver(identity, Trust(), EMPTY_INVENTORY)
        judges = ([every_hop_allowed] if hops else []) + ([PairJudge(about)] if acts else [])
        self.current = Snapshot(
            version="v",
            loaded_at=0.0,
            resolver=resolver,
            canonicalise=Canonicaliser(RequestRules()),
            binder=binder,
            engine=engine,
            read_tokens=token_values(engine.tokens, {}),
            keys=KeyMaker(basis, binder),
            moment=Moment(),
            grants=GrantVerifier(grant_kit.settings(max_delegations=8), grant_kit.KEYS),
            chains=resolver.chains(DelegationSettings(), grants=True),
            judges=tuple(judges),
        )
        self.checker = Checker(
            CheckerParts(
                snapshots=self,
                codec=ExtAuthzCodec(DecodeSettings(), encoder),
                trail=self,
                meter=self,
                clock=lambda: float(grant_kit.NOW),
                monotonic=lambda: 0.0,
                new_id=lambda: "0123456789abcdef" * 2,
                report_fault=self.fault,
                cache=DecisionCache(CacheSettings(), LocalEpoch()),
            )
        )

    def offer(self, outcome):
        return True

    def decided(self, outcome):
        pass

    def fault(self, error):
        raise AssertionError("a fault in the PDP") from error

    def allows(self, chain, path):
        request = CheckRequest()
        request.attributes.source.principal = party(chain[-1])
        http = request.attributes.request.http
        http.method, http.host, http.path = "GET", "h", path
        http.headers["authz-grant"] = token(chain)
        answer = self.checker.check(request.SerializeToString(), 60.0)
        return CheckResponse.FromString(answer).status.code == 0


def token(chain):
    return sign_grant(
        grant_kit.grant(
            holder=party(chain[-1]),
            delegators=tuple(party(name) for name in reversed(chain[:-1])),
            scope=grant_kit.scope(access(["*"], ["*"], ["/*"])),
        ),
        grant_kit.ED_KEY,
    )


RULES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(PATHS), st.sampled_from(["allow", "allow", "allow", "deny"])),
    max_size=14,
)
PAIRS = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=20)
CHAINS = st.lists(st.permutations(NAMES).flatmap(lambda names: st.integers(1, 6).map(lambda n: names[:n])), max_size=4)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, PAIRS, CHAINS, st.booleans(), st.booleans())
def test_the_effective_permission_of_a_chain_is_the_intersection_of_each_hops(rules, pairs, chains, hops, acts):
    world = World(rules, pairs, hops=hops, acts=acts)

    def may(name, path):
        said = {effect for who, where, effect in rules if (who, where) == (name, path)}
        return said == {"allow"}

    for _ in range(2):  # decided, then used again
        for chain, path in itertools.product(chains, PATHS):
            expected = all(may(name, path) for name in (chain if hops else chain[-1:]))
            if acts:
                expected = expected and all(pair in pairs for pair in itertools.pairwise(chain))
            assert world.allows(chain, path) is expected, (chain, path)
