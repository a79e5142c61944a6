"""The service Grants: issued narrowly, exchanged for less, over when the task is."""

import asyncio
import time

import grpc
import msgspec
import pytest
from control_kit import BILLING, BOB, PLANNER, RESEARCHER, Failed

from authz.audit.record import Recorder
from authz.control.issuer import Order
from authz.control.v1 import grants_pb2 as pb
from authz.control.v1.common_pb2 import PageRequest, Permission, Task
from authz.errors import Reason, Refusal
from authz.grants.token import read_grant

GRANTS = pb.DESCRIPTOR.services_by_name["Grants"]
WIDE = Permission(actions=["GET"], locations=["*"], resources=["/v1/accounts/*"])
NARROW = Permission(actions=["GET"], locations=["*"], resources=["/v1/accounts/42"])
OPEN = "p, anybody, True, *, *, allow,\n"


def order(**changes):
    values = {"task": Task(purpose="plan the week"), "permissions": [WIDE]} | changes
    return pb.IssueRequest(**values)


async def issue(client, **changes):
    return await client.call(GRANTS, "Issue", order(**changes))


async def active(client, token):
    return (await client.call(GRANTS, "Introspect", pb.IntrospectRequest(token=token))).active


@pytest.fixture
async def free(start):
    """Everybody may everything that is possible at all."""
    async with start(rules=OPEN) as world:
        yield world


@pytest.fixture
async def planner(free):
    return await free.as_(PLANNER)


async def test_an_agent_asks_for_itself_under_the_shipped_policy(world):
    planner = await world.as_(PLANNER)
    answer = await issue(planner)
    assert answer.header == "authz-grant"
    grant = read_grant(answer.token, world.shared.ring.key_set(), world.config.grants)
    assert (grant.holder, grant.task.purpose, grant.id) == (PLANNER, "plan the week", answer.grant.id)
    assert grant.expires - grant.issued_at == 300
    assert answer.grant.issued_by == PLANNER
    assert answer.grant.state == pb.GRANT_STATE_ACTIVE
    assert await active(planner, answer.token)


async def test_the_line_on_record_says_who_asked_for_what(world):
    planner = await world.as_(PLANNER)
    await issue(planner)
    line = msgspec.json.decode(Recorder(world.config.audit).line(world.trail.last))
    assert (line["event"], line["effect"]) == ("control", "allow")
    assert (line["subject"]["id"], line["action"]["name"]) == (PLANNER, "control:grants.issue")
    about = {each["name"]: each["value"] for each in line["about"]}
    assert about == {
        "holder": PLANNER,
        "actions": "GET",
        "locations": "*",
        "resources": "/v1/accounts/*",
        "ttl": "300.0",
    }


async def test_the_record_says_what_was_asked_for(world):
    planner = await world.as_(PLANNER)
    await issue(planner)
    request = world.trail.last.request
    assert request.act["name"] == "control:grants.issue"
    assert request.obj["holder"] == PLANNER
    assert request.obj["task"]["purpose"] == "plan the week"
    assert request.obj["resources"] == ("/v1/accounts/*",)
    assert request.obj["ttl"] == 300.0


