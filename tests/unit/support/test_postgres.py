"""The PostgreSQL that tests run keeps its data when it is stopped, and a test of its own when there is none."""

import postgres
import psycopg
import pytest


def test_a_database_is_empty_and_its_own(postgres_server, postgres_url):
    other = postgres_server.new_database()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE here (n int)")
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT to_regclass('here')").fetchall() == [(None,)]


def test_over_tcp_a_password_is_asked_for(postgres_server):
    psycopg.connect(postgres_server.tcp_url("postgres")).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.tcp_url("postgres", password="wrong"))


@pytest.mark.parametrize("crash", [False, True])
def test_it_starts_again_with_its_data(crash):
    server = postgres.PostgresServer()
    try:
        server.execute("CREATE TABLE here AS SELECT 1 AS n")
        server.stop(crash=crash)
        with pytest.raises(psycopg.OperationalError):
            server.execute("SELECT 1")
        server.start()
        assert server.execute("SELECT n FROM here") == [(1,)]
    finally:
        server.close()
    assert not server.directory.exists()


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_binaries_ci_fails_and_a_laptop_skips(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(postgres, "find_binaries", lambda: None)
    with pytest.raises(outcome, match="install the package `postgresql`"):
        postgres.require_binaries()
