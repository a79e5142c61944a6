"""Who may decide, what comes of it, and what a process remembers of it."""

from datetime import UTC, datetime

import msgspec
import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.approvals.approval import Approval, Vote, approved, missing
from authz.approvals.demand import Demand
from authz.approvals.eligibility import ballot
from authz.approvals.facts import Facts, Shower, Shown, speaks_of_amount
from authz.approvals.human import human_of
from authz.approvals.risk import History, mixes_scripts, off_hours, warnings
from authz.approvals.settings import ApprovalSettings, HoursSettings
from authz.approvals.view import ApprovalView, Known, news_of
from authz.audit.redact import masked, name_is_secret
from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.approving import demand_of
from authz.errors import PolicyError, Reason
from authz.policy.obligations import parse

NOW = 1_800_000_000.0
OBLIGATIONS = frozenset(
    {"require_approval", "approval_persons", "approval_uses", "approval_ttl", "approval_exclude", "log"}
)


def an_approval(**changes):
    fields = {
        "id": "a-1",
        "digest": "ab" * 32,
        "principal": "spiffe://td/payer",
        "owner": "team-pay",
        "origin": "spiffe://td/planner",
        "behind": ("https://idp#zoe", "zoe@example.com"),
        "action": "POST",
        "demand": Demand(groups=("payments",)),
        "opened_at": NOW,
        "expires_at": NOW + 100,
    }
    return Approval(**fields | changes)


def a_human(subject="ann", groups=("finance",), expires=NOW + 60, **claims):
    mapping = {"payments": ("finance",), "security": ("sec",)}
    found = {"groups": list(groups), "email": f"{subject}@example.com", **claims}
    return human_of("https://idp", subject, found, expires, "groups", ("name", "email"), mapping)


def a_vote(person="https://idp#ann", group="payments", **changes):
    fields = {"approval_id": "a-1", "person": person, "name": person, "group": group, "approved": True, "at": NOW}
    return Vote(**fields | changes)


def codes(approval, human, votes=(), now=NOW, **more):
    return [each.code for each in ballot(approval, votes, human, now, **more).obstacles]


def excluding(*who):
    return an_approval(demand=Demand(groups=("payments",), exclude=who))


@pytest.mark.parametrize(
    ("approval", "human", "expected"),
    [
        (an_approval(), a_human(), []),
        (an_approval(), None, ["not_human"]),
        (an_approval(), a_human(groups=["sec"]), ["not_in_group"]),
        (an_approval(), a_human(expires=NOW), ["token_expired"]),
        (an_approval(principal="https://idp#ann"), a_human(), ["requester"]),
        (an_approval(owner="ANN@example.com"), a_human(), []),
        (msgspec.structs.replace(excluding("owner"), owner="ANN@example.com"), a_human(), ["owner_excluded"]),
        (msgspec.structs.replace(excluding("owner"), owner="finance"), a_human(), ["owner_excluded"]),
        (excluding("origin"), a_human("zoe"), ["origin_excluded"]),
        (excluding("origin"), a_human("yan"), []),
        (an_approval(), a_human("zoe"), []),
        (an_approval(expires_at=NOW), a_human(), ["ended"]),
        (an_approval(state="rejected"), a_human(), ["ended"]),
        (an_approval(state="withdrawn"), a_human(), ["ended"]),
    ],
)
def test_who_may_decide(approval, human, expected):
    assert codes(approval, human) == expected


def test_an_owner_that_is_not_known_excludes_nobody():
    assert codes(msgspec.structs.replace(excluding("owner"), owner=""), a_human("ann", name="")) == []


def test_nobody_speaks_twice_and_every_group_is_heard():
    demand = Demand(groups=("payments", "security"), persons=1)
    approval, both = an_approval(demand=demand), a_human(groups=["finance", "sec"])
    assert ballot(approval, (), both, NOW).group == "payments"
    votes = [a_vote()]
    assert missing(demand, votes) == {"security": 1}
    assert codes(approval, both, votes) == ["voted_already"]
    assert codes(approval, a_human("ben"), votes) == ["not_in_group"]
    assert codes(approval, a_human("ben"), votes, refusing=True) == []
    assert ballot(approval, votes, a_human("ben", ["sec"]), NOW).group == "security"
    assert missing(demand, [*votes, a_vote("https://idp#ben", "security")]) == {}