@pytest.mark.parametrize(
    "changes",
    [
        {"holder": RESEARCHER},  # for another
        {"task": Task(id="t-1")},  # without a purpose
        {"ttl": {"seconds": 301}},  # for longer
    ],
)
async def test_an_agent_gets_no_more_than_the_shipped_policy_says(world, changes):
    planner = await world.as_(PLANNER)
    with pytest.raises(Failed) as failed:
        await issue(planner, **changes)
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_workload_that_is_no_agent_gets_none_under_the_shipped_policy(world):
    billing = await world.as_(BILLING)
    with pytest.raises(Failed) as failed:
        await issue(billing)
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ttl": {"seconds": 901}}, "ttl"),
        ({"ttl": {"seconds": 0}}, "ttl"),
        ({"ttl": {"seconds": -5}}, "ttl"),
        ({"uses": -1}, "uses"),
        ({"uses": 1_000_001}, "uses"),
        ({"holder": "spiffe://demo.internal"}, "holder"),
        ({"holder": "planner"}, "holder"),
        ({"holder": PLANNER + "\n"}, "holder"),
        ({"permissions": []}, "permissions"),
        ({"permissions": [Permission(actions=["GET"], locations=["*"], resources=["/a/../b"])]}, "permissions"),
        ({"permissions": [Permission(actions=["GET"], resources=["/a"])]}, "permissions"),
        ({"audience": "https://elsewhere.example"}, "audience"),
        ({"task": Task(id="a b", purpose="x")}, "task.id"),
        ({"task": Task(id="t", purpose="x" * 257)}, "task.purpose"),
        ({"certificate_sha256": "abc"}, "certificate_sha256"),
        ({"bind_certificate": True, "holder": RESEARCHER}, "bind_certificate"),
        ({"bind_certificate": True, "certificate_sha256": "a" * 64}, "certificate_sha256"),
        ({"idempotency_key": "k" * 129}, "idempotency_key"),
    ],
)
async def test_what_nobody_can_have_whatever_policy_says(planner, changes, field):
    with pytest.raises(Failed) as failed:
        await issue(planner, **changes)
    assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(failed.value.violations) == {field}


async def test_a_grant_that_ends_before_it_begins(planner):
    with pytest.raises(Failed) as failed:
        await issue(planner, not_before={"seconds": int(time.time()) + 800})
    assert failed.value.reason == "NEVER_VALID"


async def test_a_grant_bound_to_the_certificate_of_the_call(free, planner):
    answer = await issue(planner, bind_certificate=True)
    grant = read_grant(answer.token, free.shared.ring.key_set(), free.config.grants)
    assert grant.certificate == answer.grant.certificate_sha256 == free.trail.last.subject.credential.fingerprint


async def test_a_configuration_can_demand_a_certificate(start):
    async with start(rules=OPEN, grants="require_certificate = true") as world:
        planner = await world.as_(PLANNER)
        with pytest.raises(Failed) as failed:
            await issue(planner)
        assert set(failed.value.violations) == {"bind_certificate"}
        assert (await issue(planner, bind_certificate=True)).token


async def test_without_an_issuer_there_are_no_grants(start):
    async with start(rules=OPEN, without='issuer = "https://authz.demo.internal"') as world:
        planner = await world.as_(PLANNER)
        with pytest.raises(Failed) as failed:
            await issue(planner)
        assert failed.value.reason == "GRANTS_OFF"


# Retries


async def test_a_retry_gets_the_same_grant(planner):
    first = await issue(planner, idempotency_key="k1")
    second = await issue(planner, idempotency_key="k1")
    assert first.grant.id == second.grant.id
    assert first.token == second.token or await active(planner, second.token)
    assert len((await planner.call(GRANTS, "List", pb.ListGrantsRequest())).grants) == 1


async def test_retries_at_once_get_one_grant(planner):
    answers = await asyncio.gather(*(issue(planner, idempotency_key="k1") for _ in range(20)))
    assert len({answer.grant.id for answer in answers}) == 1


async def test_an_idempotency_key_is_for_one_request_and_one_caller(free, planner):
    first = await issue(planner, idempotency_key="k1")
    with pytest.raises(Failed) as failed:
        await issue(planner, idempotency_key="k1", uses=1)
    assert failed.value.reason == "IDEMPOTENCY_KEY_REUSED"
    researcher = await free.as_(RESEARCHER)
    assert (await issue(researcher, idempotency_key="k1")).grant.id != first.grant.id


# Tasks


async def test_a_task_is_its_owner_s(free, planner):
    await issue(planner, task=Task(id="t-1", purpose="x"))
    researcher = await free.as_(RESEARCHER)
    with pytest.raises(Failed) as failed:
        await issue(researcher, task=Task(id="t-1", purpose="x"))
    assert failed.value.code is grpc.StatusCode.ABORTED


