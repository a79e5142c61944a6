"""Human approval from end to end: a call that waits, a human's word over the control API, and the retry."""

import asyncio
import contextlib
import json
import time
from types import SimpleNamespace

import pytest
from approval_kit import BODY, OPEN, PAYER, PLAIN, RULE, Plane, Provider, configured, desk, inventory, tls_desk
from control_kit import BILLING, Failed
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from msgspec import structs

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.control.v1 import approvals_pb2 as pb
from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission, Task
from authz.decision.approving import NOBODY_ASKED
from authz.errors import Reason, Refusal
from authz.model import Asked, CheckCall, Decision, Effect, Outcome, Subject, Target
from authz.stores.database.records import Revocation


@pytest.fixture
def provider(tmp_path):
    return Provider(tmp_path)


@pytest.fixture
def serve(start, provider):
    """Answer a context manager that serves with one rule that has these obligations."""

    @contextlib.asynccontextmanager
    async def serving(
        obligations="require_approval=payments",
        more="",
        rules=OPEN,
        owner="carol@example.com",
        person_claim="",
        **changes,
    ):
        files = {"policy.csv": f"{RULE}{obligations}\n{PLAIN}", "inventory.toml": inventory(owner)}
        async with start(
            operators=configured(provider, more) + person_claim, rules=rules, files=files, **changes
        ) as world:
            world.plane, world.desk = Plane(world), desk(world)
            yield world

    return serving


@pytest.fixture
async def world(serve):
    async with serve() as made:
        yield made


async def test_a_call_waits_for_a_human_passes_once_and_waits_again(world, provider):
    first = await world.plane.ask()
    assert (first.allowed, first.reason) == (False, "approval_required")
    assert first.problem["status"] == 403
    assert first.wanted["form_url"] == f"https://console.example/approvals/{first.id}"
    assert (first.wanted["state"], first.wanted["mode"], first.wanted["next_action"]) == ("open", "reevaluate", "retry")
    assert first.headers["x-authz-approval-id"] == first.id
    assert (await world.plane.ask()).id == first.id  # tried again: no second request
    approved = await world.desk.approve(first.id, provider.token(), comment="invoice 7 is right")
    assert approved.state == pb.APPROVAL_STATE_APPROVED
    [vote] = approved.votes
    assert (vote.person, vote.name, vote.group) == ("https://idp.example#ann", "Ann", "payments")
    assert (vote.comment, vote.tool) == ("invoice 7 is right", "operator:alice")
    assert (await world.plane.ask()).allowed
    second = await world.plane.ask()
    assert (second.reason, second.id != first.id) == ("approval_required", True)
    shown = (await world.desk.get(first.id, provider.token())).approval
    assert (shown.state, shown.used, shown.uses) == (pb.APPROVAL_STATE_SPENT, 1, 1)


async def test_what_needs_no_approval_is_decided_at_once(world):
    assert (await world.plane.ask(path="/v1/accounts/7", method="GET", body=b"")).allowed
    assert (await world.desk.list()).open == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"body": BODY.replace(b"250", b"251")},
        {"body": BODY + b" "},
        {"path": "/v1/payments/8"},
        {"path": "/v1/payments?dry=1"},
        {"method": "PUT"},
        {"host": "bank2.demo.internal"},
        {"x_task_id": "t-2"},
        {"content_type": "text/plain"},
        {"content_encoding": "gzip"},
    ],
)
async def test_an_approval_is_good_for_exactly_what_was_asked(world, provider, changed):
    asked = await world.plane.ask()
    await world.desk.approve(asked.id, provider.token())
    other = await world.plane.ask(**changed)
    assert (other.reason, other.id != asked.id) == ("approval_required", True)
    assert (await world.plane.ask()).allowed


@pytest.mark.parametrize("uses", [1, 3])
async def test_of_a_hundred_calls_on_two_workers_exactly_the_approved_number_passes(serve, provider, uses):
    from authz.shared_state import NoSiblings, shared_state

    async with (
        serve("require_approval=payments;approval_uses=5") as world,
        shared_state(world.config, world.directory, NoSiblings()) as other,
    ):
        planes = (world.plane, Plane(world, other))
        asked = await world.plane.ask()
        await world.desk.approve(asked.id, provider.token(), uses=uses)
        await other.view.catch_up()
        told = await asyncio.gather(*(planes[number % 2].ask() for number in range(100)))
        assert sum(each.allowed for each in told) == uses
        assert {each.reason for each in told if not each.allowed} == {"approval_required"}
        assert len({each.id for each in told if not each.allowed}) == 1  # one new request, however many lost


