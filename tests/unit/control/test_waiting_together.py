"""An allow that waits for several things at once: a human's word, a use of its grant, exact budgets, limits, labels."""

import asyncio
import contextlib
import time
from types import SimpleNamespace

import pytest
from approval_kit import BODY, OPEN, PAYER, PLAIN, RULE, Plane, Provider, Told, configured, desk, inventory
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.budgets.demands import limit_counter
from authz.budgets.window import Span
from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission, Task
from authz.errors import Reason
from authz.shared_state import NoSiblings, shared_state
from authz.stores.database.spending import Wanted
from authz.transport.answer import Answerer

GRANTS = grants_pb2.DESCRIPTOR.services_by_name["Grants"]
EXACT = '[[budgets]]\nname = "pay"\nlimit = 3\nwindow_seconds = 3600.0\nexact = true\n'
BREAKER = "[tasks.breaker]\ndenials = 3\nwindow_seconds = 60.0\nsuspend_seconds = 100.0\n"
RETRIES = '[[budgets]]\nname = "again"\ncount = "retries"\nlimit = 3\nwindow_seconds = 60.0\n'
ANYWHERE = "p, rest, True, *, *, allow,\n"


@pytest.fixture
def provider(tmp_path):
    return Provider(tmp_path)


@pytest.fixture
def serve(start, provider):
    """Answer a context manager that serves; the data plane keeps accounts, and counts in the store."""

    @contextlib.asynccontextmanager
    async def serving(obligations="require_approval=payments", *, budgets="", policy=None):
        files = {"policy.csv": policy or f"{RULE}{obligations}\n{PLAIN}", "inventory.toml": inventory()}
        async with start(operators=configured(provider, budgets), rules=OPEN, files=files) as world:
            world.plane, world.desk = Plane(world, counts=True), desk(world)
            yield world

    return serving


async def granted(world, *, resources=("/v1/payments",), task="t-7", **changes):
    wanted = Permission(actions=["POST"], locations=["*"], resources=resources)
    request = grants_pb2.IssueRequest(
        holder=PAYER, task=Task(id=task, purpose="pay invoice 7"), permissions=[wanted], **changes
    )
    request.ttl.seconds = 300
    return (await world.alice.call(GRANTS, "Issue", request)).token


FIRST = """p, first, r.env.task.first_use, /v1/payments*, *, allow, require_approval=payments
p, later, !r.env.task.first_use, /v1/payments*, *, allow,
"""


async def test_a_call_that_waits_for_a_human_is_not_yet_a_use_of_its_tool(serve, provider):
    """Else whoever asks twice needs nobody's word."""
    async with serve(policy=FIRST) as world:
        token = await granted(world)
        asked = await world.plane.ask(authz_grant=token)
        for _ in range(3):
            assert (await world.plane.ask(authz_grant=token)).reason == "approval_required"
        await world.desk.approve(asked.id, provider.token())
        passing = world.plane.checker.check(world.plane.message(authz_grant=token), 60.0)
        other = BODY + b" "  # meanwhile
        assert (await world.plane.ask(other, authz_grant=token)).reason == "approval_required"
        assert await passing.spend() is None
        passing.conclude(None)
        assert world.plane.outcomes[-1].decision.allowed
        assert (await world.plane.ask(other, authz_grant=token)).allowed  # it is the second by now


@pytest.mark.parametrize("brake", [BREAKER, RETRIES])
async def test_whoever_asks_patiently_for_a_humans_word_is_not_taken_for_one_that_misbehaves(serve, provider, brake):
    async with serve(budgets=brake) as world:
        token = await granted(world)
        asked = [await world.plane.ask(authz_grant=token) for _ in range(8)]
        assert {each.reason for each in asked} == {"approval_required"}
        await world.desk.approve(asked[0].id, provider.token())
        assert (await world.plane.ask(authz_grant=token)).allowed


async def test_whoever_goes_on_after_a_no_is_suspended(serve, provider):
    async with serve(budgets=BREAKER) as world:
        token = await granted(world)
        asked = await world.plane.ask(authz_grant=token)
        await world.desk.reject(asked.id, provider.token())
        told = [(await world.plane.ask(authz_grant=token)).reason for _ in range(4)]
        assert told == ["approval_rejected"] * 3 + ["task_suspended"]


