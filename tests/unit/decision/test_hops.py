"""Chains on the request path: the intersection of what each hop may, and cut by whatever cuts a hop (I3, I4, I7)."""

import json
from pathlib import Path

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from grant_kit import ED_KEY, KEYS, grant, grant_id, parts, scope, sign_raw
from grants_served import ANYBODY, HOLDER, MODEL, NOW, Served

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.errors import ConfigError, Reason
from authz.grants.changes import CutOff, CutOffKind, Restore, RevocationKind, Revoke
from authz.grants.scope import access
from authz.grants.token import sign_grant
from authz.policy.explain import State

BOSS, HELPER = "spiffe://prod.example/boss", "spiffe://prod.example/helper"
ALICE = "https://idp.example#alice"
ALLOWED = '[delegation]\nevery_hop = "allowed"\n'
PAIRS = MODEL.replace("r = sub, obj, act, env", "r = sub, obj, act, env\nr2 = delegator, delegate, obj, act, env")
PAIRS = PAIRS.replace("p = rule, eft, obligations", "p = rule, eft, obligations\np2 = rule, eft, obligations")
PAIRS = PAIRS.replace("[matchers]", "e2 = some(where (p.eft == allow)) && !some(where (p.eft == deny))\n[matchers]")
PAIRS += "m2 = eval(p2.rule)\n"


@pytest.fixture
def served(tmp_path):
    return lambda *args, **kwargs: Served(tmp_path, *args, **kwargs)


def signed(*delegators, **changes):
    return sign_grant(grant(delegators=delegators, **changes), ED_KEY)


def detail(pdp):
    return pdp.outcomes[-1].decision.detail


def may(who, condition="True", obligations=""):
    return f"p, r.sub.id == '{who}' && {condition}, allow, {obligations}\n"


# The chain that policies see


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (f"'{BOSS}' in r.sub.chain", Reason.ALLOWED),
        (f"r.sub.via('{BOSS}')", Reason.ALLOWED),
        (f"r.sub.via('{HOLDER}')", Reason.NO_MATCHING_RULE),
        (f"via(r.sub.chain, '{BOSS}')", Reason.ALLOWED),
        ("r.sub.via('spiffe://prod.example/*')", Reason.ALLOWED),
        ("r.sub.via('spiffe://prod.example/bo/*')", Reason.NO_MATCHING_RULE),
        (f"r.sub.origin == '{BOSS}' && r.sub.depth == 2", Reason.ALLOWED),
        (f"r.sub.chain == ('{BOSS}', '{HELPER}', '{HOLDER}')", Reason.ALLOWED),
    ],
)
def test_policies_see_the_chain_oldest_first(served, rule, reason):
    pdp = served(f"p, {rule}, allow,\n")
    for _ in range(2):
        assert pdp.reason(signed(HELPER, BOSS)) is reason
    assert pdp.cached
    assert pdp.reason() is Reason.NO_MATCHING_RULE


def test_a_caller_for_itself_is_its_own_origin(served):
    pdp = served(f"p, r.sub.origin == r.sub.id && r.sub.depth == 0 && r.sub.chain == ('{HOLDER}',), allow,\n")
    assert pdp.reason() is Reason.ALLOWED
    assert pdp.reason(signed()) is Reason.ALLOWED
    assert pdp.reason(signed(BOSS)) is Reason.NO_MATCHING_RULE


def test_one_chains_cached_allow_is_nothing_for_another_nor_for_none(served):
    """I3: rules that read the chain, and grants that differ in nothing else."""
    pdp = served(f"p, r.sub.via('{BOSS}'), allow,\n")
    for _ in range(2):
        assert pdp.reason(signed(BOSS)) is Reason.ALLOWED
        assert pdp.reason(signed(HELPER)) is Reason.NO_MATCHING_RULE
        assert pdp.reason(signed()) is Reason.NO_MATCHING_RULE


# Forged, reordered, looping, deep


def forged(**changes):
    header, claims = parts(signed(HELPER, BOSS))
    return sign_raw(header, {**claims, **changes})


