"""Grants on the request path: they narrow, they end, they can be taken back; also when cached (I3, I4, I7)."""

import asyncio
import json

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from grant_kit import EC_KEY, ED_KEY, ISSUER, grant, grant_id, subject
from grants_served import ANYBODY, HOLDER, NOW, Served

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.decision.pending import Pending, nothing_counts
from authz.decision.standing import FreshnessClass, FreshnessLimits, FreshnessSettings, FreshStanding, bounds_of
from authz.errors import ConfigError, Reason, Refusal
from authz.grants.changes import Restore, RevocationKind, Revoke
from authz.grants.condition import Condition
from authz.grants.grant import Task
from authz.grants.revoked import Revoked
from authz.grants.scope import Scope, access
from authz.grants.token import sign_grant
from authz.model import NO_FACTS, Freshness
from authz.stores.holder import SnapshotHolder


@pytest.fixture
def served(tmp_path):
    return lambda *args, **kwargs: Served(tmp_path, *args, **kwargs)


def signed(key=ED_KEY, **changes):
    return sign_grant(grant(**changes), key)


def test_a_grant_takes_away_what_it_does_not_cover_and_adds_nothing(served):
    """I7: the intersection of grant and policy."""
    policy = ANYBODY + "p, r.obj.path == '/v1/accounts/9', deny,\n"
    pdp, token = served(policy), signed()
    assert pdp.reason() is Reason.ALLOWED
    assert pdp.reason(token) is Reason.ALLOWED
    assert pdp.reason(path="/v1/payments") is Reason.ALLOWED
    assert pdp.reason(token, path="/v1/payments") is Reason.GRANT_SCOPE
    assert pdp.reason(token, method="PUT") is Reason.GRANT_SCOPE
    assert pdp.reason(token, host="other.prod.example") is Reason.GRANT_SCOPE
    assert pdp.reason(token, path="/v1/accounts/9") is Reason.DENIED_BY_RULE


def test_a_grant_is_no_ground_where_no_rule_allows(served):
    pdp = served("p, r.act.method == 'PUT', allow,\n")
    assert pdp.reason(signed()) is Reason.NO_MATCHING_RULE


def test_the_scope_is_held_against_every_request_cached_or_not(served):
    pdp, token = served(), signed()
    for _ in range(2):
        assert pdp.reason(token) is Reason.ALLOWED
    assert pdp.cached
    # The rules do not tell these paths apart; the grant does.
    assert pdp.reason(token, path="/v1/other") is Reason.GRANT_SCOPE
    assert pdp.reason(token, path="/v1/accounts/8") is Reason.ALLOWED
    assert pdp.cached


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (RevocationKind.GRANT, grant_id(), Reason.GRANT_REVOKED),
        (RevocationKind.GRANT, grant_id(2), Reason.GRANT_REVOKED),
        (RevocationKind.TASK, "task-1", Reason.TASK_REVOKED),
        (RevocationKind.COMPLETED_TASK, "task-1", Reason.TASK_COMPLETED),
        (RevocationKind.PRINCIPAL, HOLDER, Reason.PRINCIPAL_REVOKED),
        (RevocationKind.PRINCIPAL, "spiffe://prod.example/boss", Reason.PRINCIPAL_REVOKED),
        (RevocationKind.TRUST_DOMAIN, "prod.example", Reason.TRUST_DOMAIN_REVOKED),
    ],
)
def test_what_is_revoked_is_refused_at_once_and_let_in_again_when_restored(served, kind, value, expected, warm):
    """I3, I4: no cached decision outlives the revocation of what it rests on."""
    pdp, token = served(), signed(ancestors=(grant_id(2),), delegators=("spiffe://prod.example/boss",))
    for _ in range(2 * warm):
        assert pdp.reason(token) is Reason.ALLOWED
    assert pdp.outcomes == [] or pdp.cached
    pdp.revoked.take(Revoke(kind, value))
    assert pdp.reason(token) is expected
    pdp.revoked.take(Restore(kind, value))
    assert pdp.reason(token) is Reason.ALLOWED


def test_a_revoked_caller_is_refused_without_a_grant_too_and_not_told_that_it_was_found_out(served):
    pdp = served()
    assert pdp.reason() is Reason.ALLOWED
    pdp.revoked.take(Revoke(RevocationKind.PRINCIPAL, HOLDER))
    assert pdp.reason() is Reason.PRINCIPAL_REVOKED
    assert json.loads(CheckResponse.FromString(pdp.ask()).denied_response.body)["reason"] == "access_denied"


