"""The admin listener, from a plain HTTP client."""

import asyncio
import contextlib
import http.client
import json

import pytest

from authz.errors import ConfigError
from authz.transport.admin import AdminApp, AdminServer
from authz.transport.readiness import Readiness
from authz.transport.settings import AdminSettings


@contextlib.asynccontextmanager
async def admin(readiness: Readiness | None = None, metrics=lambda: b"authz_up 1\n", **changes: object):
    """Serve, and answer a function that makes one request."""
    readiness = readiness or Readiness(["policies"])
    settings = AdminSettings(**{"listen": "127.0.0.1:0", **changes})
    server = AdminServer(settings, AdminApp(readiness, metrics, "text/plain; version=0.0.4"))
    await server.start()

    def blocking(method: str, path: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        host, _, port = server.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        try:
            connection.request(method, path, body=body)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    async def ask(path: str, method: str = "GET", body: bytes | None = None):
        return await asyncio.to_thread(blocking, method, path, body)

    try:
        yield ask
    finally:
        await server.stop()


async def test_livez_says_that_it_lives_whether_ready_or_not():
    async with admin() as ask:
        assert (await ask("/livez"))[::2] == (200, b"ok\n")


async def test_readyz_names_what_fails_and_why():
    readiness = Readiness(["policies", "listeners"])
    async with admin(readiness) as ask:
        readiness.hold("listeners")
        readiness.fail("audit", "disk full")
        status, headers, body = await ask("/readyz")
        assert (status, headers["content-type"], headers["cache-control"]) == (503, "application/json", "no-store")
        assert json.loads(body) == {"ready": False, "failing": {"policies": "starting", "audit": "disk full"}}
        readiness.hold("policies")
        readiness.hold("audit")
        assert json.loads((await ask("/readyz"))[2]) == {"ready": True, "failing": {}}
        readiness.drain()
        assert (await ask("/readyz"))[0] == 503


async def test_metrics_are_shown_as_they_are_rendered():
    async with admin() as ask:
        status, headers, body = await ask("/metrics")
        assert (status, headers["content-type"], body) == (200, "text/plain; version=0.0.4", b"authz_up 1\n")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_head_is_get_without_its_body(path):
    async with admin() as ask:
        got, head = await ask(path), await ask(path, "HEAD")
        assert (head[0], head[2]) == (got[0], b"")
        assert head[1]["content-length"] == str(len(got[2]))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
async def test_it_takes_no_orders(method):
    async with admin() as ask:
        status, headers, _ = await ask("/metrics", method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/Metrics", "/livez/..", "/../metrics", "//metrics", "/debug", "/.."]
)
async def test_everything_else_is_not_found(path):
    async with admin() as ask:
        assert (await ask(path))[0] == 404


async def test_bodies_and_long_heads_are_refused():
    async with admin(max_header_bytes=2048) as ask:
        assert (await ask("/metrics", "GET", b"x" * 100))[0] in {413, 400}
        assert (await ask("/livez?" + "x" * 4000))[0] in {414, 431, 400}
        assert (await ask("/livez"))[0] == 200


async def test_metrics_that_fail_do_not_stop_it():
    def broken() -> bytes:
        raise ValueError

    async with admin(metrics=broken) as ask:
        assert (await ask("/metrics"))[0] == 500
        assert (await ask("/livez"))[0] == 200


def app() -> AdminApp:
    return AdminApp(Readiness(["policies"]), lambda: b"", "text/plain")


def test_the_default_is_this_machine_only_and_others_need_a_permission():
    AdminServer(AdminSettings(), app())
    with pytest.raises(ConfigError, match=r"admin\.allow_plaintext"):
        AdminServer(AdminSettings(listen="0.0.0.0:9192"), app())
    AdminServer(AdminSettings(listen="0.0.0.0:9192", allow_plaintext=True), app())


async def test_an_address_that_is_taken_is_a_clear_error():
    first = AdminServer(AdminSettings(listen="127.0.0.1:0"), app())
    await first.start()
    try:
        with pytest.raises(ConfigError, match=first.address):
            await AdminServer(AdminSettings(listen=first.address), app()).start()
    finally:
        await first.stop()


async def test_a_unix_socket_serves_too_and_is_removed(tmp_path):
    path = tmp_path / "admin.sock"
    server = AdminServer(AdminSettings(listen=f"unix:{path}"), app())
    await server.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await server.stop()
    assert not path.exists()