def test_the_act_of_a_grant_that_was_changed_afterwards_is_refused(served):
    pdp, token = served(), signed(HELPER, BOSS)
    header, _, signature = token.split(".")
    other = forged(act={"sub": HOLDER, "act": {"sub": "spiffe://prod.example/admin"}}).split(".")[1]
    assert pdp.reason(f"{header}.{other}.{signature}") is Reason.GRANT_SIGNATURE


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ({"sub": HOLDER, "act": {"sub": HELPER}}, Reason.ALLOWED),
        # The outermost actor is the current one (RFC 8693 section 4.1): in reverse it is another's grant.
        ({"sub": HELPER, "act": {"sub": HOLDER}}, Reason.GRANT_HOLDER),
        ({"sub": HOLDER, "act": {"sub": HOLDER}}, Reason.GRANT_MALFORMED),
        ({"sub": HOLDER, "act": {"sub": HELPER, "act": {"sub": HOLDER}}}, Reason.GRANT_MALFORMED),
        ({"sub": HOLDER, "act": {"sub": BOSS}}, Reason.GRANT_MALFORMED),
        ({"sub": HOLDER, "act": {"sub": "alice"}}, Reason.GRANT_MALFORMED),
        ({"sub": HOLDER, "act": {"sub": HELPER, "exp": 1}}, Reason.GRANT_MALFORMED),
        ({"sub": HOLDER, "act": {"sub": "spiffe://other.example/x"}}, Reason.HOP_NOT_ACCEPTED),
    ],
)
def test_an_act_means_what_rfc_8693_says_whoever_signed_it(served, act, reason):
    assert served().reason(forged(act=act)) is reason


def test_a_bomb_of_nested_actors_is_refused(served):
    act = {"sub": HELPER}
    for _ in range(30):
        act = {"sub": HELPER, "act": act}
    assert served().reason(forged(act=act)) is Reason.GRANT_MALFORMED
    bomb = '{"sub":"x","act":' * 150 + "1" + "}" * 150
    header, claims = parts(signed())
    text = json.dumps(claims)[:-1] + f', "act": {bomb}' + "}"
    settings = "max_token_bytes = 16384"
    assert served(settings=settings).reason(sign_raw(header, text.encode())) is Reason.GRANT_MALFORMED


def test_depth_is_bounded(served):
    pdp = served(settings="[delegation]\nmax_depth = 1\n")
    assert pdp.reason(signed(BOSS)) is Reason.ALLOWED
    assert pdp.reason(signed(HELPER, BOSS)) is Reason.CHAIN_TOO_DEEP
    assert "2 hops" in detail(pdp)


# Each hop by itself


def test_the_identity_of_hops_is_enough_where_configuration_says_so(served):
    pdp = served(may(HOLDER))
    assert pdp.reason(signed(HELPER, BOSS)) is Reason.ALLOWED


def test_every_hop_must_be_allowed_the_same_action(served):
    pdp = served(may(HOLDER) + may(HELPER) + may(BOSS, "r.obj.path == '/v1/accounts/7'"), settings=ALLOWED)
    token = signed(HELPER, BOSS)
    for _ in range(2):
        assert pdp.reason(token) is Reason.ALLOWED
        assert pdp.reason(token, path="/v1/accounts/8") is Reason.HOP_DENIED
        assert detail(pdp) == f"hop 1 of 3, {BOSS}: no_matching_rule"
        assert pdp.reason(path="/v1/accounts/8") is Reason.ALLOWED
    assert pdp.cached


def test_a_rule_that_denies_a_hop_denies_the_chain_and_is_told(served):
    pdp = served(ANYBODY + f"p, r.sub.id == '{HELPER}', deny,\n", settings=ALLOWED)
    assert pdp.reason(signed(HELPER, BOSS)) is Reason.HOP_DENIED
    assert pdp.outcomes[-1].decision.rule.line == 2
    assert detail(pdp) == f"hop 2 of 3, {HELPER}: denied_by_rule"


def test_a_hop_is_judged_by_its_own_place_in_the_inventory_and_without_a_credential(served, tmp_path):
    (tmp_path / "inventory.toml").write_text(
        f'[workloads."{BOSS}"]\nowner = "x"\nclearance = 3\n[workloads."{HOLDER}"]\nowner = "x"\nclearance = 5\n'
    )
    settings = ALLOWED + '[identity.inventory]\nfile = "inventory.toml"\n'
    rule = "p, r.sub.clearance >= 3 && r.sub.credential.kind == '' && r.sub.claims == {}, allow,\n"
    rule = rule.replace(" && r.sub.claims == {}", "")
    assert served(rule, settings=settings).reason(signed(BOSS)) is Reason.ALLOWED
    assert served(rule, settings=settings).reason(signed(HELPER)) is Reason.HOP_DENIED


