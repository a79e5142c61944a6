"""Two processes that count together: exactly where it is asked for, else as soon as they have told one another."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from grant_kit import ED_KEY, KEYS, grant
from grants_served import ANYBODY, MODEL, NOW

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.decision.spending import Accounts
from authz.errors import Reason, Refusal
from authz.grants.grant import Task
from authz.grants.token import sign_grant
from authz.shared_budgets import SharedBudgets
from authz.shared_state import SharedState
from authz.stores.database.errors import UnavailableError
from authz.stores.database.spending import Wanted
from authz.stores.database.store import Store
from authz.stores.holder import SnapshotHolder
from authz.task_limits import TaskLimits

CATALOGUE = '[[resources]]\nhost = "*"\npath = "/v1/accounts/{id}"\ntype = "account"\nsensitivity = "restricted"\n'
BARRED = ANYBODY + "p, r.obj.path == '/v1/export' && 'restricted' in r.env.task.seen, deny,\n"


class Replica:
    """One process: a checker with a ledger of its own, on a store that all share."""

    def __init__(self, config, base, store, replicas):
        self.replicas = replicas
        self.outcomes = []
        self.composition = Composition(config, base)
        self.composition.own_grant_keys = KEYS
        self.state = SharedState(config, base, store, self)
        self.ledger = self.composition.ledger
        self.sharing = SharedBudgets(config, self.state, self.ledger, lambda: float(NOW))
        parts = self.composition.parts(
            SnapshotHolder(self.composition.build_snapshot()), self, self, clock=lambda: float(NOW)
        )
        accounts = Accounts(self.ledger, float(NOW), self.sharing, tracks=True)
        self.checker = Checker(replace(parts, spending=accounts, monotonic=lambda: 0.0))

    async def apply(self, timeout_seconds):
        """The siblings: the others take up what is in the store."""
        for other in self.replicas:
            if other is not self:
                await other.state.view.catch_up()
        return 0

    def offer(self, outcome):
        self.outcomes.append(outcome)
        return True

    def decided(self, outcome):
        pass

    async def ask(self, token=None, path="/v1/accounts/7", who="spiffe://prod.example/ns/agents/sa/payer", **headers):
        request = CheckRequest()
        http = request.attributes.request.http
        http.method, http.host, http.path = "GET", "accounts.prod.example", path
        request.attributes.source.principal = who
        http.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        if token is not None:
            http.headers["authz-grant"] = token
        answer = self.checker.check(request.SerializeToString(), 60.0)
        if not isinstance(answer, bytes):
            refused = None
            try:
                await answer.spend()
            except Refusal as refusal:
                refused = refusal.reason
            answer = answer.conclude(refused)
        assert (CheckResponse.FromString(answer).status.code == 0) is self.outcomes[-1].decision.allowed
        return self.outcomes[-1].decision.reason

    async def exchange(self):
        while not await self.sharing._exchange_once():  # a round, without waiting for the next
            pass


@pytest.fixture
def fleet(tmp_path):
    (tmp_path / "model.conf").write_text(MODEL)
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)

    @contextlib.asynccontextmanager
    async def start(settings, policy=ANYBODY, count=2, identity=""):
        (tmp_path / "policy.csv").write_text(policy)
        (tmp_path / "authz.toml").write_text(
            '[identity]\ntrust_domain = "prod.example"\nrequire_certificate = false\n'
            f'{identity}[policy]\nmodel = "model.conf"\npolicies = ["policy.csv"]\n'
            '[catalogue]\nfile = "catalogue.toml"\n'
            '[grants]\nissuer = "https://authz.prod.example"\n'
            f'[store]\nsynchronous = "normal"\noperation_timeout_seconds = 60.0\n{settings}'
        )
        config = load(tmp_path / "authz.toml", Config, {})
        async with contextlib.AsyncExitStack() as stack:
            replicas = []
            for _ in range(count):
                opened = Store.opened(config.store, tmp_path, clock=lambda: float(NOW))
                store = await stack.enter_async_context(opened)
                replicas.append(Replica(config, tmp_path, store, replicas))
            for replica in replicas:
                await replica.state.view.load()
                await replica.sharing.start()
            yield replicas

    return start


def signed(**changes):
    return sign_grant(grant(**changes), ED_KEY)


async def test_of_a_hundred_at_once_on_two_processes_an_exact_budget_lets_exactly_its_limit_pass(fleet):
    budget = '[[budgets]]\nname = "calls"\nlimit = 17\nwindow_seconds = 60.0\nexact = true\n'
    async with fleet(budget) as replicas:
        found = await asyncio.gather(*(replicas[number % 2].ask() for number in range(100)))
    assert found.count(Reason.ALLOWED) == 17
    assert found.count(Reason.BUDGET_EXCEEDED) == 83
    refused = [each.decision for replica in replicas for each in replica.outcomes if not each.decision.allowed]
    assert all(60 <= decision.retry_after <= 64 for decision in refused)


async def test_the_limits_of_a_task_are_exact_over_processes_and_all_its_grants(fleet):
    task = Task("task-1", limits=TaskLimits(calls=9, resources=2))
    tokens = [signed(id=f"{number:022d}", task=task) for number in range(4)]
    async with fleet("") as replicas:
        asked = [replicas[n % 2].ask(tokens[n % 4], f"/v1/accounts/{n % 2}") for n in range(40)]
        found = await asyncio.gather(*asked)
        assert found.count(Reason.ALLOWED) == 9
        assert found.count(Reason.TASK_LIMIT) == 31
        assert await replicas[0].ask(signed()) is Reason.ALLOWED
        other = Task("task-2", limits=TaskLimits(resources=2))
        found = [await replicas[n % 2].ask(signed(task=other), f"/v1/accounts/{n % 3}") for n in range(9)]
    assert found == [Reason.ALLOWED, Reason.ALLOWED, Reason.TASK_LIMIT] * 3


async def test_amounts_that_are_counted_together_do_not_each_find_the_same_room(fleet):
    """A batch is several amounts of one counter."""
    async with fleet("", count=1) as (one,):
        store = one.state.store.spending
        sums = [Wanted("c", 30, 100, 0, 0, "", NOW + 60.0)] * 4
        distinct = [Wanted("d", 1, 2, 0, 0, name, NOW + 60.0) for name in "aab"]
        assert (await store.spend(sums)).refused == 3
        assert (await store.spend(sums[:3])).refused == -1
        assert (await store.spend(distinct)).refused == -1
        assert (await store.spend([*distinct, Wanted("d", 1, 2, 0, 0, "x", NOW + 60.0)])).refused == 3


async def test_what_is_counted_by_processes_themselves_is_known_to_all_after_one_exchange(fleet):
    budget = '[[budgets]]\nname = "calls"\nlimit = 5\nwindow_seconds = 60.0\n'
    async with fleet(budget) as (one, other):
        for _ in range(3):
            assert await one.ask() is Reason.ALLOWED
        await one.exchange()
        await other.exchange()
        found = [await other.ask() for _ in range(3)]
        assert found == [Reason.ALLOWED, Reason.ALLOWED, Reason.BUDGET_EXCEEDED]
        await other.exchange()
        await one.exchange()
        assert await one.ask() is Reason.BUDGET_EXCEEDED


async def test_a_first_use_is_the_first_of_all_processes_after_one_exchange(fleet):
    async with fleet("[tasks]\ntrack = true\n", "p, r.env.task.first_use, allow,\n") as (one, other):
        token = signed()
        assert [await one.ask(token), await one.ask(token)] == [Reason.ALLOWED, Reason.NO_MATCHING_RULE]
        await one.exchange()
        await other.exchange()
        assert await other.ask(token) is Reason.NO_MATCHING_RULE
        assert await other.ask(signed(task=Task("task-2"))) is Reason.ALLOWED


async def test_without_an_exchange_no_more_passes_than_the_limit_for_each_process(fleet):
    budget = '[[budgets]]\nname = "calls"\nlimit = 5\nwindow_seconds = 60.0\n'
    async with fleet(budget) as replicas:
        found = [await replica.ask() for replica in replicas for _ in range(10)]
    assert found.count(Reason.ALLOWED) == 10


async def test_distinct_resources_are_told_too(fleet):
    budget = '[[budgets]]\nname = "wide"\ncount = "resources"\nlimit = 3\nwindow_seconds = 60.0\n'
    async with fleet(budget) as (one, other):
        for number in (1, 2):
            assert await one.ask(path=f"/v1/accounts/{number}") is Reason.ALLOWED
        await one.exchange()
        await other.exchange()
        found = [await other.ask(path=f"/v1/accounts/{number}") for number in (2, 3, 4, 1)]
    assert found == [Reason.ALLOWED, Reason.ALLOWED, Reason.BUDGET_EXCEEDED, Reason.ALLOWED]


async def test_a_process_that_starts_knows_what_was_spent_before(fleet):
    budget = '[[budgets]]\nname = "calls"\nlimit = 3\nwindow_seconds = 60.0\n'
    async with fleet(budget, count=1) as (one,):
        for _ in range(3):
            assert await one.ask() is Reason.ALLOWED
        await one.sharing.last()
    async with fleet(budget, count=1) as (again,):
        assert await again.ask() is Reason.BUDGET_EXCEEDED


async def test_what_could_not_be_told_is_told_later_and_counts_once(fleet):
    budget = '[[budgets]]\nname = "calls"\nlimit = 5\nwindow_seconds = 60.0\n'
    async with fleet(budget) as (one, other):
        for _ in range(3):
            assert await one.ask() is Reason.ALLOWED
        share = one.state.store.spending.share

        async def gone(*_):
            raise UnavailableError("gone")

        one.state.store.spending.share = gone
        with pytest.raises(UnavailableError):
            await one.exchange()
        one.state.store.spending.share = share
        await one.exchange()
        await other.exchange()
        found = [await other.ask() for _ in range(3)]
    assert found == [Reason.ALLOWED, Reason.ALLOWED, Reason.BUDGET_EXCEEDED]


async def test_a_label_is_known_to_every_process_of_the_host_before_the_call_that_raised_it_is_answered(fleet):
    async with fleet("", BARRED) as (one, other):
        for replica in (one, other):
            assert await replica.ask(path="/v1/export", x_task_id="a") is Reason.ALLOWED
        assert await one.ask(x_task_id="a") is Reason.ALLOWED
        assert await other.ask(path="/v1/export", x_task_id="a") is Reason.DENIED_BY_RULE
        assert await other.ask(path="/v1/export", x_task_id="b") is Reason.ALLOWED


async def test_a_call_that_raises_a_label_is_denied_where_it_cannot_be_made_known(fleet):
    async with fleet("", BARRED) as (one, other):

        async def gone(*_):
            raise UnavailableError("gone")

        mark, one.state.store.spending.mark = one.state.store.spending.mark, gone
        for _ in range(2):
            assert await one.ask(x_task_id="a") is Reason.STATE_UNAVAILABLE
        one.state.store.spending.mark = mark
        assert await one.ask(x_task_id="a") is Reason.ALLOWED
        assert await other.ask(path="/v1/export", x_task_id="a") is Reason.DENIED_BY_RULE


async def test_a_suspension_and_its_end_reach_every_process(fleet):
    breaker = "[tasks.breaker]\ndenials = 3\nwindow_seconds = 60.0\nsuspend_seconds = 100000.0\n"
    async with fleet(breaker) as (one, other):
        token = signed()
        for _ in range(3):
            assert await one.ask(token, "/v1/payments") is Reason.GRANT_SCOPE
        await one.sharing.last()
        await other.state.view.catch_up()
        assert await other.ask(token) is Reason.TASK_SUSPENDED
        assert await one.state.store.spending.unmark("task-1", "suspended", "operator:x")
        for replica in (one, other):
            await replica.state.view.catch_up()
            assert await replica.ask(token) is Reason.ALLOWED


async def test_whoever_proves_nothing_can_neither_suspend_nor_label_the_task_of_a_grant(fleet):
    breaker = "[tasks.breaker]\ndenials = 3\nwindow_seconds = 60.0\nsuspend_seconds = 100000.0\n"
    everybody = "p, r.obj.path != '/v1/export', allow,\np, 'restricted' in r.env.task.seen, deny,\n"
    nobody = {"who": "", "x_task_id": "task-1"}
    async with fleet(breaker, everybody, identity='anonymous = "policy"\n') as (one, other):
        token = signed()
        assert await one.ask(**nobody) is Reason.ALLOWED
        for _ in range(3):
            assert await one.ask(path="/v1/export", **nobody) is Reason.IDENTITY_MISSING
        assert await one.ask(**nobody) is Reason.TASK_SUSPENDED
        await one.sharing.last()
        for replica in (one, other):
            await replica.state.view.catch_up()
            await replica.exchange()
            assert await replica.ask(token, path="/v1/accounts/7/x") is Reason.ALLOWED
            task = replica.outcomes[-1].asked.task
            assert (task["seen"], task["denials"]) == ((), 0)
        assert await other.ask(**nobody) is Reason.TASK_SUSPENDED