async def test_the_record_says_which_exact_budget_refused(serve):
    async with serve(budgets=EXACT, policy=ANYWHERE) as world:
        told = [await world.plane.ask(BODY) for _ in range(4)]
        assert [each.allowed for each in told] == [True, True, True, False]
        decision = world.plane.outcomes[-1].decision
        assert (decision.reason, decision.detail) == (Reason.BUDGET_EXCEEDED, "pay")
        assert int(told[-1].headers["retry-after"]) == decision.retry_after > 3_000


async def test_the_record_says_which_limit_of_the_task_refused(serve):
    async with serve(policy=ANYWHERE) as world:
        token = await granted(world, limits={"calls": 1})
        assert (await world.plane.ask(authz_grant=token)).allowed
        assert (await world.plane.ask(authz_grant=token)).reason == "task_limit"
        assert world.plane.outcomes[-1].decision.detail == "calls"


@contextlib.asynccontextmanager
async def two_workers(world):
    """A second process on the same store, with a ledger of its own."""
    async with shared_state(world.config, world.directory, NoSiblings()) as other:
        yield (world.plane, Plane(world, other, counts=True))


def slots_now():
    """The slot that goes on, and the oldest that counts, of the budget above."""
    span = Span(3600.0, 20)
    slot = span.slot(time.time())
    return slot, span.oldest(slot)


async def count_of(world, counter):
    return sum(each.amount for each in await world.shared.store.spending.amounts([counter]))


async def test_of_a_hundred_calls_that_wait_for_everything_at_once_exactly_the_least_passes(serve, provider):
    """A word for five, a grant for four, a limit of the task of eight, an exact budget of three."""
    async with serve("require_approval=payments;approval_uses=5", budgets=EXACT) as world, two_workers(world) as planes:
        token = await granted(world, uses=4, limits={"calls": 8})
        asked = await planes[0].ask(authz_grant=token)
        assert asked.reason == "approval_required"
        assert await count_of(world, limit_counter("t-7", "calls")) == 0  # what waits uses nothing up
        await world.desk.approve(asked.id, provider.token(), uses=5)
        await planes[1].shared.view.catch_up()
        told = await asyncio.gather(*(planes[number % 2].ask(authz_grant=token) for number in range(100)))
        assert sum(each.allowed for each in told) == 3
        assert {each.reason for each in told} <= {"allowed", "approval_required", "grant_used_up", "budget_exceeded"}
        approval = (await world.shared.store.approval(asked.id)).approval
        grant = await world.shared.store.grant(approval.grant_id)
        assert (approval.used, approval.state, grant.used) == (3, "approved", 3)  # who was refused took nothing
        assert await count_of(world, limit_counter("t-7", "calls")) == 3
        outcomes = [outcome for plane in planes for outcome in plane.outcomes]
        assert len(outcomes) == 101
        assert sum(outcome.decision.allowed for outcome in outcomes) == 3  # what is recorded is what is answered
        assert not any(outcome.cached for outcome in outcomes)
        assert sum(plane.ledger.books.known("t-7").calls for plane in planes) == 3  # the rest was given back


@pytest.mark.parametrize("refuses", ["budget", "limit", "grant"])
async def test_a_call_that_something_else_refuses_uses_no_approval(serve, provider, refuses):
    budget = EXACT.replace("limit = 3", "limit = 1") if refuses == "budget" else ""
    async with (
        serve("require_approval=payments;approval_uses=9", budgets=budget) as world,
        two_workers(world) as planes,
    ):
        uses, limits = int(refuses == "grant"), {"calls": 1} if refuses == "limit" else {}
        token = await granted(world, uses=uses, limits=limits)
        asked = await planes[0].ask(authz_grant=token)
        await world.desk.approve(asked.id, provider.token(), uses=9)
        await planes[1].shared.view.catch_up()
        assert (await planes[0].ask(authz_grant=token)).allowed
        reason = {"budget": "budget_exceeded", "limit": "task_limit", "grant": "grant_used_up"}[refuses]
        told = await asyncio.gather(*(planes[number % 2].ask(authz_grant=token) for number in range(20)))
        assert {each.reason for each in told} == {reason}
        approval = (await world.shared.store.approval(asked.id)).approval
        assert (approval.used, approval.state) == (1, "approved")


async def test_nobody_is_asked_for_what_a_budget_refuses_anyway(serve):
    async with serve(budgets=EXACT.replace("limit = 3", "limit = 1")) as world, two_workers(world) as planes:
        await world.shared.store.spending.spend(
            [Wanted("pay@3600/20|" + PAYER, 1, 1, *slots_now(), "", time.time() + 9e3)]
        )
        assert (await planes[0].ask()).reason == "budget_exceeded"
        assert (await world.desk.list()).open == 0


