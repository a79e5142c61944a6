"""What every agent of the story has: a certificate, and with it Envoy and the control plane."""

import contextlib
import itertools
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import httpx2
from a2a.client.client import ClientCallContext, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.helpers.proto_helpers import get_data_parts, new_data_part, new_message
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, Role, SendMessageRequest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from authz.client import connect
from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission

GRANT_HEADER = "authz-grant"
_TIMEOUT_SECONDS = 30.0
_REFUSED = 400

Use: TypeAlias = Callable[[str, Mapping[str, object]], Awaitable[dict[str, Any]]]
"""Calls a tool by name with arguments; answers what came of it."""


class Workload:
    """One workload: whom it is stands in its certificate."""

    def __init__(self, name: str, directory: Path) -> None:
        """`directory`: of the story; holds the certificates, and in `where.json` what is to be reached where."""
        self.name = name
        self._pki = directory / "pki"
        self._where = directory / "where.json"

    @cached_property
    def where(self) -> dict[str, str]:
        """Where Envoy ("edge") and the control plane ("control") listen."""
        return dict(json.loads(self._where.read_text()))

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Prove who it is, and believe nobody who cannot."""
        context = ssl.create_default_context(cafile=self._pki / "ca.pem")
        context.load_cert_chain(self._pki / f"{self.name}.pem", self._pki / f"{self.name}.key")
        return context

    async def exchange(self, token: str, scope: Sequence[Permission]) -> str:
        """Turn the grant of whoever asked into a narrower one of one's own; answer its token."""
        files = {"certificate": self._pki / f"{self.name}.pem", "key": self._pki / f"{self.name}.key"}
        target = self.where["control"]
        async with connect(
            target, **files, ca=self._pki / "ca.pem", server_name="localhost", timeout_seconds=_TIMEOUT_SECONDS
        ) as control:
            request = grants_pb2.ExchangeRequest(
                subject_token=token, permissions=scope, idempotency_key=uuid.uuid4().hex
            )
            answer = await control.call("Grants/Exchange", request, grants_pb2.ExchangeResponse)
        return answer.token

    async def use_tools(self, token: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Call tools over MCP, one after the other; answer what came of each."""
        told = []
        for server, group in itertools.groupby(calls, lambda call: call["server"]):
            async with self._tools(token, server) as use:
                told += [await use(call["tool"], call["arguments"]) for call in group]
        return told

    @contextlib.asynccontextmanager
    async def _tools(self, token: str, server: str) -> AsyncIterator[Use]:
        """A session with an MCP server, at the first call."""
        refused: list[dict[str, Any]] = []

        async def note(response: httpx2.Response) -> None:
            if response.status_code >= _REFUSED:
                await response.aread()
                refused.append(_refusal(response.status_code, response.content))

        client = httpx2.AsyncClient(
            verify=self.tls,
            headers={GRANT_HEADER: token} if token else {},
            event_hooks={"response": [note]},
            timeout=_TIMEOUT_SECONDS,
        )
        async with (
            client,
            streamable_http_client(f"{self.where['edge']}/mcp/{server}", http_client=client) as streams,
            ClientSession(*streams) as session,
        ):
            greeted = False

            async def use(tool: str, arguments: Mapping[str, object]) -> dict[str, Any]:
                nonlocal greeted
                refused.clear()
                try:
                    if not greeted:
                        await session.initialize()
                        greeted = True
                    result = await session.call_tool(tool, {name: _whole(value) for name, value in arguments.items()})
                except MCPError:
                    if not refused:
                        raise
                    return {"tool": tool, **refused[0]}
                return {"tool": tool, "status": 200, "text": result.content[0].text}

            yield use

    async def ask_agent(self, token: str, agent: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Have another agent do work, over A2A; answer what it tells."""
        url = f"{self.where['edge']}/agents/{agent}"
        about = AgentCard(
            name=agent,
            supported_interfaces=[AgentInterface(protocol_binding="JSONRPC", url=url, protocol_version="1.0")],
            capabilities=AgentCapabilities(streaming=False),
        )
        message = new_message([new_data_part({"calls": list(calls)})], role=Role.ROLE_USER)
        refused: dict[str, Any] = {}

        async def note(response: httpx.Response) -> None:
            if response.status_code >= _REFUSED:
                await response.aread()
                refused.update(_refusal(response.status_code, response.content))

        async with httpx.AsyncClient(
            verify=self.tls, headers={GRANT_HEADER: token}, event_hooks={"response": [note]}, timeout=_TIMEOUT_SECONDS
        ) as http:
            client = ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create(about)
            try:
                async for answer in client.send_message(
                    SendMessageRequest(message=message), context=ClientCallContext()
                ):
                    return list(get_data_parts(answer.message.parts)[0]["told"])
            except Exception:
                if not refused:
                    raise
                return [{"tool": f"agent {agent}", **refused}]
        raise RuntimeError(f"{agent} answered nothing")


def _refusal(status: int, body: bytes) -> dict[str, Any]:
    """What Envoy, or authz through it, said; its decision id leads to the record with the reason."""
    try:
        told = json.loads(body)
    except ValueError:
        told = {}
    return {"status": status, "decision_id": told.get("decision_id", ""), "told": told}


def _whole(value: object) -> object:
    """A2A carries numbers as doubles; a number that is whole was one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
