"""Policies from a SQL table as Casbin's adapters write it: SQLite and a real PostgreSQL."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from postgres import PostgresServer

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.config.text import render
from authz.errors import ConfigError, PolicyError
from authz.identity.resolve import IdentitySettings
from authz.policy.limits import PolicyLimits
from authz.stores.database_source import DatabaseSettings, DatabaseSource
from authz.stores.policy_files import PolicySettings

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, path, note
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub.id, p.sub) && r.obj.path == p.path
"""
CREATE = "CREATE TABLE casbin_rule (id {serial}, ptype VARCHAR(255), " + ", ".join(
    f"v{n} VARCHAR(255)" for n in range(6)
)
Execute = Callable[[str], object]


class Table:
    """A database with the table, and the source that reads it."""

    def __init__(self, base: Path, url: str, execute: Execute, **settings: object) -> None:
        (base / "model.conf").write_text(MODEL)
        self.base, self.execute = base, execute
        self.now = 0.0
        self.settings = DatabaseSettings(**{"url": url, **settings})
        self.source = self.reader()

    def reader(self, **other: object) -> DatabaseSource:
        given = {"model": "model.conf", "max_file_bytes": 10_000, "limits": PolicyLimits(max_rules=50), **other}
        return DatabaseSource(self.settings, self.base, monotonic=lambda: self.now, **given)

    def insert(self, *values: str | None) -> None:
        columns = ", ".join(("ptype", "v0", "v1", "v2", "v3", "v4", "v5")[: len(values)])
        literals = ", ".join("NULL" if value is None else "'" + value.replace("'", "''") + "'" for value in values)
        self.execute(f"INSERT INTO casbin_rule ({columns}) VALUES ({literals})")

    def lines(self) -> list[tuple[str, str]]:
        return list(self.source.read().policies)


def sqlite_table(base: Path, **settings: object) -> Table:
    def execute(statement: str) -> None:
        with contextlib.closing(sqlite3.connect(base / "rules.db")) as connection:
            connection.execute(statement)
            connection.commit()

    execute(CREATE.format(serial="INTEGER PRIMARY KEY") + ")")
    return Table(base, settings.pop("url", "sqlite:///rules.db"), execute, **settings)


def postgres_table(base: Path, url: str, **settings: object) -> Table:
    def execute(statement: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)

    execute(CREATE.format(serial="SERIAL PRIMARY KEY") + ")")
    return Table(base, url, execute, **settings)