async def test_completing_a_task_ends_all_its_grants_before_it_returns(free, planner):
    task = Task(id="t-1", purpose="x")
    tokens = [(await issue(planner, task=task)).token for _ in range(3)]
    other = (await issue(planner)).token
    await planner.call(GRANTS, "Complete", pb.CompleteRequest(task_id="t-1", outcome="done"))
    for token in tokens:
        with pytest.raises(Refusal) as refused:
            await _issuer(free).read(token)
        assert refused.value.reason is Reason.TASK_COMPLETED
        assert not await active(planner, token)
    assert await active(planner, other)


async def test_nothing_is_issued_for_a_task_that_is_over(planner):
    task = Task(id="t-1", purpose="x")
    await issue(planner, task=task)
    await planner.call(GRANTS, "Complete", pb.CompleteRequest(task_id="t-1"))
    with pytest.raises(Failed) as failed:
        await issue(planner, task=task)
    assert failed.value.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_completing_twice_answers_the_first_time(planner):
    await issue(planner, task=Task(id="t-1", purpose="x"))
    first = await planner.call(GRANTS, "Complete", pb.CompleteRequest(task_id="t-1"))
    second = await planner.call(GRANTS, "Complete", pb.CompleteRequest(task_id="t-1"))
    assert first.completed_at == second.completed_at


async def test_only_the_owner_completes_under_the_shipped_policy(world):
    planner, researcher = await world.as_(PLANNER), await world.as_(RESEARCHER)
    await issue(planner, task=Task(id="t-1", purpose="x"))
    for task_id in ("t-1", "t-unknown"):  # who may not learns nothing of what there is
        with pytest.raises(Failed) as failed:
            await researcher.call(GRANTS, "Complete", pb.CompleteRequest(task_id=task_id))
        assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED
    await planner.call(GRANTS, "Complete", pb.CompleteRequest(task_id="t-1"))


async def test_a_task_that_is_not_there(planner):
    with pytest.raises(Failed) as failed:
        await planner.call(GRANTS, "Complete", pb.CompleteRequest(task_id="t-unknown"))
    assert failed.value.code is grpc.StatusCode.NOT_FOUND


async def test_a_revoked_grant_is_over_and_the_others_are_not(planner):
    first, second = await issue(planner), await issue(planner)
    await planner.call(GRANTS, "Revoke", pb.RevokeRequest(grant_id=first.grant.id, reason="lost"))
    assert not await active(planner, first.token)
    assert await active(planner, second.token)


# Exchange


async def exchange(client, token, **changes):
    return await client.call(GRANTS, "Exchange", pb.ExchangeRequest(subject_token=token, **changes))


async def test_an_exchange_hands_a_task_on_narrower(free, planner):
    parent = await issue(planner)
    researcher = await free.as_(RESEARCHER)
    answer = await exchange(researcher, parent.token, permissions=[NARROW], ttl={"seconds": 60})
    grant = read_grant(answer.token, free.shared.ring.key_set(), free.config.grants)
    assert grant.holder == RESEARCHER
    assert grant.delegators == (PLANNER,)
    assert grant.ancestors == (parent.grant.id,)
    assert grant.task.id == parent.grant.task.id
    assert grant.expires - grant.not_before == 60
    assert free.trail.last.request.obj["subject"] == PLANNER


