"""A real Envoy for the tests: with a PDP that the test steers (`stub`), or with the real one (`guarded`)."""

import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_ENVOY = _HERE.parents[1] / "envoy"
# The scripts of envoy/ are no package, so that Envoy's generated `envoy.*` modules stay importable; nor is harness/.
sys.path[:0] = [str(_HERE), str(_ENVOY)]

import pki  # noqa: E402 - needs the path
from harness.guarded import Guarded  # noqa: E402 - needs the path
from harness.stub_pdp import StubPdp  # noqa: E402 - likewise
from harness.world import Upstream, World, short_directory, stubbed  # noqa: E402 - likewise


@pytest.fixture(scope="session")
def pki_directory() -> Iterator[Path]:
    directory = short_directory()
    pki.make(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    directory = short_directory()
    running = Upstream(_ENVOY / "upstream.py", directory)
    yield running
    running.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def stub_world(pki_directory: Path, upstream: Upstream) -> Iterator[tuple[World, StubPdp]]:
    with stubbed(pki_directory, upstream) as made:
        yield made


@pytest.fixture
def world(stub_world: tuple[World, StubPdp]) -> World:
    """A real Envoy that asks `stub`."""
    return stub_world[0]


@pytest.fixture
def stub(stub_world: tuple[World, StubPdp]) -> StubPdp:
    """The PDP that answers what the test says; a denial until then."""
    stub_world[1].reset()
    return stub_world[1]


@pytest.fixture
def mark() -> str:
    """Text that no other test sends, to find a request by."""
    return f"m{secrets.token_hex(8)}"


@pytest.fixture(scope="session")
def guarded(pki_directory: Path, upstream: Upstream) -> Iterator[Guarded]:
    """A real Envoy that asks the real authz over a Unix socket. Tests that stop or change it make their own."""
    made = Guarded(pki_directory, upstream)
    yield made
    made.stop()
