"""Where the store is: only what is safe, and no password in any message."""

import stat

import pytest
from stores import Place

from authz.config.file import render
from authz.errors import ConfigError
from authz.stores.database.connect import connect
from authz.stores.database.errors import StoreTrouble
from authz.stores.database.settings import StoreSettings
from authz.stores.database.url import database_url


def url(text="", tmp_path=None, **settings):
    return database_url(StoreSettings(url=text, **settings), tmp_path)


def test_without_a_url_it_is_a_file_in_the_state_directory_for_us_alone(tmp_path):
    settings = StoreSettings(state_directory="kept")
    database = connect(settings, tmp_path)
    assert database.name == str(tmp_path / "kept" / "authz.db")
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "kept" / "authz.db").stat().st_mode) == 0o600


def test_a_relative_file_lies_beside_the_configuration(tmp_path):
    assert url("sqlite:///a.db", tmp_path).database == str(tmp_path / "a.db")
    assert url("sqlite:////var/a.db", tmp_path).database == "/var/a.db"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "not a URL"),
        ("mysql://root:s3cret@host/db", "neither sqlite nor postgresql"),
        ("sqlite://", "name of a file"),
        ("sqlite:///:memory:", "name of a file"),
        ("sqlite:///file:x?mode=memory", "name of a file"),
        ("sqlite:///a.db?mode=ro", "nothing else"),
        ("sqlite://s3cret@host/a.db", "nothing else"),
        ("postgresql://u:s3cret@localhost", "name of the database is missing"),
        ("postgresql://u:s3cret@db.internal/authz", "needs \\?sslmode=verify-full"),
        ("postgresql://u:s3cret@db.internal/authz?sslmode=require", "needs \\?sslmode=verify-full"),
        ("postgresql://u:s3cret@localhost/authz?host=db.internal", "needs \\?sslmode=verify-full"),
        ("postgresql://u:s3cret@localhost/authz?hostaddr=10.0.0.1", "needs \\?sslmode=verify-full"),
        ("postgresql://u:s3cret@/authz?host=/run/pg,db.internal", "needs \\?sslmode=verify-full"),
        ("postgresql://u:s3cret@/authz?service=other", "needs \\?sslmode=verify-full"),
        ("postgresql://u:s3cret@host:port/db", "not a URL"),
    ],
)
def test_what_cannot_be_used_is_refused_without_showing_it(tmp_path, text, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        url(text, tmp_path)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u@localhost/authz",
        "postgresql://u@127.0.0.1:5433/authz",
        "postgresql://u@[::1]/authz",
        "postgres://u@/authz?host=/run/postgresql",
        "postgresql://u@db.internal/authz?sslmode=verify-full",
    ],
)
def test_this_host_or_a_verified_one_may_be_used(tmp_path, text):
    assert url(text, tmp_path).drivername == "postgresql+psycopg"


def test_another_host_unverified_only_when_told_so(tmp_path):
    assert url("postgresql://u@db/authz", tmp_path, allow_unverified_server=True).host == "db"


def test_the_url_may_stand_in_a_file(tmp_path):
    (tmp_path / "url").write_text("postgresql://u:s3cret@localhost/authz\n")
    assert url(tmp_path=tmp_path, url_file="url").password == "s3cret"
    (tmp_path / "url").write_text("s3cret")
    with pytest.raises(ConfigError, match=r"store\.url_file: not a URL") as caught:
        url(tmp_path=tmp_path, url_file="url")
    assert "s3cret" not in str(caught.value)


def test_a_password_is_masked_where_settings_are_shown():
    text = render(StoreSettings(url="postgresql://u:s3cret@localhost/authz?password=s3cret"))
    assert "s3cret" not in text
    assert "localhost" in text


async def test_a_wrong_password_is_told_without_it(postgres_server, tmp_path):
    place = Place(postgres_server.tcp_url("postgres", password="s3cret"), tmp_path, operation_timeout_seconds=2)
    with pytest.raises(StoreTrouble, match="password authentication failed") as caught:
        async with place.opened():
            pass
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_over_tcp_with_a_password(postgres_server, tmp_path):
    async with Place(postgres_server.tcp_url("postgres"), tmp_path).opened() as store:
        assert store.fresh


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"url": "sqlite:///a", "url_file": "b"}, "url_file"),
        ({"retry_min_seconds": 5.0, "retry_max_seconds": 1.0}, "retry_min_seconds"),
        ({"heartbeat_seconds": 5.0, "max_staleness_seconds": 9.0}, "max_staleness_seconds"),
    ],
)
def test_settings_that_contradict_each_other_are_told(settings, key):
    assert [about for about, _ in StoreSettings(**settings).problems()] == [key]
