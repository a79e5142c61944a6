"""The tools of the agents' story: three MCP servers behind Envoy, which know nothing of authorization.

    python envoy/agents/tools.py ADDRESS_FILE CALLS_FILE

They write where they listen to ADDRESS_FILE, and each call that reached a tool, as a line of JSON, to CALLS_FILE: what
is not there was never done.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from serving import serve
from starlette.applications import Starlette
from starlette.routing import Mount

_BEHIND_ENVOY = TransportSecuritySettings(enable_dns_rebinding_protection=False)


def servers(calls: Path) -> dict[str, MCPServer]:
    """Make the servers, by the last segment of their path."""

    def did(tool: str, **arguments: object) -> None:
        with calls.open("a") as file:
            file.write(json.dumps({"tool": tool, **arguments}) + "\n")

    crm, bank, outside = MCPServer("crm"), MCPServer("bank"), MCPServer("outside")

    @crm.tool()
    def read_customer(customer: str) -> str:
        """Tell what is known of a customer: personal data."""
        did("read_customer", customer=customer)
        return f"customer {customer}: Ada L., born 1815, two open invoices"

    @crm.tool()
    def search(query: str) -> str:
        """Find customers."""
        did("search", query=query)
        return "42"

    @bank.tool()
    def transfer_funds(to: str, cents: int) -> str:
        """Pay somebody, in cents."""
        did("transfer_funds", to=to, cents=cents)
        return f"paid {cents / 100:.2f} to {to}"

    @outside.tool()
    def publish(text: str) -> str:
        """Put a text where the whole world can read it."""
        did("publish", text=text)
        return "published"

    return {"crm": crm, "bank": bank, "outside": outside}


def application(calls: Path) -> Starlette:
    """Serve them all, each under /mcp/<name>."""
    apps = {
        name: server.streamable_http_app(
            streamable_http_path=f"/{name}", json_response=True, stateless_http=True, transport_security=_BEHIND_ENVOY
        )
        for name, server in servers(calls).items()
    }

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    routes = [route for app in apps.values() for route in app.routes]
    return Starlette(routes=[Mount("/mcp", routes=routes)], lifespan=lifespan)


if __name__ == "__main__":
    asyncio.run(serve(application(Path(sys.argv[2])), Path(sys.argv[1])))