def test_a_hop_is_judged_with_the_chain_up_to_it(served):
    rules = may(HOLDER) + may(HELPER, f"r.sub.origin == '{BOSS}' && r.sub.depth == 1") + may(BOSS, "r.sub.depth == 0")
    assert served(rules, settings=ALLOWED).reason(signed(HELPER, BOSS)) is Reason.ALLOWED
    assert served(rules, settings=ALLOWED).reason(signed(HELPER)) is Reason.HOP_DENIED


def test_a_rule_that_errs_for_a_hop_denies_and_is_tried_again(served):
    pdp = served(may(HOLDER) + f"p, r.sub.id == '{BOSS}' && r.sub.labels.x == '1', allow,\n", settings=ALLOWED)
    for _ in range(2):
        assert pdp.reason(signed(BOSS)) is Reason.RULE_ERROR
        assert not pdp.cached
        assert detail(pdp).startswith(f"hop 1 of 2, {BOSS}: rule_error")


def test_whom_it_started_for_may_be_a_person_and_needs_a_rule_as_well(served):
    assert served(ANYBODY, settings=ALLOWED).reason(signed(HELPER, ALICE)) is Reason.HOP_DENIED
    assert served(ANYBODY + may(ALICE), settings=ALLOWED).reason(signed(HELPER, ALICE)) is Reason.ALLOWED


def test_what_is_demanded_of_a_hop_is_demanded_of_the_chain(served):
    pdp = served(may(HOLDER) + may(BOSS, obligations="max_age=0s;log=full"), settings=ALLOWED)
    for _ in range(2):
        assert pdp.reason(signed(BOSS)) is Reason.ALLOWED
        assert not pdp.cached
    assert pdp.outcomes[-1].decision.obligations == (("max_age", "0s"), ("log", "full"))


# Who may act for whom


def pairs(served, rules, section=2):
    return served(ANYBODY + rules, settings=f"[delegation]\nsection = {section}\n", model=PAIRS)


def test_who_may_act_for_whom_is_policy(served):
    rule = f"p2, r2.delegator.id == '{BOSS}' && r2.delegate.id == '{HOLDER}' && r2.act.name == 'GET', allow,\n"
    pdp = pairs(served, rule)
    for _ in range(2):
        assert pdp.reason(signed(BOSS)) is Reason.ALLOWED
        assert pdp.reason() is Reason.ALLOWED
        assert pdp.reason(signed(HELPER)) is Reason.DELEGATION_DENIED
        assert detail(pdp) == f"{HOLDER} acting for {HELPER}: no_matching_rule"
    assert pdp.cached


def test_every_two_neighbours_are_asked_about(served):
    one = f"p2, r2.delegator.id == '{BOSS}' && r2.delegate.id == '{HELPER}', allow,\n"
    other = f"p2, r2.delegator.id == '{HELPER}' && r2.delegate.id == '{HOLDER}', allow,\n"
    assert pairs(served, one + other).reason(signed(HELPER, BOSS)) is Reason.ALLOWED
    for rules in (one, other, ""):
        assert pairs(served, rules).reason(signed(HELPER, BOSS)) is Reason.DELEGATION_DENIED
    denied = f"p2, r2.delegator.id == '{BOSS}', deny,\n"
    assert pairs(served, one + other + denied).reason(signed(HELPER, BOSS)) is Reason.DELEGATION_DENIED


def test_what_the_rules_about_delegation_read_is_in_the_key(served):
    """I3: the rules about calls tell neither paths nor queries apart; those about delegation do."""
    pdp = pairs(served, "p2, r2.obj.path == '/v1/accounts/7' && r2.act.query.dry == '1', allow,\n")
    for _ in range(2):
        assert pdp.reason(signed(BOSS), path="/v1/accounts/7?dry=1") is Reason.ALLOWED
        assert pdp.reason(signed(BOSS), path="/v1/accounts/7?dry=2") is Reason.DELEGATION_DENIED
        assert pdp.reason(signed(BOSS), path="/v1/accounts/8?dry=1") is Reason.DELEGATION_DENIED
        assert pdp.reason(signed(BOSS), path="/v1/accounts/7?dry=1&dry=2") is Reason.REQUEST_MALFORMED