async def test_the_same_decision_that_asks_again_takes_no_second_use(world, provider):
    asked = await world.plane.ask()
    await world.desk.approve(asked.id, provider.token())
    pending = world.plane.checker.check(world.plane.message(), 5.0)
    assert await pending.spend() is None
    assert await pending.spend() is None
    pending.conclude(None)
    found = await world.shared.store.approval(asked.id)
    assert found.approval.used == 1


async def refused(world, approval_id, token=None, reason="APPROVER_NOT_ALLOWED", code="PERMISSION_DENIED", **more):
    with pytest.raises(Failed) as failed:
        await world.desk.call("Approve", pb.ApproveRequest(approval_id=approval_id), token, **more)
    assert (failed.value.code.name, failed.value.reason) == (code, reason), failed.value
    found = await world.shared.store.approval(approval_id)
    assert found.approval.state != "approved"
    return failed.value.args[1]


async def test_only_humans_of_the_group_approve(world, provider):
    asked = await world.plane.ask()
    assert "authz login" in await refused(world, asked.id, reason="APPROVER_NOT_HUMAN")
    assert "not_in_group" in await refused(world, asked.id, provider.token(groups=["sec"]))
    assert "not_in_group" in await refused(world, asked.id, provider.token(groups=[]))
    assert "not_in_group" in await refused(world, asked.id, provider.token(groups=["Finance"]))
    strange = provider.token(groups=[["finance"]])
    assert "holds something that is no text" in await refused(world, asked.id, strange, reason="APPROVER_NOT_HUMAN")
    denied = world.trail.last
    assert not denied.decision.allowed
    assert denied.asked.obj["id"] == asked.id
    assert (await world.plane.ask()).reason == "approval_required"


def after(seconds):
    """A moment that counts from when the test runs, which may be long after it was collected."""
    return lambda now: now + seconds


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": "another-service"}, "token_audience"),
        ({"aud": None}, "token_audience"),
        ({"iss": "https://evil.example"}, "token_issuer_unknown"),
        ({"exp": after(-60), "iat": after(-700)}, "token_expired"),
        ({"nbf": after(600)}, "token_not_yet_valid"),
        ({"exp": after(10 * 86_400)}, "credential_too_long_lived"),
        ({"sub": ""}, "token_subject"),
        ({"cnf": {"x5t#S256": "a" * 43}}, "token_malformed"),
    ],
)
async def test_a_token_that_is_not_for_this_proves_nobody(world, provider, changes, why):
    asked = await world.plane.ask()
    claims = {name: value(time.time()) if callable(value) else value for name, value in changes.items()}
    assert why in await refused(world, asked.id, provider.token(**claims), reason="APPROVER_NOT_HUMAN")


async def test_a_token_of_other_keys_proves_nobody_and_new_keys_count_at_once(world, provider):
    asked = await world.plane.ask()
    old = provider.token()
    provider.rotate("k2")
    rotated = provider.token()
    assert "token_key_unknown" in await refused(world, asked.id, rotated, reason="APPROVER_NOT_HUMAN")
    await asyncio.to_thread(world.composition.read_keys_once)
    assert "token_key_unknown" in await refused(world, asked.id, old, reason="APPROVER_NOT_HUMAN")
    await world.desk.approve(asked.id, rotated)


async def test_a_provider_whose_keys_cannot_be_read_vouches_for_nobody(world, provider):
    asked = await world.plane.ask()
    world.composition.keys = {}
    assert "token_key_unknown" in await refused(world, asked.id, provider.token(), reason="APPROVER_NOT_HUMAN")


