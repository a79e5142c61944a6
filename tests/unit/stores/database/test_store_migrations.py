"""The schema comes up to date once, whole, and never backwards."""

import threading

import pytest
from sqlalchemy import inspect, select, text

from authz.stores.database.connect import connect, prepare
from authz.stores.database.errors import SchemaError
from authz.stores.database.migrations import migrate, version_of
from authz.stores.database.reader import read_once
from authz.stores.database.schema import VERSION, facts, metadata, schema_versions


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An empty database."""
    from authz.stores.database.settings import StoreSettings

    url = "sqlite:///authz.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = connect(StoreSettings(url=url), tmp_path)
    yield opened
    opened.close()


def versions(database):
    return read_once(database, lambda on: list(on.execute(select(schema_versions.c.version)).scalars()))


def add_column(connection):
    connection.execute(text("ALTER TABLE replicas ADD COLUMN zone TEXT"))


def columns(database):
    return read_once(database, lambda on: {column["name"] for column in inspect(on).get_columns("replicas")})


def test_an_empty_database_gets_the_newest_schema(database):
    assert migrate(database, 5.0) == 0
    assert read_once(database, version_of) == VERSION
    tables = read_once(database, lambda on: set(inspect(on).get_table_names()))
    assert tables == set(metadata.tables)


def test_eight_at_once_make_it_once(database):
    barrier = threading.Barrier(8)
    found, faults = [], []

    def start():
        barrier.wait()
        try:
            found.append(migrate(database, 5.0))
        except Exception as error:  # noqa: BLE001 - told by the assertion
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(found), faults) == ([0] + [VERSION] * 7, [])
    assert versions(database) == [VERSION]
    assert len(read_once(database, lambda on: on.execute(select(facts)).all())) == 1


def test_an_old_one_takes_every_step_once(database):
    migrate(database, 5.0)
    steps = {VERSION + 1: add_column, VERSION + 2: lambda _: None}
    for _ in range(2):
        migrate(database, 6.0, steps=steps, newest=VERSION + 2)
    assert versions(database) == [VERSION, VERSION + 1, VERSION + 2]
    assert "zone" in columns(database)


def test_a_step_that_fails_leaves_everything_as_it_was(database):
    migrate(database, 5.0)

    def fault(_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        migrate(database, 6.0, steps={VERSION + 1: add_column, VERSION + 2: fault}, newest=VERSION + 2)
    assert versions(database) == [VERSION]
    assert "zone" not in columns(database)


def test_one_of_a_newer_program_is_refused(database):
    migrate(database, 5.0, newest=VERSION + 1)
    with pytest.raises(SchemaError, match=f"has schema {VERSION + 1}, this program knows {VERSION} at most"):
        migrate(database, 6.0)


def test_one_without_a_way_is_refused(database):
    migrate(database, 5.0)
    with pytest.raises(SchemaError, match="no way leads"):
        migrate(database, 6.0, newest=VERSION + 1)


def test_somebody_elses_tables_are_not_taken_for_ours(database):
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE schema_versions (id INTEGER)"))
    with pytest.raises(SchemaError, match="not as expected"):
        prepare(database, settings_of())


def settings_of():
    from authz.stores.database.settings import StoreSettings

    return StoreSettings(operation_timeout_seconds=1.0)
