"""`authz serve` with several workers, as processes, asked by a real gRPC client; and what it does when they fail."""

import collections
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import grpc
import pki
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from grant_kit import sign_raw
from jwt.algorithms import ECAlgorithm
from ports import free_port
from processes import whole_lines

from authz.identity.proofs import hash_of
from authz.jose.signing import SigningKey

ROOT = pathlib.Path(__file__).parents[2]
CHECK = "/envoy.service.auth.v3.Authorization/Check"
PLANNER = pki.WORKLOADS["planner"]
ALLOW = f"p, planner, r.sub.id == '{PLANNER}', /v1/*, GET, allow,\n"
DENY = f"p, planner, r.sub.id == '{PLANNER}', /v1/*, GET, deny,\n"
CONFIG = """
[identity]
trust_domain = "demo.internal"
{identity}
[policy]
model = "{model}"
policies = ["policy.csv"]
[reload]
poll_seconds = {poll}
[server]
transport = "{transport}"
listen = ["{listen}"]
workers = 2
drain_delay_seconds = 0
goaway_seconds = {goaway}
[admin]
listen = "unix:{directory}/admin.sock"
[audit]
destination = "{audit}"
retry_seconds = 0.1
"""
WAIT_SECONDS = 60.0


def eventually(condition, what, seconds=WAIT_SECONDS):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        threading.Event().wait(0.02)  # between two looks; what is waited for is the condition
    raise AssertionError(f"never came: {what() if callable(what) else what}")


