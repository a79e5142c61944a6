"""Grants and tasks: issued, ended, used."""

import asyncio

import pytest
from stores import NOW, a_grant, a_task, once

from authz.stores.database.errors import (
    ConflictError,
    EndedError,
    IdempotencyError,
    NotFoundError,
    TooLargeError,
)
from authz.stores.database.listing import GrantFilter, Page


async def test_what_was_issued_is_there_for_another_replica(place, store):
    grant = a_grant(delegators=("spiffe://td/boss",), max_uses=3, certificate="ab" * 32)
    assert await store.issue(grant, a_task()) == grant
    async with place.opened() as other:
        assert await other.grant("g1") == grant
        assert await other.task("t1") == a_task()


async def test_issuing_the_same_again_is_no_fault(store):
    await store.issue(a_grant(max_uses=1), a_task())
    await store.consume("g1", "d1")
    assert (await store.issue(a_grant(max_uses=1), a_task())).used == 1
    assert len((await store.grants()).items) == 1


async def test_another_grant_of_the_same_id_is_refused(store):
    await store.issue(a_grant(), a_task())
    with pytest.raises(ConflictError, match="is another"):
        await store.issue(a_grant(holder="spiffe://td/thief"))
    assert (await store.grant("g1")).holder == "spiffe://td/holder"


async def test_a_grant_needs_a_task_that_is_open(store):
    with pytest.raises(NotFoundError, match="there is no task t1"):
        await store.issue(a_grant())
    await store.issue(a_grant(), a_task())
    await store.complete("t1", "me")
    with pytest.raises(EndedError, match="t1 is completed"):
        await store.issue(a_grant("g2"), a_task())


async def test_nobody_adds_to_the_task_of_another(store):
    await store.issue(a_grant(), a_task())
    with pytest.raises(ConflictError, match="belongs to somebody else"):
        await store.issue(a_grant("g2"), a_task(owner="spiffe://td/other"))


async def test_the_task_given_must_be_the_grants_own(store):
    with pytest.raises(ConflictError, match="not the one"):
        await store.issue(a_grant(task_id="t1"), a_task("t2"))


async def test_no_grant_outlives_its_task(store):
    with pytest.raises(EndedError, match="longer than its task"):
        await store.issue(a_grant(expires_at=NOW + 61), a_task(ends_at=NOW + 60))


@pytest.mark.parametrize("grant", [a_grant(used=1, max_uses=2), a_grant(state="revoked")])
async def test_a_grant_begins_unused_and_active(store, grant):
    with pytest.raises(ConflictError, match="active and unused"):
        await store.issue(grant, a_task())


async def test_a_grant_too_large_is_refused(store):
    with pytest.raises(TooLargeError, match="max_record_bytes"):
        await store.issue(a_grant(scope=({"x": "y" * 70_000},)), a_task())
    with pytest.raises(NotFoundError):
        await store.task("t1")


class TestDerived:
    """A grant exchanged for another."""

    async def test_it_belongs_to_the_same_task_and_names_its_ancestors(self, store):
        await store.issue(a_grant(), a_task())
        await store.issue(a_grant("g2", ancestors=("g1",)))
        await store.issue(a_grant("g3", ancestors=("g2", "g1")))
        with pytest.raises(ConflictError, match="has it and its ancestors"):
            await store.issue(a_grant("g4", ancestors=("g2",)))
        with pytest.raises(ConflictError, match="the same task"):
            await store.issue(a_grant("g5", "t2", ancestors=("g1",)), a_task("t2"))

    async def test_it_lasts_no_longer(self, store):
        await store.issue(a_grant(), a_task())
        with pytest.raises(EndedError, match="last longer than g1"):
            await store.issue(a_grant("g2", ancestors=("g1",), expires_at=NOW + 61))

    async def test_its_parent_must_be_there_and_in_force(self, place, store):
        await store.issue(a_grant(), a_task())
        with pytest.raises(NotFoundError, match="no grant g9"):
            await store.issue(a_grant("g2", ancestors=("g9",)))
        place.clock.now += 60
        with pytest.raises(EndedError, match="g1 is expired"):
            await store.issue(a_grant("g2", ancestors=("g1",)))


async def test_completing_a_task_ends_all_its_grants(place, store):
    for grant_id in ("g1", "g2"):
        await store.issue(a_grant(grant_id), a_task())
    await store.issue(a_grant("g3", "t2"), a_task("t2"))
    place.clock.now += 1
    task = await store.complete("t1", "me")
    assert (task.state, task.ended_at, task.ended_by, task.grants_expire_at) == ("completed", NOW + 1, "me", NOW + 60)
    assert await store.task("t1") == task
    found = {grant.id: grant.state for grant in (await store.grants()).items}
    assert found == {"g1": "completed", "g2": "completed", "g3": "active"}


async def test_completing_twice_changes_nothing(place, store):
    await store.issue(a_grant(), a_task())
    first = await store.complete("t1", "me")
    place.clock.now += 1
    assert await store.complete("t1", "you") == first
    with pytest.raises(NotFoundError, match="no task t9"):
        await store.complete("t9", "me")


