"""Where the data plane listens: TCP, Unix sockets, several at once; over both transports."""

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from transport_kit import CHECK, FakeObserver, FakePdp, channel_to, check_request, reason_of, serving, settings_for

from authz.errors import ConfigError
from authz.transport.readiness import Readiness
from authz.transport.server import LISTENERS, DataPlane

pytestmark = pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])


def plane_of(settings) -> DataPlane:
    return DataPlane(settings, FakePdp(), Readiness([LISTENERS]), FakeObserver())


async def ask(target: str) -> str:
    async with channel_to(target) as channel:
        return reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=30))


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


async def test_a_unix_socket_serves_its_owner_only_and_is_removed_at_the_end(transport, tmp_path):
    path = tmp_path / "authz.sock"
    async with serving(settings_for(transport, listen=(f"unix:{path}",))) as server:
        assert server.plane.addresses == (f"unix:{path}",)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await ask(f"unix:{path}") == "allowed"
    assert not path.exists()


async def test_the_mode_of_a_unix_socket_is_configured(transport, tmp_path):
    path = tmp_path / "authz.sock"
    async with serving(settings_for(transport, listen=(f"unix:{path}",), unix_socket_mode=0o660)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_the_socket_of_a_dead_server_is_replaced(transport, tmp_path):
    path = tmp_path / "authz.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    async with serving(settings_for(transport, listen=(f"unix:{path}",))):
        assert await ask(f"unix:{path}") == "allowed"


async def test_the_socket_of_a_living_server_is_left_alone(transport, tmp_path):
    path = tmp_path / "authz.sock"
    async with serving(settings_for(transport, listen=(f"unix:{path}",))):
        with pytest.raises(ConfigError, match="somebody listens there already"):
            await plane_of(settings_for(transport, listen=(f"unix:{path}",))).start()
        assert await ask(f"unix:{path}") == "allowed"


async def test_a_file_that_is_no_socket_is_never_removed(transport, tmp_path):
    path = tmp_path / "authz.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        await plane_of(settings_for(transport, listen=(f"unix:{path}",))).start()
    assert path.read_text() == "precious"


async def test_a_directory_that_is_not_there_is_a_clear_error(transport, tmp_path):
    with pytest.raises(ConfigError, match=r"absent/authz\.sock"):
        await plane_of(settings_for(transport, listen=(f"unix:{tmp_path}/absent/authz.sock",))).start()


async def test_a_socket_that_somebody_put_in_our_place_is_not_removed(transport, tmp_path):
    path, aside = tmp_path / "authz.sock", tmp_path / "aside.sock"
    async with serving(settings_for(transport, listen=(f"unix:{path}",))):
        Path(path).rename(aside)
        path.write_text("another's")
    assert path.read_text() == "another's"


async def test_several_addresses_are_served_at_once(transport, tmp_path):
    listen = ("127.0.0.1:0", f"unix:{tmp_path}/authz.sock", "127.0.0.2:0", *(["[::1]:0"] if has_ipv6() else []))
    async with serving(settings_for(transport, listen=listen)) as server:
        assert len(server.plane.addresses) == len(listen)
        assert {await ask(target) for target in server.plane.addresses} == {"allowed"}


async def test_a_port_that_is_taken_is_a_clear_error_and_never_shared(transport):
    async with serving(settings_for(transport)) as server:
        for other in ("h2corn", "grpc.aio"):
            with pytest.raises(ConfigError, match=server.target):
                await plane_of(settings_for(other, listen=(server.target,))).start()
        assert await ask(server.target) == "allowed"


async def test_a_start_that_fails_half_way_gives_back_what_it_had(transport, tmp_path):
    path = tmp_path / "authz.sock"
    async with serving(settings_for(transport)) as server:
        with pytest.raises(ConfigError):
            await plane_of(settings_for(transport, listen=(f"unix:{path}", server.target))).start()
    assert not path.exists()


async def test_connections_are_bounded(transport):
    async with serving(settings_for(transport, max_connections=3)) as server:
        opened = []
        try:
            for _ in range(3):
                opened.append(await asyncio.open_connection("127.0.0.1", server.port))
                opened[-1][1].write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
                assert await asyncio.wait_for(opened[-1][0].read(9), 30)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            opened.append((reader, writer))
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
            try:
                first = await asyncio.wait_for(reader.read(9), 0.3)
            except (TimeoutError, ConnectionError):
                first = b""
            assert first == b""
        finally:
            for _, writer in opened:
                writer.close()


async def test_readiness_holds_once_it_listens_and_fails_when_it_stops(transport):
    async with serving(settings_for(transport)) as server:
        assert server.readiness.ready
    assert not server.readiness.ready