@pytest.fixture(params=["sqlite", "postgresql"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    if request.param == "sqlite":
        return sqlite_table(tmp_path)
    return postgres_table(tmp_path, request.getfixturevalue("postgres_url"))


def test_rows_are_rules_by_their_id_in_order(table: Table):
    table.insert("p", "admin", "/a", "x")
    table.insert("g", "spiffe://td/a", "admin")
    assert table.lines() == [("casbin_rule#1", "p, admin, /a, x"), ("casbin_rule#2", "g, spiffe://td/a, admin")]


def test_a_row_added_or_removed_is_seen_at_the_next_look(table: Table):
    table.insert("p", "a", "/a", "x")
    table.source.read()
    assert table.source.look() is False
    table.insert("p", "b", "/b", "x")
    assert table.source.look() is True
    table.execute("DELETE FROM casbin_rule WHERE v0 = 'a'")
    assert table.source.look() is True
    assert table.lines() == [("casbin_rule#2", "p, b, /b, x")]


def test_a_row_changed_in_its_place_is_seen_when_all_is_read_again(table: Table):
    table.insert("p", "a", "/a", "x")
    table.source.read()
    table.execute("UPDATE casbin_rule SET v1 = '/b'")
    assert table.source.look() is False
    table.now = 61.0
    assert table.source.look() is True
    assert table.lines() == [("casbin_rule#1", "p, a, /b, x")]
    table.now = 122.0
    assert table.source.look() is False


def test_unused_columns_may_be_null_or_empty(table: Table):
    table.insert("p", "a", "/a", "", "", "", "")
    table.insert("p", "a", "/b", "", None, None, None)
    table.insert("g", "a", "admin", "", "", "", "")
    assert [line for _, line in table.lines()] == ["p, a, /a, ", "p, a, /b, ", "g, a, admin"]


def test_too_few_or_too_many_columns_are_refused_by_the_row(table: Table):
    config = Config(
        identity=IdentitySettings(trust_domain="td.example"),
        policy=PolicySettings(model="model.conf", database=table.settings),
    )
    table.insert("p", "a", "/a")
    with pytest.raises(PolicyError, match=r"casbin_rule#1:1: 2 columns where p has 3"):
        Composition(config, table.base).build_snapshot()
    table.execute("DELETE FROM casbin_rule")
    table.insert("p", "a", "/a", "x", "allow")
    with pytest.raises(PolicyError, match=r"casbin_rule#\d:1: 4 columns where p has 3"):
        Composition(config, table.base).build_snapshot()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (("p", "a", None, "x"), "NULL before one that is not"),
        ((None, "a"), "ptype is empty"),
        (("", "a"), "ptype is empty"),
        (("p", "a, /b", "/a", "x"), "columns where|comma outside"),
        (("p", "a", "/a", " x"), "starts or ends with a blank"),
        (("p", "a\np, b", "/a", "x"), "line break"),
        (("p", "a\x01", "/a", "x"), "control character"),
        (("p", "a(", "/a", "x"), "bracket"),
        (("p, a", "/a", "x"), "comma outside"),
    ],
)
def test_values_that_no_policy_file_could_hold(tmp_path: Path, values: tuple[str | None, ...], match: str):
    table = sqlite_table(tmp_path)
    table.insert(*values)
    with pytest.raises(PolicyError, match=match) as caught:
        table.source.read()
    assert str(caught.value).startswith("casbin_rule#1")


def test_a_comma_inside_of_brackets_is_no_column(tmp_path: Path):
    table = sqlite_table(tmp_path)
    table.insert("p", "r.sub.id in ('a', 'b')", "/a", "x")
    assert table.lines() == [("casbin_rule#1", "p, r.sub.id in ('a', 'b'), /a, x")]


def test_an_empty_table_is_refused(table: Table):
    with pytest.raises(PolicyError, match="casbin_rule: the table holds no rows"):
        table.source.read()


def test_a_table_is_bounded_in_rows_and_bytes(tmp_path: Path):
    table = sqlite_table(tmp_path)
    for number in range(5):
        table.insert("p", f"a{number}" * 20, "/a", "x")
    with pytest.raises(PolicyError, match="casbin_rule#4: more than 3 rows"):
        table.reader(limits=PolicyLimits(max_rules=3)).look()
    with pytest.raises(PolicyError, match=r"more than max_file_bytes \(100\)"):
        table.reader(max_file_bytes=100).look()


def test_values_that_are_no_text(tmp_path: Path):
    table = sqlite_table(tmp_path)
    table.execute("INSERT INTO casbin_rule (ptype, v0) VALUES ('p', x'00ff')")
    with pytest.raises(PolicyError, match="casbin_rule#1: the id must be an integer, the other columns text"):
        table.source.look()


def test_a_missing_table_and_a_missing_column(table: Table):
    table.execute("ALTER TABLE casbin_rule RENAME TO other")
    with pytest.raises(ConfigError, match="no such table"):
        table.source.look()
    table.execute("CREATE TABLE casbin_rule (id INTEGER, ptype VARCHAR(10))")
    with pytest.raises(ConfigError, match="column"):
        table.source.look()


def test_a_missing_sqlite_file_is_not_made(tmp_path: Path):
    table = Table(tmp_path, "sqlite:///nowhere.db", lambda _: None)
    with pytest.raises(ConfigError, match="unable to open database file"):
        table.source.look()
    assert not (tmp_path / "nowhere.db").exists()


