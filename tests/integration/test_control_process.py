"""The control plane of a real server with two workers: what is ordered holds in both before the order returns."""

import asyncio
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import grpc
import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

ROOT = pathlib.Path(__file__).parents[2]
for _path in (ROOT / "tests" / "support", ROOT / "tests" / "unit" / "identity"):
    if str(_path) not in sys.path:
        sys.path.insert(0, str(_path))

from control_kit import BOB, DOMAIN, PLANNER, Pki  # noqa: E402 - the path to it is set above
from processes import listens, whole_lines  # noqa: E402 - likewise

from authz.client import CallFailedError, Grants, connect, permission  # noqa: E402
from authz.control.v1 import decisions_pb2, grants_pb2, revocations_pb2  # noqa: E402

CHECK = "/envoy.service.auth.v3.Authorization/Check"
SCOPE = [permission(["GET"], ["/v1/accounts/*"])]
CONFIG = """
[identity]
trust_domain = "{domain}"
bundle = "{pki.ca}"
certificates.trust = "bundle"
inventory.file = "policies/inventory.toml"
[policy]
model = "policies/model.conf"
policies = ["policy.csv"]
[catalogue]
file = "policies/catalogue.toml"
[grants]
issuer = "https://authz.demo.internal"
[server]
workers = 2
listen = ["unix:{directory}/authz.sock"]
drain_delay_seconds = 0
[admin]
listen = "unix:{directory}/admin.sock"
[audit]
destination = "{directory}/audit.jsonl"
[control]
enabled = true
listen = ["unix:{directory}/control.sock", "127.0.0.1:0"]
[control.tls]
certificate = "{pki.server[certificate]}"
key = "{pki.server[key]}"
client_ca = "{pki.ca}"
[[control.operators]]
name = "alice"
uid = {uid}
groups = ["operators", "authors"]
[[control.operators]]
name = "bob"
spiffe_id = "{bob}"
groups = ["security"]
"""