def test_a_cached_decision_ends_with_its_grant(served):
    pdp, token = served(settings="[cache]\nmax_age_seconds = 3600.0"), signed()
    for moment, expected in [(NOW, Reason.ALLOWED), (NOW + 299, Reason.ALLOWED), (NOW + 305, Reason.ALLOWED)]:
        pdp.now = moment
        assert pdp.reason(token) is expected
    pdp.now = NOW + 305.5
    assert pdp.reason(token) is Reason.GRANT_EXPIRED
    assert pdp.reason() is Reason.ALLOWED


def test_one_callers_cached_allow_is_nothing_for_another(served):
    pdp, token = served(), signed()
    for _ in range(2):
        assert pdp.reason(token) is Reason.ALLOWED
    assert pdp.reason(token, who="spiffe://prod.example/ns/agents/sa/other") is Reason.GRANT_HOLDER
    assert pdp.reason("x.y.z") is Reason.GRANT_MALFORMED


REQUIRES = "p, r.sub.trust_domain == 'prod.example', allow, grant=required\n"


def test_a_rule_that_asks_for_a_grant_says_so_and_what_to_ask_for(served):
    pdp = served(REQUIRES)
    response = CheckResponse.FromString(pdp.ask(path="/v1/accounts/7?secret=x", x_task_id="t-9", x_task_purpose="why"))
    assert pdp.outcomes[-1].decision.reason is Reason.GRANT_REQUIRED
    assert response.denied_response.status.code == 403
    told = json.loads(response.denied_response.body)
    assert told["reason"] == "grant_required"
    assert told["grant_request"] == {
        "task": {"id": "t-9", "purpose": "why"},
        "authorization_details": [
            {
                "type": "authz_access",
                "actions": ["GET"],
                "locations": ["accounts.prod.example"],
                "resources": ["/v1/accounts/7"],
            }
        ],
    }
    assert "secret" not in response.denied_response.body
    # Not used again for another path, which the answer names.
    told = json.loads(CheckResponse.FromString(pdp.ask(path="/v1/x")).denied_response.body)
    assert told["grant_request"]["authorization_details"][0]["resources"] == ["/v1/x"]
    assert pdp.reason(signed()) is Reason.ALLOWED


@pytest.mark.parametrize("path", ["/v1/*", "/v1/:id", "/*"])
def test_a_path_that_would_be_read_as_a_pattern_is_not_suggested(served, path):
    response = CheckResponse.FromString(served(REQUIRES).ask(path=path))
    assert json.loads(response.denied_response.body)["reason"] == "grant_required"
    assert "grant_request" not in response.denied_response.body


def test_what_to_ask_for_is_told_nobody_whom_no_rule_would_let_in(served):
    pdp = served(REQUIRES)
    response = CheckResponse.FromString(pdp.ask(who="spiffe://prod.example/x", path="/v1/x"))
    assert "grant_request" in response.denied_response.body
    pdp = served(REQUIRES.replace("prod.example", "elsewhere"))
    response = CheckResponse.FromString(pdp.ask(path="/v1/x"))
    assert "grant" not in response.denied_response.body
    assert "grant" not in CheckResponse.FromString(pdp.ask(signed())).denied_response.body


def test_a_rule_may_ask_for_a_grant_that_is_bound_to_the_certificate(served):
    pdp = served("p, true, allow, grant=bound\n" + REQUIRES)
    assert pdp.reason() is Reason.GRANT_REQUIRED
    assert pdp.reason(signed()) is Reason.GRANT_REQUIRED


def test_one_rule_that_lets_in_without_a_grant_does_not_undo_another_that_asks_for_it(served):
    assert served(REQUIRES + ANYBODY).reason() is Reason.GRANT_REQUIRED
    assert served(ANYBODY + REQUIRES).reason() is Reason.GRANT_REQUIRED


@pytest.mark.parametrize(
    "rule",
    [
        "r.env.grant.valid",
        "r.env.grant.id == '0000000000000000000001'",
        f"r.env.grant.issuer == '{ISSUER}'",
        "r.env.grant.lifetime == 300",
        "r.env.grant.depth == 1 && r.env.grant.origin == 'spiffe://prod.example/boss'",
        "'GET' in r.env.grant.actions && '/v1/accounts/*' in r.env.grant.resources",
        "r.env.task.id == 'task-1' && r.env.task.purpose == 'pay an invoice' && !r.env.task.declared",
        "r.env.grant.age < 60",
    ],
)
def test_policies_see_the_grant_and_the_task_that_it_proves(served, rule):
    pdp, token = served(f"p, {rule}, allow,\n"), signed(delegators=("spiffe://prod.example/boss",))
    for _ in range(2):
        assert pdp.reason(token) is Reason.ALLOWED
    assert pdp.reason() is Reason.NO_MATCHING_RULE
    # A declaration is no proof.
    assert pdp.reason(x_task_id="task-1", x_task_purpose="pay an invoice") is Reason.NO_MATCHING_RULE


