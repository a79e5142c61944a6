"""A server imports what its configuration turns on: nothing else, and all of it before it serves."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from processes import listens, whole_lines

ROOT = pathlib.Path(__file__).parents[2]
POLICIES = ROOT / "policies"
# What takes long to import or much memory, and its users, each of which something turns on that is off by default.
HEAVY = {
    *("authlib", "graphql", "grpc", "httpx2", "jinja2", "joserfc", "psycopg", "sqlalchemy", "starlette"),
    *("authz.actions.reader", "authz.actions.mcp.decoder", "authz.candidate", "authz.shadow.trail"),
    *("authz.console.opening", "authz.console_plane", "authz.control.desk", "authz.control.server"),
    *("authz.control.v1.common_pb2", "authz.control_plane", "authz.host_state", "authz.orders", "authz.shared_state"),
    *("authz.stores.database.store", "authz.transport.aio_server"),
}
DEFAULTS = """
[identity]
trust_domain = "demo.internal"
[policy]
model = "{policies}/model.conf"
policies = ["policy.csv"]
[server]
workers = {workers}
listen = ["unix:{directory}/authz.sock"]
drain_delay_seconds = 0
[supervisor]
restart_backoff_seconds = 300
max_restart_backoff_seconds = 300
[admin]
listen = "unix:{directory}/admin.sock"
[audit]
destination = "{directory}/audit.jsonl"
"""
EVERYTHING = """
[grants]
issuer = "https://authz.demo.internal"
[identity.sharing]
enabled = true
[actions]
[[actions.routes]]
decoder = "graphql"
path = "/graphql"
[shadow.policy]
model = "{policies}/model.conf"
policies = ["policy.csv"]
[control]
enabled = true
listen = ["unix:{directory}/control.sock"]
[[control.operators]]
name = "alice"
uid = {uid}
oidc_subject = "ada"
[control.policy]
model = "{policies}/model.conf"
policies = ["{policies}/control.csv"]
[console]
enabled = true
listen = "127.0.0.1:0"
public_url = "https://console.example"
[console.oidc]
issuer = "https://login.example"
client_id = "authz"
[[console.oidc.members]]
claim = "sre"
groups = ["operators", "security"]
"""
IMPORTED = re.compile(r"^import time: *\d+ \| *\d+ \| +(\S+)$")


class Running:
    """A server whose log has a line for each module that any of its processes imports."""

    def __init__(self, directory, workers, more=""):
        (directory / "policy.csv").write_text("p, nobody, False, *, *, allow,\n")
        config = directory / "authz.toml"
        config.write_text(
            (DEFAULTS + more).format(directory=directory, workers=workers, policies=POLICIES, uid=os.getuid())
        )
        self._log = directory / "log"
        command = [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(config)]
        environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, cwd=ROOT, env=environment)

    def lines(self):
        return whole_lines(self._log)

    def told(self, event):
        found = [json.loads(line) for line in self.lines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def wait_for(self, event, times):
        deadline = time.monotonic() + 60
        while len(self.told(event)) < times:
            assert self.process.poll() is None, f"{event}\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"{event}\n{self._log.read_text()}"
            threading.Event().wait(0.05)  # between two looks; what is waited for is the line

    def imported(self):
        """The modules beyond the standard library, as often as they were."""
        found = [match[1] for line in self.lines() if (match := IMPORTED.match(line))]
        return [name for name in found if name.partition(".")[0] not in sys.stdlib_module_names]

    def workers(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def started(*settings):
            running = Running(tmp_path, *settings)
            stack.callback(running.process.wait, 30)
            stack.callback(running.process.send_signal, signal.SIGTERM)
            running.wait_for("serving", settings[0])
            return running

        yield started


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_off_is_not_imported(start, workers):
    imported = set(start(workers).imported())
    assert "authz.app" in imported
    assert not imported & HEAVY
    assert ("authz.supervisor.supervisor" in imported) == (workers > 1)


def test_what_is_on_is_imported_before_it_is_needed(start):
    running = start(2, EVERYTHING)
    assert set(running.imported()) & HEAVY == HEAVY - {"authz.transport.aio_server", "psycopg"}
    before = running.imported()
    port = int(running.told("console listening")[0]["address"].rpartition(":")[2])
    [leader] = [pid for pid in running.workers() if listens(pid, port)]
    os.kill(leader, signal.SIGKILL)
    running.wait_for("console listening", 2)  # by the worker that has served all along
    assert running.imported() == before


def test_a_supervisor_decides_nothing():
    code = "import sys, authz.supervisor.run, authz.supervisor.supervisor; print('authz.app' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
