"""One process's view of the store: filled record by record, and kept current by what arrives."""

import asyncio
import threading

import pytest
from msgspec.structs import replace
from stores import NOW, Place, a_grant, a_revocation, a_task, until

from authz.errors import Reason
from authz.model import Subject
from authz.stores.database.records import Change, View
from authz.stores.shared_view import SharedView


def refusal(view, principal):
    return view.revocations.refusal(Subject(id=f"spiffe://td/{principal}", trust_domain="td"), None, NOW)


def revoked(name):
    return a_revocation(f"r-{name}", "principal", f"spiffe://td/{name}")


class BreaksOff:
    """A store whose reading breaks off once; what was read by then is undone by the time of the second attempt."""

    applied_seq = None

    async def view(self, begin):
        begin()(revoked("undone"))
        each = begin()
        each(revoked("kept"))
        nothing = {"revocations": (), "completed": (), "used_up": (), "break_glass": None, "policy_revision": 0}
        return View(store_id="s", seq=2, **nothing)


async def test_what_an_attempt_read_that_broke_off_is_not_kept():
    view = SharedView(BreaksOff(), 5.0, 100, lambda: NOW)
    await view.load()
    assert refusal(view, "kept") is Reason.PRINCIPAL_REVOKED
    assert refusal(view, "undone") is None
    assert view.revocations.sequence == 2


@pytest.fixture
def place(tmp_path):
    return Place("sqlite:///authz.db", tmp_path)


@pytest.fixture
async def store(place):
    async with place.opened() as opened:
        yield opened


async def test_all_that_is_over_is_loaded(place, store):
    await store.issue(a_grant("used", "t1", max_uses=1), a_task("t1"))
    await store.consume("used", "d1")
    await store.complete("t1", "me")
    await store.revoke(revoked("p"))
    view = SharedView(store, 5.0, 100, place.clock)
    await view.load()
    assert refusal(view, "p") is Reason.PRINCIPAL_REVOKED
    assert len(view.revocations) == 2  # the task and the principal: a used-up grant is found out when it is used
    await until(lambda: view.revocations.sequence == store.head)  # the feed may hear of it later


async def test_loading_may_take_longer_than_an_operation(place):
    async with place.opened() as other:
        await other.revoke(revoked("p"))
    async with place.opened(load_timeout_seconds=60) as store:
        reader = store._reader  # opening it may take as long as it does
        reader._settings = replace(reader._settings, operation_timeout_seconds=0.1)
        view = SharedView(store, 5.0, 100, place.clock)
        slow = threading.Event()
        nothing_before = view._nothing

        def nothing():
            slow.wait(0.3)  # longer than an operation may take
            return nothing_before()

        view._nothing = nothing
        await view.load()
        assert refusal(view, "p") is Reason.PRINCIPAL_REVOKED


class Reads:
    """Counts how often the store is read."""

    def __init__(self, store, monkeypatch):
        self.count = 0
        self._read = store._read
        monkeypatch.setattr(store, "_read", self.read)

    async def read(self, query):
        self.count += 1
        return await self._read(query)


async def test_what_arrives_is_taken_up_and_told_without_reading_it_again(place, store, monkeypatch):
    view = SharedView(store, 5.0, 100, place.clock)
    await view.load()
    told: list[Change] = []
    came = asyncio.Event()

    async def hear(changes):
        told.extend(changes)
        came.set()

    view.subscribe(hear)
    running = asyncio.create_task(view.run())
    reads = Reads(store, monkeypatch)
    async with place.opened() as other:
        await other.revoke(revoked("p"))
    await asyncio.wait_for(came.wait(), 20)
    assert refusal(view, "p") is Reason.PRINCIPAL_REVOKED
    assert [change.kind for change in told] == ["revoked"]
    assert reads.count == 0
    running.cancel()


async def test_what_was_taken_up_by_asking_is_not_told_twice(place, store):
    view = SharedView(store, 5.0, 100, place.clock)
    await view.load()
    told: list[int] = []

    async def hear(changes):
        told.extend(change.seq for change in changes)

    view.subscribe(hear)
    running = asyncio.create_task(view.run())
    for number in range(5):
        await store.revoke(revoked(f"p{number}"))
        await view.catch_up()
    async with asyncio.timeout(20):
        while store.head < 5:
            await asyncio.sleep(0)
    await view.catch_up()
    assert told == [1, 2, 3, 4, 5]
    running.cancel()


async def test_changes_of_a_store_that_is_no_longer_ours_are_not_taken(place, store):
    view = SharedView(store, 5.0, 100, place.clock)
    await view.load()
    strange = Change(
        seq=1, at=NOW, kind="revoked", about="r", data={"revocation": {"id": "r", "kind": "principal", "value": "x"}}
    )
    await view._take_up((strange,), "another store")
    assert view.revocations.sequence == 0
