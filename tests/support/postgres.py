"""A private PostgreSQL for tests: started from the system's own binaries in a temporary directory, thrown away after.

`postgres_url` gives a test an empty database on a server that the whole run shares; a test that stops or breaks the
server starts its own `PostgresServer`.
"""

import getpass
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ports import free_port

PASSWORD = "only-for-tests"
_USER = "authz"
_DEADLINE_SECONDS = 60
_FAST = ("fsync=off", "full_page_writes=off")
"""Loses data in a crash of the machine only; a server that is killed keeps what it committed, as in production."""


def find_binaries() -> Path | None:
    """Where `postgres` and `initdb` are: Debian's newest version, else what pg_config or PATH says."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: [int(n) for n in path.parent.name.split(".")]
    )
    candidates = list(reversed(debian))
    if pg_config := shutil.which("pg_config"):
        said = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += [Path(said)] if said else []
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).parent)
    return next((path for path in candidates if (path / "postgres").exists() and (path / "initdb").exists()), None)


def require_binaries() -> Path:
    """As `find_binaries`; without them the test fails in CI, and is skipped with the reason anywhere else."""
    found = find_binaries()
    if found is None:
        message = "no PostgreSQL server found: install the package `postgresql` (Debian, Ubuntu), or put initdb on PATH"
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return found


class PostgresServer:
    """One server with its data: over a Unix socket without a password, over 127.0.0.1 with one."""

    def __init__(self, *, durable: bool = False, settings: tuple[str, ...] = ()) -> None:
        """Start it. `durable`: write to the disk as in production, for benchmarks; else as fast as can be."""
        self._binaries = require_binaries()
        self._user = _unprivileged_user()
        self.directory = Path(tempfile.mkdtemp(prefix="authz-pg-"))
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self._settings = (() if durable else _FAST) + settings
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it, again on the same port with the same data, and wait until it answers.

        Call it in the main thread: the server ends with the thread that started it.
        """
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for setting in ("max_connections=60", f"unix_socket_directories={self.directory}", *self._settings):
            command += ["-c", setting]
        if setpriv := shutil.which("setpriv"):  # it must not outlive tests that were killed
            command = [setpriv, "--pdeathsig", "QUIT", *command]
        log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user)
        log.close()
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            try:
                psycopg.connect(self._dsn("postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = (self.directory / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL does not start:\n{text[-4000:]}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, *, crash: bool = False) -> None:
        """Stop it as an administrator would (connections are cut), or as a crash does; the data stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(_DEADLINE_SECONDS)
            self._process = None

    def close(self) -> None:
        """Stop it and throw its data away."""
        if self._process is not None:
            self.stop(crash=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def new_database(self) -> str:
        """The URL of a new, empty database, over the Unix socket."""
        name = f"t{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database over the Unix socket: no password."""
        return f"postgresql://{_USER}@/{database}?host={self.directory}&port={self.port}"

    def tcp_url(self, database: str, *, password: str = PASSWORD) -> str:
        """The URL of a database over TCP, with a password."""
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as the superuser and answer its rows."""
        with psycopg.connect(self._dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _as_user(self) -> dict[str, object]:
        as_user = (
            {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []} if self._user else {}
        )
        return {"cwd": self.directory, **as_user}

    def _dsn(self, database: str) -> str:
        return f"host={self.directory} port={self.port} user={_USER} dbname={database}"

    def _initialise(self) -> None:
        password = self.directory / "password"
        password.write_text(f"{PASSWORD}\n")
        options = ["-U", _USER, "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"]
        options += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        command = [str(self._binaries / "initdb"), "-D", str(self._data), *options]
        made = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user)
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stderr}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server that tests share; who stops it starts one of their own."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database of the test's own."""
    return postgres_server.new_database()


def _unprivileged_user() -> str:
    """Whom to run the server as; "": whoever runs the tests. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in ("postgres", "nobody") if name in known), "")
    if not user:
        raise RuntimeError(f"{getpass.getuser()} may not run PostgreSQL, and there is no user postgres or nobody")
    return user
