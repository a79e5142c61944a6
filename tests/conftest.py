"""What every test shares: the support modules on the path, and how hard hypothesis tries."""

import functools
import gc
import os
import pathlib
import signal
import sqlite3
import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

_HERE = pathlib.Path(__file__).parent
# The story of the agents has an OpenID provider that the tests use, too.
sys.path[:0] = [str(_HERE / "support"), str(_HERE.parent / "envoy" / "agents")]

# Tests start hundreds of servers and commands, which need not compile the same modules again each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests speak to loopback alone, and make repositories of their own: a proxy or repository around them is not theirs.
for _name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("GIT_")]:
    del os.environ[_name]

# A shell without job control has what it starts in the background ignore Ctrl-C, and every child would inherit that:
# servers and demos that tests end by it would run on.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite's profile is derandomised so that a run can be repeated; `make fuzz` tries new inputs, many more.
settings.register_profile("suite", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("fuzz", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

from postgres import postgres_server, postgres_url  # noqa: E402, F401 - fixtures; needs the path

from authz.stores.database import sqlite  # noqa: E402 - after what it needs
from authz.stores.database.settings import StoreSettings  # noqa: E402 - likewise

_configured = sqlite._configure


@functools.wraps(_configured)
def _without_waiting_for_the_disk(settings: StoreSettings) -> Callable[[sqlite3.Connection, object], None]:
    """As with PostgreSQL in these tests: only a crash of the machine, and of no process, would lose anything."""
    configure = _configured(settings)

    def configured(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # also while it is made
        configure(connection, record)
        connection.execute("PRAGMA synchronous = OFF")

    return configured


sqlite._configure = _without_waiting_for_the_disk

_LONG = ("tests/integration/", "tests/console/", "tests/properties/decision/", "tests/conformance/store/")
"""Where the files are that take long, however few tests they have."""


@pytest.hookimpl(trylast=True)  # after pytest-randomly, whose order is kept otherwise
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: else one process ends up alone with the last of them."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


def pytest_collection_finish() -> None:
    """Take the thousands of tests out of the collector's sight: looking through them takes a second each time."""
    gc.freeze()
