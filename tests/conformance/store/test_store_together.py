"""Single records that many ask for at once: each is told the truth of a moment after it asked, in few queries."""

import asyncio

import pytest
from stores import a_grant, a_task

from authz.stores.database.errors import NotFoundError, UnavailableError


@pytest.fixture
def queries(store, monkeypatch):
    """Counts queries; those begun while `gate` is closed wait."""
    seen = []
    plain = store._reader.read

    async def read(query, *arguments):
        seen.append(query)
        return await plain(query, *arguments)

    monkeypatch.setattr(store._reader, "read", read)
    return seen


async def test_each_gets_its_own_and_few_queries_are_made(store, queries):
    for n in range(20):
        await store.issue(a_grant(f"g{n}", f"t{n}"), a_task(f"t{n}"))
    asked = [*(f"t{n}" for n in range(20)), "t3", "none"]
    found = await asyncio.gather(*map(store.task, asked), return_exceptions=True)
    assert [each.id for each in found[:-1]] == asked[:-1]
    assert isinstance(found[-1], NotFoundError)
    assert str(found[-1]) == "there is no task none"
    assert len(queries) == 1


async def test_who_asks_while_a_query_is_under_way_is_answered_by_the_next(store, queries):
    await store.issue(a_grant(), a_task())
    before = asyncio.create_task(store.task("t1"))
    while not queries:
        await asyncio.sleep(0)
    await store.complete("t1", "me")
    assert (await store.task("t1")).state == "completed"
    assert (await before).id == "t1"


async def test_one_that_goes_away_takes_nothing_from_the_others(store, queries):
    await store.issue(a_grant(), a_task())
    gone, stays = asyncio.create_task(store.task("t1")), asyncio.create_task(store.task("t1"))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays).id == "t1"
    assert gone.cancelled()


async def test_a_fault_is_told_to_all_who_wait_and_to_nobody_after(store, monkeypatch):
    await store.issue(a_grant(), a_task())
    plain = store._reader.read

    async def fails(*_):
        raise UnavailableError("gone")

    monkeypatch.setattr(store._reader, "read", fails)
    found = await asyncio.gather(store.task("t1"), store.task("t2"), return_exceptions=True)
    assert [type(each) for each in found] == [UnavailableError] * 2
    monkeypatch.setattr(store._reader, "read", plain)
    assert (await store.task("t1")).id == "t1"
