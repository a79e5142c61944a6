"""Orders that wait for a second person."""

import asyncio

import pytest
from stores import NOW

from authz.stores.database.errors import NotFoundError, TooLargeError
from authz.stores.database.records import WaitingChange


def a_change(change_id="c1", **fields):
    defaults = {
        "id": change_id,
        "action": "control:keys.rotate",
        "author": "operator:alice",
        "group": "security",
        "summary": "/keys",
        "caller": {"transport": "unix", "operator": "alice"},
        "request": "eA==",
        "decision_id": "d1",
        "created_at": NOW,
        "expires_at": NOW + 60,
    }
    return WaitingChange(**defaults | fields)


async def test_what_waits_is_there_for_every_replica_until_it_is_taken_once(place):
    async with place.opened() as one, place.opened() as other:
        assert await one.waiting.add(a_change(), 10)
        assert await one.waiting.add(a_change(), 10), "once more, for whoever did not hear the answer"
        assert await other.waiting.all(NOW) == [a_change()]
        taken = await asyncio.gather(*(store.waiting.take("c1") for store in (one, other) * 5), return_exceptions=True)
        assert [each for each in taken if isinstance(each, WaitingChange)] == [a_change()]
        assert sum(isinstance(each, NotFoundError) for each in taken) == 9
        assert await one.waiting.all(NOW) == []


async def test_no_more_wait_than_there_is_room_for_and_what_lapsed_takes_none(place):
    async with place.opened() as store:
        assert await store.waiting.add(a_change("c1"), 1)
        assert not await store.waiting.add(a_change("c2"), 1)
        place.clock.now += 61
        assert await store.waiting.all(place.clock.now) == []
        with pytest.raises(NotFoundError):
            await store.waiting.take("c1")
        assert await store.waiting.add(a_change("c2", expires_at=NOW + 200), 1)
        assert (await store.compact())["pending_changes"] == 1
        assert [each.id for each in await store.waiting.all(place.clock.now)] == ["c2"]


async def test_one_that_is_too_large_is_refused(place):
    async with place.opened(max_policy_bytes=1_024) as store:
        with pytest.raises(TooLargeError):
            await store.waiting.add(a_change(request="x" * 3_000), 10)


async def test_a_change_survives_a_restart(place):
    async with place.opened() as store:
        await store.waiting.add(a_change(), 10)
    async with place.opened() as store:
        assert await store.waiting.take("c1") == a_change()
