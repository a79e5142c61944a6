"""A server below that dies by itself is noticed."""

import asyncio

from transport_kit import serving, settings_for


async def test_a_listener_that_dies_by_itself_is_told_and_the_server_is_not_ready_any_more():
    async with serving(settings_for("h2corn")) as server:
        assert server.readiness.ready
        generation = server.plane._transport._generations[False]
        generation._server.shutdown()  # nobody asked our server to stop
        await asyncio.wait_for(server.plane.failed.wait(), 30)
        assert "listeners" in server.readiness.failing


async def test_an_ordinary_end_is_no_failure():
    async with serving(settings_for("h2corn")) as server:
        await server.plane.stop()
        assert not server.plane.failed.is_set()