@pytest.mark.parametrize(
    "raw", ["Bearer", "Bearer x", "Basic YTpi", "bearer a.b.c, Bearer d.e.f", "Bearer " + "a" * 20_000]
)
async def test_what_is_no_token_proves_nobody(world, raw):
    asked = await world.plane.ask()
    with pytest.raises(Failed) as failed:
        await world.desk.call("Approve", pb.ApproveRequest(approval_id=asked.id), raw=raw)
    assert failed.value.reason in {"APPROVER_NOT_HUMAN", ""}  # "": gRPC itself refuses metadata of this size


async def test_a_workload_cannot_approve_with_its_certificate_nor_with_a_humans_token_in_the_requesters_hands(
    world, provider
):
    asked = await world.plane.ask()
    for who in (PAYER, BILLING):
        async with world.pki.channel(world.target, who) as channel:
            theirs = tls_desk(channel)
            with pytest.raises(Failed) as failed:
                await theirs.approve(asked.id, None)
            assert failed.value.reason == "APPROVER_NOT_HUMAN"
            if who == PAYER:
                with pytest.raises(Failed) as failed:
                    await theirs.approve(asked.id, provider.token())
                assert failed.value.reason == "APPROVER_NOT_ALLOWED"
                assert not (await theirs.get(asked.id, provider.token())).viewer.may_approve
    assert not (await world.plane.ask()).allowed


async def test_the_shipped_policy_lets_operators_bring_words_and_requesters_take_back(serve, provider):
    async with serve(rules=None) as world:
        asked = await world.plane.ask()
        assert len((await world.desk.list()).approvals) == 1
        async with world.pki.channel(world.target, BILLING) as channel:
            with pytest.raises(Failed) as failed:
                await tls_desk(channel).approve(asked.id, provider.token())
            assert failed.value.reason == "NO_MATCHING_RULE"
        async with world.pki.channel(world.target, PAYER) as channel:
            theirs = tls_desk(channel)
            assert (await theirs.get(asked.id)).approval.id == asked.id
            with pytest.raises(Failed):
                await theirs.list()
            await theirs.withdraw(asked.id)
        assert "withdrawn" in await refused(
            world, asked.id, provider.token(), reason="APPROVAL_ENDED", code="FAILED_PRECONDITION"
        )
        again = await world.plane.ask()
        await world.desk.approve(again.id, provider.token())
        assert (await world.plane.ask()).allowed


async def test_two_persons(serve, provider):
    async with serve("require_approval=payments;approval_persons=2") as world:
        asked = await world.plane.ask()
        half = await world.desk.approve(asked.id, provider.token("ann"))
        assert (half.state, half.missing) == (pb.APPROVAL_STATE_OPEN, 1)
        assert not (await world.plane.ask()).allowed
        told = await refused(world, asked.id, provider.token("ann", name="Somebody Else"))
        assert "voted_already" in told
        whole = await world.desk.approve(asked.id, provider.token("ben"))
        assert (whole.state, whole.missing) == (pb.APPROVAL_STATE_APPROVED, 0)
        assert (await world.plane.ask()).allowed


async def test_one_person_who_races_themselves_counts_once(serve, provider):
    async with serve("require_approval=payments;approval_persons=2") as world:
        asked = await world.plane.ask()
        tries = [world.desk.approve(asked.id, provider.token("ann", jti=str(number))) for number in range(10)]
        told = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(each, Failed) for each in told) == 1
        assert (await world.desk.get(asked.id)).approval.missing == 1


@pytest.mark.parametrize(
    ("owner", "token"),
    [
        ("carol@example.com", {"subject": "carol"}),
        ("Carol@Example.com ", {"subject": "carol"}),
        ("finance", {"subject": "ann"}),
        ("https://idp.example#ann", {"subject": "ann"}),
        ("110169484474386276334", {"subject": "110169484474386276334"}),  # as Google's: no card number
        ("sid=ann", {"subject": "ann", "name": "sid=ann"}),
        (
            "\u0646\u0627\u0645\u0647\u200c\u0646\u06af\u0627\u0631",
            {"name": "\u0646\u0627\u0645\u0647\u200c\u0646\u06af\u0627\u0631"},
        ),
        ("\u200f" * 250, {"name": "\u200f" * 250}),
    ],
)
async def test_the_owner_is_excluded_where_the_rule_says_so(serve, provider, owner, token):
    async with serve("require_approval=payments;approval_exclude=owner", owner=owner) as world:
        asked = await world.plane.ask()
        assert "owner_excluded" in await refused(world, asked.id, provider.token(**token))
    async with serve("require_approval=payments", owner=owner) as world:
        await world.desk.approve((await world.plane.ask(BODY + b" ")).id, provider.token(**token))


