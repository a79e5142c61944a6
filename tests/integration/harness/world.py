"""One Envoy with what stands before, beside and behind it, in a directory of its own."""

import http.client
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pki
from child import Child
from harness.clients import Caller
from harness.stub_pdp import StubPdp
from proxy import Edge, Envoy, patient

_POLL_SECONDS = 0.02
_LOG_SECONDS = 30.0


def short_directory() -> Path:
    """A fresh directory whose path leaves room for socket names (they may have 107 bytes in all)."""
    return Path(tempfile.mkdtemp(prefix="authz-"))


class Upstream:
    """The echo service behind Envoy."""

    def __init__(self, script: Path, directory: Path) -> None:
        address = directory / "upstream.address"
        self._child = Child((sys.executable, str(script), str(address)), directory / "upstream.log")
        found = self._child.wait_for(lambda: address.read_text() if address.exists() else None, "an upstream address")
        host, _, port = found.strip().rpartition(":")
        self.address = (host, int(port))

    def saw(self, mark: str) -> list[dict]:
        """The requests so far that hold `mark` in their target or a header."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request("GET", "/-/seen")
            seen = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [one for one in seen if mark in one["target"] or any(mark in value for _, value in one["headers"])]

    def stop(self) -> None:
        self._child.stop()


class World:
    """A running Envoy in front of an upstream, asking a PDP that somebody else runs."""

    def __init__(
        self,
        pki_directory: Path,
        upstream: Upstream,
        *,
        pdp_socket: Path | None = None,
        pdp_address: tuple[str, int] | None = None,
        change: Callable[[str], str] = lambda bootstrap: bootstrap,
        as_hasty_as_shipped: bool = False,
    ) -> None:
        """`change` may edit the rendered bootstrap. Of the two ways to a PDP, give one."""
        self.pki = pki_directory
        self.upstream = upstream
        self.directory = short_directory()
        self._access_log = self.directory / "access.log"
        edge = Edge(
            certificate=pki_directory / "edge.pem",
            key=pki_directory / "edge.key",
            trust_domain=pki.TRUST_DOMAIN,
            trust_bundle=pki_directory / "ca.pem",
            foreign_trust_domain=pki.FOREIGN_TRUST_DOMAIN,
            foreign_trust_bundle=pki_directory / "foreign-ca.pem",
            upstream=upstream.address,
            pdp_cluster="authz_mtls" if pdp_address else "authz_unix",
            pdp_socket=pdp_socket or self.directory / "none.sock",
            pdp_address=pdp_address or ("127.0.0.1", 1),
            pdp_id=pki.PDP,
            access_log=self._access_log,
        )
        try:
            bootstrap = change(edge.render())
            self.envoy = Envoy(bootstrap if as_hasty_as_shipped else patient(bootstrap), self.directory)
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def caller(self, name: str | None) -> Caller:
        return Caller(self.pki, name, self.envoy.ports["edge"])

    def tcp_caller(self, name: str | None) -> Caller:
        return Caller(self.pki, name, self.envoy.ports["tcp"])

    def access_log(self, wanted: Callable[[dict], bool]) -> dict:
        """The first line of Envoy's access log that fits; it is written shortly after the response."""
        end = time.monotonic() + _LOG_SECONDS
        while True:
            text = self._access_log.read_text() if self._access_log.exists() else ""
            for line in text.splitlines(keepends=True):
                if line.endswith("\n") and wanted(entry := json.loads(line)):
                    return entry
            assert time.monotonic() < end, "Envoy wrote no such line to its access log"
            time.sleep(_POLL_SECONDS)

    def logged(self, request_id: str) -> dict:
        assert request_id
        return self.access_log(lambda entry: entry.get("request_id") == request_id)

    def stop(self) -> None:
        self.envoy.stop()
        shutil.rmtree(self.directory)


@contextmanager
def stubbed(
    pki_directory: Path,
    upstream: Upstream,
    *,
    tls: tuple[Path, Path] | None = None,
    change: Callable[[str], str] = lambda bootstrap: bootstrap,
    as_hasty_as_shipped: bool = False,
) -> Iterator[tuple[World, StubPdp]]:
    """A world and a PDP that the test steers: over mutual TLS with this certificate and key, or a Unix socket."""
    with ExitStack() as stack:
        directory = short_directory()
        stack.callback(shutil.rmtree, directory)
        unix = directory / "pdp.sock"
        stub = StubPdp("127.0.0.1:0", (*tls, pki_directory / "ca.pem")) if tls else StubPdp(f"unix:{unix}")
        stack.callback(stub.stop)
        address = ("127.0.0.1", stub.port) if tls else None
        world = World(
            pki_directory,
            upstream,
            pdp_socket=None if tls else unix,
            pdp_address=address,
            change=change,
            as_hasty_as_shipped=as_hasty_as_shipped,
        )
        stack.callback(world.stop)
        yield world, stub