def test_what_the_rules_about_delegation_demand_is_demanded(served):
    pdp = pairs(served, "p2, True, allow, max_age=0s\n")
    for _ in range(2):
        assert pdp.reason(signed(BOSS)) is Reason.ALLOWED
        assert not pdp.cached
    assert pdp.reason() is Reason.ALLOWED


def test_a_section_that_is_not_there_or_asks_for_more_is_refused(served):
    with pytest.raises(Exception, match="r3"):
        pairs(served, "", section=3)
    with pytest.raises(ConfigError, match="request token `sub` stands for nothing"):
        pairs(served, "", section=1)


# Revoking a hop


@pytest.mark.parametrize(("settings", "warm"), [("", True), (ALLOWED, False), (ALLOWED, True)])
@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (RevocationKind.PRINCIPAL, HOLDER, Reason.PRINCIPAL_REVOKED),
        (RevocationKind.PRINCIPAL, HELPER, Reason.PRINCIPAL_REVOKED),
        (RevocationKind.PRINCIPAL, BOSS, Reason.PRINCIPAL_REVOKED),
        (RevocationKind.PRINCIPAL, ALICE, Reason.PRINCIPAL_REVOKED),
        (RevocationKind.TRUST_DOMAIN, "partner.example", Reason.TRUST_DOMAIN_REVOKED),
        (RevocationKind.GRANT, grant_id(2), Reason.GRANT_REVOKED),
        (RevocationKind.GRANT, grant_id(3), Reason.GRANT_REVOKED),
    ],
)
def test_to_revoke_a_hop_cuts_everything_downstream_at_once(served, kind, value, reason, warm, settings):  # noqa: PLR0917 - what is varied
    """I3, I4: cached decisions too."""
    partner = "spiffe://partner.example/x"
    settings += '[[identity.federated]]\ntrust_domain = "partner.example"\n'
    pdp = served("p, True, allow,\n", settings=settings)
    token = signed(HELPER, partner, BOSS, ALICE, ancestors=(grant_id(2), grant_id(3)))
    for _ in range(2 * warm):
        assert pdp.reason(token) is Reason.ALLOWED
    assert not warm or pdp.cached
    pdp.revoked.take(Revoke(kind, value))
    assert pdp.reason(token) is reason
    pdp.revoked.take(Restore(kind, value))
    assert pdp.reason(token) is Reason.ALLOWED


def xfcc(*callers):
    """As trusted proxies would write it: each caller told by the next, which is a proxy itself."""
    tellers = (*callers[1:], "spiffe://prod.example/last")
    return ",".join(f"By={by};URI={caller}" for by, caller in zip(tellers, callers, strict=True))


@pytest.mark.parametrize("joins", ["join", "ignore"])
def test_to_revoke_a_hop_that_proxies_vouch_for_cuts_too(served, joins):
    settings = (
        f'[delegation]\nxfcc_hops = "{joins}"\n[identity.xfcc]\nmode = "append_forward"\ntrusted_hops = 3\n'
        f'proxies = ["{HELPER}", "{HOLDER}"]\n'
    )
    pdp = served(settings=settings)
    header = {"who": "", "x_forwarded_client_cert": xfcc(BOSS, HELPER, HOLDER)}
    for _ in range(2):
        assert pdp.reason(**header) is Reason.ALLOWED
    assert [hop.id for hop in pdp.outcomes[-1].subject.chain] == ([BOSS, HELPER, HOLDER] if joins == "join" else [])
    pdp.revoked.take(Revoke(RevocationKind.PRINCIPAL, BOSS))
    assert pdp.reason(**header) is Reason.PRINCIPAL_REVOKED


def test_a_grant_and_what_proxies_tell_must_agree(served):
    settings = f'[identity.xfcc]\nmode = "append_forward"\ntrusted_hops = 3\nproxies = ["{HELPER}", "{HOLDER}"]\n'
    pdp = served(settings=settings)
    assert pdp.reason(signed(HELPER, BOSS), who="", x_forwarded_client_cert=xfcc(HELPER, HOLDER)) is Reason.ALLOWED
    assert pdp.reason(signed(BOSS), who="", x_forwarded_client_cert=xfcc(HELPER, HOLDER)) is Reason.CHAIN_CONFLICT