async def test_after_its_time_nothing_is_approved_and_nothing_passes(world, provider):
    asked = await world.plane.ask()
    store = world.shared.store
    await world.desk.approve(asked.id, provider.token())
    found = (await store.approval(asked.id)).approval
    assert found.state_at(found.expires_at) == "expired"
    assert found.expires_at - found.decided_at == pytest.approx(900)


async def test_a_rejection_stands_and_no_further_request_is_opened(world, provider):
    asked = await world.plane.ask()
    with pytest.raises(Failed) as failed:
        await world.desk.reject(asked.id, provider.token(), comment="")
    assert "comment" in failed.value.violations
    rejected = await world.desk.reject(asked.id, provider.token(), "not this month")
    assert rejected.state == pb.APPROVAL_STATE_REJECTED
    again = await world.plane.ask()
    assert (again.reason, again.id, again.wanted["next_action"]) == ("approval_rejected", asked.id, "none")
    assert "rejected" in await refused(
        world, asked.id, provider.token("ben"), reason="APPROVAL_ENDED", code="FAILED_PRECONDITION"
    )


async def test_an_approval_dies_with_its_principal(world, provider):
    asked = await world.plane.ask()
    await world.revoke("principal", PAYER)
    card = await world.desk.get(asked.id, provider.token())
    assert (card.approval.state, card.viewer.may_approve) == (pb.APPROVAL_STATE_DEAD, False)
    assert "principal_revoked" in await refused(
        world, asked.id, provider.token(), reason="APPROVAL_DEAD", code="FAILED_PRECONDITION"
    )


async def test_one_that_was_approved_before_does_not_let_the_revoked_in(world, provider):
    asked = await world.plane.ask()
    await world.desk.approve(asked.id, provider.token())
    pending = world.plane.checker.check(world.plane.message(), 5.0)
    assert await pending.spend() is None
    await world.revoke("principal", PAYER)  # between the spending and the answer
    pending.conclude(None)
    assert world.plane.outcomes[-1].decision.reason.value == "principal_revoked"
    assert (await world.plane.ask()).reason == "principal_revoked"


async def test_the_number_of_uses_is_the_least_that_rule_and_humans_gave(serve, provider):
    async with serve("require_approval=payments;approval_persons=2;approval_uses=3") as world:
        asked = await world.plane.ask()
        with pytest.raises(Failed) as failed:
            await world.desk.approve(asked.id, provider.token(), uses=4)
        assert failed.value.reason == "TOO_MANY_USES"
        with pytest.raises(Failed) as failed:
            await world.desk.approve(asked.id, provider.token(), for_task=True)
        assert failed.value.reason == "NOT_FOR_TASK"
        await world.desk.approve(asked.id, provider.token("ann"), uses=3)
        await world.desk.approve(asked.id, provider.token("ben"), uses=2)
        assert [(await world.plane.ask()).allowed for _ in range(3)] == [True, True, False]


async def test_what_was_shown_must_be_what_is_approved(world, provider):
    asked = await world.plane.ask()
    with pytest.raises(Failed) as failed:
        await world.desk.approve(asked.id, provider.token(), binding_sha256="0" * 64)
    assert failed.value.code.name == "ABORTED"
    shown = (await world.desk.get(asked.id)).approval
    await world.desk.approve(asked.id, provider.token(), binding_sha256=shown.binding_sha256)


async def test_a_body_that_is_not_seen_whole_is_never_approved(world):
    assert (await world.plane.ask(x_envoy_auth_partial_body="true")).reason == "body_partial"
    assert (await world.plane.ask(b"", content_length="7")).reason == "body_partial"
    assert (await world.plane.ask(b"", transfer_encoding="chunked")).reason == "body_partial"
    assert (await world.plane.ask(b"")).reason == "body_partial"
    assert (await world.plane.ask(b"", content_length="0")).reason == "approval_required"
    assert (await world.plane.ask(b"", method="GET")).reason == "approval_required"


