"""The feed: every change, in order, without gaps, on every replica; and when it is lost, that is known."""

import asyncio

import pytest
from sqlalchemy import delete, update
from stores import NOW, a_grant, a_policy, a_revocation, a_task, collect, once, until

from authz.stores.database.connect import connect
from authz.stores.database.errors import ChangesLostError
from authz.stores.database.schema import changes as changes_table
from authz.stores.database.schema import facts


def touch(place, statement):
    """Change a store behind its own back."""
    database = connect(place.settings, place.base)
    with database.engine.connect().execution_options(authz_writes=True) as connection, connection.begin():
        connection.execute(statement)
    database.close()


async def test_another_replica_sees_every_change_in_order(place, store):
    async with place.opened() as other:
        watching = other.watch(0)
        await store.issue(a_grant(max_uses=1), a_task())
        await store.consume("g1", "d1")
        await store.revoke(a_revocation())
        await store.complete("t1", "me")
        await store.undo("r1", "me", "")
        await store.apply_policy(a_policy())
        found = await collect(watching, 7)
    assert [(change.seq, change.kind, change.about) for change in found] == [
        (1, "grant_issued", "g1"),
        (2, "grant_used_up", "g1"),
        (3, "grant_ended", "g1"),
        (4, "revoked", "r1"),
        (5, "task_completed", "t1"),
        (6, "revocation_undone", "r1"),
        (7, "policy_applied", "1"),
    ]
    assert found[3].data["revocation"]["value"] == "g1"
    assert found[4].data == {"until": NOW + 60}


async def test_what_changes_nothing_is_not_told(store):
    await store.issue(a_grant(), a_task(), once())
    await store.issue(a_grant(), a_task(), once())
    await store.complete("t1", "me")
    await store.complete("t1", "me")
    assert (await store.changes_since(0)).head == 2


async def test_an_undone_revocation_is_followed_by_others_of_the_same(store):
    for revocation_id in ("r1", "r2"):
        await store.revoke(a_revocation(revocation_id, "principal", "p"))
    await store.undo("r1", "me", "")
    [first, second] = (await store.changes_since(2)).changes
    assert (first.kind, first.about, second.kind, second.about) == ("revocation_undone", "r1", "revoked", "r2")


async def test_no_page_ends_between_the_two(store):
    for revocation_id in ("r1", "r2"):
        await store.revoke(a_revocation(revocation_id, "principal", "p"))
    await store.undo("r1", "me", "")
    page = await store.changes_since(0, limit=3)
    assert ([change.seq for change in page.changes], page.head, page.complete) == ([1, 2], 4, True)
    assert [change.seq for change in (await store.changes_since(2, limit=3)).changes] == [3, 4]


async def test_many_writers_on_two_replicas_leave_no_gap_for_a_third(place, store):
    async with place.opened() as other, place.opened() as third:
        watching = third.watch(0)
        numbers = []

        async def follow():
            async for changes in watching:
                numbers.extend(change.seq for change in changes)
                if len(numbers) >= 300:
                    return

        following = asyncio.create_task(follow())
        asked = [(store, other)[n % 2].revoke(a_revocation(f"r{n}", "principal", f"p{n}")) for n in range(300)]
        await asyncio.gather(*asked)
        await asyncio.wait_for(following, 20)
        await watching.aclose()
    assert numbers == list(range(1, 301))


async def test_what_came_before_is_told_first(place, store):
    for n in range(20):
        await store.revoke(a_revocation(f"r{n}", "principal", f"p{n}"))
    async with place.opened() as other:
        assert [change.seq for change in await collect(other.watch(5), 15)] == list(range(6, 21))


async def test_two_who_watch_each_get_everything(store):
    watching = [store.watch(0), store.watch(0)]
    await store.revoke(a_revocation(kind="principal", value="p"))
    assert [len(await collect(each, 1)) for each in watching] == [1, 1]


async def test_the_epoch_moves_before_the_caller_is_answered(place):
    order = []
    async with place.opened(on_commit=lambda changes: order.append([change.kind for change in changes])) as store:
        await store.revoke(a_revocation(kind="principal", value="p"))
        order.append("answered")
    assert order == [["revoked"], "answered"]


async def test_a_fault_of_the_epoch_does_not_undo_what_is_done(place):
    def fault(_):
        raise RuntimeError

    async with place.opened(on_commit=fault) as store:
        await store.revoke(a_revocation(kind="principal", value="p"))
        assert (await store.view()).seq == 1
    assert [event for event, _ in place.reports] == ["telling of a commit failed"]


async def test_deleted_changes_are_missed(place, store):
    for n in range(3):
        await store.revoke(a_revocation(f"r{n}", "principal", f"p{n}"))
    touch(place, delete(changes_table).where(changes_table.c.seq < 3))
    async with place.opened() as other:
        with pytest.raises(ChangesLostError, match="were deleted"):
            await anext(other.watch(1))
        assert [change.seq for change in await collect(other.watch(2), 1)] == [3]
        assert not (await other.changes_since(1)).complete


async def test_a_number_from_the_future_is_of_another_store(store):
    with pytest.raises(ChangesLostError):
        await anext(store.watch(5))
    with pytest.raises(ChangesLostError, match="another one"):
        await anext(store.watch(0, "not this one"))


async def test_a_store_that_was_replaced_under_us_is_noticed(place, store):
    watching = store.watch(0, store.store_id)
    waiting = asyncio.create_task(anext(watching))
    await asyncio.sleep(0)
    touch(place, update(facts).where(facts.c.name == "store_id").values(value="another"))
    with pytest.raises(ChangesLostError):
        await asyncio.wait_for(waiting, 20)
    assert store.store_id == "another"


async def test_who_watches_is_let_go_when_the_store_is_closed(place):
    async with place.opened() as store:
        following = asyncio.create_task(collect(store.watch(0), 1))
        await asyncio.sleep(0)
    assert await asyncio.wait_for(following, 20) == []


async def test_contact_is_confirmed_while_nothing_changes(place):
    async with place.opened(heartbeat_seconds=0.05) as store:
        before = store._feed._confirmed
        assert store.fresh
        await until(lambda: store._feed._confirmed > before)