def test_a_no_of_somebody_does_not_count_as_a_yes():
    assert missing(Demand(groups=("payments",)), [a_vote(approved=False)]) == {"payments": 1}


def test_what_was_approved_lasts_no_longer_than_the_grant_and_gives_the_least_that_anybody_gave():
    approval = an_approval(ends_at=NOW + 30, demand=Demand(groups=("payments",), persons=2, ttl_seconds=900))
    made = approved(approval, [a_vote(uses=3), a_vote("https://idp#ben", uses=2)], NOW)
    assert (made.state, made.uses, made.expires_at) == ("approved", 2, NOW + 30)
    mixed = approved(approval, [a_vote(for_task=True), a_vote("https://idp#ben", uses=2)], NOW)
    assert (mixed.for_task, mixed.uses) == (False, 2)
    assert approved(approval, [a_vote(for_task=True)], NOW).for_task


@pytest.mark.parametrize("groups", [{"a": 1}, [1], 7, ["x"] * 1_001])
def test_groups_that_are_no_texts_make_nobody_a_member(groups):
    with pytest.raises(ValueError, match="the claim 'groups'"):
        human_of("i", "s", {"groups": groups}, NOW, "groups", (), {})


def test_the_strictest_of_several_rules_counts():
    first = parse("require_approval=a;approval_persons=2;approval_ttl=1h", OBLIGATIONS)
    second = parse("require_approval=b;approval_uses=task;approval_ttl=5m;approval_exclude=owner", OBLIGATIONS)
    demand = demand_of(tuple(dict.fromkeys((*first, *second))), 900.0)
    assert demand == Demand(
        groups=("a", "b"), persons=2, max_uses=1, for_task=False, ttl_seconds=300.0, exclude=("owner",)
    )
    assert demand_of((("log", "full"),), 900.0) is None
    assert demand_of(second, 900.0).for_task


@pytest.mark.parametrize(
    "cell",
    [
        "approval_uses=2",
        "approval_ttl=5m",
        "require_approval=a;approval_persons=0",
        "require_approval=a;approval_persons=10",
        "require_approval=a;approval_uses=0",
        "require_approval=a;approval_uses=many",
        "require_approval=a;approval_ttl=1s",
        "require_approval=a;approval_ttl=soon",
        "require_approval=a;approval_exclude=boss",
        "require_approval=a;approval_exclude=owner+owner",
        "require_approval=a;approval_persons=٢",
    ],
)
def test_obligations_that_say_nothing_sensible_do_not_load(cell):
    with pytest.raises(ValueError, match=r"obligation|duration"):
        parse(cell, OBLIGATIONS)


def known(state="open", principal="p", expires_at=NOW + 10, name="a-1"):
    return {"digest": "ab" * 32, "state": state, "principal": principal, "expires_at": expires_at}


def test_a_view_follows_what_becomes_of_a_request():
    view = ApprovalView(2)
    view.take("a-1", known())
    assert view.find("ab" * 32, NOW).state == "open"
    assert view.find("ab" * 32, NOW + 10) is None
    view.take("a-1", known("approved"))
    assert (view.find("ab" * 32, NOW).state, view.full("p", NOW)) == ("approved", False)
    view.take("a-1", known("spent"))
    assert (view.find("ab" * 32, NOW), len(view)) == (None, 0)
    view.take("a-2", known())
    view.take("a-1", known("spent"))  # of the one before: the new one stays
    assert view.find("ab" * 32, NOW).id == "a-2"


def test_a_view_counts_what_waits_and_forgets_what_lapsed():
    view = ApprovalView(2)
    view.replace([(f"{number:064x}", Known(f"a-{number}", "open", "p", NOW + number)) for number in (1, 5)])
    assert view.full("p", NOW)
    assert not view.full("p", NOW + 1)
    assert not view.full("q", NOW)
    assert news_of(an_approval())["groups"] == ("payments",)


def test_ten_thousand_open_requests_are_small():
    import tracemalloc

    tracemalloc.start()
    view = ApprovalView(20)
    for number in range(10_000):
        view.take(f"a-{number:036x}", known(principal=f"spiffe://td/{number % 500}") | {"digest": f"{number:064x}"})
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(view) == 10_000
    assert taken < 10_000_000


SHOWER = Shower(masked, name_is_secret, ("iban",))