def test_sqlite_is_only_ever_read(tmp_path: Path):
    table = sqlite_table(tmp_path)
    table.insert("p", "a", "/a", "x")
    before = (tmp_path / "rules.db").read_bytes()
    table.source.read()
    assert (tmp_path / "rules.db").read_bytes() == before


def test_rules_survive_a_database_that_goes_away_and_comes_back(tmp_path: Path):
    server = PostgresServer()
    try:
        table = postgres_table(tmp_path, server.new_database())
        table.insert("p", "a", "/a", "x")
        before = table.lines()
        server.stop(crash=True)
        with pytest.raises(ConfigError, match=r"policy\.database .*cannot be read"):
            table.source.look()
        assert table.lines() == before
        server.start()
        table.insert("p", "b", "/b", "x")
        assert table.source.look() is True
        assert len(table.lines()) == 2
    finally:
        server.close()


def test_no_error_tells_the_password(tmp_path: Path, postgres_server: PostgresServer):
    (tmp_path / "model.conf").write_text(MODEL)
    wrong = postgres_server.tcp_url("postgres", password="s3cr3t-pass")
    table = Table(tmp_path, wrong, lambda _: None)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        table.source.look()
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_configuration_shows_no_password(tmp_path: Path):
    file = tmp_path / "authz.toml"
    file.write_text(
        '[identity]\ntrust_domain = "td.example"\n[policy.database]\nurl = "postgresql://u:s3cr3t@h/d"\n',
        encoding="utf-8",
    )
    shown = render(load(file, Config, {}))
    assert "s3cr3t" not in shown
    assert "[masked]" in shown


@pytest.fixture(autouse=True)
def _url_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///rules.db\n")


def test_a_url_file_is_read_anew_at_every_connection(tmp_path: Path):
    table = sqlite_table(tmp_path, url="", url_file="url")
    table.insert("p", "a", "/a", "x")
    assert table.lines()
    (tmp_path / "url").write_text("sqlite:///moved.db")
    with pytest.raises(ConfigError, match=r"moved\.db"):
        table.source.look()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cr3t@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "s3cr3t",
        "postgresql+asyncpg://u:s3cr3t@h/d",
        "http://x",
    ],
)
def test_urls_that_are_refused_without_being_shown(tmp_path: Path, url: str):
    with pytest.raises(ConfigError, match=r"policy\.database: the URL") as caught:
        Table(tmp_path, url, lambda _: None)
    assert "s3cr3t" not in str(caught.value)


def test_a_bundle_and_a_database_are_too_much(tmp_path: Path):
    file = tmp_path / "authz.toml"
    file.write_text(
        '[identity]\ntrust_domain = "td.example"\n[policy.database]\nurl = "sqlite:///x"\n[policy.bundle]\nname = "a"\n'
        'location = "x"\ntrusted_keys = ["k"]\nstate_directory = "s"\n'
    )
    with pytest.raises(ConfigError, match="not from both"):
        load(file, Config, {})
    file.write_text('[identity]\ntrust_domain = "td.example"\n[policy.database]\n')
    with pytest.raises(ConfigError, match="either url or url_file"):
        load(file, Config, {})


def test_rules_written_by_pycasbins_own_kind_of_table_decide(table: Table):
    table.insert("p", "admin", "/a", "x")
    table.insert("g", "spiffe://td.example/a", "admin")
    config = Config(
        identity=IdentitySettings(trust_domain="td.example"),
        policy=PolicySettings(model="model.conf", database=table.settings),
    )
    engine = Composition(config, table.base).build_snapshot().engine
    verdict = engine.evaluate(({"id": "spiffe://td.example/a"}, {"path": "/a"}, {}), lambda: False)
    assert (verdict.effect.value, verdict.rule.id) == ("allow", "casbin_rule#1:1")
