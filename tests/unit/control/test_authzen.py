"""OpenID AuthZEN 1.0 over the same PDP: the certification scenario's decisions, batches, and bad requests."""

import pytest
from control_kit import PLANNER

from authz.model import Freshness

# ruff: noqa: E501 - rules stand on a line of their own

RULES = """
p, pep, r.sub.id == 'spiffe://demo.internal/ns/agents/sa/planner', /decisions, control:decisions.evaluate, allow,
"""
# The fixture of the certification scenario: who may do what to record-1.
SCENARIO = """\
p, read, (r.sub.id in ['user:alice', 'user:bob']), record:record-1, can_read, allow,
p, write, r.sub.id == 'user:alice', record:record-1, can_write, allow,
p, not-archived, 'status' in r.obj.properties && r.obj.properties.status == 'archived' && !('role' in r.sub.properties && r.sub.properties.role == 'admin'), record:*, can_write, deny,
p, delete, r.sub.id == 'user:alice' && 'soft' in r.act.properties && r.act.properties.soft == True, record:record-1, can_delete, allow,
p, planner-reads-accounts, r.sub.id == 'spiffe://demo.internal/ns/agents/sa/planner' && r.sub.registered && r.obj.type == 'account', /v1/accounts/*, GET, allow,
"""


@pytest.fixture
async def zen(start):
    async with start(rules=RULES, files={"policy.csv": SCENARIO}) as world, world.http(PLANNER) as client:
        client.world = world
        yield client


def question(subject="alice", action="can_read", resource="record-1", **properties):
    document = {
        "subject": {"type": "user", "id": subject},
        "action": {"name": action},
        "resource": {"type": "record", "id": resource},
    }
    for name, value in properties.items():
        document[name.removeprefix("of_")]["properties"] = value
    return document


async def ask(client, document, **options):
    return await client.post("/access/v1/evaluation", json=document, **options)


@pytest.mark.parametrize(
    ("document", "decision"),
    [
        (question("alice", "can_read"), True),
        (question("alice", "can_write"), True),
        (question("bob", "can_read"), True),
        (question("bob", "can_write"), False),
        (question("alice", "can_write", of_resource={"status": "archived"}), False),
        (question("alice", "can_write", of_resource={"status": "archived"}, of_subject={"role": "admin"}), True),
        (question("alice", "can_delete", of_action={"soft": True}), True),
        (question("alice", "can_delete", of_action={"soft": False}), False),
    ],
)
async def test_the_certification_scenario(zen, document, decision):
    answer = await ask(zen, document)
    assert answer.status_code == 200
    assert answer.json()["decision"] is decision
    record = zen.world.trail.last
    assert record.decision_id == answer.json()["context"]["id"]
    assert record.decision.allowed is decision


async def test_a_workload_is_what_the_inventory_says_and_proves_nothing(zen):
    document = {
        "subject": {"type": "workload", "id": PLANNER},
        "action": {"name": "GET"},
        "resource": {"type": "http", "id": "api.demo.internal/v1/accounts/42"},
    }
    assert (await ask(zen, document)).json()["decision"] is True
    assert zen.world.trail.last.subject.sources == ("authzen",)
    assert zen.world.trail.last.subject.credential is None


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ({"type": "http", "id": "api.demo.internal/v1/../admin"}, "path_dot_segment"),
        ({"type": "http", "id": "api.demo.internal/v1/accounts%2f42"}, "path_encoded_slash"),
    ],
)
async def test_a_path_that_could_be_read_in_two_ways_is_denied(zen, resource, reason):
    document = {**question(), "action": {"name": "GET"}, "resource": resource}
    answer = (await ask(zen, document)).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, reason)


async def test_an_identity_of_another_trust_domain_is_denied(zen):
    document = {**question(), "subject": {"type": "workload", "id": "spiffe://other.example/a"}}
    answer = (await ask(zen, document)).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, "trust_domain_not_allowed")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"subject": {"type": "user", "id": "alice"}},
        {**question(), "subject": {"type": "user"}},
        {**question(), "subject": "alice"},
        {**question(), "action": {}},
        {**question(), "resource": {"type": "record", "id": ""}},
        {**question(), "context": []},
    ],
)
async def test_what_is_missing_or_malformed_is_a_bad_request(zen, document):
    assert (await ask(zen, document)).status_code == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"subject":1,"subject":2}', b"\xff"])
