"""Peers: named on the command line, given the same facts as authz."""

import json
import socket

import pytest

from bench.peer_policies import write
from bench.servers import peer


@pytest.fixture
def address(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        yield f"unix:{tmp_path / 's'}"


def test_a_peer_is_named_by_address_and_perhaps_process(address):
    found = peer(f"opa={address}")
    assert (found.name, found.address, found.pids) == ("opa", address, [])
    with_process = peer(f"opa={address}@1")
    assert with_process.address == address
    assert with_process.pids[0] == 1


@pytest.mark.parametrize("text", ["opa", "opa=", "=unix:/s", "o p=127.0.0.1:1", "opa=127.0.0.1", "opa=127.0.0.1:9@x"])
def test_what_is_not_of_that_form_is_an_error(text):
    with pytest.raises(ValueError, match="is not NAME="):
        peer(text)


def test_a_peer_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nobody listens"):
        peer(f"opa=unix:{tmp_path}/none")


def test_opa_gets_the_inventory_that_authz_reads(tmp_path):
    write(tmp_path / "peers", principals=20)
    workloads = json.loads((tmp_path / "peers" / "opa" / "data.json").read_text())["workloads"]
    assert len([name for name in workloads if "/sa/agent-" in name]) == 20
    assert {"kind", "environment", "clearance", "labels"} <= set(
        workloads["spiffe://demo.internal/ns/agents/sa/agent-00007"]
    )
    assert (tmp_path / "peers" / "opa" / "config.yaml").exists()
