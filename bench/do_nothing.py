"""The floor: answers every Check with one prebuilt allow. `do_nothing.py h2corn|grpc.aio ADDRESS`."""

import asyncio
import struct
import sys

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

ALLOW = CheckResponse()
ALLOW.status.code = 0
ALLOW.status.message = "OK"
MESSAGE = ALLOW.SerializeToString()
FRAME = b"\0" + struct.pack(">I", len(MESSAGE)) + MESSAGE
HEADERS = [(b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0")]


async def app(scope, receive, send) -> None:
    """Read the body, answer."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True})
    await send({"type": "http.response.body", "body": FRAME})
    await send({"type": "http.response.trailers", "headers": TRAILERS})


async def on_h2corn(address: str) -> None:
    from h2corn import Config, Server

    config = Config(
        bind=(address,),
        lifespan="off",
        grpc=True,
        http1=False,
        access_log=False,
        runtime_threads=1,
        max_concurrent_streams=1024,
    )
    await Server(app, config).serve()


async def on_aio(address: str) -> None:
    import grpc
    import grpc.aio

    async def check(request: bytes, context: object) -> bytes:
        return MESSAGE

    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", handlers),)
    )
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1] == "h2corn":
        import uvloop

        uvloop.run(on_h2corn(sys.argv[2]))
    else:
        asyncio.run(on_aio(sys.argv[2]))