async def test_an_allow_on_a_word_is_never_used_again_and_one_that_was_only_counted_is_counted_again(serve, provider):
    async with serve(
        "require_approval=payments;approval_uses=3", budgets=EXACT.replace("limit = 3", "limit = 100")
    ) as world:
        asked = await world.plane.ask()
        await world.desk.approve(asked.id, provider.token(), uses=3)
        told = [await world.plane.ask() for _ in range(4)]
        assert [each.allowed for each in told] == [True, True, True, False]
        assert not any(outcome.cached for outcome in world.plane.outcomes)
        look = {"path": "/v1/accounts/7", "method": "GET", "body": b""}
        assert all([(await world.plane.ask(**look)).allowed for _ in range(3)])
        assert [outcome.cached for outcome in world.plane.outcomes[-2:]] == [True, True]
        assert await count_of(world, "pay@3600/20|" + PAYER) == 6


@pytest.mark.parametrize("lost", ["revoked", "audit", "cancelled", "store"])
async def test_an_allow_that_fails_once_all_was_counted_is_a_denial_on_record_and_given_back_here(
    serve, provider, lost
):
    async with serve(budgets=EXACT.replace("exact = true", "exact = false") + EXACT.replace("pay", "more")) as world:
        plane = world.plane
        asked = await plane.ask()
        await world.desk.approve(asked.id, provider.token())
        answerer = Answerer(SimpleNamespace(check=plane.checker.check, refuse=plane.checker.refuse), None)
        claim = SimpleNamespace(budget=lambda: 60.0)
        settle = world.shared.store.settle
        ran = asyncio.Event()

        async def stuck(wanted):
            await settle(wanted)
            ran.set()
            await asyncio.Event().wait()

        async def gone(_):
            raise OSError

        async def revoking(wanted):
            await world.revoke("principal", PAYER)
            return await settle(wanted)

        plane.shared.store.settle = {
            "revoked": revoking,
            "audit": settle,
            "cancelled": stuck,
            "store": gone,
        }[lost]
        pending = answerer.answer(plane.message(), claim)
        assert plane.ledger.counters.tables[0].get("pay@3600/20|" + PAYER).total == 1
        if lost == "audit":
            plane.offer = None
            pending_offer = plane.checker._offer
            plane.checker._offer = lambda outcome: not pending_offer(outcome)
        settling = asyncio.create_task(answerer.settle(pending, claim))
        if lost == "cancelled":
            await ran.wait()
            settling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await settling
        else:
            assert not Told(CheckResponse.FromString(await settling)).allowed
        expected = {"revoked": "principal_revoked", "store": "state_unavailable", "audit": "allowed"}
        assert plane.outcomes[-1].decision.reason.value == expected.get(lost, "deadline_exceeded")
        assert plane.ledger.counters.tables[0].get("pay@3600/20|" + PAYER).total == 0
        assert len(plane.outcomes) == 2


async def test_a_label_that_a_call_raises_on_a_word_is_known_before_it_passes(serve, provider):
    sealed = f"{RULE}require_approval=payments\np, out, 'restricted' in r.env.task.seen, /v1/export, *, deny,\n"
    async with serve(policy=sealed + ANYWHERE.replace("True", "r.obj.path == '/v1/export'")) as world:
        token = await granted(world, resources=("/v1/payments", "/v1/export"))
        export = {"path": "/v1/export", "authz_grant": token}
        async with two_workers(world) as planes:
            asked = await planes[0].ask(authz_grant=token)
            assert (await planes[1].ask(**export)).allowed  # nothing was seen yet
            await world.desk.approve(asked.id, provider.token())
            assert (await planes[0].ask(authz_grant=token)).allowed
            await planes[1].shared.view.catch_up()
            assert (await planes[1].ask(**export)).reason == "denied_by_rule"


async def test_a_dry_run_of_what_waits_counts_nothing_and_tells_what_would_be_waited_for(serve, provider):
    async with serve(budgets=EXACT) as world:
        token = await granted(world, uses=1)
        for _ in range(3):
            outcome, answer = world.composition.dry_run(
                world.holder, world.plane.message(authz_grant=token), time.time()
            )
            assert (outcome.decision.reason, Told(CheckResponse.FromString(answer)).reason) == (
                Reason.APPROVAL_REQUIRED,
                "approval_required",
            )
        assert (await world.desk.list()).open == 0
        assert await count_of(world, "pay@3600/20|" + PAYER) == 0