async def test_an_exchange_is_never_wider(free, planner):
    parent = await issue(planner, permissions=[NARROW])
    researcher = await free.as_(RESEARCHER)
    with pytest.raises(Failed) as failed:
        await exchange(researcher, parent.token, permissions=[WIDE])
    assert failed.value.reason == "SCOPE_WIDER"
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_an_exchange_makes_nothing_younger_than_what_it_was_made_of(free, planner):
    first = await issue(planner, ttl={"seconds": 600})
    now = first.grant.issued_at.seconds + 120
    later = _issuer(free, lambda: float(now))
    parent = await later.read(first.token)
    asked = Order(
        holder=PLANNER,
        task=parent.task,
        scope=parent.scope,
        seconds=60,
        uses=0,
        certificate="",
        not_before=0,
    )
    made = await later.exchange(parent, asked, PLANNER, "d", None)
    grant = read_grant(made.token, free.shared.ring.key_set(), free.config.grants)
    assert grant.issued_at == parent.issued_at  # r.env.grant.age, and "all issued before" that moment
    assert (grant.not_before, grant.expires) == (now, now + 60)


async def test_an_exchange_never_lasts_longer(free, planner):
    parent = await issue(planner, ttl={"seconds": 30})
    researcher = await free.as_(RESEARCHER)
    answer = await exchange(researcher, parent.token, ttl={"seconds": 600})
    assert answer.grant.expires_at.seconds <= parent.grant.expires_at.seconds


async def test_nobody_takes_another_s_grant_over_under_the_shipped_policy(world):
    planner, researcher = await world.as_(PLANNER), await world.as_(RESEARCHER)
    parent = await issue(planner)
    with pytest.raises(Failed) as failed:
        await exchange(researcher, parent.token)
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert (await exchange(planner, parent.token, permissions=[NARROW])).grant.holder == PLANNER


async def test_what_ends_the_first_ends_what_was_made_of_it(free, planner):
    parent = await issue(planner)
    researcher = await free.as_(RESEARCHER)
    child = await exchange(researcher, parent.token)
    await planner.call(GRANTS, "Revoke", pb.RevokeRequest(grant_id=parent.grant.id, reason="lost"))
    assert not await active(researcher, child.token)
    with pytest.raises(Failed) as failed:
        await exchange(researcher, child.token)
    assert failed.value.reason == "GRANT_REVOKED"


async def test_a_counted_grant_gives_one_use_for_one_of_its_own(free, planner):
    parent = await issue(planner, uses=1)
    researcher = await free.as_(RESEARCHER)
    child = await exchange(researcher, parent.token)
    assert child.grant.uses == 1
    with pytest.raises(Failed) as failed:
        await exchange(researcher, parent.token)
    assert failed.value.reason in {"GRANT_USED_UP", "ENDED"}


async def test_no_longer_chain_than_configured(start):
    async with start(rules=OPEN, grants="max_delegations = 1") as world:
        planner, researcher, billing = await world.as_(PLANNER), await world.as_(RESEARCHER), await world.as_(BILLING)
        first = await issue(planner)
        second = await exchange(researcher, first.token)
        with pytest.raises(Failed) as failed:
            await exchange(billing, second.token)
        assert failed.value.reason == "TOO_MANY_DELEGATIONS"


async def test_nobody_stands_in_a_chain_twice(free, planner):
    first = await issue(planner)
    researcher = await free.as_(RESEARCHER)
    second = await exchange(researcher, first.token)
    with pytest.raises(Failed) as failed:
        await exchange(planner, second.token)
    assert failed.value.reason == "DELEGATION_LOOP"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda token: token[:-8] + "AAAAAAAA", "GRANT_SIGNATURE"),
        (lambda token: "x" + token, "GRANT_MALFORMED"),
        (lambda token: token * 20, "GRANT_TOO_LARGE"),
        (lambda token: token.rpartition(".")[0] + ".", "GRANT_SIGNATURE"),
    ],
)
async def test_a_subject_token_that_is_no_good(free, planner, spoil, reason):
    token = spoil((await issue(planner)).token)
    with pytest.raises(Failed) as failed:
        await exchange(planner, token)
    assert failed.value.reason == reason
    assert token[:32] not in str(failed.value)
    assert not await active(planner, token)


async def test_an_operator_exchanges_nothing(free, planner):
    token = (await issue(planner)).token
    with pytest.raises(Failed) as failed:
        await exchange(free.alice, token)
    assert set(failed.value.violations) == {"caller"}


