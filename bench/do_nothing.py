"""The floor: answers every Check with one prebuilt allow.

    python -m bench.do_nothing TRANSPORT ADDRESS WORKERS [CERTIFICATE KEY CLIENT_CA]

TRANSPORT is h2corn or grpc.aio, set up as authz sets them up. What it takes is what no server on that transport can go
below. With several workers, each is a process of its own on the same listening socket.

TRANSPORT "adapter" is authz' own data plane on h2corn, before a PDP that answers that one allow: what it takes more
than the floor is what lies between HTTP/2 and the decision.
"""

import asyncio
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

ALLOW = CheckResponse()
ALLOW.status.code = 0
ALLOW.status.message = "OK"
MESSAGE = ALLOW.SerializeToString()
FRAME = b"\0" + struct.pack(">I", len(MESSAGE)) + MESSAGE
HEADERS = [(b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, answer."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True})
    await send({"type": "http.response.body", "body": FRAME})
    await send({"type": "http.response.trailers", "headers": TRAILERS})


async def on_h2corn(bind: str, tls: list[str]) -> None:
    """Serve on h2corn."""
    from h2corn import Config, Server

    certificate, key, client_ca = map(Path, tls) if tls else (None, None, None)
    config = Config(
        bind=(bind,),
        lifespan="off",
        grpc=True,
        http1=False,
        access_log=False,
        date_header=False,
        runtime_threads=1,
        max_concurrent_streams=1024,
        certfile=certificate,
        keyfile=key,
        ca_certs=client_ca,
        cert_reqs="required" if tls else "none",
    )
    await Server(app, config).serve()


class Always:
    """A PDP that allows everything, an observer that sees nothing."""

    def check(self, message: bytes, budget_seconds: float) -> bytes:  # noqa: ARG002
        """Allow."""
        return MESSAGE

    def refuse(self, reason: object, detail: str) -> bytes:  # noqa: ARG002
        """Answer what no load generator takes for an allow."""
        return b""

    def shed(self, reason: object) -> None:
        """See nothing."""

    def lag(self, seconds: float) -> None:
        """See nothing."""

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        """See nothing."""


async def on_adapter(address: str) -> None:
    """Serve with authz' data plane."""
    from authz.transport.readiness import Readiness
    from authz.transport.server import LISTENERS, DataPlane
    from authz.transport.settings import ServerSettings

    plane = DataPlane(ServerSettings(listen=(address,)), Always(), Readiness((LISTENERS,)), Always())
    await plane.start()
    await plane.failed.wait()


async def on_aio(address: str, tls: list[bytes]) -> None:
    """Serve on grpc.aio."""
    import grpc
    import grpc.aio

    async def check(request: bytes, context: object) -> bytes:
        return MESSAGE

    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", handlers),)
    )
    if tls:
        certificate, key, client_ca = tls
        credentials = grpc.ssl_server_credentials([(key, certificate)], client_ca, require_client_auth=True)
        server.add_secure_port(address, credentials)
    else:
        server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


def listening(address: str) -> socket.socket:
    """A listening socket that children inherit."""
    if address.startswith("unix:"):
        found = socket.socket(socket.AF_UNIX)
        found.bind(address[5:])
    else:
        host, _, port = address.rpartition(":")
        found = socket.create_server((host, int(port)))
    found.listen(1024)
    found.set_inheritable(True)
    return found


def main(transport: str, address: str, workers: int, tls: list[str]) -> None:
    """Serve until told to stop."""
    if transport == "grpc.aio":
        if workers != 1:
            raise SystemExit("the grpc.aio floor has one worker")
        asyncio.run(on_aio(address, [Path(one).read_bytes() for one in tls]))
        return
    import uvloop

    if transport == "adapter":
        if workers != 1 or tls:
            raise SystemExit("the adapter is measured in one worker, without TLS")
        uvloop.run(on_adapter(address))
        return
    bind = address
    if workers > 1:
        shared = listening(address)
        bind = f"fd://{shared.fileno()}"
        children = []
        for _ in range(workers):
            child = os.fork()
            if not child:
                break
            children.append(child)
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: [os.kill(one, signal.SIGTERM) for one in children])
            for child in children:
                os.waitpid(child, 0)
            return
    uvloop.run(on_h2corn(bind, tls))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