async def test_a_flood_is_refused_with_its_reason(serve):
    async with serve(more="max_open_per_principal = 3\nmax_open = 4") as world:
        told = [await world.plane.ask(b"%d" % number) for number in range(6)]
        assert [each.reason for each in told] == ["approval_required"] * 3 + ["approval_limit"] * 3
        assert told[-1].response.denied_response.status.code == 429
        assert (await world.desk.list()).open == 3


async def test_opening_and_taking_back_in_turn_is_bounded_too(serve):
    async with serve(more="max_opened_per_hour = 2") as world:
        for number in range(2):
            await world.desk.withdraw((await world.plane.ask(b"%d" % number)).id)
        assert (await world.plane.ask(b"2")).reason == "approval_limit"


async def test_the_card_tells_what_helps_to_decide_and_no_secret(world, provider):
    asked = await world.plane.ask(x_task_id="t-1", x_task_purpose="pay invoice 7")
    card = await world.desk.get(asked.id, provider.token())
    shown = {each.name: each.value for each in card.approval.action.arguments}
    assert shown == {"amount": "250", "currency": "EUR", "to": "DE02", "password": "[masked]"}
    assert [each.name for each in card.approval.action.amounts] == ["amount", "currency"]
    assert card.approval.requester.owner == "carol@example.com"
    assert card.approval.requester.task.purpose == "pay invoice 7"
    assert card.approval.demand.rule.startswith("policies/policy.csv:")
    assert card.risk.first_time
    assert (card.viewer.may_approve, card.viewer.may_reject, card.viewer.group) == (True, True, "payments")
    assert b"hunter2" not in card.SerializeToString()
    assert b"hunter2" not in repr(await world.shared.store.approval(asked.id)).encode()
    await world.desk.approve(asked.id, provider.token())
    other = await world.plane.ask(BODY + b" ", x_task_id="t-1")
    card = await world.desk.get(other.id, provider.token("ben"))
    assert (card.risk.first_time, card.risk.approved_before) == (False, 1)
    assert [each.id for each in card.risk.earlier] == [asked.id]
    assert list(card.risk.earlier[0].by) == ["Ann"]
    assert dict(card.risk.task_requests) == {"approved": 1, "open": 1}


async def test_hostile_strings_are_shown_as_what_they_are(serve, provider):
    evil = '"><script>alert(1)</script>\x1b[31m\u202egnp.exe\u200b'
    body = json.dumps({evil: evil, "note": "A" * 200_000}).encode()
    async with serve(owner="x") as world:
        asked = await world.plane.ask(body, x_task_id="t\u202e1\u001b[2J", x_task_purpose="<b>\u2066hi")
        card = await world.desk.get(asked.id, provider.token())
        assert len(card.SerializeToString()) < 65_536
        for bad in "\u202e\u200b\u2066\x1b":
            assert bad not in card.approval.requester.task.id
            assert bad not in card.approval.requester.task.purpose
            assert all(bad not in each.name + each.value for each in card.approval.action.arguments)
        assert any("<script>" in each.value for each in card.approval.action.arguments)  # whoever makes HTML escapes it
        assert card.approval.action.arguments_cut
        assert any("digest" in each for each in card.risk.warnings)


async def test_lists_and_watching(world, provider):
    desk_of = world.desk
    first = await world.plane.ask()
    second = await world.plane.ask(BODY + b" ")
    listed = await desk_of.list()
    assert [each.id for each in listed.approvals] == [second.id, first.id]
    assert (listed.open, [len(each.action.arguments) for each in listed.approvals]) == (2, [0, 0])
    assert len((await desk_of.list(provider.token(), mine=True)).approvals) == 2
    assert not (await desk_of.list(provider.token(groups=["sec"]), mine=True)).approvals
    with pytest.raises(Failed):
        await desk_of.list(mine=True)
    with pytest.raises(Failed):
        await desk_of.list(group="nobody")
    await desk_of.approve(first.id, provider.token())
    approved = await desk_of.list(state=pb.APPROVAL_STATE_APPROVED)
    assert [each.id for each in approved.approvals] == [first.id]


