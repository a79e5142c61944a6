"""Calls beyond a budget, or a limit of their task, that a human lets pass: once, and exactly that call."""

import asyncio
import contextlib

import msgspec
import pytest
from approval_kit import BODY, OPEN, PAYER, PLAIN, RULE, Plane, Provider, configured, desk, inventory

from authz.config.settings import Config
from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission, Task
from authz.errors import Reason
from authz.shared_state import NoSiblings, shared_state

GRANTS = grants_pb2.DESCRIPTOR.services_by_name["Grants"]
FREE = "p, pay, True, /v1/*, *, allow,\n"
IN_PROCESS = '[[budgets]]\nname = "pay"\nlimit = 1\nwindow_seconds = 3600.0\napproval = "payments"\n'
EXACT = f"{IN_PROCESS}exact = true\n"
LIMITS = '[tasks]\nlimit_approval = "payments"\n'
OTHER = BODY + b" "


@pytest.fixture
def provider(tmp_path):
    return Provider(tmp_path)


@pytest.fixture
def serve(start, provider):
    """Answer a context manager that serves; the data plane keeps accounts, and counts in the store."""

    @contextlib.asynccontextmanager
    async def serving(settings, policy=FREE):
        files = {"policy.csv": policy, "inventory.toml": inventory()}
        async with start(operators=configured(provider, settings), rules=OPEN, files=files) as world:
            world.plane, world.desk = Plane(world, counts=True), desk(world)
            yield world

    return serving


async def granted(world, **changes):
    wanted = Permission(actions=["POST"], locations=["*"], resources=["/v1/payments"])
    request = grants_pb2.IssueRequest(
        holder=PAYER, task=Task(id="t-7", purpose="pay invoice 7"), permissions=[wanted], **changes
    )
    request.ttl.seconds = 300
    return (await world.alice.call(GRANTS, "Issue", request)).token


async def card_of(world, provider, approval_id):
    card = await world.desk.get(approval_id, provider.token())
    [beyond] = card.approval.demand.beyond
    return (beyond.limit_of, beyond.limit, beyond.used, beyond.asked), card


@pytest.mark.parametrize("settings", [IN_PROCESS, EXACT], ids=["in_process", "exact"])
async def test_a_call_beyond_a_budget_waits_for_a_human_passes_once_and_waits_again(serve, provider, settings):
    async with serve(settings) as world:
        assert (await world.plane.ask()).allowed
        asked = await world.plane.ask()
        assert (asked.reason, asked.problem["status"]) == ("approval_required", 403)
        assert (await world.plane.ask()).id == asked.id  # tried again: no second request
        beyond, card = await card_of(world, provider, asked.id)
        assert beyond == ("budget pay", "1", "1", "1")
        assert list(card.approval.demand.groups) == ["payments"]
        assert card.risk.warnings[0] == "It goes beyond a limit: budget pay, 1 of 1 used, and this adds 1."
        assert world.plane.outcomes[-1].decision.detail == f"approval {asked.id}, beyond budget pay"
        await world.desk.approve(asked.id, provider.token())
        assert (await world.plane.ask(OTHER)).reason == "approval_required"  # another call
        assert (await world.plane.ask()).allowed
        assert world.plane.outcomes[-1].decision.detail == f"approval {asked.id}, beyond budget pay"
        again = await world.plane.ask()
        assert (again.reason, again.id != asked.id) == ("approval_required", True)
        beyond, _ = await card_of(world, provider, again.id)
        assert beyond == ("budget pay", "1", "2", "1")  # what passes is counted, beyond the limit too


@pytest.mark.parametrize("settings", [IN_PROCESS, EXACT], ids=["in_process", "exact"])
async def test_a_no_is_a_no(serve, provider, settings):
    async with serve(settings) as world:
        assert (await world.plane.ask()).allowed
        asked = await world.plane.ask()
        await world.desk.reject(asked.id, provider.token())
        assert (await world.plane.ask()).reason == "approval_rejected"


async def test_of_many_calls_on_two_workers_exactly_one_passes_beyond_the_limit(serve, provider):
    async with serve(EXACT) as world, shared_state(world.config, world.directory, NoSiblings()) as other:
        planes = (world.plane, Plane(world, other, counts=True))
        assert (await planes[0].ask()).allowed
        asked = await planes[0].ask()
        await world.desk.approve(asked.id, provider.token())
        await other.view.catch_up()
        told = await asyncio.gather(*(planes[number % 2].ask() for number in range(40)))
        assert sum(each.allowed for each in told) == 1
        assert {each.reason for each in told if not each.allowed} == {"approval_required"}
        assert len({each.id for each in told if not each.allowed}) == 1


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        ({"calls": 1}, ("task limit calls", "1", "1", "1")),
        ({"calls": 1, "resources": 9}, ("task limit calls", "1", "1", "1")),
    ],
    ids=["calls", "calls_and_resources"],
)
async def test_a_call_beyond_a_limit_of_its_task_waits_for_a_human_and_uses_no_grant_up(serve, provider, limits, shown):
    async with serve(LIMITS) as world:
        token = await granted(world, limits=limits, uses=2)
        assert (await world.plane.ask(authz_grant=token)).allowed
        for _ in range(3):
            asked = await world.plane.ask(authz_grant=token)
            assert asked.reason == "approval_required"
        beyond, card = await card_of(world, provider, asked.id)
        assert beyond == shown
        assert (await world.shared.store.grant(card.approval.requester.grant_id)).used == 1
        await world.desk.approve(asked.id, provider.token())
        assert (await world.plane.ask(authz_grant=token)).allowed
        assert (await world.plane.ask(authz_grant=token)).reason == "grant_used_up"
        assert (await world.desk.list()).open == 0