async def test_an_actor_token_must_be_the_caller_s(free, planner):
    token = (await issue(planner)).token
    with pytest.raises(Failed) as failed:
        await exchange(planner, token, actor_token=token)
    assert failed.value.code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT}


# List and Watch


async def test_the_tasks_of_a_page_are_read_by_one_query(planner, free, monkeypatch):
    for _ in range(12):
        await issue(planner)
    reader, asked = free.shared.store._reader, []
    read = reader.read

    async def counted(*options):
        asked.append(options)
        return await read(*options)

    monkeypatch.setattr(reader, "read", counted)
    answer = await planner.call(GRANTS, "List", pb.ListGrantsRequest())
    assert len({each.task.id for each in answer.grants}) == 12
    assert {each.task.purpose for each in answer.grants} == {order().task.purpose}
    assert len(asked) <= 3


async def test_lists_come_in_pages_and_select(free, planner):
    ids = [(await issue(planner)).grant.id for _ in range(5)]
    researcher = await free.as_(RESEARCHER)
    await issue(researcher)
    seen, token = [], ""
    while True:
        request = pb.ListGrantsRequest(holder=PLANNER, active_only=True, page=PageRequest(size=2, token=token))
        answer = await planner.call(GRANTS, "List", request)
        seen += [grant.id for grant in answer.grants]
        assert all(grant.task.purpose == "plan the week" for grant in answer.grants)
        token = answer.next_page_token
        if not token:
            break
        other = pb.ListGrantsRequest(holder=RESEARCHER, page=PageRequest(token=token))
        with pytest.raises(Failed) as failed:
            await planner.call(GRANTS, "List", other)
        assert set(failed.value.violations) == {"page.token"}
    assert sorted(seen) == sorted(ids)
    assert len(seen) == 5


async def test_what_happens_is_watched_without_gaps(free, planner):
    stream = planner.stream(GRANTS, "Watch", pb.WatchGrantsRequest(task_id="t-1"))
    assert (await stream.read()).kind == pb.GrantEvent.KIND_WATCHING
    await issue(planner)
    made = await issue(planner, task=Task(id="t-1", purpose="x"))
    await planner.call(GRANTS, "Complete", pb.CompleteRequest(task_id="t-1"))
    first, second = await stream.read(), await stream.read()
    assert (first.kind, first.grant.id, first.task_id) == (pb.GrantEvent.KIND_ISSUED, made.grant.id, "t-1")
    assert (second.kind, second.task_id) == (pb.GrantEvent.KIND_COMPLETED, "t-1")
    stream.cancel()


async def test_no_answer_but_those_to_issue_and_exchange_holds_a_token(free, planner):
    token = (await issue(planner)).token
    answer = await planner.call(GRANTS, "List", pb.ListGrantsRequest())
    assert token.encode() not in answer.SerializeToString()


async def test_a_person_gets_a_grant_for_a_workload_where_policy_lets_them(start):
    rules = (
        "p, bob, r.sub.operator == 'bob' && r.obj.ttl <= 60, /grants/spiffe://demo.internal/ns/agents/*, *, allow,\n"
    )
    async with start(rules=rules) as world:
        bob = await world.as_(BOB)
        answer = await issue(bob, holder=PLANNER, ttl={"seconds": 60})
        assert (answer.grant.holder, answer.grant.issued_by) == (PLANNER, "operator:bob")
        with pytest.raises(Failed):
            await issue(bob, holder=BILLING, ttl={"seconds": 60})


async def test_a_store_that_is_away_is_an_error_to_try_again(free, planner, monkeypatch):
    from authz.stores.database.errors import UnavailableError

    async def gone(*_, **__):
        raise UnavailableError("the database is gone")

    monkeypatch.setattr(free.shared.store, "issue", gone)
    with pytest.raises(Failed) as failed:
        await issue(planner)
    assert failed.value.code is grpc.StatusCode.UNAVAILABLE
    assert failed.value.reason == "STORE_UNAVAILABLE"


