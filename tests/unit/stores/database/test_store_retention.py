"""What is long over is deleted, a bounded number of rows at a time; what is in force is not."""

import asyncio

import pytest
from sqlalchemy import text
from stores import NOW, a_grant, a_policy, a_revocation, a_task, once

from authz.stores.database.checking import check
from authz.stores.database.connect import connect
from authz.stores.database.errors import NotFoundError
from authz.stores.database.retention import compact_all
from authz.stores.database.settings import RetentionSettings

SHORT = RetentionSettings(grants_seconds=1_000, changes_seconds=1_000, policies_seconds=60, policies_revisions=1)


async def fill(store):
    await store.issue(a_grant(max_uses=5), a_task(), once())
    await store.consume("g1", "d1")
    await store.complete("t1", "me")
    await store.issue(a_grant("g2", "t2", expires_at=NOW + 100_000), a_task("t2"))
    await store.revoke(a_revocation("r1", "principal", "p"))
    await store.revoke(a_revocation("r2", "principal", "q", expires_at=NOW + 10))
    await store.revoke(a_revocation("r3", "principal", "s"))
    await store.undo("r3", "me", "")
    await store.apply_policy(a_policy("a"))
    await store.apply_policy(a_policy("b"))


async def test_only_what_is_long_over_goes(place):
    async with place.opened(retention=SHORT) as store:
        await fill(store)
        before = await store.view()
        assert set((await store.compact()).values()) == {0}
        place.clock.now += 1_100
        counts = await store.compact()
        assert {name: count for name, count in counts.items() if count} == {
            "uses": 1, "grants": 1, "tasks": 1, "revocations": 2, "idempotency": 1, "changes": before.seq,
            "policy_revisions": 1,
        }  # fmt: skip
        assert [grant.id for grant in (await store.grants()).items] == ["g2"]
        assert [each.id for each in (await store.revocations()).items] == ["r1"]
        assert (await store.policy()).number == 2
        assert (await store.view()).seq == before.seq
        with pytest.raises(NotFoundError):
            await store.task("t1")
        await store.complete("t2", "me")
        assert [change.seq for change in (await store.changes_since(before.seq)).changes] == [before.seq + 1]


async def test_a_run_is_bounded_and_the_rest_follows(place):
    retention = RetentionSettings(grants_seconds=60, rows_per_run=10)
    async with place.opened(retention=retention) as store:
        for n in range(12):
            await store.issue(a_grant(f"g{n}", f"t{n}", max_uses=9), a_task(f"t{n}"))
        for n in range(9):
            await store.consume("g0", f"d{n}")
            await store.consume("g1", f"e{n}")
        place.clock.now += 200
        runs = []
        while not runs or sum(runs[-1].values()):
            runs.append(await store.compact())
        assert max(max(run.values()) for run in runs) == 10
        assert (sum(run["uses"] for run in runs), sum(run["grants"] for run in runs)) == (18, 12)
        assert (await store.grants()).items == () == (await store.tasks()).items


async def test_from_outside_all_of_it_goes_at_once_while_a_server_runs(place, store):
    for n in range(12):
        await store.issue(a_grant(f"g{n}", max_uses=9), a_task())
        await store.consume(f"g{n}", "d")
    database = connect(place.settings, place.base)
    retention = RetentionSettings(grants_seconds=60, rows_per_run=5)
    assert compact_all(database, retention, NOW)["grants"] == 0
    counts = compact_all(database, retention, NOW + 200)
    database.close()
    assert (counts["grants"], counts["uses"], counts["tasks"]) == (12, 12, 1)
    assert (await store.grants()).items == ()


async def test_it_happens_by_itself(place):
    retention = RetentionSettings(grants_seconds=60, interval_seconds=0.1)
    async with place.opened(retention=retention) as store:
        await store.issue(a_grant(), a_task())
        place.clock.now += 200
        async with asyncio.timeout(60):
            while (await store.grants()).items:
                await asyncio.sleep(0.01)


class TestChecking:
    """What somebody else did to the tables is told."""

    @pytest.mark.parametrize(
        ("statement", "problem"),
        [
            ("DELETE FROM changes WHERE seq = 2", "changes 1 to"),
            ("UPDATE counters SET value = 99", "the last is to be 99"),
            ("UPDATE grants SET used = 0", "not as many as counted"),
            ("UPDATE grants SET state = 'active'", "1 active grants of a task that is over"),
            ("DELETE FROM facts", "which store it is"),
            ("UPDATE policy_revisions SET number = number - 2", "2 policy revisions, the newest of which is 0"),
        ],
    )
    async def test_contradictions_are_told(self, place, statement, problem):
        async with place.opened() as store:
            await fill(store)
        database = connect(place.settings, place.base)
        assert check(database).problems == ()
        with database.engine.connect().execution_options(authz_writes=True) as connection, connection.begin():
            connection.execute(text(statement))
        assert any(problem in found for found in check(database).problems)
        database.close()

    def test_a_database_without_a_store_is_told(self, tmp_path):
        from stores import Place

        place = Place("sqlite:///empty.db", tmp_path)
        database = connect(place.settings, tmp_path)
        assert check(database).problems == ("there is no store here",)
        database.close()