def test_what_was_issued_before_a_hop_was_cut_off_is_refused(served):
    pdp, token = served(), signed(HELPER, BOSS)
    assert pdp.reason(token) is Reason.ALLOWED
    pdp.revoked.take(CutOff(CutOffKind.PRINCIPAL, BOSS, NOW + 1))
    assert pdp.reason(token) is Reason.ISSUED_BEFORE_CUTOFF


# The record


def test_the_record_names_every_hop_and_which_failed(served):
    pdp = served(may(HOLDER) + may(HELPER), settings=ALLOWED)
    pdp.reason(signed(HELPER, ALICE))
    line = json.loads(Recorder(AuditSettings()).line(pdp.outcomes[-1]))
    assert line["reason"] == "hop_denied"
    assert line["detail"] == f"hop 1 of 3, {ALICE}: no_matching_rule"
    assert line["subject"]["chain"] == [
        {"id": ALICE, "kind": "workload", "sources": ["grant"]},
        {"id": HELPER, "kind": "workload", "sources": ["grant"]},
    ]


def test_the_client_is_not_told_which_hop_failed(served):
    pdp = served(may(HOLDER), settings=ALLOWED)
    answer = CheckResponse.FromString(pdp.ask(signed(BOSS)))
    assert BOSS not in answer.denied_response.body
    assert json.loads(answer.denied_response.body)["reason"] == "hop_denied"


def test_what_came_near_is_told_of_the_hop_that_was_denied(served, tmp_path):
    pdp = served(may(HOLDER) + may(HELPER, "r.obj.path == '/v1/other'"), settings=ALLOWED)
    assert pdp.reason(signed(HELPER)) is Reason.HOP_DENIED
    outcome = pdp.outcomes[-1]
    near = Composition(load(tmp_path / "authz.toml", Config, {}), tmp_path).explain(outcome.request, outcome.decision)
    assert near.near[0].rule.line == 2
    seen = [condition.state for condition in near.near[0].conditions]
    assert seen == [State.HOLDS, State.FAILS]


# The example that ships


ISSUER = "https://authz.demo.internal"
PLANNER, RESEARCHER, PAYER = (
    f"spiffe://demo.internal/ns/agents/sa/{name}" for name in ("planner", "researcher", "payer")
)


@pytest.mark.parametrize(
    ("chain", "method", "path", "reason"),
    [
        ((PLANNER, RESEARCHER), "GET", "/v1/accounts/7", Reason.ALLOWED),
        ((PLANNER, PAYER), "GET", "/v1/accounts/7", Reason.NO_MATCHING_RULE),
        ((PLANNER, PAYER), "POST", "/v1/payments", Reason.ALLOWED),
        ((PAYER,), "POST", "/v1/payments", Reason.NO_MATCHING_RULE),
        # Whose task it is does not pay by itself, though the same action is asked of it as a hop.
        ((PLANNER,), "POST", "/v1/payments", Reason.NO_MATCHING_RULE),
        ((PLANNER, RESEARCHER, PAYER), "POST", "/v1/payments", Reason.DENIED_BY_RULE),
        ((PLANNER, RESEARCHER), "POST", "/v1/payments", Reason.NO_MATCHING_RULE),
        ((RESEARCHER, PLANNER), "GET", "/v1/accounts/7", Reason.DELEGATION_DENIED),
    ],
)
def test_the_shipped_example_of_delegation(chain, method, path, reason):
    base = Path(__file__).parents[3] / "policies" / "delegation"
    composition = Composition(load(base / "authz.toml", Config, {}), base, trust_principal=True)
    composition.own_grant_keys = KEYS
    token = signed(
        *reversed(chain[:-1]),
        holder=chain[-1],
        issuer=ISSUER,
        audience=ISSUER,
        scope=scope(access(["*"], ["*"], ["/*"])),
    )
    request = CheckRequest()
    request.attributes.source.principal = chain[-1]
    http = request.attributes.request.http
    http.method, http.host, http.path = method, "accounts.demo.internal", path
    http.headers["authz-grant"] = token
    outcome, _ = composition.decide_once(request.SerializeToString(), float(NOW))
    assert outcome.decision.reason is reason, outcome.decision
