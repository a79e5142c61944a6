"""How many clients are connected, counted without a transport's help."""

import os
import pathlib
import socket

import pytest

from authz.worker.connections import OpenConnections


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def address(listening):
    return f"127.0.0.1:{listening.getsockname()[1]}"


def test_clients_count_and_nothing_else(listening, tmp_path):
    connections = OpenConnections([address(listening), "unix:/tmp/none.sock"])
    assert connections.count() == 0  # the listening socket is none
    near = socket.create_connection(listening.getsockname())
    far, _ = listening.accept()
    far.setblocking(False)
    one, two = socket.socketpair()
    with near, far, (tmp_path / "x").open("w"), one, two, socket.socket():
        assert connections.count() == 1
        assert not os.get_blocking(far.fileno()), "counting has changed somebody's socket"
    assert connections.count() == 0


def test_unix_clients_are_told_by_the_path_that_they_came_to():
    path = f"/tmp/authz-count-{os.getpid()}-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as near:
        listening.bind(path)
        listening.listen()
        mine, other = OpenConnections([f"unix:{path}"]), OpenConnections(["unix:/tmp/other.sock"])
        near.connect(path)
        with listening.accept()[0]:
            assert (mine.count(), other.count()) == (1, 0)
        assert mine.count() == 0
    pathlib.Path(path).unlink()


def test_a_number_that_means_something_else_by_now_is_found_out_in_time(listening):
    now = 0.0
    connections = OpenConnections([address(listening)], clock=lambda: now)
    near = socket.create_connection(listening.getsockname())
    far, _ = listening.accept()
    with near, far, socket.socket() as other:
        assert connections.count() == 1
        os.dup2(other.fileno(), far.fileno())
        assert connections.count() == 1
        now = 1.0
        assert connections.count() == 0