async def test_another_resource_than_the_limit_leaves_room_for_waits_for_a_human(serve, provider):
    async with serve(LIMITS, policy=FREE) as world:
        wanted = Permission(actions=["POST"], locations=["*"], resources=["/v1/*"])
        request = grants_pb2.IssueRequest(
            holder=PAYER, task=Task(id="t-7", purpose="pay"), permissions=[wanted], limits={"resources": 1}
        )
        request.ttl.seconds = 300
        token = (await world.alice.call(GRANTS, "Issue", request)).token
        assert (await world.plane.ask(authz_grant=token, path="/v1/payments/1")).allowed
        assert (await world.plane.ask(authz_grant=token, path="/v1/payments/1")).allowed
        asked = await world.plane.ask(authz_grant=token, path="/v1/payments/2")
        beyond, _ = await card_of(world, provider, asked.id)
        assert beyond == ("task limit resources", "1", "1", "1")
        await world.desk.approve(asked.id, provider.token())
        assert (await world.plane.ask(authz_grant=token, path="/v1/payments/3")).reason == "approval_required"
        assert (await world.plane.ask(authz_grant=token, path="/v1/payments/2")).allowed
        assert (await world.plane.ask(authz_grant=token, path="/v1/payments/2")).allowed  # seen by now


async def test_two_limits_at_once_are_one_request_that_both_groups_decide(serve, provider):
    async with serve(EXACT + LIMITS.replace("payments", "security")) as world:
        token = await granted(world, limits={"calls": 1})
        assert (await world.plane.ask(authz_grant=token)).allowed
        asked = await world.plane.ask(authz_grant=token)
        shown = (await world.desk.get(asked.id, provider.token())).approval
        assert [each.limit_of for each in shown.demand.beyond] == ["budget pay", "task limit calls"]
        assert list(shown.demand.groups) == ["payments", "security"]
        await world.desk.approve(asked.id, provider.token())
        assert (await world.plane.ask(authz_grant=token)).reason == "approval_required"
        await world.desk.approve(asked.id, provider.token("bob", groups=["sec"]))
        assert (await world.plane.ask(authz_grant=token)).allowed


async def test_what_a_rule_lets_a_human_approve_many_times_is_no_word_on_a_limit(serve, provider):
    policy = f"{RULE}require_approval=payments;approval_uses=9\n{PLAIN}"
    async with serve(IN_PROCESS, policy) as world:
        asked = await world.plane.ask()
        await world.desk.approve(asked.id, provider.token(), uses=9)
        assert (await world.plane.ask()).allowed
        beyond = await world.plane.ask()
        assert (beyond.reason, beyond.id != asked.id) == ("approval_required", True)
        shown = (await world.desk.get(beyond.id, provider.token())).approval
        assert (shown.demand.max_uses, shown.demand.may_be_for_task) == (1, False)
        await world.desk.approve(beyond.id, provider.token())
        assert [(await world.plane.ask()).allowed for _ in range(2)] == [True, False]


async def test_what_was_approved_while_there_was_room_is_no_word_on_a_limit(serve, provider):
    async with serve(IN_PROCESS, f"{RULE}require_approval=payments\n{PLAIN}") as world:
        first, second = await world.plane.ask(), await world.plane.ask(OTHER)
        for asked in (first, second):
            await world.desk.approve(asked.id, provider.token())
        assert (await world.plane.ask(OTHER)).allowed
        beyond = await world.plane.ask()
        assert (beyond.reason, beyond.id != first.id) == ("approval_required", True)


async def test_a_limit_without_a_group_still_denies_and_uses_no_word(serve, provider):
    hard = EXACT.replace('approval = "payments"\n', "").replace('"pay"', '"hard"').replace("limit = 1", "limit = 2")
    async with serve(EXACT + hard) as world:
        assert (await world.plane.ask()).allowed
        asked = [await world.plane.ask() for _ in range(2)]
        await world.desk.approve(asked[0].id, provider.token())
        assert (await world.plane.ask()).allowed
        assert (await world.plane.ask()).reason == "budget_exceeded"
        assert world.plane.outcomes[-1].decision.detail == "hard"
        assert (await world.desk.list()).open == 0


async def test_a_decision_that_is_used_again_waits_too(serve):
    async with serve(IN_PROCESS) as world:
        assert (await world.plane.ask()).allowed
        assert (await world.plane.ask()).reason == "approval_required"
        assert world.plane.outcomes[0].decision.allowed
        assert not world.plane.outcomes[-1].cached


async def test_who_waits_for_a_word_on_a_limit_is_not_taken_for_one_that_misbehaves(serve, provider):
    breaker = "[tasks.breaker]\ndenials = 3\nwindow_seconds = 60.0\nsuspend_seconds = 100.0\n"
    async with serve(IN_PROCESS + breaker) as world:
        assert (await world.plane.ask(x_task_id="t-1")).allowed
        told = [await world.plane.ask(x_task_id="t-1") for _ in range(6)]
        assert {each.reason for each in told} == {"approval_required"}


async def test_what_would_be_approved_has_to_be_seen_whole(serve):
    async with serve(IN_PROCESS) as world:
        assert (await world.plane.ask()).allowed
        assert (await world.plane.ask(b"", content_length="9")).reason == Reason.BODY_PARTIAL.value


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"budgets": [{"name": "pay", "limit": 1, "window_seconds": 60, "approval": "nobody"}]},
            "budgets (pay).approval",
        ),
        ({"tasks": {"limit_approval": "nobody"}}, "tasks.limit_approval"),
    ],
    ids=["budget", "task"],
)
def test_a_group_that_is_none_is_refused(changes, problem):
    config = msgspec.convert({"identity": {"trust_domain": "prod.example"}, **changes}, Config)
    assert (problem, "'nobody' is not one of approvals.groups") in list(config.problems())
