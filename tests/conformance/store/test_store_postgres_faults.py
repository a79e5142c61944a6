"""PostgreSQL slow, gone, restarted, read-only: a clear error or a wait, and nothing that was acknowledged is lost."""

import asyncio
import contextlib
import itertools
import time

import psycopg
import pytest
from postgres import PostgresServer
from sqlalchemy import text
from stores import Place, a_grant, a_revocation, a_task, give_up_after, until

from authz.stores.database.completing import COMPLETE
from authz.stores.database.connect import connect, prepare
from authz.stores.database.errors import ReadOnlyError, UnavailableError


@pytest.fixture(scope="module")
def own_server():
    """A server that may be stopped."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def place(own_server, tmp_path):
    if own_server._process is None:  # a test that failed left it stopped
        own_server.start()
    return Place(own_server.new_database(), tmp_path, operation_timeout_seconds=60)


@contextlib.asynccontextmanager
async def issuing(store, callers=8):
    """Callers that issue one grant after another until the end; yields the ids of those that were acknowledged."""
    acknowledged, numbers, stopping = [], itertools.count(), asyncio.Event()

    async def caller():
        while not stopping.is_set():
            n = next(numbers)
            grant = await store.issue(a_grant(f"g{n}", f"t{n}"), a_task(f"t{n}"))
            acknowledged.append(grant.id)

    tasks = [asyncio.create_task(caller()) for _ in range(callers)]
    await until(lambda: len(acknowledged) >= 20)
    yield acknowledged
    stopping.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("crash", [False, True])
async def test_a_restart_loses_nothing_and_fails_nobody(own_server, place, crash):
    async with place.opened() as store, place.opened() as other:
        async with issuing(store) as acknowledged:
            await asyncio.to_thread(own_server.stop, crash=crash)
            before = len(acknowledged)
            await until(lambda: store.problem and other.problem)
            own_server.start()
            await until(lambda: len(acknowledged) >= before + 20, 60)
        assert (await store.changes_since(0)).head == len(acknowledged)
        found = [(await store.grant(grant_id)).state for grant_id in acknowledged]
        assert found == ["active"] * len(acknowledged)
        # A replica that lost its feed meanwhile has caught up, and goes on.
        await until(lambda: other.head == store.head == len(acknowledged) and not other.problem)
        await store.revoke(a_revocation())
        await until(lambda: other.head > len(acknowledged))
    events = [event for event, _ in place.reports]
    assert events.count("the feed of changes is back") == 2
    assert {"the store cannot be written to; trying again", "the store can be written to again"} <= set(events)


async def test_gone_for_good_is_told_in_time_and_stale_past_the_bound(own_server, place):
    async with place.opened(heartbeat_seconds=0.1, max_staleness_seconds=0.5) as store:
        await store.issue(a_grant(), a_task())
        await until(lambda: store.fresh and not store.problem)
        await asyncio.to_thread(own_server.stop)
        give_up_after(store, 0.5)
        with pytest.raises(UnavailableError):
            await store.complete("t1", "me")
        with pytest.raises(UnavailableError):
            await store.grant("g1")
        give_up_after(store, 60)
        await until(lambda: not store.fresh)
        assert "authz@" in store.problem
        own_server.start()
        await until(lambda: store.fresh and not store.problem)
        assert (await store.task("t1")).state in {"open", "completed"}  # the outcome was said to be unknown
        assert (await store.complete("t1", "me")).state == "completed"


async def test_gone_at_start_is_told_in_time(own_server, place):
    await asyncio.to_thread(own_server.stop)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        async with place.opened(operation_timeout_seconds=0.5):
            pass
    own_server.start()


async def test_up_only_after_us_is_waited_for(own_server, place):
    await asyncio.to_thread(own_server.stop)
    attempts = []

    def clock():
        attempts.append(1)
        return place.clock()

    database = connect(place.settings, place.base)
    preparing = asyncio.create_task(asyncio.to_thread(prepare, database, place.settings, clock))
    await until(lambda: len(attempts) > 1)
    own_server.start()
    await preparing
    database.close()


async def test_connections_that_are_cut_fail_nobody(own_server, place):
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'authz'"
    async with place.opened() as store, issuing(store) as acknowledged:
        for _ in range(3):
            before = len(acknowledged)
            await asyncio.to_thread(own_server.execute, cut)
            await until(lambda before=before: len(acknowledged) > before + 20)
    async with place.opened() as again:
        assert (await again.changes_since(0)).head == len(acknowledged)


async def test_slow_is_given_up_and_tried_again(own_server, place):
    async with place.opened(statement_timeout_seconds=0.1) as store:
        await store.issue(a_grant(), a_task())
        with psycopg.connect(place.settings.url) as other:
            other.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            give_up_after(store, 0.4)
            with pytest.raises(UnavailableError, match="timeout"):
                await store.task("t1")
            give_up_after(store, 60)
            place.reports.clear()
            asked = asyncio.create_task(store.complete("t1", "me"))
            await until(lambda: place.reports)
            assert not asked.done()
        assert (await asked).state == "completed"


async def test_a_process_that_stands_still_in_the_middle_of_a_transaction_begins_it_again(place, monkeypatch):
    begun = []

    def stall(what):
        begun.append(what)
        if begun.count(what) == 1:
            time.sleep(0.5)  # longer than the server waits for the next statement

    def read(connection):
        stall("read")
        return connection.execute(text("SELECT 1")).scalar()

    complete = COMPLETE.run
    monkeypatch.setattr(COMPLETE, "run", lambda *arguments: stall("write") or complete(*arguments))
    async with place.opened(statement_timeout_seconds=0.1) as store:
        await store.issue(a_grant(), a_task())
        assert (await store.complete("t1", "me")).state == "completed"
        assert await store._reader.read(read) == 1
    assert (begun.count("write") > 1, begun.count("read") > 1) == (True, True)


async def test_read_only_is_told(own_server, place):
    async with place.opened() as store:
        await store.issue(a_grant(), a_task())
    own_server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    own_server.execute("SELECT pg_reload_conf()")
    try:
        with pytest.raises(ReadOnlyError, match="is it a standby"):
            async with place.opened() as store:
                await store.complete("t1", "me")
    finally:
        own_server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        own_server.execute("SELECT pg_reload_conf()")


async def test_two_replicas_that_use_the_same_grants_in_another_order_do_not_wait_in_a_circle(place):
    async with place.opened() as one, place.opened() as two:
        await asyncio.gather(*[one.issue(a_grant(f"g{n}", max_uses=500), a_task()) for n in range(20)])
        forth = [one.consume(f"g{n % 20}", f"a{n}") for n in range(200)]
        back = [two.consume(f"g{19 - n % 20}", f"b{n}") for n in range(200)]
        assert all(await asyncio.gather(*forth, *back))
    assert place.reports == []