def test_arguments_are_flattened_masked_and_bounded():
    found, more, cut = SHOWER.arguments(
        {
            "a": {"b": [1, {"c": True}]},
            "password": "x",
            "IBAN": "DE1",
            "auth": {"code": "y"},
            "long": "z" * 300,
            "e": {},
        }
    )
    assert dict(msgspec.to_builtins(found))["a.b[1].c"] == "true"
    shown = {each.name: each.value for each in found}
    assert [shown[name] for name in ("password", "IBAN", "auth.code")] == ["[masked]"] * 3
    assert (shown["e"], more, cut) == ("{}", 0, True)
    many, more, _ = SHOWER.arguments({str(number): number for number in range(100)})
    assert (len(many), more) == (64, 36)
    deep = {"a": 1}
    for _ in range(100):
        deep = {"a": deep}
    assert len(SHOWER.arguments(deep)[0]) == 1


def test_facts_shrink_to_what_may_be_kept():
    facts = Facts(arguments=tuple(Shown(str(number), "x" * 200) for number in range(64)))
    small = facts.within(4_096)
    assert len(msgspec.json.encode(small)) <= 4_096
    assert small.left_out + len(small.arguments) == 64


@pytest.mark.parametrize(
    ("name", "speaks"), [("amount", True), ("totalAmount", True), ("a.price_eur", True), ("account", False)]
)
def test_amounts_are_known_by_their_names(name, speaks):
    assert speaks_of_amount(name) is speaks


def test_hours_and_look_alikes_are_told():
    hours = HoursSettings(hours="08:00-18:00", utc_offset_minutes=60)
    monday_at_noon, sunday = (datetime(2027, 1, day, 11, tzinfo=UTC).timestamp() for day in (11, 10))
    assert (off_hours(hours, monday_at_noon), off_hours(hours, sunday)) == (False, True)
    assert off_hours(hours, monday_at_noon + 6 * 3_600)
    assert not off_hours(HoursSettings(), sunday)
    assert mixes_scripts("p\u0430ypal")
    assert not mixes_scripts("\u043c\u0438\u0440 peace")
    told = warnings(an_approval(owner=""), Facts(body_bytes=3), History(), unusual_hour=True)
    assert [each.partition(":")[0] for each in told[:2]] == ["First time", "Asked outside of the usual hours."]


@pytest.mark.parametrize(
    "settings",
    [
        ApprovalSettings(groups={"G": ("x",)}),
        ApprovalSettings(groups={"g": ()}),
        ApprovalSettings(groups={"g": ("x",)}),
        ApprovalSettings(bind_headers=("Content-Type",)),
        ApprovalSettings(business_hours=HoursSettings(hours="8-18")),
    ],
)
def test_settings_that_cannot_work_are_told(settings):
    assert list(settings.problems())


def test_a_dry_run_tells_that_a_human_is_wanted(tmp_path):
    (tmp_path / "model.conf").write_text(
        "[request_definition]\nr = sub, obj, act, env\n[policy_definition]\np = rule, eft, obligations\n"
        "[policy_effect]\ne = some(where (p.eft == allow)) && !some(where (p.eft == deny))\n"
        "[matchers]\nm = eval(p.rule)\n"
    )
    (tmp_path / "policy.csv").write_text("p, r.sub.trust_domain == 'td.example', allow, require_approval=g\n")
    (tmp_path / "keys.json").write_text('{"keys": []}')
    (tmp_path / "authz.toml").write_text(
        '[identity]\ntrust_domain = "td.example"\nrequire_certificate = false\n'
        '[policy]\nmodel = "model.conf"\npolicies = ["policy.csv"]\n[approvals.groups]\ng = ["x"]\n'
        '[[approvals.issuers]]\nissuer = "https://idp"\njwks = "keys.json"\naudiences = ["a"]\n'
    )
    composition = Composition(load(tmp_path / "authz.toml", Config, {}), tmp_path)
    request = CheckRequest()
    request.attributes.source.principal = "spiffe://td.example/a"
    http = request.attributes.request.http
    http.method, http.host, http.path = "POST", "h", "/x"
    outcome, response = composition.decide_once(request.SerializeToString(), NOW)
    assert outcome.decision.reason is Reason.APPROVAL_REQUIRED
    assert response.denied_response.status.code == 403
    other = (tmp_path / "policy.csv").read_text().replace("=g", "=nobody")
    (tmp_path / "policy.csv").write_text(other)
    with pytest.raises(PolicyError, match=r"policy\.csv:1: .*approvals\.groups"):
        composition.build_snapshot()