@pytest.mark.parametrize("rule", ["r.env.grant.age < 60", "!(r.env.grant.age >= 60)"])
def test_a_rule_on_the_age_of_a_grant_is_cached_until_it_changes(served, rule):
    pdp, token = served(f"p, {rule}, allow,\n", "[cache]\nmax_age_seconds = 3600.0"), signed()
    for moment, expected in [(0, Reason.ALLOWED), (59.9, Reason.ALLOWED), (60, Reason.NO_MATCHING_RULE)]:
        pdp.now = NOW + moment
        assert pdp.reason(token) is expected
        assert pdp.cached == (moment == 59.9)


@pytest.mark.parametrize("more", ["", " && r.act.protocol == 'http'"])
def test_one_grants_cached_allow_is_nothing_for_another_of_the_same_task(served, more):
    pdp = served(f"p, r.env.grant.depth == 0{more}, allow,\n")
    for _ in range(2):
        assert pdp.reason(signed()) is Reason.ALLOWED
    assert pdp.cached
    assert pdp.reason(signed(delegators=("spiffe://prod.example/boss",))) is Reason.NO_MATCHING_RULE


def test_the_task_of_a_grant_goes_before_the_one_declared(served):
    pdp = served("p, r.env.task.id == 'task-1', allow,\n")
    assert pdp.reason(signed(), x_task_id="another") is Reason.ALLOWED
    task = pdp.outcomes[-1].asked.task
    assert task == {"id": "task-1", "purpose": "pay an invoice", "declared": False, **NO_FACTS}


def test_what_policies_see_of_no_grant_is_typed(served):
    rule = "!r.env.grant.valid && r.env.grant.id == '' && r.env.grant.uses == 0 && r.env.grant.age > 1000000"
    assert served(f"p, {rule}, allow,\n").reason() is Reason.ALLOWED


def test_a_grant_and_an_identity_token_do_not_share_a_header(served):
    with pytest.raises(ConfigError, match=r"grants\.header"):
        served(settings='header = "authorization"')


def test_the_upstream_does_not_get_the_grant_unless_told_to(served):
    def removed(pdp, **headers):
        return set(CheckResponse.FromString(pdp.ask(signed(), **headers)).ok_response.headers_to_remove)

    assert removed(served()) == {"authz-grant"}
    assert removed(served(settings="forward = true")) == set()
    assert removed(served(settings="forward = true"), x_authz_other="me") == {"x-authz-other"}


def test_a_header_of_another_name_is_kept_from_the_upstream_too(served):
    pdp = served(settings='header = "x-task-grant"')
    response = CheckResponse.FromString(pdp.ask(x_task_grant=signed()))
    assert response.status.code == 0
    assert list(response.ok_response.headers_to_remove) == ["x-task-grant"]
    assert list(CheckResponse.FromString(pdp.ask()).ok_response.headers_to_remove) == []


def test_where_grants_are_off_the_header_says_nothing(tmp_path):
    pdp = Served(tmp_path)
    (tmp_path / "authz.toml").write_text((tmp_path / "authz.toml").read_text().partition("[grants]")[0])
    composition = Composition(load(tmp_path / "authz.toml", Config, {}), tmp_path)
    parts = composition.parts(SnapshotHolder(composition.build_snapshot()), pdp, pdp, clock=lambda: NOW)
    pdp.checker = Checker(parts)
    assert pdp.reason("garbage") is Reason.ALLOWED
    assert pdp.outcomes[-1].asked.grant["valid"] is False


def settle(pending, pdp):
    """What the transports do."""

    async def run():
        try:
            return await pending.spend()
        except Refusal as refusal:
            return refusal.reason

    refused = asyncio.run(run())
    response = CheckResponse.FromString(pending.conclude(refused))
    assert (response.status.code == 0) is pdp.outcomes[-1].decision.allowed
    return pdp.outcomes[-1].decision.reason


