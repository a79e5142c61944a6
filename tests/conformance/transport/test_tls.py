"""Mutual TLS and the rotation of certificates, over both transports, from the real gRPC client."""

import asyncio
import hashlib
from ssl import PEM_cert_to_DER_cert

import grpc
import pytest
from transport_kit import (
    CHECK,
    OTHER,
    PROXY,
    Authority,
    FakeObserver,
    FakePdp,
    Pki,
    channel_to,
    check_request,
    reason_of,
    server_certificate,
    serving,
    settings_for,
    until,
)

from authz.errors import ConfigError
from authz.transport import tls
from authz.transport.readiness import Readiness
from authz.transport.server import LISTENERS, DataPlane

pytestmark = pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])


@pytest.fixture
def pki(tmp_path) -> Pki:
    return Pki(tmp_path)


async def ask(target: str, credentials, timeout: float = 30) -> str:
    async with channel_to(target, credentials) as channel:
        return reason_of(await channel.unary_unary(CHECK)(check_request(), timeout=timeout))


async def test_a_client_with_a_certificate_of_the_authority_is_served(transport, pki):
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        assert await ask(server.target, pki.client(pki.authority.issue(PROXY))) == "allowed"


@pytest.mark.parametrize("kind", ["none", "other-authority", "expired", "not-yet-valid"])
async def test_a_client_without_a_good_certificate_is_not_let_in(transport, pki, kind):
    identity = {
        "none": lambda: None,
        "other-authority": lambda: Authority("another CA").issue(PROXY),
        "expired": lambda: pki.authority.issue(PROXY, starts=-7200, ends=-60),
        "not-yet-valid": lambda: pki.authority.issue(PROXY, starts=600, ends=3600),
    }[kind]()
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(server.target, pki.client(identity), timeout=1.5)
        assert raised.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        assert server.pdp.messages == []
        assert await ask(server.target, pki.client(pki.authority.issue(PROXY))) == "allowed"


async def test_plaintext_is_not_served_where_tls_is_configured(transport, pki):
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(server.target, None, timeout=1)
        assert server.pdp.messages == []


async def test_a_unix_socket_beside_tls_is_served_without_it(transport, pki, tmp_path):
    listen = (f"unix:{tmp_path}/authz.sock", "127.0.0.1:0")
    tls = pki.settings(allowed_callers=(PROXY,))
    async with serving(settings_for(transport, listen=listen, tls=tls)) as server:
        unix, tcp = server.plane.addresses
        assert await ask(unix, None) == "allowed"
        assert await ask(tcp, pki.client(pki.authority.issue(PROXY))) == "allowed"
        assert await ask(tcp, pki.client(pki.authority.issue(OTHER))) == "proxy_not_allowed"


class TestAllowedCallers:
    async def test_the_proxy_on_the_list_may_ask(self, transport, pki):
        async with serving(settings_for(transport, tls=pki.settings(allowed_callers=(OTHER, PROXY)))) as server:
            assert await ask(server.target, pki.client(pki.authority.issue(PROXY))) == "allowed"

    @pytest.mark.parametrize(
        "sans",
        [
            (OTHER,),
            (PROXY, OTHER),
            (OTHER, PROXY),
            (),
            (PROXY + "/",),
            (PROXY.upper(),),
            (PROXY + "?x",),
            ("https://prod.example/ns/edge/sa/envoy",),
        ],
    )
    async def test_every_other_gets_a_denial_and_never_an_error(self, transport, pki, sans):
        identity = pki.authority.issue(*sans, dns="" if sans else "envoy.example")
        async with serving(settings_for(transport, tls=pki.settings(allowed_callers=(PROXY,)))) as server:
            assert await ask(server.target, pki.client(identity)) == "proxy_not_allowed"
            assert server.pdp.messages == []
            assert len(server.pdp.refusals) == 1


