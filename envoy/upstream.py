"""A service to stand behind Envoy: tells what reached it. HTTP/1.1, HTTP/2, gRPC and WebSocket on one port.

    python envoy/upstream.py ADDRESS_FILE        listens on a port of the kernel's choice, and writes where

Every HTTP request is answered with JSON: method, target, protocol, headers in order, size and text of the body. A gRPC
call gets that JSON as its message, a WebSocket message comes back with "echo: " before it. `/-/seen` answers the
requests so far, for tests that must show that one never arrived.
"""

import asyncio
import json
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from h2corn import Config, Server

_MAX_BODY_BYTES = 4 * 1024 * 1024
_MAX_REMEMBERED = 1000

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Echo:
    """The ASGI application."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self._seen: deque[dict[str, Any]] = deque(maxlen=_MAX_REMEMBERED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            self._seen.append(_describe(scope, b""))
            await _talk(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise NotImplementedError(scope["type"])

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/-/seen":
            await _reply(send, list(self._seen))
            return
        body = await _body(receive)
        seen = _describe(scope, body)
        self._seen.append(seen)
        if dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/grpc"):
            await _reply_grpc(send, seen)
        else:
            await _reply(send, seen)


def _describe(scope: Scope, body: bytes) -> dict[str, Any]:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return {
        "method": scope.get("method", "GET"),
        "target": target.decode("latin-1"),
        "protocol": f"{scope['type']}/{scope['http_version']}",
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body_bytes": len(body),
        "body": body.decode(errors="replace"),
    }


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body") or len(body) > _MAX_BODY_BYTES:
            return bytes(body)


async def _reply(send: Send, content: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


async def _reply_grpc(send: Send, content: object) -> None:
    message = json.dumps(content).encode()
    headers = [(b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await send({"type": "http.response.body", "body": struct.pack(">BI", 0, len(message)) + message})
    await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})


async def _talk(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"echo: {message.get('text') or ''}"})
        else:
            return


async def serve(address_file: Path) -> None:
    """Listen until the process is ended."""
    server = Server(Echo(), Config(bind=("127.0.0.1:0",), lifespan="off", grpc=True, access_log=False))
    serving = asyncio.create_task(server.serve())
    await server.wait_started()
    ready = address_file.with_suffix(".new")
    ready.write_text(f"{server.addresses[0]}\n")
    ready.rename(address_file)
    await serving


def main(arguments: Sequence[str]) -> int:
    """Serve; the command line names the file to write the address to."""
    if len(arguments) != 1:
        print("usage: python envoy/upstream.py ADDRESS_FILE", file=sys.stderr)
        return 2
    asyncio.run(serve(Path(arguments[0])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
