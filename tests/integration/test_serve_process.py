"""`authz serve` as its own process, asked by a real gRPC client: reload, faults of the disk, signals."""

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import grpc
import jwt
import msgspec
import pki
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from ports import free_port
from processes import whole_lines

from authz.grants.grant import Grant, Task
from authz.grants.scope import Scope, access, parse_scope
from authz.grants.token import sign_grant
from authz.jose.signing import SigningKey

ROOT = pathlib.Path(__file__).parents[2]
CHECK = "/envoy.service.auth.v3.Authorization/Check"
PLANNER = pki.WORKLOADS["planner"]
ALLOW = f"p, planner, r.sub.id == '{PLANNER}', /v1/*, GET, allow,\n"
DENY = f"p, planner, r.sub.id == '{PLANNER}', /v1/*, GET, deny,\n"
CONFIG = """
[identity]
trust_domain = "demo.internal"
[policy]
model = "{model}"
policies = ["policy.csv"]
[reload]
poll_seconds = 0.1
[server]
transport = "{transport}"
listen = ["unix:{directory}/authz.sock"]
drain_delay_seconds = 0
[admin]
listen = "unix:{directory}/admin.sock"
[audit]
destination = "{audit}"
retry_seconds = 0.1
"""


def eventually(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        threading.Event().wait(0.02)  # between two looks; what is waited for is the condition
    raise AssertionError(f"never came: {what}")


class Running:
    """A serving process in a directory of its own."""

    def __init__(self, directory, *, transport="h2corn", audit=None, more="", policy=ALLOW):
        self.directory = directory
        self.audit = directory / "audit.jsonl"
        self.config = directory / "authz.toml"
        self.config.write_text(
            CONFIG.format(
                model=ROOT / "policies" / "model.conf",
                directory=directory,
                transport=transport,
                audit=audit or self.audit,
            )
            + more
        )
        self.write_policy(policy)
        self.begin()

    def begin(self):
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(self.config)], stderr=log
            )
        self.address = f"unix:{self.directory}/authz.sock"
        self.channel = grpc.insecure_channel(self.address)
        self.check = self.channel.unary_unary(CHECK, bytes, CheckResponse.FromString)
        return self

    def ready(self):
        eventually(lambda: (self.admin("/readyz") or b"").startswith(b"HTTP/1.1 200"), f"ready: {self.log()}")
        return self

    def log(self):
        return (self.directory / "log").read_text()

    def admin(self, path):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.directory / "admin.sock"))
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))
        return None

    def metric(self, name):
        for line in (self.admin("/metrics") or b"").decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return None

    def write_policy(self, text):
        fresh = self.directory / "policy.new"
        fresh.write_text(text)
        fresh.rename(self.directory / "policy.csv")

    def stop(self):
        self.channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path_factory):
    running = []

    def begin(**kwargs):
        directory = pathlib.Path("/tmp") / f"authz-{os.getpid()}-{len(running)}-{time.monotonic_ns()}"
        directory.mkdir(mode=0o700)
        running.append(Running(directory, **kwargs))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
        subprocess.run(["rm", "-r", str(one.directory)], check=True)


@pytest.fixture(scope="module")
def certificate(pki_directory):
    return quote((pki_directory / "planner.pem").read_text(), safe="")


@pytest.fixture
def question(certificate):
    request = CheckRequest()
    request.attributes.source.address.socket_address.address = "127.0.0.1"
    request.attributes.source.principal = PLANNER
    request.attributes.source.certificate = certificate
    http = request.attributes.request.http
    http.method, http.host, http.path = "GET", "h", "/v1/accounts/1"
    return request.SerializeToString()


def reason(response):
    return response.dynamic_metadata.fields["reason"].string_value


def version(response):
    return response.dynamic_metadata.fields["policy_version"].string_value


@pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])
def test_it_decides_records_and_ends_in_order(start, question, transport):
    server = start(transport=transport).ready()
    assert reason(server.check(question, timeout=30)) == "allowed"
    assert reason(server.check(b"", timeout=30)) == "request_malformed"
    assert server.metric('authz_decisions_total{effect="allow",reason="allowed"}') == 1
    assert server.stop() == 0
    records = [json.loads(line) for line in server.audit.read_text().splitlines()]
    decisions = [r for r in records if r["event"] == "decision"]
    assert [r["reason"] for r in decisions] == ["allowed", "request_malformed"]
    assert decisions[0]["subject"]["id"] == PLANNER
    assert records[-1]["event"] == "trail_stopped"


def test_a_changed_policy_comes_into_force_and_a_broken_one_does_not(start, question):
    server = start().ready()
    before = server.check(question, timeout=30)
    server.write_policy(DENY)
    eventually(lambda: reason(server.check(question, timeout=30)) == "denied_by_rule", "the new policy")
    denied = server.check(question, timeout=30)
    assert version(denied) != version(before)
    server.write_policy("p, broken, r.sub.id ==, /v1/*, GET, allow,\n")
    failures = 'authz_reloads_total{outcome="failure",what="snapshot"}'
    eventually(lambda: server.metric(failures), "the refusal")
    assert "policy.csv:1" in server.log()
    assert version(server.check(question, timeout=30)) == version(denied)
    server.write_policy(ALLOW)
    eventually(lambda: reason(server.check(question, timeout=30)) == "allowed", "the mended policy")
    assert version(server.check(question, timeout=30)) == version(before)


def test_no_answer_under_reload_is_wrong_or_fails(start, question):
    server = start().ready()
    effect_of = {version(server.check(question, timeout=30)): "allow"}
    server.write_policy(DENY)
    eventually(lambda: reason(server.check(question, timeout=30)) == "denied_by_rule", "the other policy")
    effect_of[version(server.check(question, timeout=30))] = "deny"
    stop = threading.Event()
    wrong, answered = [], [0]

    def ask():
        while not stop.is_set():
            try:
                answer = server.check(question, timeout=30)
            except grpc.RpcError as error:
                wrong.append(error)
                continue
            told = answer.dynamic_metadata.fields["effect"].string_value
            if effect_of.get(version(answer)) != told or (answer.status.code == 0) != (told == "allow"):
                wrong.append(answer)
            answered[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    seen = server.metric('authz_reloads_total{outcome="success",what="snapshot"}') or 0
    for text in (ALLOW, DENY, ALLOW, "p, broken\n", DENY):
        server.write_policy(text)
        wanted = {ALLOW: "allowed", DENY: "denied_by_rule"}.get(text)
        if wanted:
            eventually(lambda wanted=wanted: reason(server.check(question, timeout=30)) == wanted, wanted)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert answered[0] > 100
    assert server.metric('authz_reloads_total{outcome="success",what="snapshot"}') >= seen + 4


def test_sighup_reads_everything_again(start, question):
    server = start().ready()
    moved = server.audit.with_name("audit.1")
    server.audit.rename(moved)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: server.metric('authz_reloads_total{outcome="success",what="snapshot"}'), "the reload")
    server.check(question, timeout=30)
    eventually(lambda: server.audit.exists() and "decision" in server.audit.read_text(), "the new audit file")


def test_a_disk_that_takes_no_records_denies_and_is_not_ready(start, question):
    server = start(audit="/dev/full")
    eventually(lambda: b"audit records cannot be kept" in (server.admin("/readyz") or b""), "the fault to show")
    answer = server.check(question, timeout=30)
    assert reason(answer) == "audit_unavailable"
    assert answer.denied_response.status.code == 503