def eventually(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        threading.Event().wait(0.05)  # between two looks; what is waited for is the condition
    raise AssertionError(f"never came: {what}")


class Running:
    """A serving process with two workers."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "pki").mkdir()
        self.pki = Pki(directory / "pki")
        (directory / "policies").symlink_to(ROOT / "policies")
        rule = f"p, planner, r.sub.id == '{PLANNER}', /v1/accounts/*, GET, allow, grant=required\n"
        (directory / "policy.csv").write_text(rule)
        text = CONFIG.format(directory=directory, pki=self.pki, uid=os.getuid(), domain=DOMAIN, bob=BOB)
        (directory / "authz.toml").write_text(text)
        self.log = directory / "log"
        self.planner = self.pki.issue(PLANNER, "planner")
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(self.directory / "authz.toml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        eventually(
            lambda: self.said('"event":"serving"') >= 2 and self.control_port, "two workers and the control plane"
        )

    def said(self, what):
        return self.log.read_text().count(what)

    @property
    def control_port(self):
        import json

        for line in reversed(whole_lines(self.log)):
            if "control plane listening" in line:
                return int(json.loads(line)["addresses"][1].rpartition(":")[2])
        return 0

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def connect(self):
        files = {"certificate": self.planner["certificate"], "key": self.planner["key"], "ca": self.pki.ca}
        return connect(f"127.0.0.1:{self.control_port}", **files, server_name="localhost", timeout_seconds=30)

    def alice(self):
        return connect(f"unix:{self.directory}/control.sock", timeout_seconds=30)

    def question(self, token, path="/v1/accounts/42"):
        request = CheckRequest()
        source, http = request.attributes.source, request.attributes.request.http
        source.certificate = quote(pathlib.Path(self.planner["certificate"]).read_text(), safe="")
        http.method, http.host, http.path = "GET", "api.demo.internal", path
        if token:
            http.headers["authz-grant"] = token
        return request

    async def ask(self, token, path="/v1/accounts/42"):
        """Ask over a connection of its own, so that both workers get their share."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{self.directory}/authz.sock", options) as channel:
            call = channel.unary_unary(CHECK, CheckRequest.SerializeToString, CheckResponse.FromString)
            answer = await call(self.question(token, path), timeout=30)
        return answer.dynamic_metadata.fields["reason"].string_value

    async def ask_many(self, token, times=12):
        return await asyncio.gather(*(self.ask(token) for _ in range(times)))

    def decided(self):
        """How many decisions each worker has made, as the metrics tell."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.directory}/admin.sock")
            client.sendall(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            text = b"".join(iter(lambda: client.recv(65_536), b"")).decode()
        found = dict(re.findall(r'^authz_worker_decisions_total\{worker="(\d)"\} ([0-9.]+)', text, re.MULTILINE))
        return [float(found[index]) for index in ("0", "1")]

    def shares(self, before, of=0):
        """How many each has made since; None: not so many yet as there were."""
        shares = [after - earlier for earlier, after in zip(before, self.decided(), strict=True)]
        return None if sum(shares) < of else shares

    def workers(self):
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return [int(pid) for pid in listed.stdout.split()]


def authz(directory, *arguments):
    command = [sys.executable, "-m", "authz.cli.main", *arguments]
    subprocess.run(command, cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)


def test_a_signed_bundle_a_candidate_grants_and_orders_go_together(tmp_path):
    running = Running(tmp_path)
    (tmp_path / "candidate.csv").write_text("p, nobody, False, *, *, allow,\n")
    authz(tmp_path, "bundle", "keygen", "k")
    parts = ["--model", "policies/model.conf", "--policy", "policy.csv", "--inventory", "policies/inventory.toml"]
    authz(tmp_path, "bundle", "build", "--name", "b", "--revision", "1", *parts, "--key", "k.key", "-o", "b.tar.gz")
    files = '[policy]\nmodel = "policies/model.conf"\npolicies = ["policy.csv"]\n'
    bundle = '[policy.bundle]\nlocation = "b.tar.gz"\nname = "b"\ntrusted_keys = ["k.pub"]\nstate_directory = "seen"\n'
    candidate = '[shadow.policy]\nmodel = "policies/model.conf"\npolicies = ["candidate.csv"]\n'
    configuration = tmp_path / "authz.toml"
    text = configuration.read_text()
    assert files in text
    configuration.write_text(text.replace(files, bundle) + candidate + '[control.http]\nlisten = "127.0.0.1:0"\n')
    authz(tmp_path, "config", "validate", "-c", "authz.toml")

    async def use():
        assert set(await running.ask_many("")) == {"grant_required"}
        async with running.connect() as connection:
            async with Grants(connection).task(purpose="plan the week", scope=SCOPE) as task:
                assert set(await running.ask_many(task.token)) == {"allowed"}
                token = task.token
            assert set(await running.ask_many(token)) == {"task_completed"}
        return token

    running.start()
    try:
        token = asyncio.run(use())
        records = tmp_path / "audit.jsonl"
        eventually(lambda: '"kind":"newly_denied"' in records.read_text(), "what the candidate would deny")
        assert token not in records.read_text() + running.log.read_text()
    finally:
        running.stop()


@pytest.fixture
def running(tmp_path):
    made = Running(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One that several tests use: what they do to it has no end but their own."""
    made = Running(tmp_path_factory.mktemp("shared"))
    made.start()
    yield made
    made.stop()


async def test_a_task_from_the_asking_to_the_end(shared):
    assert set(await shared.ask_many("")) == {"grant_required"}
    async with shared.connect() as connection:
        async with Grants(connection).task(purpose="plan the week", scope=SCOPE) as task:
            assert set(await shared.ask_many(task.token)) == {"allowed"}
            assert await shared.ask(task.token, "/v1/others/1") == "grant_scope"
            token = task.token
        assert set(await shared.ask_many(token)) == {"task_completed"}