class Server:
    """A supervisor and its workers in a directory of their own."""

    def __init__(
        self,
        directory,
        *,
        transport="h2corn",
        audit=None,
        listen=None,
        supervisor="",
        policy=ALLOW,
        poll=0.1,
        goaway=0.05,
        identity="",
        files=(),
    ):
        self.directory = directory
        self.audit = directory / "audit.jsonl"
        self.config = directory / "authz.toml"
        self.address = listen or f"unix:{directory}/authz.sock"
        self.config.write_text(
            CONFIG.format(
                model=ROOT / "policies" / "model.conf",
                directory=directory,
                transport=transport,
                audit=audit or self.audit,
                listen=self.address,
                poll=poll,
                goaway=goaway,
                identity=identity,
            )
            + f"[supervisor]\n{supervisor}\n"
        )
        self.write_policy(policy)
        for name, text in dict(files).items():
            (directory / name).write_text(text)
        with (directory / "log").open("wb") as log, (directory / "stdout").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(self.config)],
                stderr=log,
                stdout=subprocess.PIPE if audit == "stdout" else output,
            )
        self.channels = []

    def ready(self):
        eventually(lambda: (self.admin("/readyz") or b"").startswith(b"HTTP/1.1 200"), self.log)
        return self

    def log(self):
        return (self.directory / "log").read_text()

    def events(self, name):
        found = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if told.get("event") == name:
                    found.append(told)
        return found

    def channel(self, address=None):
        """A channel with a connection of its own, and its Check."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
        made = grpc.insecure_channel(address or self.address, options=options)
        self.channels.append(made)
        return made.unary_unary(CHECK, bytes, CheckResponse.FromString)

    def workers(self):
        """Pids of the workers that run."""
        text = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in text.split() if b"authz.supervisor.worker" in _command(pid)}

    def admin(self, path):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.directory / "admin.sock"))
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))
        return None

    def metric(self, name):
        for line in (self.admin("/metrics") or b"").decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return None

    def per_worker(self, name):
        return [self.metric(f'{name}{{worker="{index}"}}') for index in range(2)]

    def allowed(self):
        return self.metric('authz_decisions_total{effect="allow",reason="allowed"}')

    def write_policy(self, text):
        fresh = self.directory / "policy.new"
        fresh.write_text(text)
        fresh.rename(self.directory / "policy.csv")

    def stop(self):
        for channel in self.channels:
            channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(40)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def _command(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def runs(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    return False


def open_epoch(pid):
    for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        if "memfd:authz-epoch" in str(descriptor.readlink()):
            return descriptor.open("r+b", buffering=0)
    raise AssertionError("the process has no epoch")


@pytest.fixture
def start():
    running = []

    def begin(**kwargs):
        directory = pathlib.Path("/tmp") / f"authz-{os.getpid()}-w{len(running)}-{time.monotonic_ns()}"
        directory.mkdir(mode=0o700)
        if "listen" in kwargs:
            kwargs["listen"] = kwargs["listen"].format(directory=directory, worker="{worker}")
        running.append(Server(directory, **kwargs))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
        subprocess.run(["rm", "-r", str(one.directory)], check=True)


@pytest.fixture(scope="module")
def question(pki_directory):
    request = CheckRequest()
    request.attributes.source.address.socket_address.address = "127.0.0.1"
    request.attributes.source.principal = PLANNER
    request.attributes.source.certificate = quote((pki_directory / "planner.pem").read_text(), safe="")
    http = request.attributes.request.http
    http.method, http.host, http.path = "GET", "h", "/v1/accounts/1"
    return request.SerializeToString()


def reason(response):
    return response.dynamic_metadata.fields["reason"].string_value


class Load:
    """Clients with a connection each, asking without a pause; counts what they are told."""

    def __init__(self, server, question, clients=4, right=("allowed",)):
        self.told = collections.Counter()
        self.wrong = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(server.channel(), question, right)) for _ in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, check, question, right):
        while not self._stop.is_set():
            try:
                answer = check(question, timeout=30)
            except grpc.RpcError as error:
                self.told[error.code().name] += 1
                self._stop.wait(0.01)
                continue
            told = reason(answer)
            if told not in right or (answer.status.code == 0) != (told == "allowed"):
                self.wrong.append(answer)
            self.told[told] += 1

    def wait_for(self, more):
        aim = sum(self.told.values()) + more
        eventually(lambda: sum(self.told.values()) >= aim, f"{more} answers more than {self.told}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])
@pytest.mark.parametrize("listen", ["unix:{directory}/authz.sock", "127.0.0.1:{port}"])
def test_it_is_one_server(start, question, transport, listen):
    port = free_port()
    server = start(transport=transport, listen=listen.replace("{port}", str(port))).ready()
    assert len(server.workers()) == 2
    assert {reason(server.channel()(question, timeout=30)) for _ in range(8)} == {"allowed"}
    assert server.allowed() == 8
    assert server.metric('authz_workers{state="serving"}') == 2
    assert sum(server.per_worker("authz_worker_decisions_total")) == 8
    workers = server.workers()
    assert server.stop() == 0
    assert not any(runs(pid) for pid in workers)
    records = [json.loads(line) for line in server.audit.read_text().splitlines() if line]
    assert sum(record["event"] == "decision" for record in records) == 8
    assert [record["event"] for record in records].count("trail_stopped") == 2
    assert not list(server.directory.glob("*.sock*"))


@pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])
def test_connections_are_shared_out(start, question, transport):
    server = start(transport=transport).ready()
    for number in range(1, 7):
        assert reason(server.channel()(question, timeout=30)) == "allowed"
        eventually(lambda number=number: sum(server.per_worker("authz_worker_connections")) == number, "the count")
    assert server.per_worker("authz_worker_connections") == [3, 3]


def test_each_worker_may_have_its_own_socket(start, question):
    server = start(listen="unix:{directory}/authz-{worker}.sock").ready()
    for index in (0, 1, 1):
        check = server.channel(f"unix:{server.directory}/authz-{index}.sock")
        assert reason(check(question, timeout=30)) == "allowed"
    eventually(lambda: server.per_worker("authz_worker_decisions_total") == [1, 2], "each its own calls")


def test_a_proof_counts_once_for_all_workers_and_for_those_that_replace_them(start):
    authority, holder = (SigningKey(name, ec.generate_private_key(ec.SECP256R1())) for name in ("a", "h"))
    bundle = {"keys": [public(authority, kid="a", use="wit-svid")]}
    server = start(
        listen="unix:{directory}/authz-{worker}.sock",
        identity='bundle = "bundle.json"\nwimse.audiences = ["ledger"]\n',
        files={"bundle.json": json.dumps(bundle)},
    ).ready()
    now = int(time.time())
    claims = {"sub": PLANNER, "exp": now + 300, "cnf": {"jwk": public(holder, alg="ES256")}}
    token = sign_raw({"alg": "ES256", "kid": "a", "typ": "wit+jwt"}, claims, authority)

    def call(number):
        proof = {"aud": "ledger", "exp": now + 200, "jti": f"proof-{number:04d}", "wth": hash_of(token)}
        request = CheckRequest()
        http = request.attributes.request.http
        http.method, http.host, http.path = "GET", "h", "/v1/accounts/1"
        http.headers["workload-identity-token"] = token
        http.headers["workload-proof-token"] = sign_raw({"alg": "ES256", "typ": "wpt+jwt"}, proof, holder)
        return request.SerializeToString()

    first, second = (server.channel(f"unix:{server.directory}/authz-{index}.sock") for index in range(2))
    one, other = call(1), call(2)
    assert reason(first(one, timeout=30)) == "allowed"
    assert reason(second(one, timeout=30)) == reason(first(one, timeout=30)) == "token_replayed"
    assert reason(second(other, timeout=30)) == "allowed"
    for victim in server.workers():
        os.kill(victim, signal.SIGKILL)
    eventually(lambda: server.metric('authz_worker_restarts_total{cause="crashed"}') == 2, server.log)
    server.ready()
    for check in (first, second):
        assert reason(check(one, timeout=30, wait_for_ready=True)) == "token_replayed"
        assert reason(check(other, timeout=30, wait_for_ready=True)) == "token_replayed"
    assert reason(first(call(3), timeout=30)) == "allowed"


def public(key, **members):
    document = ECAlgorithm.to_jwk(key.key.public_key(), as_dict=True)
    document.pop("key_ops", None)
    return {**document, **members}


def test_a_killed_worker_is_replaced_and_nobody_is_told_anything_wrong(start, question):
    server = start().ready()
    seen = []
    with Load(server, question) as load:
        for _ in range(3):
            load.wait_for(200)
            seen.append(server.allowed())
            victim = min(server.workers())
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: victim not in server.workers() and len(server.workers()) == 2, server.log)
            seen.append(server.allowed())
            server.ready()
            seen.append(server.allowed())
        load.wait_for(200)
        seen.append(server.allowed())
    assert not load.wrong
    assert load.told["allowed"] > 500
    assert set(load.told) <= {"allowed", "UNAVAILABLE", "CANCELLED"}
    assert seen == sorted(seen), "a counter went backwards"
    assert server.metric('authz_worker_restarts_total{cause="crashed"}') == 3
    assert len(server.events("a worker ended")) == 3


def test_a_worker_that_is_told_to_end_is_replaced_too(start, question):
    server = start().ready()
    victim = min(server.workers())
    os.kill(victim, signal.SIGTERM)
    eventually(lambda: victim not in server.workers() and len(server.workers()) == 2, server.log)
    server.ready()
    assert reason(server.channel()(question, timeout=30)) == "allowed"


def test_workers_end_with_their_supervisor(start, question):
    server = start().ready()
    with Load(server, question, clients=2) as load:
        load.wait_for(50)
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        eventually(lambda: not any(runs(pid) for pid in workers), "the end of the workers", seconds=30)
    assert not load.wrong
    assert len(server.events("the supervisor is gone, so this worker ends")) == 2


def test_a_new_server_starts_where_one_was_killed(start, question):
    server = start().ready()
    workers = server.workers()
    server.process.kill()
    server.process.wait()
    eventually(lambda: not any(runs(pid) for pid in workers), "the end of the workers")
    with (server.directory / "log").open("ab") as log:
        server.process = subprocess.Popen(
            [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(server.config)], stderr=log
        )
    server.ready()
    assert reason(server.channel()(question, timeout=30)) == "allowed"


def test_a_worker_that_hangs_holds_up_no_invalidation(start, question):
    server = start(supervisor="acknowledge_seconds = 1\nhang_seconds = 3600").ready()
    victim = min(server.workers())
    os.kill(victim, signal.SIGSTOP)
    server.process.send_signal(signal.SIGHUP)  # raises the epoch
    done = eventually(lambda: server.events("an invalidation is in force in every worker"), server.log)
    assert done[0]["epoch"] == 2
    assert victim not in server.workers(), "told as in force while somebody had not taken note"
    eventually(lambda: len(server.workers()) == 2, server.log)
    server.ready()
    assert server.metric('authz_worker_restarts_total{cause="not_acknowledged"}') == 1
    assert reason(server.channel()(question, timeout=30)) == "allowed"


def test_a_worker_that_hangs_is_replaced(start):
    server = start(supervisor="hang_seconds = 1.5").ready()
    victim = min(server.workers())
    os.kill(victim, signal.SIGSTOP)
    eventually(lambda: victim not in server.workers() and len(server.workers()) == 2, server.log)
    server.ready()
    assert server.metric('authz_worker_restarts_total{cause="hung"}') == 1


def test_invalidations_while_workers_start_harm_nobody(start, question):
    server = start()
    eventually(lambda: server.events("supervising"), "the supervisor")
    for _ in range(20):
        server.process.send_signal(signal.SIGHUP)
        threading.Event().wait(0.1)
    server.ready()
    assert reason(server.channel()(question, timeout=30)) == "allowed"
    assert not server.events("a worker ended")


def test_a_changed_policy_comes_into_force_in_all_and_a_broken_one_in_none(start, question):
    server = start(listen="unix:{directory}/authz-{worker}.sock").ready()
    checks = [server.channel(f"unix:{server.directory}/authz-{index}.sock") for index in range(2)]

    def told():
        return [reason(check(question, timeout=30)) for check in checks]

    epoch = server.metric("authz_epoch")
    server.write_policy(DENY)
    eventually(lambda: told() == ["denied_by_rule"] * 2, "the new policy in both")
    assert server.metric("authz_epoch") > epoch
    server.write_policy("p, broken, r.sub.id ==, /v1/*, GET, allow,\n")
    failures = 'authz_reloads_total{outcome="failure",what="snapshot"}'
    eventually(lambda: server.metric(failures), "the refusal")
    assert server.metric(failures) == 1, "one worker judges for all"
    assert told() == ["denied_by_rule"] * 2
    server.write_policy(ALLOW)
    eventually(lambda: told() == ["allowed"] * 2, "the mended policy in both")


def test_different_policies_in_force_show(start, question):
    server = start(
        listen="unix:{directory}/authz-{worker}.sock", poll=3600, supervisor="converge_seconds = 3600"
    ).ready()
    server.write_policy(DENY)  # which nobody looks for, but a worker that starts
    newer = server.events("worker started")[1]["worker_pid"]
    os.kill(newer, signal.SIGKILL)
    checks = [server.channel(f"unix:{server.directory}/authz-{index}.sock") for index in range(2)]
    eventually(lambda: newer not in server.workers() and len(server.workers()) == 2, server.log)
    server.ready()
    assert [reason(check(question, timeout=30)) for check in checks] == ["allowed", "denied_by_rule"]
    versions = [
        line for line in server.admin("/metrics").decode().splitlines() if line.startswith("authz_snapshot_info")
    ]
    assert len(versions) == 2


def test_workers_do_not_stay_apart(start, question):
    server = start(listen="unix:{directory}/authz-{worker}.sock", poll=3600, supervisor="converge_seconds = 1").ready()
    server.write_policy(DENY)
    os.kill(server.events("worker started")[1]["worker_pid"], signal.SIGKILL)
    checks = [server.channel(f"unix:{server.directory}/authz-{index}.sock") for index in range(2)]

    def told():
        try:
            return [reason(check(question, timeout=30)) for check in checks]
        except grpc.RpcError:  # the one that is being replaced
            return []

    eventually(lambda: told() == ["denied_by_rule"] * 2, server.log)
    server.ready()


def test_what_is_invalidated_by_anybody_is_used_again_by_nobody(start, question):
    server = start(listen="unix:{directory}/authz-{worker}.sock").ready()
    checks = [server.channel(f"unix:{server.directory}/authz-{index}.sock") for index in range(2)]

    def used_again():
        """Whether each worker answered out of its memory, as the audit trail says."""
        answers = [check(question, timeout=30).dynamic_metadata.fields for check in checks]
        ids = [fields["decision_id"].string_value for fields in answers]

        def recorded():
            records = [json.loads(line) for line in whole_lines(server.audit)]
            return records if {record.get("decision_id") for record in records} >= set(ids) else None

        records = eventually(recorded, "the records")
        by_id = {record["decision_id"]: record for record in records if record["event"] == "decision"}
        return [by_id[one].get("cached", False) for one in ids]

    used_again()
    assert used_again() == [True, True]
    with open_epoch(server.process.pid) as epoch:  # as any process does that the memory was handed to
        epoch.seek(64)
        raised = int.from_bytes(epoch.read(8), sys.byteorder) + 1
        epoch.seek(64)
        epoch.write(raised.to_bytes(8, sys.byteorder))
    assert used_again() == [False, False]
    assert used_again() == [True, True]


def test_another_worker_watches_the_files_when_the_first_one_is_gone(start, question):
    server = start(listen="unix:{directory}/authz-{worker}.sock").ready()
    leader = server.events("worker started")[0]
    assert leader["worker"] == 0
    os.kill(leader["worker_pid"], signal.SIGKILL)
    eventually(lambda: leader["worker_pid"] not in server.workers() and len(server.workers()) == 2, server.log)
    server.ready()
    server.write_policy(DENY)
    checks = [server.channel(f"unix:{server.directory}/authz-{index}.sock") for index in range(2)]
    eventually(lambda: [reason(check(question, timeout=30)) for check in checks] == ["denied_by_rule"] * 2, server.log)


def test_a_worker_that_cannot_start_again_is_no_end_for_the_others(start, question):
    server = start(supervisor="max_crashes = 1").ready()
    server.write_policy("p, broken, r.sub.id ==, /v1/*, GET, allow,\n")
    os.kill(min(server.workers()), signal.SIGKILL)
    causes = 'authz_worker_restarts_total{cause="could_not_start"}'
    eventually(lambda: (server.metric(causes) or 0) >= 1, server.log)
    assert reason(server.channel()(question, timeout=30)) == "allowed"
    assert b"503" in server.admin("/readyz").split(b"\r\n")[0]
    assert "policy.csv:1" in server.log()
    server.write_policy(ALLOW)
    server.ready()


def test_too_many_crashes_end_the_server_with_an_error(start):
    server = start(supervisor="max_crashes = 1\nrestart_backoff_seconds = 0.05").ready()
    for _ in range(2):
        victim = eventually(lambda: sorted(server.workers()), "a worker")[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda victim=victim: not runs(victim), "its end")
    assert server.process.wait(30) == 2
    assert "workers ended 2 times within 60 s" in server.log()
    assert "Traceback" not in server.log()


def test_what_one_worker_cannot_start_with_is_told_once_and_ends_it_all(start):
    server = start(policy="p, broken, r.sub.id ==, /v1/*, GET, allow,\n")
    assert server.process.wait(60) == 2
    assert "policy.csv:1" in server.log().splitlines()[-1]
    assert "Traceback" not in server.log()
    assert not list(server.directory.glob("*.sock*"))


def test_records_on_standard_output_are_whole_lines(start, question):
    server = start(audit="stdout")
    output = []
    reading = threading.Thread(target=lambda: output.extend(server.process.stdout))
    reading.start()
    server.ready()
    with Load(server, question) as load:
        load.wait_for(1000)
    assert server.stop() == 0
    reading.join()
    records = [json.loads(line) for line in output]
    assert sum(record["event"] == "decision" for record in records) == sum(load.told.values())
    assert len({record["pid"] for record in records if record["event"] == "trail_started"}) == 2


def test_uneven_connections_move_on_without_a_call_cut_off(start, question):
    server = start(supervisor="rebalance_seconds = 1", goaway=1).ready()  # the clients may be late: a busy machine
    victim = server.events("worker started")[1]
    os.kill(victim["worker_pid"], signal.SIGKILL)
    with Load(server, question) as load:  # all of them on the worker that is left
        server.ready()
        load.wait_for(100)
        load.told.clear()
        eventually(lambda: server.events("connections are uneven, so some are to move on"), server.log)

        def spread():
            # Where they land is chance, so that how evenly is not promised.
            shares = server.per_worker("authz_worker_connections")
            return sum(shares) == 4 and min(shares) > 0

        eventually(spread, lambda: str(server.per_worker("authz_worker_connections")), 200)
        load.wait_for(100)
    assert not load.wrong
    assert set(load.told) == {"allowed"}