def test_a_configuration_with_faults_does_not_start_and_names_them_all(start):
    server = start()
    server.stop()
    server.config.write_text('[identity]\ntrust_domain = "Demo"\n[server]\nlisen = ["x"]\n[policy]\nmodel = 3\n')
    run = subprocess.run(
        [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(server.config)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert run.returncode == 2
    assert "authz.toml:4" in run.stderr
    assert "listen" in run.stderr
    assert "policy.model" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_missing_policy_is_a_start_up_error_with_its_name(start):
    server = start()
    server.stop()
    (server.directory / "policy.csv").unlink()
    run = subprocess.run(
        [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(server.config)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert run.returncode == 2
    assert "policy.csv" in run.stderr
    assert "Traceback" not in run.stderr


def test_check_asks_a_running_server(start, certificate, tmp_path):
    server = start().ready()
    asked = tmp_path / "request.json"
    asked.write_text(json.dumps({"path": "/v1/a", "principal": PLANNER, "certificate": certificate}))
    run = subprocess.run(
        [sys.executable, "-m", "authz.cli.main", "check", "--server", server.address, "--json", str(asked)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["metadata"]["reason"] == "allowed"
    server.stop()
    run = subprocess.run(
        [sys.executable, "-m", "authz.cli.main", "check", "--server", server.address, "--timeout", "1", str(asked)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert run.returncode == 2
    assert "did not answer" in run.stderr


class Issuer:
    """An OIDC issuer: a key, tokens, and its key set over HTTPS once `serve` was called."""

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self):
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return json.dumps({"keys": [{**jwk, "kid": "k1", "alg": "ES256", "use": "sig"}]})

    def token(self):
        now = int(time.time())
        claims = {"iss": "https://idp.example", "sub": "robot", "aud": "ledger", "iat": now, "exp": now + 300}
        return jwt.encode(claims, self.key, "ES256", headers={"kid": "k1"})

    @contextlib.contextmanager
    def served(self, port, pki_directory):
        body = self.jwks().encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki_directory / "pdp.pem", pki_directory / "pdp.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        server.server_close()
        thread.join()


def with_token(token):
    request = CheckRequest()
    request.attributes.source.address.socket_address.address = "127.0.0.1"
    http_request = request.attributes.request.http
    http_request.method, http_request.host, http_request.path = "GET", "h", "/v1/accounts/1"
    http_request.headers["authorization"] = f"Bearer {token}"
    return request.SerializeToString()


TOKENS = """
[[identity.tokens.issuers]]
issuer = "https://idp.example"
form = "oidc"
jwks = "{jwks}"
audiences = ["ledger"]
[keys]
poll_seconds = 1
ca_file = "{ca}"
"""


def test_rotated_keys_in_a_file_take_effect_and_removed_ones_are_refused(start, tmp_path):
    first, second = Issuer(tmp_path), Issuer(tmp_path)
    file = tmp_path / "jwks.json"
    file.write_text(first.jwks())
    more = TOKENS.format(jwks=file, ca="")
    server = start(more=more, policy="p, robot, r.sub.id == 'https://idp.example#robot', /v1/*, GET, allow,\n").ready()
    assert reason(server.check(with_token(first.token()), timeout=30)) == "allowed"
    file.write_text(second.jwks())
    eventually(lambda: reason(server.check(with_token(second.token()), timeout=30)) == "allowed", "the new key")
    assert reason(server.check(with_token(first.token()), timeout=30)) == "token_signature"


def test_keys_behind_a_url_are_fetched_in_the_background_and_not_needed_to_start(start, tmp_path, pki_directory):
    issuer = Issuer(tmp_path)
    port = free_port()
    more = TOKENS.format(jwks=f"https://127.0.0.1:{port}/jwks", ca=pki_directory / "ca.pem")
    server = start(more=more, policy="p, robot, r.sub.id == 'https://idp.example#robot', /v1/*, GET, allow,\n").ready()
    assert reason(server.check(with_token(issuer.token()), timeout=30)).startswith("token_")
    with issuer.served(port, pki_directory):
        eventually(
            lambda: reason(server.check(with_token(issuer.token()), timeout=30)) == "allowed", "the fetched keys"
        )


GRANTS = """
[grants]
issuer = "https://authz.demo.internal"
jwks = "{jwks}"
[keys]
poll_seconds = 1
"""


def with_grant(question, token):
    request = CheckRequest.FromString(question)
    request.attributes.request.http.headers["authz-grant"] = token
    return request.SerializeToString()


@pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])
def test_a_grant_is_asked_for_presented_bound_counted_and_ends_with_its_key(
    start, tmp_path, question, pki_directory, transport
):
    old, new = (SigningKey(kid, ed25519.Ed25519PrivateKey.generate()) for kid in ("k1", "k2"))
    der = ssl.PEM_cert_to_DER_cert((pki_directory / "planner.pem").read_text())
    now = int(time.time())

    def token(key=old, **changes):
        made = Grant(
            id="g" * 22,
            issuer="https://authz.demo.internal",
            audience="https://authz.demo.internal",
            holder=PLANNER,
            task=Task("task-1", "look up an account"),
            scope=Scope((access(["GET"], ["h"], ["/v1/accounts/{id}"]),)),
            issued_at=now,
            not_before=now,
            expires=now + 600,
            certificate=hashlib.sha256(der).hexdigest(),
        )
        return sign_grant(msgspec.structs.replace(made, **changes), key)

    def ask(text):
        return server.check(with_grant(question, text), timeout=30)

    file = tmp_path / "grant-keys.json"
    file.write_text(json.dumps({"keys": [old.public_jwk()]}))
    more = GRANTS.format(jwks=file)
    policy = ALLOW.replace("allow,", "allow, grant=bound")
    server = start(transport=transport, more=more, policy=policy).ready()
    denied = server.check(question, timeout=30)
    assert reason(denied) == "grant_required"
    wanted = json.loads(denied.denied_response.body)["grant_request"]["authorization_details"]
    assert wanted[0]["resources"] == ["/v1/accounts/1"]
    for _ in range(2):
        allowed = ask(token(scope=parse_scope(wanted)))  # what was told is what to ask for
        assert reason(allowed) == "allowed"
        assert list(allowed.ok_response.headers_to_remove) == ["authz-grant"]
        assert allowed.dynamic_metadata.fields["task"].string_value == "task-1"
    assert reason(ask(token(certificate="ab" * 32))) == "grant_certificate"
    assert reason(ask(token(certificate=""))) == "grant_required"
    assert reason(ask(token(scope=Scope((access(["GET"], ["h"], ["/v1/other"]),))))) == "grant_scope"
    assert reason(ask(token(expires=now + 901))) == "grant_too_long_lived"
    # No shared store is configured: nobody could tell how often it was used before.
    assert reason(ask(token(uses=1))) == "state_unavailable"
    file.write_text(json.dumps({"keys": [new.public_jwk()]}))
    eventually(lambda: reason(ask(token(new))) == "allowed", "the new key")
    assert reason(ask(token())) == "grant_key_unknown"
    server.stop()
    assert not any(part in server.audit.read_text() for part in token().split(".")[1:])
    assert '"grant":{"id":"' + "g" * 22 in server.audit.read_text()


def differences(server):
    records = [json.loads(line) for line in whole_lines(server.audit)]
    return [record for record in records if record["event"] == "shadow_difference"]


def test_a_candidate_decides_beside_the_live_policy_and_only_differences_are_recorded(start, question):
    model = ROOT / "policies" / "model.conf"
    more = f'[shadow]\nmax_cpu_share = 1.0\npolicy.model = "{model}"\npolicy.policies = ["candidate.csv"]\n'
    server = start(more=more)
    (server.directory / "candidate.csv").write_text("broken")
    server.ready()
    assert reason(server.check(question, timeout=30)) == "allowed"
    eventually(lambda: "the candidate does not load" in server.log(), "told of the broken candidate")
    (server.directory / "candidate.csv").write_text(DENY)
    eventually(lambda: "a candidate decides" in server.log(), "the candidate")
    assert reason(server.check(question, timeout=30)) == "allowed"
    (found,) = eventually(lambda: differences(server), "a difference")
    assert (found["kind"], found["live"]["reason"], found["candidate"]["reason"]) == (
        "newly_denied",
        "allowed",
        "denied_by_rule",
    )
    assert found["candidate"]["rule"]["id"] == "candidate.csv:1"
    (server.directory / "candidate.csv").write_text(ALLOW)
    eventually(lambda: server.log().count("a candidate decides") == 2, "the next candidate")
    server.check(question, timeout=30)
    eventually(lambda: server.metric('authz_shadow_decisions_total{kind="same"}') == 1, "counted as the same")
    assert len(differences(server)) == 1
    assert server.stop() == 0


def test_policies_come_from_a_signed_bundle(start, question):
    def authz(*arguments):
        command = [sys.executable, "-m", "authz.cli.main", "bundle", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)

    def release(server, revision, rules):
        (server.directory / "policy.csv").write_text(rules)
        build = ["build", "--name", "demo", "--revision", revision, "--model", ROOT / "policies" / "model.conf"]
        build += ["--policy", server.directory / "policy.csv", "--key", server.directory / "release.key"]
        authz(*build, "-o", server.directory / "policy.tar.gz")

    more = """[policy.bundle]
location = "policy.tar.gz"
name = "demo"
trusted_keys = ["release.pub"]
state_directory = "state"
"""
    server = start(more="")
    server.stop()
    server.config.write_text(server.config.read_text().replace("[reload]", f"{more}[reload]"))
    authz("keygen", server.directory / "release")
    release(server, 1, ALLOW)
    server.begin().ready()
    assert reason(server.check(question, timeout=30)) == "allowed"
    assert server.metric("authz_policy_bundle_revision") == 1
    release(server, 3, DENY)
    eventually(lambda: reason(server.check(question, timeout=30)) == "denied_by_rule", "revision 3")
    release(server, 2, ALLOW)
    eventually(lambda: "revision 2 is older than 3" in server.log(), "the replay is told of")
    assert reason(server.check(question, timeout=30)) == "denied_by_rule"
    assert server.stop() == 0


def test_rules_come_from_a_database_and_stay_when_it_goes_away(start, question):
    server = start()
    server.stop()
    database = server.directory / "rules.db"

    def execute(*statements):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            for statement, *values in statements:
                connection.execute(statement, values)
            connection.commit()

    def insert(effect):
        columns = f"r.sub.id == '{PLANNER}'", "/v1/*", "GET", effect, ""
        return (
            "INSERT INTO casbin_rule (ptype, v0, v1, v2, v3, v4, v5) VALUES ('p', 'planner', ?, ?, ?, ?, ?)",
            *columns,
        )

    execute(("CREATE TABLE casbin_rule (id INTEGER PRIMARY KEY, ptype, v0, v1, v2, v3, v4, v5)",), insert("allow"))
    more = '[policy.database]\nurl = "sqlite:///rules.db"\npoll_seconds = 0.1\nrecheck_seconds = 0.1\n'
    server.config.write_text(server.config.read_text().replace("[reload]", f"{more}[reload]"))
    server.begin().ready()
    assert reason(server.check(question, timeout=30)) == "allowed"
    execute(insert("deny"))
    eventually(lambda: reason(server.check(question, timeout=30)) == "denied_by_rule", "the new row")
    database.unlink()
    failures = 'authz_reloads_total{outcome="failure",what="policy"}'
    eventually(lambda: server.metric(failures), "a failure is counted")
    assert "unable to open database file" in server.log()
    assert reason(server.check(question, timeout=30)) == "denied_by_rule"
    assert server.stop() == 0


def test_a_policy_that_is_not_the_newest_for_too_long_denies_and_is_not_ready(start, question):
    server = start(more="[freshness]\nmax_policy_age_seconds = 2\n").ready()
    eventually(lambda: reason(server.check(question, timeout=30)) == "allowed", "an answer")
    server.write_policy(
        "p, broken, r.sub.id ==, /v1/*, GET, allow,\n"
    )  # does not load: the good one goes on, for so long
    eventually(lambda: reason(server.check(question, timeout=30)) == "state_stale", "the end of that")
    eventually(lambda: b"known to be the newest" in (server.admin("/readyz") or b""), "not ready")
    server.write_policy(ALLOW)
    eventually(lambda: reason(server.check(question, timeout=30)) == "allowed", "the mended policy")
    server.ready()


def test_identities_are_watched(start, question):
    server = start().ready()
    server.check(question, timeout=30)
    assert server.metric("authz_watched_identities") == 1
    assert server.metric("authz_shared_identities") == 0