async def test_whoever_watches_is_told_what_happens(world, provider):
    stream = world.alice.stream(pb.DESCRIPTOR.services_by_name["Approvals"], "Watch", pb.WatchApprovalsRequest())
    events = aiter(stream)
    assert (await anext(events)).kind == pb.ApprovalEvent.KIND_WATCHING
    asked = await world.plane.ask()
    assert (await anext(events)).kind == pb.ApprovalEvent.KIND_OPENED
    await world.desk.approve(asked.id, provider.token())
    event = await anext(events)
    assert (event.kind, event.approval.id) == (pb.ApprovalEvent.KIND_APPROVED, asked.id)
    await world.plane.ask()
    assert (await anext(events)).kind == pb.ApprovalEvent.KIND_USED
    stream.cancel()


GRANTS = grants_pb2.DESCRIPTOR.services_by_name["Grants"]


async def granted(world, **changes):
    wanted = Permission(actions=["POST"], locations=["*"], resources=["/v1/payments"])
    request = grants_pb2.IssueRequest(
        holder=PAYER, task=Task(id="t-7", purpose="pay invoice 7"), permissions=[wanted], **changes
    )
    request.ttl.seconds = 300
    return await world.alice.call(GRANTS, "Issue", request)


async def test_waiting_uses_no_counted_grant_up(world, provider):
    token = (await granted(world, uses=1)).token
    first = await world.plane.ask(authz_grant=token)
    assert (await world.plane.ask(authz_grant=token)).id == first.id
    await world.desk.approve(first.id, provider.token())
    assert (await world.plane.ask(authz_grant=token)).allowed
    assert (await world.plane.ask(authz_grant=token)).reason == "grant_used_up"  # and nobody is asked in vain
    assert (await world.desk.list()).open == 0


async def test_an_approval_is_for_the_grant_that_it_was_asked_under_and_ends_with_it(world, provider):
    made = await granted(world)
    asked = await world.plane.ask(authz_grant=made.token)
    card = await world.desk.get(asked.id, provider.token())
    assert card.approval.requester.grant_id == made.grant.id
    assert not card.approval.requester.task_declared
    assert card.approval.expires_at.seconds <= made.grant.expires_at.seconds
    assert card.risk.task_grants == 1
    approved = await world.desk.approve(asked.id, provider.token())
    assert approved.expires_at.seconds <= made.grant.expires_at.seconds
    other = await granted(world)
    assert (await world.plane.ask(authz_grant=other.token)).reason == "approval_required"
    assert (await world.plane.ask()).reason == "approval_required"
    assert (await world.plane.ask(authz_grant=made.token)).allowed


@pytest.mark.parametrize("approve_first", [True, False])
@pytest.mark.parametrize("end", ["revoke", "complete"])
async def test_an_approval_dies_with_its_grant_and_task(world, provider, end, approve_first):
    made = await granted(world)
    asked = await world.plane.ask(authz_grant=made.token)
    if approve_first:
        await world.desk.approve(asked.id, provider.token())
    if end == "revoke":
        request = grants_pb2.RevokeRequest(grant_id=made.grant.id, reason="test")
        await world.alice.call(GRANTS, "Revoke", request)
    else:
        await world.alice.call(GRANTS, "Complete", grants_pb2.CompleteRequest(task_id="t-7"))
    expected = {"revoke": "grant_revoked", "complete": "task_completed"}[end]
    assert (await world.plane.ask(authz_grant=made.token)).reason == expected
    assert (await world.desk.get(asked.id, provider.token())).approval.state == pb.APPROVAL_STATE_DEAD
    if not approve_first:
        told = await refused(world, asked.id, provider.token(), reason="APPROVAL_DEAD", code="FAILED_PRECONDITION")
        assert "the grant" in told


async def test_a_word_for_the_task_lasts_as_long_as_the_task(serve, provider):
    async with serve("require_approval=payments;approval_uses=task;approval_ttl=1h") as world:
        made = await granted(world)
        asked = await world.plane.ask(authz_grant=made.token)
        await world.desk.approve(asked.id, provider.token(), for_task=True)
        assert all([(await world.plane.ask(authz_grant=made.token)).allowed for _ in range(5)])
        await world.alice.call(GRANTS, "Complete", grants_pb2.CompleteRequest(task_id="t-7"))
        assert (await world.plane.ask(authz_grant=made.token)).reason == "task_completed"


