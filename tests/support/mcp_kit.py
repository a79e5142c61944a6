"""MCP messages, and what a decoder makes of them."""

import json

import pytest

from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.actions.mcp.decoder import McpDecoder
from authz.actions.mcp.settings import McpSettings
from authz.errors import Refusal

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


def rpc(method, params=None, **members):
    message = {"jsonrpc": "2.0", "id": 1, "method": method}
    if params is not None:
        message["params"] = params
    return {**message, **members}


def decode(message, headers=(), *, method="POST", metadata=(), limits=None, repeated=(), **settings):
    body = message if isinstance(message, bytes) else b"" if message is None else json.dumps(message).encode()
    sent = Message(
        method,
        "/mcp",
        headers=dict(headers),
        content_type="application/json",
        size=len(body),
        metadata=dict(metadata),
        repeated=frozenset(repeated),
    )
    decoder = McpDecoder(McpSettings(**settings))
    wanted = decoder.wants_body(sent)
    return decoder.decode(sent, body if wanted else b"", limits or Limits())


def one(message, headers=(), **settings):
    (action,) = decode(message, headers, **settings)
    return action


def reason(message, headers=(), **settings):
    with pytest.raises(Refusal) as refused:
        decode(message, headers, **settings)
    return refused.value.reason


def call(name="transfer_funds", **arguments):
    return rpc("tools/call", {"name": name, "arguments": arguments})


def current(method, params=None, **mirrored):
    """A request of the current revision, with its headers."""
    message = rpc(method, {**(params or {}), "_meta": META})
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    return message, {**headers, **{f"mcp-{name}": value for name, value in mirrored.items()}}