class Traffic:
    """One client that asks in bursts without a pause over one channel, and the outcome of every call."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.bursts = 0
        """How many are over."""

    async def run(self, done: asyncio.Event, target: str, credentials) -> None:
        async with channel_to(target, credentials) as channel:
            call = channel.unary_unary(CHECK)
            while not done.is_set():
                await asyncio.gather(*(self._one(call) for _ in range(16)))
                self.bursts += 1

    async def _one(self, call) -> None:
        try:
            self.outcomes.append(reason_of(await call(check_request(), timeout=30)))
        except grpc.aio.AioRpcError as error:
            self.outcomes.append(f"{error.code().name}: {error.details()}")


async def test_certificates_rotate_under_traffic_with_no_failed_call(transport, pki, tmp_path):
    client = pki.authority.issue(PROXY)

    def shown(port: int) -> str:
        return hashlib.sha256(server_certificate(port, client, tmp_path)).hexdigest()

    settings = settings_for(transport, tls=pki.settings(), goaway_seconds=0.8)  # clients of a busy machine hear late
    async with serving(settings) as server:
        done, traffic = asyncio.Event(), [Traffic() for _ in range(2)]
        asking = [asyncio.ensure_future(each.run(done, server.target, pki.client(client))) for each in traffic]

        async def bursts_are_over() -> None:
            """Wait until each call that may be under way has ended: gRPC moves one to another connection only once."""
            enough = [each.bursts + 2 for each in traffic]
            await until(lambda: all(each.bursts >= least for each, least in zip(traffic, enough, strict=True)))

        await bursts_are_over()
        seen = {await asyncio.to_thread(shown, server.port)}
        for _ in range(12):
            pki.install(pki.authority.issue(dns="authz.example"))
            assert await server.plane.renew_certificates()
            seen.add(await asyncio.to_thread(shown, server.port))  # at once
            await bursts_are_over()
        done.set()
        await asyncio.gather(*asking)
        outcomes = [outcome for each in traffic for outcome in each.outcomes]
    assert set(outcomes) == {"allowed"}
    assert len(outcomes) > 600
    assert len(seen) == 13
    assert server.observer.reloads == [("tls", True)] * 12


async def test_a_call_in_flight_outlives_the_certificate_that_it_began_under(transport, pki):
    credentials = pki.client(pki.authority.issue(PROXY))
    settings = settings_for(transport, tls=pki.settings())
    async with serving(settings) as server, channel_to(server.target, credentials) as channel:
        call = channel.stream_unary(CHECK)()
        await call.wait_for_connection()
        await until(lambda: server.plane.admission.inflight == 1)
        pki.install(pki.authority.issue(dns="authz.example"))
        assert await server.plane.renew_certificates()
        assert await ask(server.target, credentials) == "allowed"
        await call.write(check_request())
        await call.done_writing()
        assert reason_of(await asyncio.wait_for(call, 30)) == "allowed"


async def test_a_new_client_authority_takes_effect(transport, pki):
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        old = pki.client(pki.authority.issue(PROXY))
        assert await ask(server.target, old) == "allowed"
        pki.authority = Authority("the next CA")
        pki.install(pki.authority.issue(dns="authz.example"))
        assert await server.plane.renew_certificates()
        assert await ask(server.target, pki.client(pki.authority.issue(PROXY))) == "allowed"
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(server.target, old, timeout=1)


async def test_files_are_looked_at_by_themselves(transport, pki):
    tls = pki.settings(reload_interval_seconds=0.05)
    async with serving(settings_for(transport, tls=tls)) as server:
        pki.install(pki.authority.issue(dns="authz.example"))
        await until(lambda: server.observer.reloads == [("tls", True)])
        assert await ask(server.target, pki.client(pki.authority.issue(PROXY))) == "allowed"


async def test_renewals_at_the_same_time_leave_one_server_and_that_the_newest(transport, pki, tmp_path):
    client = pki.authority.issue(PROXY)
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        fresh = pki.authority.issue(dns="authz.example")
        pki.install(fresh)
        renewed = await asyncio.gather(*(server.plane.renew_certificates() for _ in range(4)))
        assert sorted(renewed) == [False, False, False, True]
        shown = {await asyncio.to_thread(server_certificate, server.port, client, tmp_path) for _ in range(20)}
        assert shown == {PEM_cert_to_DER_cert(fresh.certificate.decode())}
        assert await ask(server.target, pki.client(client)) == "allowed"


async def test_a_renewal_while_stopping_leaves_nobody_listening(transport, pki):
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        pki.install(pki.authority.issue(dns="authz.example"))
        renewing = asyncio.ensure_future(server.plane.renew_certificates())
        await asyncio.sleep(0)
        await asyncio.wait_for(server.plane.stop(), 30)
        await renewing
        pki.install(pki.authority.issue(dns="authz.example"))
        assert not await server.plane.renew_certificates()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)


async def test_looking_at_the_files_goes_on_after_an_unforeseen_fault(transport, pki, monkeypatch):
    read, faults = tls.read_material, []

    def failing(*arguments):
        if len(faults) < 2:
            faults.append(1)
            raise OSError("no more descriptors")
        return read(*arguments)

    settings = settings_for(transport, tls=pki.settings(reload_interval_seconds=0.05))
    async with serving(settings) as server:
        monkeypatch.setattr("authz.transport.server.read_material", failing)
        pki.install(pki.authority.issue(dns="authz.example"))
        await until(lambda: server.observer.reloads == [("tls", True)])
        assert len(faults) == 2


async def test_files_that_did_not_change_change_nothing(transport, pki):
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        assert not await server.plane.renew_certificates()
        assert server.observer.reloads == []


@pytest.mark.parametrize("broken", ["certificate", "key", "client_ca", "mismatch", "expired", "absent"])
async def test_broken_new_files_are_refused_once_and_the_old_ones_stay(transport, pki, tmp_path, broken):
    credentials = pki.client(pki.authority.issue(PROXY))
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        fresh = pki.authority.issue(dns="authz.example")
        match broken:
            case "certificate":
                (tmp_path / "tls.crt").write_bytes(fresh.certificate[:-60])
            case "key":
                (tmp_path / "tls.key").write_bytes(b"")
            case "client_ca":
                (tmp_path / "ca.crt").write_bytes(b"no certificate\n")
            case "mismatch":  # what a reader sees half way through a rotation
                (tmp_path / "tls.crt").write_bytes(fresh.certificate)
            case "expired":
                pki.install(pki.authority.issue(dns="authz.example", starts=-7200, ends=-60))
            case "absent":
                (tmp_path / "tls.key").unlink()
        for _ in range(3):
            assert not await server.plane.renew_certificates()
        assert server.observer.reloads == [("tls", False)]
        assert await ask(server.target, credentials) == "allowed"
        pki.install(fresh)
        assert await server.plane.renew_certificates()
        assert await ask(server.target, credentials) == "allowed"


async def test_a_start_with_broken_files_is_a_clear_error(transport, pki, tmp_path):
    (tmp_path / "tls.key").write_bytes(b"junk")
    plane = DataPlane(settings_for(transport, tls=pki.settings()), FakePdp(), Readiness([LISTENERS]), FakeObserver())
    with pytest.raises(ConfigError, match=r"server\.tls\.key: .*tls\.key: not an unencrypted PEM private key"):
        await plane.start()


async def test_tls_before_1_2_is_not_spoken(transport, pki):
    suites = bytes.fromhex("c013c014002f0035")
    body = bytes.fromhex("0302") + bytes(32) + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\1\0"
    hello = b"\1" + len(body).to_bytes(3, "big") + body
    async with serving(settings_for(transport, tls=pki.settings())) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(bytes.fromhex("160301") + len(hello).to_bytes(2, "big") + hello)
        answer = await asyncio.wait_for(reader.read(1024), 30)
        writer.close()
        alert, handshake = 21, 22
        assert answer[:1] in (b"", bytes([alert]))
        assert answer[:1] != bytes([handshake])
