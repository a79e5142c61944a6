"""Grants the whole way: two servers over one PostgreSQL, a real Envoy before each, callers over mutual TLS."""

import asyncio
import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pki
import pytest
from harness.clients import Answer
from harness.guarded import Guarded
from harness.world import short_directory
from postgres import PostgresServer

from authz.client import Connection, Grants, connect, permission
from authz.control.v1 import revocations_pb2

pytestmark = pytest.mark.envoy

PLANNER, RESEARCHER = pki.WORKLOADS["planner"], pki.WORKLOADS["researcher"]
HEADER = "authz-grant"
SCOPE = [permission(["GET"], ["/reports/*"])]
RULES = f"""
p, planner-reports, r.sub.id == '{PLANNER}', /reports/*, GET, allow, grant=required
p, researcher-news, r.sub.id == '{RESEARCHER}', /news/*, GET, allow,
"""
DEADLINE_SECONDS = 60
RACING = 30
UNKNOWN = "grant_key_unknown"


class Replica:
    """One server with its Envoy and its own state directory."""

    def __init__(self, pki_directory: Path, upstream, url: str, **more: str) -> None:
        """`more`: further settings, as variables."""
        self.pki = pki_directory
        self.directory = short_directory()
        operators = [
            {"name": "alice", "uid": os.getuid(), "groups": ["operators"]},
            {"name": "bob", "spiffe_id": f"spiffe://{pki.TRUST_DOMAIN}/people/bob", "groups": ["security"]},
        ]
        try:
            self.guarded = Guarded(
                pki_directory,
                upstream,
                rules=RULES,
                environment={
                    "AUTHZ__GRANTS__ISSUER": "https://authz.demo.internal",
                    "AUTHZ__STORE__URL": url,
                    "AUTHZ__STORE__STATE_DIRECTORY": str(self.directory / "state"),
                    "AUTHZ__SERVER__OVERLOAD__MAX_DEADLINE_SECONDS": "30",
                    "AUTHZ__CONTROL__ENABLED": "true",
                    "AUTHZ__CONTROL__LISTEN": json.dumps([f"unix:{self.directory}/control.sock", "127.0.0.1:0"]),
                    "AUTHZ__CONTROL__TLS__CERTIFICATE": str(pki_directory / "pdp.pem"),
                    "AUTHZ__CONTROL__TLS__KEY": str(pki_directory / "pdp.key"),
                    "AUTHZ__CONTROL__TLS__CLIENT_CA": str(pki_directory / "ca.pem"),
                    "AUTHZ__CONTROL__OPERATORS": json.dumps(operators),
                    **more,
                },
            )
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    @property
    def control_port(self) -> int:
        """Where the control plane listens for workloads."""
        lines = [line for line in self.guarded.pdp.child.log.splitlines() if "control plane listening" in line]
        return int(json.loads(lines[-1])["addresses"][1].rpartition(":")[2])

    @contextlib.asynccontextmanager
    async def planner(self) -> AsyncIterator[Grants]:
        """Ask for grants as the planner does."""
        files = {"certificate": self.pki / "planner.pem", "key": self.pki / "planner.key", "ca": self.pki / "ca.pem"}
        target = f"127.0.0.1:{self.control_port}"
        async with connect(target, **files, server_name="localhost", timeout_seconds=30) as connection:
            yield Grants(connection)

    def alice(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Operate the server."""
        return connect(f"unix:{self.directory}/control.sock", timeout_seconds=30)

    async def call(self, path: str, token: str = "", who: str = "planner") -> Answer:
        """One request through Envoy, over a connection of its own."""
        headers = [(HEADER, token)] if token else []
        return await asyncio.to_thread(self.guarded.caller(who).get, path, headers)

    async def reason(self, path: str, token: str = "", who: str = "planner") -> str:
        """Why a request is allowed or denied, as Envoy's access log tells."""
        answer = await self.call(path, token, who)
        found = await asyncio.to_thread(self.guarded.reason, answer.request_id)
        assert answer.status == {"allowed": 200, "state_stale": 503}.get(found, 403)
        return found

    async def until(self, expected: str, before: str, *request: str) -> None:
        """Return once the request is answered as expected; until then, it is answered as before."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (found := await self.reason(*request)) != expected:
                assert found == before

    def stop(self) -> None:
        self.guarded.stop()
        shutil.rmtree(self.directory)


@pytest.fixture(scope="module")
def replicas(pki_directory, upstream, postgres_server: PostgresServer) -> Iterator[tuple[Replica, Replica]]:
    url = postgres_server.new_database()
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(2):
            made.append(Replica(pki_directory, upstream, url))
            stack.callback(made[-1].stop)
        yield tuple(made)


async def test_a_grant_is_issued_used_completed_and_denied_on_the_other_replica(replicas, mark):
    a, b = replicas
    path = f"/reports/{mark}"
    assert [await each.reason(path) for each in replicas] == ["grant_required"] * 2
    async with a.planner() as grants:
        async with grants.task(purpose="write the report", scope=SCOPE, renew=False) as task:
            token = task.token
            await b.until("allowed", UNKNOWN, path, token)
            for each in replicas:
                answer = await each.call(path, token)
                assert answer.status == 200
                assert answer.upstream_got(HEADER) == []
                assert answer.upstream_got("x-authz-subject") == [PLANNER]
                assert await each.reason("/v1/accounts/1", token) == "grant_scope"
        assert await a.reason(path, token) == "task_completed"  # in force there before completing returned
        await b.until("task_completed", "allowed", path, token)
    denied = await b.call(path, token)
    assert denied.json()["reason"] == "task_completed"
    assert b.guarded.record(denied.json()["decision_id"])["reason"] == "task_completed"
    assert token not in json.dumps(a.guarded.upstream.saw(mark))


async def test_of_many_calls_over_both_replicas_one_gets_the_single_use(replicas, mark):
    a, b = replicas
    async with a.planner() as grants, grants.task(purpose="a report", scope=SCOPE, renew=False) as task:
        await b.until("allowed", UNKNOWN, "/reports/known", task.token)  # it has heard of the key
    async with a.planner() as grants, grants.task(purpose="once", scope=SCOPE, uses=1) as task:
        racing = [replicas[number % 2].reason(f"/reports/{mark}", task.token) for number in range(RACING)]
        found = Counter(await asyncio.gather(*racing))
    assert found == {"allowed": 1, "grant_used_up": RACING - 1}
    assert len(a.guarded.upstream.saw(mark)) == 1


async def test_a_revoked_principal_is_denied_on_both_replicas(replicas, mark):
    a, b = replicas
    asked = (f"/news/{mark}", "", "researcher")
    assert [await each.reason(*asked) for each in replicas] == ["allowed"] * 2  # kept in both caches
    request = revocations_pb2.CreateRevocationRequest(
        kind=revocations_pb2.REVOCATION_KIND_PRINCIPAL, value=RESEARCHER, reason="its host was broken into"
    )
    async with a.alice() as alice:
        await alice.call("Revocations/Create", request, revocations_pb2.CreateRevocationResponse)
    assert await a.reason(*asked) == "principal_revoked"  # in force there before revoking returned
    await b.until("principal_revoked", "allowed", *asked)
    answer = await b.call(*asked)
    assert answer.json()["reason"] == "access_denied"  # who uses a stolen key need not know that it was found out
    assert [await each.reason(f"/v1/accounts/{mark}") for each in replicas] == ["allowed"] * 2  # nobody else


async def test_without_the_database_for_too_long_all_is_denied_until_it_is_back(pki_directory, upstream, mark):
    server = PostgresServer()
    bound = {"AUTHZ__STORE__HEARTBEAT_SECONDS": "0.2", "AUTHZ__STORE__MAX_STALENESS_SECONDS": "4"}
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        replica = Replica(pki_directory, upstream, server.new_database(), **bound)
        stack.callback(replica.stop)
        pdp = replica.guarded.pdp
        path = f"/reports/{mark}"
        async with replica.planner() as grants:
            async with grants.task(purpose="one that is done", scope=SCOPE, renew=False) as done:
                pass
            async with grants.task(purpose="one that goes on", scope=SCOPE, renew=False) as task:
                assert await replica.reason(path, task.token) == "allowed"
                server.stop(crash=True)
                await replica.until("state_stale", "allowed", path, task.token)
                assert await replica.reason(f"/v1/accounts/{mark}") == "state_stale"  # without a grant, too
                pdp.child.wait_for(lambda: pdp.get("/readyz") is None or None, "being not ready")
                server.start()
                await replica.until("allowed", "state_stale", path, task.token)
                pdp.child.wait_for(lambda: pdp.get("/readyz"), "being ready again")
                assert await replica.reason(path, done.token) == "task_completed"
