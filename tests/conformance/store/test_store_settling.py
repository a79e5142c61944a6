"""What one decision rests on, counted together or not at all: costs, a use of a grant, a use of a human's word."""

import asyncio

import pytest
from stores import NOW, a_grant, a_task, a_word, ask

from authz.approvals.demand import Demand
from authz.stores.database import settling
from authz.stores.database.errors import StoreTrouble
from authz.stores.database.settling import Settle
from authz.stores.database.spending import Spend, Wanted
from authz.stores.database.using import Use


def costs(limit=10, **changes):
    return Spend((Wanted("c", 1, limit, 5, 0, "", NOW + 600, **changes),))


def settle(number=1, decision="d1", *, limit=10, **changes):
    return Settle(spend=costs(limit, **changes), use=Use("g1", decision), ask=ask(number, decision))


async def begin(store, *, uses=3, approved=3):
    """A grant for so many uses, and an approval for so many."""
    await store.issue(a_grant(max_uses=uses), a_task())
    await store.ask(ask(demand=Demand(groups=("payments",), max_uses=9)))
    if approved:
        await store.decide(a_word(uses=approved))


async def counted(store):
    """How much was counted of each: costs, uses of the grant, uses of the approval."""
    spent = sum(each.amount for each in await store.spending.amounts(["c"]))
    return spent, (await store.grant("g1")).used, (await store.approval("a-1")).approval.used


async def told_of(store):
    return [change.kind for change in (await store.changes_since(0)).changes]


async def test_all_is_counted_when_all_passes(store):
    await begin(store)
    assert (await store.settle(settle())).passes
    assert await counted(store) == (1, 1, 1)
    assert (await told_of(store)).count("approval_used") == 1


@pytest.mark.parametrize("refuses", ["costs", "grant", "approval"])
async def test_nothing_is_counted_when_one_of_them_refuses(store, refuses):
    await begin(store, uses=1, approved=0 if refuses == "approval" else 3)
    limit = 0 if refuses == "costs" else 10
    if refuses == "grant":
        await store.consume("g1", "d0")
    before, announced = await counted(store), await told_of(store)
    settled = await store.settle(settle(limit=limit))
    assert not settled.passes
    assert (settled.spent.refused >= 0, settled.used_up, settled.asked is not None) == (
        refuses == "costs",
        refuses == "grant",
        refuses == "approval",
    )
    assert await counted(store) == before
    assert await told_of(store) == announced  # nor is anything of it told


async def test_a_request_is_opened_where_a_human_is_asked_and_nothing_else_counted(store):
    await store.issue(a_grant(max_uses=3), a_task())
    settled = await store.settle(settle())
    assert (settled.passes, settled.asked.answer, settled.asked.approval.id) == (False, "open", "a-1")
    assert await counted(store) == (0, 0, 0)
    assert (await told_of(store)).count("approval_opened") == 1
    assert "grant_used_up" not in await told_of(store)


async def test_of_a_hundred_on_two_replicas_exactly_the_least_passes(place):
    async with place.opened() as store, place.opened() as other:
        await begin(store, uses=9, approved=7)
        tries = [(store, other)[n % 2].settle(settle(100 + n, f"d{n}", limit=5)) for n in range(100)]
        found = await asyncio.gather(*tries)
        assert sum(each.passes for each in found) == 5
        assert await counted(store) == (5, 5, 5)


async def test_a_fault_between_the_steps_takes_all_of_them_back(store, monkeypatch):
    await begin(store)

    def broken(work, asked):
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(settling.ASK, "run", broken)
        with pytest.raises(StoreTrouble):
            await store.settle(settle())
    assert await counted(store) == (0, 0, 0)
    assert (await store.settle(settle())).passes  # and the writer goes on


async def test_others_of_the_same_transaction_have_no_part_in_what_is_taken_back(place):
    async with place.opened(group_wait_seconds=0.2) as store:
        await begin(store, approved=1)
        found = await asyncio.gather(
            store.settle(settle(2, "d1")),
            store.settle(settle(3, "d2", limit=0)),
            store.settle(settle(4, "d3")),
            store.consume("g1", "d4"),
        )
        assert [each.passes for each in found[:3]] == [True, False, False]
        assert found[3]
        assert await counted(store) == (1, 2, 1)


async def test_what_a_human_lets_pass_is_counted_beyond_the_limit(store):
    await begin(store)
    refused = (await store.settle(settle(limit=0))).spent
    assert (refused.refused, refused.used) == (0, 0)
    assert (await store.settle(settle(limit=0, over=True))).passes
    refused = (await store.settle(settle(2, "d2", limit=0))).spent
    assert (refused.refused, refused.used) == (0, 1)


async def test_a_decision_that_asks_again_unheard_takes_no_second_use(store):
    await begin(store, uses=1, approved=1)
    assert (await store.settle(settle())).passes
    assert (await store.settle(settle(2))).passes
    assert (await counted(store))[1:] == (1, 1)