async def test_a_body_that_is_no_object(zen, body):
    answer = await zen.post("/access/v1/evaluation", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


async def test_unknown_members_are_ignored(zen):
    assert (await ask(zen, {**question(), "future": 1})).json()["decision"] is True


async def test_the_request_id_is_echoed(zen):
    assert (await ask(zen, question(), headers={"x-request-id": "r-1"})).headers["x-request-id"] == "r-1"


async def test_who_may_not_ask_is_told_403_and_nobody_401(zen):
    async with zen.world.http("spiffe://demo.internal/ns/payments/sa/billing") as other:
        assert (await ask(other, question())).status_code == 403
    async with zen.world.http() as nobody:
        assert (await ask(nobody, question())).status_code == 401


# Batches


async def batch(client, evaluations, semantic=None, **defaults):
    document = {"evaluations": evaluations, **defaults}
    if semantic:
        document["options"] = {"evaluations_semantic": semantic}
    return await client.post("/access/v1/evaluations", json=document)


async def test_many_at_once_with_defaults_in_order(zen):
    actions = [{"action": {"name": name}} for name in ("can_read", "can_write", "can_read")]
    defaults = question("bob")
    answer = (await batch(zen, actions, **defaults)).json()
    assert [each["decision"] for each in answer["evaluations"]] == [True, False, True]


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
async def test_the_semantics_of_a_batch(zen, semantic, decisions):
    items = [question("bob", name) for name in ("can_read", "can_write", "can_read")]
    answer = (await batch(zen, items, semantic)).json()
    assert [each["decision"] for each in answer["evaluations"]] == decisions


async def test_an_item_that_is_malformed_is_denied_alone(zen):
    answer = (await batch(zen, [question(), {"subject": 1}, 7])).json()["evaluations"]
    assert [each["decision"] for each in answer] == [True, False, False]
    assert answer[1]["context"]["error"]["status"] == 400


async def test_a_batch_without_items_is_one_evaluation(zen):
    assert (await batch(zen, [], **question())).json()["decision"] is True


async def test_batches_are_bounded(start):
    async with start(rules=RULES, http="max_evaluations = 2") as world, world.http(PLANNER) as client:
        assert (await batch(client, [question()] * 3)).status_code == 400
        assert (await batch(client, [question()], "whatever")).status_code == 400


async def test_the_metadata(zen):
    document = (await zen.get("/.well-known/authzen-configuration")).json()
    assert document["policy_decision_point"].startswith("https://")
    assert document["access_evaluation_endpoint"].endswith("/access/v1/evaluation")


async def test_somebody_revoked_is_denied(zen):
    document = {
        "subject": {"type": "workload", "id": PLANNER},
        "action": {"name": "GET"},
        "resource": {"type": "http", "id": "api.demo.internal/v1/accounts/42"},
    }
    billing = "spiffe://demo.internal/ns/payments/sa/billing"
    document["subject"]["id"] = billing
    assert (await ask(zen, document)).json()["context"]["reason"] == "no_matching_rule"
    await zen.world.revoke("principal", billing)
    assert (await ask(zen, document)).json()["context"]["reason"] == "principal_revoked"


async def test_rules_see_how_old_the_state_is(start, monkeypatch):
    rule = (
        "p, fresh, r.env.state.revocations_age < 2 && r.env.state.policy_age < 2, record:record-1, can_read, allow,\n"
    )
    async with start(rules=RULES, files={"policy.csv": rule}) as world, world.http(PLANNER) as client:
        assert (await ask(client, question())).json()["decision"] is True
        for age in (Freshness(policy=5.0), Freshness(revocations=5.0)):
            monkeypatch.setattr(world.shared.standing, "freshness", lambda age=age: age)
            assert (await ask(client, question())).json()["decision"] is False


async def test_no_type_makes_a_workload_s_identity_out_of_an_id_that_is_none(zen):
    document = question("//demo.internal/ns/agents/sa/planner")
    document["subject"]["type"] = "spiffe"
    assert (await ask(zen, document)).status_code == 400
    answer = (await zen.post("/access/v1/evaluations", json={"evaluations": [document, question()]})).json()
    assert [each["decision"] for each in answer["evaluations"]] == [False, True]


async def test_a_fault_denies_and_is_on_record(zen, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug with a secret")

    monkeypatch.setattr(type(zen.world.holder.current), "decide", broken)
    answer = await ask(zen, question())
    assert (answer.status_code, answer.json()["decision"]) == (200, False)
    assert answer.json()["context"]["reason"] == "internal_error"
    assert zen.world.trail.last.decision_id == answer.json()["context"]["id"]
    assert "secret" not in answer.text