async def test_a_grant_for_one_use_is_used_once_whoever_races(shared):
    async with shared.connect() as connection, Grants(connection).task(purpose="x", scope=SCOPE, uses=1) as task:
        before = shared.decided()
        reasons = await shared.ask_many(task.token, 100)
    assert (reasons.count("allowed"), reasons.count("grant_used_up")) == (1, 99)
    shares = await asyncio.to_thread(eventually, lambda: shared.shares(before, 100), "100 decisions in the metrics")
    assert min(shares) > 0, "one worker decided all, so nobody raced"


async def test_decisions_of_every_worker_are_followed_also_of_one_that_starts_meanwhile(shared):
    async with shared.alice() as alice:
        request = decisions_pb2.TailRequest(path="/v1/accounts/*")
        seen = []

        async def follow():
            async for event in alice.stream("Decisions/Tail", request, decisions_pb2.TailResponse):
                seen.append(event.decision.path)  # noqa: PERF401 - each as it comes

        async def followed(name):
            """Ask until all is followed, of both workers; what is decided before all of them know of it is missed."""
            before = shared.decided()
            for n in range(60):
                asked = {f"/v1/accounts/{name}-{n}-{each}" for each in range(12)}
                await asyncio.gather(*(shared.ask("", path) for path in asked))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while not asked <= set(seen):
                            await asyncio.sleep(0.01)
                if asked <= set(seen) and min(shared.shares(before)) > 0:
                    return True
            return False

        following = asyncio.create_task(follow())
        assert await followed("first")
        serving = shared.said('"event":"serving"')
        [other] = [pid for pid in shared.workers() if not listens(pid, shared.control_port)]
        os.kill(other, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: shared.said('"event":"serving"') > serving, "another worker")
        assert await followed("again")
        assert len(seen) == len(set(seen))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_what_is_revoked_is_denied_by_both_workers_when_the_call_returns(shared):
    async with shared.connect() as connection, shared.alice() as alice:
        for _ in range(5):
            async with Grants(connection).task(purpose="x", scope=SCOPE) as task:
                assert set(await shared.ask_many(task.token)) == {"allowed"}
                request = revocations_pb2.CreateRevocationRequest(
                    kind=revocations_pb2.REVOCATION_KIND_GRANT, value=task.grant.id, reason="test"
                )
                await alice.call("Revocations/Create", request, revocations_pb2.CreateRevocationResponse)
                assert set(await shared.ask_many(task.token)) == {"grant_revoked"}


async def test_what_was_acknowledged_survives_a_kill(running):
    async with running.connect() as connection:
        kept = await connection.call(
            "Grants/Issue",
            grants_pb2.IssueRequest(task={"id": "t-1", "purpose": "x"}, permissions=SCOPE),
            grants_pb2.IssueResponse,
        )
        ended = await connection.call(
            "Grants/Issue",
            grants_pb2.IssueRequest(task={"id": "t-2", "purpose": "x"}, permissions=SCOPE),
            grants_pb2.IssueResponse,
        )
        await connection.call("Grants/Complete", grants_pb2.CompleteRequest(task_id="t-2"), grants_pb2.CompleteResponse)
    running.stop(signal.SIGKILL)
    running.log.unlink()
    running.start()
    assert set(await running.ask_many(kept.token)) == {"allowed"}
    assert set(await running.ask_many(ended.token)) == {"task_completed"}


async def test_another_worker_takes_orders_when_the_one_that_did_is_killed(running):
    import json

    def takes_orders():
        lines = [line for line in whole_lines(running.log) if "control plane listening" in line]
        return [json.loads(line)["worker"] for line in lines]

    [first] = takes_orders()
    listening = {pid for pid in running.workers() if listens(pid, running.control_port)}
    assert len(listening) == 1
    os.kill(listening.pop(), signal.SIGKILL)
    await asyncio.to_thread(eventually, lambda: len(takes_orders()) > 1, "another control plane")
    assert first in (0, 1)

    async def answers():
        with contextlib.suppress(CallFailedError):
            async with running.connect() as connection, Grants(connection).task(purpose="x", scope=SCOPE) as task:
                return await running.ask(task.token) == "allowed"
        return False

    async with asyncio.timeout(60):
        while not await answers():
            await asyncio.sleep(0.1)