class TestUses:
    """A grant for N uses."""

    async def test_exactly_n_of_a_hundred_racing_decisions_on_two_replicas_win(self, place, store):
        await store.issue(a_grant(max_uses=3), a_task())
        async with place.opened() as other:
            asked = [(store, other)[n % 2].consume("g1", f"d{n}") for n in range(100)]
            assert sum(await asyncio.gather(*asked)) == 3
            assert (await other.grant("g1")).used == 3

    async def test_a_single_use_is_won_once(self, place, store):
        await store.issue(a_grant(max_uses=1), a_task())
        async with place.opened() as other:
            won = await asyncio.gather(*[(store, other)[n % 2].consume("g1", f"d{n}") for n in range(100)])
        assert sum(won) == 1

    async def test_the_same_decision_asking_again_is_not_counted_again(self, store):
        await store.issue(a_grant(max_uses=1), a_task())
        assert await asyncio.gather(*[store.consume("g1", "d1") for _ in range(5)]) == [True] * 5
        assert not await store.consume("g1", "d2")
        assert await store.consume("g1", "d1")

    async def test_without_a_limit_every_decision_wins(self, store):
        await store.issue(a_grant(), a_task())
        assert all([await store.consume("g1", f"d{n}") for n in range(3)])
        assert (await store.grant("g1")).used == 0

    async def test_what_is_over_is_not_used(self, place, store):
        for grant_id, task_id in (("g1", "t1"), ("g2", "t2")):
            await store.issue(a_grant(grant_id, task_id, max_uses=5), a_task(task_id))
        await store.complete("t1", "me")
        with pytest.raises(EndedError, match="g1 is completed"):
            await store.consume("g1", "d1")
        with pytest.raises(NotFoundError):
            await store.consume("g9", "d1")
        place.clock.now += 60
        with pytest.raises(EndedError, match="g2 is expired"):
            await store.consume("g2", "d1")


class TestIdempotency:
    """An idempotency key."""

    async def test_the_same_request_gets_the_same_answer_and_is_done_once(self, store):
        first = await store.issue(a_grant(), a_task(), once())
        assert await store.issue(a_grant("g2"), a_task(), once()) == first
        assert [grant.id for grant in (await store.grants()).items] == ["g1"]

    async def test_at_the_same_time_too(self, store):
        asked = [store.issue(a_grant(f"g{n}"), a_task(), once()) for n in range(20)]
        assert {grant.id for grant in await asyncio.gather(*asked)} == {"g0"}

    async def test_on_two_replicas_too(self, place, store):
        async with place.opened() as other:
            both = [(store, other)[n % 2].issue(a_grant(f"g{n}"), a_task(), once()) for n in range(20)]
            assert len({grant.id for grant in await asyncio.gather(*both)}) == 1
        assert len((await store.grants()).items) == 1

    async def test_another_request_with_the_same_key_is_refused(self, store):
        await store.issue(a_grant(), a_task(), once())
        with pytest.raises(IdempotencyError):
            await store.issue(a_grant("g2"), a_task(), once(digest="d2"))
        with pytest.raises(IdempotencyError):
            await store.complete("t1", "me", once())

    async def test_keys_of_different_callers_do_not_meet(self, store):
        await store.issue(a_grant(), a_task(), once(scope="a"))
        assert (await store.issue(a_grant("g2"), a_task(), once(scope="b"))).id == "g2"

    async def test_a_refusal_is_not_kept(self, store):
        with pytest.raises(NotFoundError):
            await store.issue(a_grant(), None, once())
        assert (await store.issue(a_grant(), a_task(), once())).id == "g1"

    async def test_a_key_ends(self, place, store):
        await store.issue(a_grant(), a_task(), once(expires_at=NOW + 5))
        place.clock.now += 5
        assert (await store.issue(a_grant("g2"), a_task(), once())).id == "g2"


async def test_one_that_is_refused_does_not_hold_up_those_done_with_it(store):
    await store.issue(a_grant("g0"), a_task())
    asked = [store.issue(a_grant(f"g{n}", "t1" if n % 2 else "nowhere")) for n in range(1, 41)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(result, NotFoundError) for result in results] == [n % 2 == 0 for n in range(1, 41)]


async def test_lists_go_page_by_page_newest_first(store):
    await asyncio.gather(*[store.issue(a_grant(f"g{n:02}", issued_at=NOW + n // 2), a_task()) for n in range(25)])
    seen, place = [], ""
    while True:
        listed = await store.grants(GrantFilter(task_id="t1"), Page(place, 10))
        seen += [grant.id for grant in listed.items]
        await store.issue(a_grant(f"new{len(seen)}", issued_at=NOW + 100), a_task())
        place = listed.next_page
        if not place:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 25


async def test_a_list_can_be_narrowed(store):
    await store.issue(a_grant(), a_task())
    await store.issue(a_grant("g2", "t2", holder="spiffe://td/b", expires_at=NOW + 99), a_task("t2"))
    await store.complete("t1", "me")

    async def ids(**wanted):
        return [grant.id for grant in (await store.grants(GrantFilter(**wanted))).items]

    assert await ids(holder="spiffe://td/b") == ["g2"]
    assert await ids(state="completed") == ["g1"]
    assert await ids(expires_after=NOW + 60) == ["g2"]
    assert await ids(holder="spiffe://td/b", state="completed") == []


@pytest.mark.parametrize("place_text", ["zz", "00", "5b5d", "5b312c322c335d"])
async def test_a_page_that_is_none_of_ours_is_refused(store, place_text):
    with pytest.raises(ConflictError, match="this page"):
        await store.grants(page=Page(place_text))
