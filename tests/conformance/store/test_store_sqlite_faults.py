"""SQLite in trouble: a clear error, and nothing that was acknowledged is lost."""

import asyncio
import contextlib
import sqlite3

import pytest
from sqlalchemy import event
from stores import Place, a_grant, a_revocation, a_task, give_up_after

from authz.errors import ConfigError
from authz.stores.database.connect import connect
from authz.stores.database.errors import CorruptError, FullError, OverloadedError, ReadOnlyError, UnavailableError
from authz.stores.database.store import Store

QUICK = {"statement_timeout_seconds": 0.1, "operation_timeout_seconds": 0.5}


@pytest.fixture
def place(tmp_path):
    return Place("sqlite:///authz.db", tmp_path)


@contextlib.contextmanager
def locked(place):
    """Another process that writes and does not come to an end."""
    other = sqlite3.connect(place.base / "authz.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextlib.asynccontextmanager
async def with_pragma(place, pragmas):
    """A store every connection of which is told these pragmas, as they are at that time."""
    database = connect(place.settings, place.base)
    event.listen(database.engine, "connect", lambda connection, _: [connection.execute(pragma) for pragma in pragmas])
    store = Store(database, place.settings, clock=place.clock)
    await store.start()
    yield store
    await store.close()


async def test_a_file_that_is_no_database_is_refused_at_start(place):
    (place.base / "authz.db").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(CorruptError, match=r"authz\.db: not a SQLite database: restore it"):
        async with place.opened():
            pass


async def test_a_damaged_file_is_told(place):
    async with place.opened() as store:
        await store.issue(a_grant(), a_task())
    path = place.base / "authz.db"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(CorruptError, match="damaged: restore it"):
        async with place.opened() as store:
            await store.grant("g1")


async def test_a_directory_is_no_file(place):
    (place.base / "authz.db").mkdir()
    with pytest.raises((ConfigError, UnavailableError), match=r"authz\.db"):
        async with place.opened(**QUICK):
            pass


async def test_locked_for_too_long_is_told_and_then_it_goes_on(place):
    async with place.opened(statement_timeout_seconds=0.1) as store:
        await store.issue(a_grant(), a_task())
        with locked(place):
            give_up_after(store, 3)
            with pytest.raises(UnavailableError, match="locked by another process"):
                await store.complete("t1", "me")
            give_up_after(store, 60)
            assert (await store.grant("g1")).state == "active"
        assert (await store.complete("t1", "me")).state == "completed"
    assert ("the store can be written to again", {}) in place.reports


async def test_locked_for_a_while_is_not_noticed(place):
    async with place.opened(statement_timeout_seconds=0.1) as store:
        with locked(place):
            asked = asyncio.create_task(store.issue(a_grant(), a_task()))
            while not place.reports:
                await asyncio.sleep(0.01)
        assert (await asked).id == "g1"


async def test_locked_at_start_is_told(place):
    async with place.opened():
        pass
    with locked(place), pytest.raises(UnavailableError, match="locked by another process"):
        async with place.opened(**QUICK):
            pass


async def test_a_full_disk_loses_nothing_that_was_acknowledged(place):
    pragmas = ["PRAGMA max_page_count = 80"]
    async with with_pragma(place, pragmas) as store:
        done = []
        with pytest.raises(FullError, match="no room: the disk is full"):
            await fill(store, done)
        for grant_id in done:
            assert (await store.grant(grant_id)).state == "active"
        pragmas[:] = ["PRAGMA max_page_count = 10000"]
        await store.issue(a_grant("later"), a_task())
    async with place.opened() as again:
        assert [(await again.grant(grant_id)).id for grant_id in done] == done
        assert (await again.changes_since(0)).head == len(done) + 1


async def fill(store, done):
    for n in range(10_000):
        await store.issue(a_grant(f"g{n}", f"t{n}"), a_task(f"t{n}", purpose="x" * 2_000))
        done.append(f"g{n}")


def drop_in_its_thread(writer):
    """Have the writer open its connection anew before it writes next: another thread must not close what it uses."""
    commit = writer._commit

    def drop_first(group):
        writer._commit = commit
        writer._drop_connection()
        return commit(group)

    writer._commit = drop_first


async def test_read_only_is_told(place):
    pragmas = []
    async with with_pragma(place, pragmas) as store:
        await store.issue(a_grant(), a_task())
        pragmas.append("PRAGMA query_only = ON")
        drop_in_its_thread(store._writer)
        with pytest.raises(ReadOnlyError, match="read-only"):
            await store.complete("t1", "me")
        assert (await store.task("t1")).state == "open"


async def test_too_many_that_wait_are_refused_at_once(place):
    async with place.opened(queue_operations=5) as store:
        with locked(place):
            revocations = [a_revocation(f"r{n}", "principal", f"p{n}") for n in range(20)]
            asked = [asyncio.create_task(store.revoke(each)) for each in revocations]
            await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
        results = await asyncio.gather(*asked, return_exceptions=True)
        refused = [result for result in results if isinstance(result, OverloadedError)]
        assert refused
        assert len((await store.revocations()).items) == 20 - len(refused)


async def test_who_no_longer_waits_has_nothing_done(place):
    async with place.opened() as store:
        with locked(place):
            first = asyncio.create_task(store.issue(a_grant(), a_task()))
            await asyncio.sleep(0)  # it asks
            while store.backlog:  # until the writer has taken it up, and waits for the lock
                await asyncio.sleep(0)
            second = asyncio.create_task(store.issue(a_grant("g2", "t2"), a_task("t2")))
            while not store.backlog:
                await asyncio.sleep(0)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
        await first
        assert [grant.id for grant in (await store.grants()).items] == ["g1"]


async def test_a_closed_store_says_so(place):
    async with place.opened() as store:
        pass
    with pytest.raises(UnavailableError, match="closed"):
        await store.issue(a_grant(), a_task())
    with pytest.raises(UnavailableError, match="closed"):
        await store.grant("g1")
