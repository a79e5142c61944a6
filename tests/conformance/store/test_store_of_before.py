"""A store of the first schema is brought up to date with all that it holds, and ends up as a new one is."""

from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from stores import NOW, Place, a_revocation, a_word, ask, until

from authz.stores.database.connect import connect
from authz.stores.database.migrations import migrate, version_of
from authz.stores.database.schema import VERSION
from authz.stores.database.settings import StoreSettings
from authz.stores.database.spending import Amount, Mark, Wanted

FIRST = next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "corpus" / "store" / "schema-1.sql"
HELD = (
    "INSERT INTO schema_versions VALUES (1, 5.0)",
    "INSERT INTO facts VALUES ('store_id', 'a-store')",
    "INSERT INTO counters VALUES ('changes', 7)",
    "INSERT INTO tasks VALUES ('t1', 'spiffe://td/owner', 'testing', 'open', {now}, NULL, NULL, '', {later}, '')",
    (
        "INSERT INTO grants (id, task_id, issuer, audience, holder, issued_to, issued_at, not_before, expires_at,"
        " max_uses, used, delegators, ancestors, scope, certificate, state, ended_at, ended_by, revocation_id)"
        " VALUES ('g1', 't1', 'https://issuer', 'fleet', 'spiffe://td/holder', '', {now}, {now}, {later},"
        " 2, 1, '[]', '[]', '[]', '', 'active', NULL, '', '')"
    ),
    "INSERT INTO uses VALUES ('g1', 'd1', {now})",
    (
        "INSERT INTO revocations VALUES ('r0', 'principal', 'spiffe://td/gone', '', NULL, 'why', 'me', {now},"
        " NULL, NULL, '', '')"
    ),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request, tmp_path):
    """A store of the first schema with a task, a grant that was used once, and a revocation."""
    url = "sqlite:///authz.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    place = Place(url, tmp_path)
    database = connect(place.settings, place.base)
    written = FIRST.read_text()
    if request.param == "sqlite":
        written = written.replace("DOUBLE PRECISION", "DOUBLE").replace("SERIAL", "INTEGER")
    statements = [each for each in written.split(";\n") if each.strip()]
    with database.engine.begin() as connection:
        for statement in (*statements, *HELD):
            connection.execute(text(statement.format(now=NOW, later=NOW + 600)))
    database.close()
    return place


async def test_all_that_it_held_is_there(before):
    async with before.opened() as store:
        grant = await store.grant("g1")
        assert (grant.state, grant.used, grant.max_uses, grant.limits) == ("active", 1, 2, {})
        assert await store.consume("g1", "d1")  # the same decision again
        assert await store.consume("g1", "d2")
        assert not await store.consume("g1", "d3")
        assert (await store.task("t1")).owner == "spiffe://td/owner"
        assert [each.id for each in (await store.revocations()).items] == ["r0"]
        await store.revoke(a_revocation())
        assert store.store_id == "a-store"
        await until(lambda: store.head > 7)


async def test_what_it_could_not_do_before_it_can(before):
    async with before.opened() as store:
        assert (await store.ask(ask())).answer == "open"
        await store.decide(a_word())
        assert (await store.ask(ask(2, "d2"))).answer == "passed"
        wanted = Wanted("c", 3, 5, 0, 0, "", NOW + 60)
        assert [(await store.spending.spend([wanted])).refused for _ in range(2)] == [-1, 0]
        await store.spending.share([Amount("b", 1, "", 2, NOW + 60)], 0)
        await store.spending.mark(Mark("t1", "label", "restricted", NOW, NOW + 60))
        assert [mark.value for mark in await store.spending.marks()] == ["restricted"]


def test_it_ends_up_as_a_new_one(before, tmp_path, request):
    is_file = before.settings.url.startswith("sqlite")
    new = StoreSettings(
        url="sqlite:///new.db" if is_file else request.getfixturevalue("postgres_server").new_database()
    )
    shapes = []
    for settings in (before.settings, new):
        database = connect(settings, tmp_path)
        migrate(database, NOW)
        with database.engine.connect() as connection:
            assert version_of(connection) == VERSION
            shapes.append(shape(connection))
        database.close()
    assert shapes[0] == shapes[1]


def shape(connection):
    """Tables, columns, keys and indexes, in no order."""
    found = inspect(connection)
    return {
        table: (
            {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(table)},
            found.get_pk_constraint(table)["constrained_columns"],
            {index["name"]: index["column_names"] for index in found.get_indexes(table)},
            {each["name"]: each["sqltext"] for each in found.get_check_constraints(table)},
            [(each["constrained_columns"], each["referred_table"]) for each in found.get_foreign_keys(table)],
        )
        for table in found.get_table_names()
    }
