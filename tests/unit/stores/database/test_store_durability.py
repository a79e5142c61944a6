"""What SQLite waits for, outside of these tests, which have it wait for nothing (tests/conftest.py)."""

import sqlite3
from contextlib import closing

import pytest

from authz.stores.database import sqlite
from authz.stores.database.settings import StoreSettings


@pytest.mark.parametrize(("settings", "level"), [({}, 2), ({"synchronous": "full"}, 2), ({"synchronous": "normal"}, 1)])
def test_a_commit_waits_for_the_disk_as_configured(tmp_path, settings, level):
    configure = sqlite._configure.__wrapped__(StoreSettings(**settings))
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        configure(connection, None)
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