async def test_another_policy_wants_another_word(world, provider):
    asked = await world.plane.ask()
    await world.desk.approve(asked.id, provider.token())
    rules = world.policies / "policy.csv"
    rules.write_text(rules.read_text() + "p, more, True, /v1/other, GET, allow,\n")
    world.holder.current = await asyncio.to_thread(world.composition.build_snapshot)
    again = await world.plane.ask()
    assert (again.reason, again.id != asked.id) == ("approval_required", True)


async def test_the_record_names_tool_human_and_approval(world, provider):
    asked = await world.plane.ask()
    held = world.plane.outcomes[-1].decision
    assert (held.rule.id, held.detail) == ("policies/policy.csv:1", f"approval {asked.id}")
    await world.desk.approve(asked.id, provider.token())
    assert (await world.plane.ask()).allowed
    passed = world.plane.outcomes[-1].decision
    assert (passed.reason, passed.detail) == (Reason.ALLOWED, f"approval {asked.id}")
    record = next(each for each in reversed(world.trail.outcomes) if each.asked.name == "control:approvals.approve")
    assert (record.subject.id, record.asked.obj["human"]) == ("operator:alice", "https://idp.example#ann")
    line = Recorder(AuditSettings()).line(record)
    assert b"https://idp.example#ann" in line


async def test_a_batch_and_an_authzen_question_wait_for_nobody(world):
    async with world.http(BILLING) as http:
        question = {
            "subject": {"type": "workload", "id": PAYER},
            "action": {"name": "POST"},
            "resource": {"type": "http", "id": "bank.demo.internal/v1/payments"},
        }
        answer = (await http.post("/access/v1/evaluation", json=question)).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, "approval_required")
    assert (await world.desk.list()).open == 0


def test_another_json_rpc_id_is_the_same_call_and_a_batch_is_none():
    call = CheckCall(layer="http", method="POST", body=b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}')
    asked = Asked(Target(), {}, "http", "mcp:tools/call:pay", {"id": "", "purpose": "", "declared": True}, kind="mcp")
    decision = Decision(Effect.ALLOW, Reason.ALLOWED, obligations=(("require_approval", "g"), ("approval_uses", "1")))
    outcome = Outcome("d", decision, call, Subject(id="spiffe://td/a"), None, 0.0, 0.0, asked)
    snapshot = SimpleNamespace(engine=SimpleNamespace(version="v"))

    def digest(body=None, **changes):
        changed = structs.replace(
            outcome, call=structs.replace(call, body=body or call.body), asked=structs.replace(asked, **changes)
        )
        return NOBODY_ASKED.wanted(changed, None, snapshot).digest

    other = call.body.replace(b"1,", b"22,")
    assert digest() == digest(other)
    assert digest() != digest(other, kind="rest")
    assert digest(call.body, kind="rest") != digest(other, kind="rest")
    with pytest.raises(Refusal, match="batch"):
        digest(batch=(asked,))


@pytest.mark.parametrize(
    "revocation",
    [
        {"kind": "principal", "value": "https://idp.example#ann"},
        {"kind": "issued_before", "value": "https://idp.example", "cut_off": "issuer"},
    ],
)
async def test_a_human_who_is_revoked_decides_nothing(world, provider, revocation):
    asked = await world.plane.ask()
    before = {"before": time.time()} if "cut_off" in revocation else {}
    record = {"id": "r-1", "reason": "left", "author": "test", "created_at": time.time()}
    await world.shared.store.revoke(Revocation(**record, **revocation, **before))
    await world.shared.settle()
    with pytest.raises(Failed) as failed:
        await world.desk.approve(asked.id, provider.token())
    assert failed.value.reason in {"PRINCIPAL_REVOKED", "ISSUED_BEFORE_CUTOFF"}
    assert (await world.desk.list()).open == 1


