"""A real Envoy that asks the real authz, with the shipped policies and a few rules of the tests."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pki
from harness.clients import Caller
from harness.world import Upstream, World, short_directory
from pdp import Authz, Pdp, copy_policies
from ports import free_port

ECHO = "/demo.Echo/Say"
# What the shipped example has no case of: a gRPC method, and a path for which every protocol is tried.
RULES = f"""
p, test-planner-says, r.sub.id == 'spiffe://demo.internal/ns/agents/sa/planner', {ECHO}, POST, allow,
p, test-planner-posts, r.sub.id == 'spiffe://demo.internal/ns/agents/sa/planner', /test/*, *, allow,
"""
_POLL_SECONDS = 0.02
_WAIT_SECONDS = 30.0
_UNAVAILABLE = 503


class Guarded:
    """Envoy first: its TCP port goes into the policies."""

    def __init__(
        self,
        pki_directory: Path,
        upstream: Upstream,
        *,
        over_tcp: bool = False,
        environment: Mapping[str, str] | None = None,
        change: Callable[[str], str] = lambda bootstrap: bootstrap,
        socket: str = "authz.sock",
        rules: str = RULES,
    ) -> None:
        self.upstream = upstream
        self._directory = short_directory()
        self._environment = environment
        address = ("127.0.0.1", free_port()) if over_tcp else None
        unix = self._directory / socket
        try:
            self.world = World(
                pki_directory, upstream, pdp_socket=None if address else unix, pdp_address=address, change=change
            )
        except BaseException:
            shutil.rmtree(self._directory)
            raise
        self.policies = copy_policies(self._directory, self.world.envoy.ports["tcp"])
        self.policy = self.policies / "policy.csv"
        self.policy.write_text(self.policy.read_text() + rules)
        self._config = Pdp(
            listen=f"{address[0]}:{address[1]}" if address else f"unix:{unix}",
            certificate=pki_directory / "pdp.pem",
            key=pki_directory / "pdp.key",
            edge_id=pki.EDGE,
            trust_domain=pki.TRUST_DOMAIN,
            trust_bundle=pki_directory / "ca.pem",
            policies=self.policies,
            audit_file=self._directory / "audit.jsonl",
            doctor_id=pki.WORKLOADS["doctor"],
        )
        try:
            self.start()
            if over_tcp:
                self._connect()
        except BaseException:
            self.world.stop()
            shutil.rmtree(self._directory)
            raise

    def _connect(self) -> None:
        """Wait until Envoy has its connection: a busy machine may take longer for the handshake than for a check."""
        end = time.monotonic() + _WAIT_SECONDS
        while self.caller("stranger").get("/-/connected").status == _UNAVAILABLE:
            assert time.monotonic() < end, "Envoy does not reach the PDP"
            time.sleep(_POLL_SECONDS)

    def start(self) -> None:
        self.pdp = Authz(self._config, self._directory, self._environment)

    def caller(self, name: str | None) -> Caller:
        return self.world.caller(name)

    def tcp_caller(self, name: str | None) -> Caller:
        return self.world.tcp_caller(name)

    def reason(self, request_id: str) -> str:
        """Why, from the dynamic metadata in Envoy's access log."""
        return self.world.logged(request_id)["authz"]["reason"]

    def record(self, decision_id: str) -> dict:
        """The audit record of a decision; it is written shortly after the answer."""
        end = time.monotonic() + _WAIT_SECONDS
        while True:
            for line in self._config.audit_file.read_text().splitlines(keepends=True):
                if decision_id in line and line.endswith("\n"):
                    return json.loads(line)
            assert time.monotonic() < end, "there is no such record"
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        if self.pdp.child.running:
            self.pdp.stop()
        self.world.stop()
        shutil.rmtree(self._directory)


AUTHZ = str(Path(sys.executable).with_name("authz"))


@contextmanager
def a_guarded(pki_directory: Path, upstream: Upstream, **how: Any) -> Iterator[Guarded]:
    """One of its own, to stop or to change."""
    made = Guarded(pki_directory, upstream, **how)
    try:
        yield made
    finally:
        made.stop()