def _issuer(world, clock=time.time):
    from authz.control.issuer import Issuer

    shared = world.shared
    return Issuer(world.config.grants, shared.store, shared.ring, shared.view.revocations, clock)


async def test_who_may_delegate_what_to_whom_is_policy(start):
    """The control plane's policy sees who hands on, to whom, how deep, from whom it started, and the scope."""
    rules = (
        "p, may-issue, True, /grants/*, control:grants.issue, allow,\n"
        f"p, planner-to-researcher, r.obj.delegator == '{PLANNER}' && r.obj.holder == '{RESEARCHER}' && "
        f"r.obj.depth == 1 && r.obj.origin == '{PLANNER}' && '/v1/accounts/*' in r.obj.resources, "
        "/grants/*, control:grants.exchange, allow,\n"
    )
    async with start(rules=rules) as world:
        planner, researcher, billing = await world.as_(PLANNER), await world.as_(RESEARCHER), await world.as_(BILLING)
        first = await issue(planner)
        second = await exchange(researcher, first.token)
        asked = world.trail.last.request.obj
        assert (asked["delegator"], asked["depth"], asked["chain"]) == (PLANNER, 1, (PLANNER, RESEARCHER))
        for caller, token in ((billing, first.token), (billing, second.token), (planner, first.token)):
            with pytest.raises(Failed) as failed:
                await exchange(caller, token)
            assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_to_narrow_ones_own_grant_hands_nothing_on(free, planner):
    first = await issue(planner)
    await exchange(planner, first.token)
    asked = free.trail.last.request.obj
    assert (asked["delegator"], asked["depth"], asked["chain"]) == ("", 0, (PLANNER,))


LIMITS = pb.TaskLimits(calls=9, sums={"amount": "99.95"})


async def test_the_limits_of_a_task_are_signed_and_shown(free, planner):
    answer = await issue(planner, limits=LIMITS, idempotency_key="k")
    limits = read_grant(answer.token, free.shared.ring.key_set(), free.config.grants).task.limits
    assert (limits.calls, limits.resources, limits.sums) == (9, 0, {"amount": "99.95"})
    assert answer.grant.limits == LIMITS
    assert (await issue(planner, limits=LIMITS, idempotency_key="k")).grant.limits == LIMITS
    assert not (await issue(planner)).grant.HasField("limits")


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, LIMITS),
        (pb.TaskLimits(calls=3), pb.TaskLimits(calls=3, sums={"amount": "99.95"})),
        (pb.TaskLimits(resources=2, sums={"amount": "1"}), pb.TaskLimits(calls=9, resources=2, sums={"amount": "1"})),
        (pb.TaskLimits(calls=50, sums={"amount": "100"}), LIMITS),
    ],
)
async def test_an_exchange_never_loosens_the_limits_of_a_task(free, planner, asked, given):
    """I7: whoever takes over a task takes over its limits; asking for more gives no more."""
    answer = await issue(planner, limits=LIMITS)
    researcher = await free.as_(RESEARCHER)
    request = pb.ExchangeRequest(subject_token=answer.token, limits=asked)
    exchanged = await researcher.call(GRANTS, "Exchange", request)
    assert exchanged.grant.limits == given


@pytest.mark.parametrize(
    "limits",
    [
        pb.TaskLimits(calls=-1),
        pb.TaskLimits(sums={"amount": "-1"}),
        pb.TaskLimits(sums={"amount": "1e3"}),
        pb.TaskLimits(sums={"amount": "0.0000001"}),
        pb.TaskLimits(sums={"a b": "1"}),
    ],
)
async def test_limits_that_mean_nothing_are_refused(planner, limits):
    with pytest.raises(Failed) as failed:
        await issue(planner, limits=limits)
    assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
