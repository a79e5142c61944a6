"""Serves an application on loopback, on a port that the kernel picks."""

from pathlib import Path

import uvicorn
from starlette.applications import Starlette


async def serve(application: Starlette, address_file: Path) -> None:
    """Serve until SIGTERM; write "host:port" to `address_file` once connections are taken."""
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning"))
    sockets = [server.config.bind_socket()]
    host, port = sockets[0].getsockname()
    address_file.with_suffix(".new").write_text(f"{host}:{port}")
    address_file.with_suffix(".new").rename(address_file)
    await server.serve(sockets=sockets)
