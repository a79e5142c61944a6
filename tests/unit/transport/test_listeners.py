"""Addresses, and what may be served on them."""

import os
import socket
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import ConfigError
from authz.transport.listeners import Address, Listener, demand_safe, parse_address


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:9191", Address(host="127.0.0.1", port=9191), True),
        ("127.8.9.10:1", Address(host="127.8.9.10", port=1), True),
        ("localhost:9191", Address(host="127.0.0.1", port=9191), True),
        ("[::1]:9191", Address(host="::1", port=9191), True),
        ("0.0.0.0:9191", Address(host="0.0.0.0", port=9191), False),
        ("[::]:9191", Address(host="::", port=9191), False),
        ("10.1.2.3:65535", Address(host="10.1.2.3", port=65535), False),
        ("[2001:db8:0::1]:80", Address(host="2001:db8::1", port=80), False),
        ("[::ffff:10.0.0.1]:80", Address(host="::ffff:a00:1", port=80), False),
        ("unix:/run/authz/authz.sock", Address(path="/run/authz/authz.sock"), True),
    ],
)
def test_an_address_is_parsed_and_known_to_be_ours_alone_or_not(text, address, loopback):
    assert parse_address(text) == address
    assert parse_address(text).loopback is loopback
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9191",
        ":9191",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1: 80",
        "127.0.0.1:8_0",
        "127.0.0.1:\u0661",
        "::1:9191",
        "[::1]",
        "[127.0.0.1:80",
        "example.com:80",
        "localhost.evil.example:80",
        "127.1:80",
        "unix:",
        "unix:relative.sock",
        "unix:/" + "x" * 107,
        "unix:/a\0b",
        "unix:@abstract",
        "http://127.0.0.1:80",
        "fd://3",
        "127.0.0.1:80\n",
    ],
)
def test_what_is_no_address_is_a_clear_error(text):
    with pytest.raises(ConfigError, match="listen address"):
        parse_address(text)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error(text):
    try:
        address = parse_address(text)
    except ConfigError:
        return
    assert parse_address(str(address)) == address


OPEN = [parse_address("127.0.0.1:1"), parse_address("0.0.0.0:2")]


def test_plaintext_that_others_reach_is_refused_with_what_to_do():
    with pytest.raises(
        ConfigError, match=r"0\.0\.0\.0:2 .*without TLS.*\[server\.tls\].*server\.allow_plaintext = true"
    ):
        demand_safe(OPEN, encrypted=False, allow_plaintext=False, section="server")
    with pytest.raises(ConfigError, match=r"admin\.listen.*admin\.allow_plaintext = true"):
        demand_safe(OPEN, encrypted=False, allow_plaintext=False, section="admin")


@pytest.mark.parametrize(("encrypted", "allowed"), [(True, False), (False, True), (True, True)])
def test_tls_or_an_explicit_permission_makes_it_served(encrypted, allowed):
    demand_safe(OPEN, encrypted=encrypted, allow_plaintext=allowed, section="server")


def test_what_only_this_machine_reaches_needs_no_tls():
    ours = [parse_address(text) for text in ("127.0.0.1:1", "[::1]:1", "unix:/run/a.sock")]
    demand_safe(ours, encrypted=False, allow_plaintext=False, section="server")


def test_nobody_can_connect_before_the_mode_is_set(tmp_path, monkeypatch):
    path, modes = tmp_path / "a.sock", []
    listen = socket.socket.listen

    def spy(self, backlog):
        modes.append(stat.S_IMODE(path.stat().st_mode))
        return listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", spy)
    before = os.umask(0)
    try:
        Listener(Address(path=str(path)), 8, 0o600).close()
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_closing_twice_does_not_remove_what_came_after(tmp_path):
    path = tmp_path / "a.sock"
    listener = Listener(Address(path=str(path)), 8, 0o600)
    listener.close()
    assert not path.exists()
    after = Listener(Address(path=str(path)), 8, 0o600)
    listener.close()
    assert path.exists()
    after.close()


def test_a_listener_is_left_to_its_own_process(tmp_path):
    listener = Listener(parse_address("127.0.0.1:0"), 8, 0o600)
    try:
        assert not listener.socket.get_inheritable()
        assert not listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    finally:
        listener.close()
