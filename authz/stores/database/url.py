"""Where the database is: from settings to a URL that SQLAlchemy understands, its password kept out of sight (I10)."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from authz.errors import ConfigError
from authz.stores.database.settings import StoreSettings
from authz.stores.reading import read_text

_FILE_NAME = "authz.db"
_MAX_URL_FILE_BYTES = 4_096
_VERIFIED = "verify-full"


def state_directory(settings: StoreSettings, base: Path) -> Path:
    """Answer the directory for what this host keeps, made with mode 0700 where it is missing.

    Raises:
        ConfigError: it cannot be made, or is no directory.
    """
    directory = base / settings.state_directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"store.state_directory: {directory}: {error.strerror or error}") from None
    return directory


def database_url(settings: StoreSettings, base: Path) -> URL:
    """Answer the URL; `base`: where relative paths start.

    Raises:
        ConfigError: it is not a URL, or not one of a database that can be used safely.
    """
    text, name = settings.url, "store.url"
    if settings.url_file:
        text, name = read_text(base / settings.url_file, _MAX_URL_FILE_BYTES).strip(), "store.url_file"
    if not text:
        return URL.create("sqlite", database=str(state_directory(settings, base) / _FILE_NAME))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # the message of either quotes the whole text
        raise ConfigError(f"{name}: not a URL of a database, such as postgresql://user@host/database") from None
    if url.drivername == "sqlite":
        return _sqlite(url, name, base)
    if url.drivername in {"postgresql", "postgres"}:
        return _postgresql(url, name, allow_unverified=settings.allow_unverified_server)
    raise ConfigError(f"{name}: neither sqlite nor postgresql: the URL begins with another scheme")


def _sqlite(url: URL, name: str, base: Path) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError(f"{name}: SQLite needs the name of a file: sqlite:///path/of.db")
    if url.host or url.query or url.username:
        raise ConfigError(f"{name}: after sqlite:// comes a third slash and the name of a file, nothing else")
    return url.set(database=str(base / url.database))


def _postgresql(url: URL, name: str, *, allow_unverified: bool) -> URL:
    if not url.database:
        raise ConfigError(f"{name}: the name of the database is missing: postgresql://user@host/database")
    hosts = _hosts(url)
    remote = [host for host in hosts if not host.startswith("/") and host not in {"localhost", "127.0.0.1", "::1"}]
    if remote and url.query.get("sslmode") != _VERIFIED and not allow_unverified:
        raise ConfigError(
            f"{name}: PostgreSQL on another host ({remote[0]}) needs ?sslmode={_VERIFIED}, or"
            " store.allow_unverified_server = true"
        )
    return url.set(drivername="postgresql+psycopg")


def _hosts(url: URL) -> list[str]:
    """Answer every host that libpq may try; without one, a Unix socket."""
    named = [url.host] if url.host else []
    named += ["of a service file"] if "service" in url.query else []
    for key in ("host", "hostaddr"):
        value = url.query.get(key, ())
        for part in (value,) if isinstance(value, str) else value:
            # SQLAlchemy takes host:port here; libpq takes a list with commas.
            named += [host if host.startswith("/") else host.rsplit(":", 1)[0] for host in part.split(",") if host]
    return named
