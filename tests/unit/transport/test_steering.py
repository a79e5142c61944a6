"""Whose listening socket gets the next connection."""

import contextlib
import os
import pathlib
import select
import socket
import stat

import pytest

from authz.errors import ConfigError
from authz.transport.settings import ServerSettings
from authz.transport.steering import SCATTERED, WorkerSockets, listen_of


@pytest.fixture
def directory():
    made = pathlib.Path("/tmp") / f"authz-steer-{os.getpid()}-{os.urandom(4).hex()}"
    made.mkdir(mode=0o700)
    yield made
    assert list(made.iterdir()) == [], "a socket file was left behind"
    made.rmdir()


def connect(address):
    if address.startswith("unix:"):
        one = socket.socket(socket.AF_UNIX)
        one.connect(address[5:])
        return one
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)))


@contextlib.contextmanager
def listening(sockets, workers):
    """The sockets that listen, each with the worker whose it is."""
    with contextlib.ExitStack() as stack:
        yield {
            stack.enter_context(socket.socket(fileno=os.dup(descriptor))): index
            for index in range(workers)
            for descriptor in sockets.descriptors(index).values()
        }


def taken_by(sockets, workers, seconds=60):
    """Who has a connection waiting; takes it. The kernel may hand one over a moment after its client is connected."""
    with listening(sockets, workers) as found:
        own = {each: index for each, index in found.items() if not str(each.getsockname()).endswith(".all")}
        waiting, _, _ = select.select(list(own), [], [], seconds)
        for each in waiting:
            each.accept()[0].close()
        return [own[each] for each in waiting]


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_connection_goes_to_whose_turn_it_is(directory, kind):
    listen = f"unix:{directory}/a.sock" if kind == "unix" else "127.0.0.1:0"
    sockets = WorkerSockets(ServerSettings(listen=(listen,)), 3)
    for index in (2, 0, 1, 1, 2):
        sockets.steer(index)
        connect(sockets.addresses[0]).close()
        assert taken_by(sockets, 3) == [index]
    sockets.close()


def test_the_public_name_has_the_mode_of_the_sockets(directory):
    sockets = WorkerSockets(ServerSettings(listen=(f"unix:{directory}/a.sock",), unix_socket_mode=0o660), 2)
    sockets.steer(1)
    assert stat.S_IMODE((directory / "a.sock").stat().st_mode) == 0o660
    sockets.close()


def test_who_waits_for_a_dead_worker_is_turned_away(directory):
    sockets = WorkerSockets(ServerSettings(listen=(f"unix:{directory}/a.sock",)), 2)
    sockets.steer(1)
    waiting = connect(sockets.addresses[0])
    waiting.settimeout(60)
    sockets.turn_away(1)
    assert waiting.recv(1) == b""
    waiting.close()
    sockets.close()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_an_address_where_somebody_listens_is_refused(directory, kind):
    listen = f"unix:{directory}/a.sock" if kind == "unix" else "127.0.0.1:0"
    first = WorkerSockets(ServerSettings(listen=(listen,)), 2)
    first.steer(0)
    with pytest.raises(ConfigError, match=r"already|in use"):
        WorkerSockets(ServerSettings(listen=(first.addresses[0],)), 2)
    taken_by(first, 2, 0)  # the look whether somebody listens
    first.steer(1)  # and the one that was there is not harmed
    connect(first.addresses[0]).close()
    assert taken_by(first, 2) == [1]
    first.close()


def test_what_a_server_that_was_killed_left_behind_is_replaced(directory):
    left = WorkerSockets(ServerSettings(listen=(f"unix:{directory}/a.sock",)), 3)
    left.steer(2)
    left.release()  # as the kernel does for a killed process: the files stay
    sockets = WorkerSockets(ServerSettings(listen=(f"unix:{directory}/a.sock",)), 3)
    sockets.steer(0)
    connect(sockets.addresses[0]).close()
    assert taken_by(sockets, 3) == [0]
    sockets.close()


def test_a_name_that_somebody_else_has_taken_is_left_alone(directory):
    sockets = WorkerSockets(ServerSettings(listen=(f"unix:{directory}/a.sock",)), 2)
    sockets.steer(0)
    (directory / "a.sock").unlink()
    (directory / "a.sock").write_text("theirs")
    sockets.close()
    assert (directory / "a.sock").read_text() == "theirs"
    (directory / "a.sock").unlink()


def test_a_path_that_is_too_long_for_its_workers_is_refused_and_nothing_stays(directory):
    path = f"{directory}/{'a' * (107 - len(str(directory)) - 1)}"
    with pytest.raises(ConfigError, match="at most 107 bytes"):
        WorkerSockets(ServerSettings(listen=(f"unix:{path}",)), 2)


def test_each_worker_may_have_a_name_of_its_own():
    listen = ("unix:/run/authz-{worker}.sock", "127.0.0.1:9191")
    assert listen_of(listen, 3) == ("unix:/run/authz-3.sock", "127.0.0.1:9191")
    sockets = WorkerSockets(ServerSettings(listen=listen[:1]), 2)
    assert sockets.listen(1) == ("unix:/run/authz-1.sock",)
    assert not sockets.steers
    sockets.close()


def test_a_port_cannot_be_numbered():
    (problem,) = ServerSettings(listen=("127.0.0.1:919{worker}",)).problems()
    assert problem == ("listen", '"{worker}" can stand in the path of a Unix socket only')
    assert not list(ServerSettings(listen=("unix:/run/a-{worker}.sock",)).problems())


def test_others_are_not_listened_to_without_tls():
    with pytest.raises(ConfigError, match="without TLS"):
        WorkerSockets(ServerSettings(listen=("0.0.0.0:0",)), 2)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_scattered_connections_reach_somebody(directory, kind):
    listen = f"unix:{directory}/a.sock" if kind == "unix" else "127.0.0.1:0"
    sockets = WorkerSockets(ServerSettings(listen=(listen,)), 2)
    sockets.steer(1)
    sockets.steer(SCATTERED)
    for _ in range(64):
        connect(sockets.addresses[0]).close()
    shares = [0, 0]
    with listening(sockets, 2) as found:
        for _ in range(64):
            waiting, _, _ = select.select(list(found), [], [], 60)
            waiting[0].accept()[0].close()
            shares[found[waiting[0]]] += 1
        assert select.select(list(found), [], [], 0)[0] == []
    if kind == "tcp":
        assert min(shares) > 0  # a chance of 2 to the power of -63 to fail
    sockets.close()
