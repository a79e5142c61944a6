"""A control plane over the demo's policies, reached over a Unix socket and over mutual TLS."""

import contextlib
import sys
from pathlib import Path

import pytest

_TESTS = next(p for p in Path(__file__).resolve().parents if p.name == "tests")
for _path in (_TESTS / "support", _TESTS / "unit" / "identity"):
    if str(_path) not in sys.path:
        sys.path.insert(0, str(_path))

from control_kit import Pki, World  # noqa: E402 - the path to it is set above


@pytest.fixture
def pki(tmp_path):
    directory = tmp_path / "pki"
    directory.mkdir()
    return Pki(directory)


@pytest.fixture
def start(tmp_path, pki):
    """Answer a context manager that serves; keyword arguments change what it is configured with."""

    @contextlib.asynccontextmanager
    async def serving(**changes):
        async with World(tmp_path, pki, **changes).serving() as world:
            yield world

    return serving


@pytest.fixture
async def world(start):
    async with start() as made:
        yield made