def test_a_counted_grant_allows_as_often_as_the_store_says_and_no_more(served):
    pdp, token = served(), signed(uses=2)
    pdp.left[grant_id()] = 2
    reasons = []
    for _ in range(3):
        pending = pdp.ask(token)
        assert isinstance(pending, Pending)
        reasons.append(settle(pending, pdp))
    assert reasons == [Reason.ALLOWED, Reason.ALLOWED, Reason.GRANT_USED_UP]
    assert not any(outcome.cached for outcome in pdp.outcomes)
    # Each under the id of its own decision, which is the one on record.
    assert pdp.spent == [(grant_id(), outcome.decision_id) for outcome in pdp.outcomes]
    assert len(set(pdp.spent)) == 3


def test_nothing_is_recorded_nor_answered_before_the_use_is_counted(served):
    pdp = served()
    pending = pdp.ask(signed(uses=1))
    assert pdp.outcomes == []
    assert pdp.spent == []
    assert settle(pending, pdp) is Reason.ALLOWED
    assert len(pdp.outcomes) == 1


def test_a_denial_spends_no_use(served):
    pdp, token = (
        served(ANYBODY + "p, r.act.method == 'DELETE', deny,\n"),
        signed(uses=1, scope=Scope((access(["*"], ["*"], ["/v1/*"]),))),
    )
    assert pdp.reason(token, method="DELETE") is Reason.DENIED_BY_RULE
    assert pdp.reason(token, path="/v2") is Reason.GRANT_SCOPE
    pdp.revoked.take(Revoke(RevocationKind.TASK, "task-1"))
    assert pdp.reason(token) is Reason.TASK_REVOKED
    assert pdp.spent == []


def test_a_use_that_cannot_be_counted_denies(served):
    pdp = served()
    pdp.trouble = Refusal(Reason.STATE_UNAVAILABLE)
    assert settle(pdp.ask(signed(uses=1)), pdp) is Reason.STATE_UNAVAILABLE


def test_without_a_store_no_counted_grant_is_good_for_anything():
    with pytest.raises(Refusal) as caught:
        asyncio.run(nothing_counts("g", "d"))
    assert caught.value.reason is Reason.STATE_UNAVAILABLE


def test_a_grant_that_is_revoked_while_its_use_is_counted_does_not_allow(served):
    pdp = served()
    pending = pdp.ask(signed(uses=1))
    pdp.revoked.take(Revoke(RevocationKind.COMPLETED_TASK, "task-1"))
    assert settle(pending, pdp) is Reason.TASK_COMPLETED


def test_state_that_is_too_old_denies_everybody():
    limits = FreshnessLimits(max_policy_age_seconds=60, max_revocation_age_seconds=2)

    def refusal(fresh):
        return FreshStanding(lambda: Revoked(0, 10), lambda: fresh, limits).refusal(subject(), None, NOW)

    assert refusal(Freshness()) is None
    assert refusal(Freshness(policy=60, revocations=2)) is None
    for fresh in (Freshness(policy=60.1), Freshness(revocations=2.1), Freshness(revocations=float("nan"))):
        assert refusal(fresh) is Reason.STATE_STALE
    assert limits.problem(Freshness(policy=61)) == "policy"
    assert limits.problem(Freshness(policy=61, revocations=3)) == "revocations"


@pytest.mark.parametrize(
    ("obj", "fresh", "problem"),
    [
        ({"type": "payment", "sensitivity": ""}, Freshness(policy=31), "policy"),
        ({"type": "payment", "sensitivity": ""}, Freshness(policy=30), ""),
        ({"type": "payment", "sensitivity": "restricted"}, Freshness(policy=6), "policy"),
        ({"type": "payment", "sensitivity": "restricted"}, Freshness(revocations=2.1), "revocations"),
        ({"type": "document", "sensitivity": "restricted"}, Freshness(policy=6), ""),
        ({"type": "document", "sensitivity": "restricted"}, Freshness(revocations=2.1), "revocations"),
        ({"type": "document", "sensitivity": ""}, Freshness(policy=1e9, revocations=1e9), ""),
        ({}, Freshness(policy=1e9), ""),
        ({"type": "payment"}, Freshness(policy=float("nan")), "policy"),
    ],
)
def test_a_class_of_resources_has_bounds_of_its_own_and_of_all_that_fit_each_holds(obj, fresh, problem):
    bounds = bounds_of(
        FreshnessSettings(
            classes=(
                FreshnessClass(type="payment", max_policy_age_seconds=30),
                FreshnessClass(type="payment", sensitivity="restricted", max_policy_age_seconds=5),
                FreshnessClass(sensitivity="restricted", max_revocation_age_seconds=2),
            )
        )
    )
    assert bounds.exceeded(obj, fresh) == problem