async def test_one_person_whom_providers_call_otherwise_for_each_client_counts_once(serve, provider):
    """Subjects may be pairwise: another for each audience, so that the same person comes as two."""
    async with serve("require_approval=payments;approval_persons=2") as world:
        asked = await world.plane.ask()
        ann = {"name": "Ann", "email": "ann@example.com"}
        await world.desk.approve(asked.id, provider.token("sub-for-cli", **ann))
        for again in (ann, {"name": "ANN ", "email": "x@example.com"}, {"name": "A. N.", "preferred_username": "ann"}):
            told = await refused(world, asked.id, provider.token("sub-for-console", **again))
            assert "voted_already" in told
        assert not (await world.plane.ask()).allowed
        await world.desk.approve(asked.id, provider.token("ben"))
        assert (await world.plane.ask()).allowed


async def test_one_person_under_two_subjects_who_races_themselves_counts_once(serve, provider):
    async with serve("require_approval=payments;approval_persons=2") as world:
        asked = await world.plane.ask()
        tokens = [provider.token(f"s{number}", name="Ann", email="ann@example.com") for number in range(10)]
        told = await asyncio.gather(*(world.desk.approve(asked.id, token) for token in tokens), return_exceptions=True)
        assert sum(not isinstance(each, Failed) for each in told) == 1
        assert (await world.desk.get(asked.id)).approval.missing == 1


async def test_the_claim_that_tells_one_person_from_another_can_be_another(serve, provider):
    async with serve("require_approval=payments;approval_persons=2", person_claim='person_claim = "oid"') as world:
        asked = await world.plane.ask()
        assert "names no person" in await refused(world, asked.id, provider.token(), reason="APPROVER_NOT_HUMAN")
        strange = provider.token(oid=["o-1"])
        assert "names no person" in await refused(world, asked.id, strange, reason="APPROVER_NOT_HUMAN")
        half = await world.desk.approve(asked.id, provider.token("s1", oid="o-1", name="Ann", email="a@example.com"))
        assert half.votes[0].person == "https://idp.example#o-1"
        again = provider.token("s2", oid="o-1", name="Somebody", email="b@example.com")
        assert "voted_already" in await refused(world, asked.id, again)
        await world.desk.approve(asked.id, provider.token("s2", oid="o-2", name="Ben", email="b@example.com"))
        assert (await world.plane.ask()).allowed


@pytest.mark.parametrize("limit", ["max_opened_per_hour = 2", "max_open = 2"])
async def test_a_flood_of_different_requests_is_refused_without_asking_the_store_each_time(
    serve, provider, limit, monkeypatch
):
    monkeypatch.setattr("authz.approval_state._REFUSED_SECONDS", 3_600.0)  # however slow this machine is
    async with serve(more=limit) as world:
        first = await world.plane.ask()
        await world.plane.ask(b"1")
        asked = []
        ask = world.shared.store.ask

        async def counted(wanted):
            asked.append(wanted)
            return await ask(wanted)

        world.shared.store.ask = counted
        told = [await world.plane.ask(str(number).encode()) for number in range(2, 30)]
        assert {each.reason for each in told} == {"approval_limit"}
        assert len(asked) <= 1
        await world.desk.approve(first.id, provider.token())
        assert (await world.plane.ask()).allowed  # what was approved goes on


async def test_a_body_that_the_proxy_sends_as_text_is_approved_only_if_it_hides_no_byte(world, provider):
    """Bytes that are not UTF-8 show as `!`: what was approved would be good for every other such byte."""

    def as_text(body, **headers):
        message = CheckRequest.FromString(world.plane.message(b"", **headers))
        message.attributes.request.http.body = body
        return message.SerializeToString()

    assert (await world.plane.decide(as_text('{"to": "D!"}'))).reason == "body_partial"
    assert "pack_as_bytes" in world.plane.outcomes[-1].decision.detail
    asked = await world.plane.decide(as_text('{"to": "DE"}'))
    assert asked.reason == "approval_required"
    await world.desk.approve(asked.id, provider.token())
    assert (await world.plane.ask(b'{"to": "DE"}')).allowed  # the same body


async def test_a_length_without_a_body_is_a_body_that_is_not_seen_whatever_else_is_said(world):
    hidden = {"content_length": "7", "x_envoy_auth_partial_body": "false"}
    assert (await world.plane.ask(b"", **hidden)).reason == "body_partial"
    assert (await world.plane.ask(b"", x_envoy_auth_partial_body="false")).reason == "approval_required"
