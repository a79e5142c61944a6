"""A connection to the control plane, and calls over it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from authz.client.errors import failed

_PACKAGE = "authz.control.v1"
_Answer = TypeVar("_Answer", bound=Message)


class Connection:
    """Calls methods of the services in `authz.control.v1`."""

    def __init__(self, channel: grpc.aio.Channel, timeout_seconds: float = 10.0, bearer: str = "") -> None:
        """`timeout_seconds`: for each call that names none; `bearer`: the token of a human who speaks with each."""
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()
        self._timeout = timeout_seconds

    async def call(
        self, method: str, request: Message, answer: type[_Answer], timeout_seconds: float | None = None
    ) -> _Answer:
        """Call a method such as "Grants/Issue".

        Raises:
            CallFailedError: it failed, or the server was not reached in time.
        """
        rpc = self._channel.unary_unary(f"/{_PACKAGE}.{method}", _written, answer.FromString)
        try:
            found: _Answer = await rpc(
                request,
                timeout=self._timeout if timeout_seconds is None else timeout_seconds,
                metadata=self._metadata,
            )
        except grpc.aio.AioRpcError as error:
            raise failed(error) from None
        return found

    async def stream(self, method: str, request: Message, answer: type[_Answer]) -> AsyncIterator[_Answer]:
        """Follow a method such as "Grants/Watch", until it ends or is left.

        Raises:
            CallFailedError: it ended with an error.
        """
        rpc: Any = self._channel.unary_stream(f"/{_PACKAGE}.{method}", _written, answer.FromString)
        call = rpc(request, metadata=self._metadata)
        try:
            async for each in call:
                yield each
        except grpc.aio.AioRpcError as error:
            raise failed(error) from None
        finally:
            call.cancel()


@contextlib.asynccontextmanager
async def connect(  # noqa: PLR0913 - each by name
    target: str,
    *,
    certificate: str | Path = "",
    key: str | Path = "",
    ca: str | Path = "",
    server_name: str = "",
    timeout_seconds: float = 10.0,
    bearer: str = "",
) -> AsyncIterator[Connection]:
    """Connect for the length of a block.

    `target`: "unix:/run/authz/control.sock", or "host:port" with the PEM files of mutual TLS: your certificate (an
    X509-SVID) with its chain, its key, and the authorities of the server's. `server_name`: the name in the server's
    certificate, where it is not the host. `bearer`: an OpenID token of the human who speaks, for what only humans may.

    Raises:
        ValueError: TLS files are missing, or given for a Unix socket. OSError: one cannot be read.
    """
    files = [str(each) for each in (certificate, key, ca)]
    if target.startswith("unix:"):
        if any(files):
            raise ValueError("a Unix socket has no TLS: the kernel says who you are")
        channel = grpc.aio.insecure_channel(target)
    elif not all(files):
        raise ValueError("a network connection needs certificate, key and ca")
    else:
        options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
        channel = grpc.aio.secure_channel(target, _credentials(files), options)
    async with channel:
        yield Connection(channel, timeout_seconds, bearer)


def _credentials(files: list[str]) -> grpc.ChannelCredentials:
    chain, private, roots = (Path(file).read_bytes() for file in files)
    return grpc.ssl_channel_credentials(roots, private, chain)


def _written(message: Message) -> bytes:
    return message.SerializeToString()