def test_a_class_that_bounds_nothing_is_a_mistake():
    settings = FreshnessSettings(classes=(FreshnessClass(max_policy_age_seconds=3), FreshnessClass(type="x")))
    assert [problem.split(":")[0] for _, problem in settings.problems()] == ["class 1", "class 2 bounds nothing"]


@pytest.fixture
def bounded(served, tmp_path):
    """Payments rest on no policy that is older than two seconds."""
    (tmp_path / "catalogue.toml").write_text('[[resources]]\nhost = "*"\npath = "/v1/c"\ntype = "payment"\n')
    settings = '[catalogue]\nfile = "catalogue.toml"\n[[freshness.classes]]\ntype = "payment"\n'
    rules = "p, r.obj.path in ('/v1/b', '/v1/c'), allow,\n"
    return served(rules, settings + "max_policy_age_seconds = 2\n")


def test_past_the_bound_of_its_class_a_resource_is_denied_cached_or_not(bounded):
    pdp = bounded
    pdp.fresh = Freshness(policy=1.0)
    assert pdp.reason(path="/v1/c") is Reason.ALLOWED
    assert pdp.reason(path="/v1/c") is Reason.ALLOWED
    assert pdp.outcomes[-1].cached
    pdp.fresh = Freshness(policy=3.0)
    assert pdp.reason(path="/v1/c") is Reason.STATE_STALE
    assert pdp.reason(path="/v1/b") is Reason.ALLOWED
    pdp.fresh = Freshness(policy=0.0)
    assert pdp.reason(path="/v1/c") is Reason.ALLOWED


def test_state_that_grew_too_old_while_a_use_was_counted_does_not_allow(bounded):
    pdp = bounded
    everything = access(["*"], ["*"], ["/*"])
    pending = pdp.ask(signed(uses=1, scope=Scope((everything,))), path="/v1/c")
    pdp.fresh = Freshness(policy=3.0)
    assert settle(pending, pdp) is Reason.STATE_STALE


def test_the_age_of_the_state_is_on_record_and_a_rule_may_bound_it(served):
    """Per class of resource: this one may rest on nothing older than two seconds."""
    pdp = served(
        "p, r.obj.path == '/v1/c', allow,\np, r.obj.path == '/v1/b' && r.env.state.revocations_age < 2, allow,\n"
    )
    recorder = Recorder(AuditSettings(headers=()))
    pdp.reason(path="/v1/c")
    assert "state" not in json.loads(recorder.line(pdp.outcomes[-1]))
    pdp.fresh = Freshness(policy=3.0, revocations=1.5)
    assert pdp.reason(path="/v1/b") is Reason.ALLOWED
    assert json.loads(recorder.line(pdp.outcomes[-1]))["state"] == {"policy_age_ms": 3_000, "revocations_age_ms": 1_500}
    pdp.fresh = Freshness(revocations=2.5)
    assert pdp.reason(path="/v1/b") is Reason.NO_MATCHING_RULE
    assert pdp.reason(path="/v1/c") is Reason.ALLOWED


def test_a_condition_on_the_method_and_on_what_the_catalogue_says(served):
    details = access(
        ["*"],
        ["*"],
        ["/*"],
        [Condition("act.method", among=("GET", "HEAD")), Condition("obj.type", among=("account",))],
    )
    pdp, token = served(), signed(scope=Scope((details,)))
    assert pdp.reason(token) is Reason.GRANT_SCOPE  # no catalogue, no type


@pytest.mark.parametrize("key", [ED_KEY, EC_KEY])
def test_either_algorithm_will_do(served, key):
    assert served().reason(signed(key)) is Reason.ALLOWED


def test_the_token_is_nowhere_in_the_record(served):
    """I10."""
    pdp, token = served(), signed(task=Task("t", "why"), delegators=("spiffe://prod.example/boss",))
    recorder = Recorder(AuditSettings(headers=()))
    for _ in range(2):
        pdp.reason(token)
        line = recorder.line(pdp.outcomes[-1]).decode()
        record = json.loads(line)
        assert record["grant"]["id"] == grant_id()
        assert record["grant"]["origin"] == "spiffe://prod.example/boss"
        assert record["grant"]["delegators"] == ["spiffe://prod.example/boss"]
        assert record["grant"]["expires"].startswith("2026-")
        assert record["task"] == {"declared": False, "id": "t", "purpose": "why"}
        assert not any(part in line for part in token.split("."))
    pdp.reason(token + "x")
    assert not any(part in recorder.line(pdp.outcomes[-1]).decode() for part in token.split("."))
