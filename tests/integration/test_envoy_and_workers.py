"""A real Envoy in front of several workers: one address that they share, or one socket for each."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.guarded import Guarded, a_guarded

pytestmark = pytest.mark.envoy

CLUSTER = Path(__file__).parents[2] / "envoy" / "workers.yaml"
PATH = "/v1/accounts/42"


def shares(guarded: Guarded) -> list[float]:
    """How many calls each worker has decided."""
    text = guarded.pdp.get("/metrics") or ""
    return [
        float(value) for value in re.findall(r'^authz_worker_decisions_total\{worker="\d"\} (\S+)$', text, re.MULTILINE)
    ]


def with_a_socket_each(bootstrap: str) -> str:
    """The shipped cluster in the shipped bootstrap, on the sockets that its one cluster would be on."""
    path = re.search(r'path: "([^"]*authz-\{worker\}\.sock)"', bootstrap)[1]
    cluster = CLUSTER.read_text().replace("/run/authz/authz-{worker}.sock", path)
    for index in range(2):
        cluster = cluster.replace(f"/run/authz/authz-{index}.sock", path.replace("{worker}", str(index)))
    return bootstrap.replace('cluster_name: "authz_unix"', 'cluster_name: "authz_workers"') + cluster


@pytest.fixture
def guard(pki_directory, upstream) -> Callable[..., Guarded]:
    return lambda **how: a_guarded(pki_directory, upstream, environment={"AUTHZ__SERVER__WORKERS": "2"}, **how)


def test_a_socket_each_shares_the_calls_of_one_envoy_thread_evenly(guard):
    with guard(change=with_a_socket_each, socket="authz-{worker}.sock") as guarded:
        caller = guarded.caller("planner")
        for _ in range(40):
            assert caller.get(PATH).status == 200
        assert sum(shares(guarded)) == 40
        assert max(shares(guarded)) - min(shares(guarded)) <= 2


@pytest.mark.parametrize("over_tcp", [False, True], ids=["unix", "mutual TLS"])
def test_one_address_serves_envoy_over_the_death_of_a_worker(guard, over_tcp):
    with guard(over_tcp=over_tcp) as guarded:
        caller = guarded.caller("planner")
        # The first TLS handshake of a process may take longer than Envoy's connect_timeout on a busy machine.
        guarded.pdp.child.wait_for(lambda: caller.get(PATH).status == 200 or None, "an answer")
        (busy,) = [index for index, share in enumerate(shares(guarded)) if share]
        pid = int(re.findall(rf'"worker": ?{busy}, ?"worker_pid": ?(\d+)', guarded.pdp.child.log)[0])
        os.kill(pid, signal.SIGKILL)
        answers = {caller.get(PATH).status for _ in range(20)}
        assert answers <= {200, 503}, "nothing but what was decided, or that nobody decided"
        guarded.pdp.child.wait_for(lambda: guarded.pdp.get("/readyz"), "being ready again")
        guarded.pdp.child.wait_for(lambda: caller.get(PATH).status == 200 or None, "an answer again")
