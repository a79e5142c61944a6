"""The gRPC health protocol, told from readiness; transports carry its bytes.

Source: grpc/doc/health-checking.md, grpc.health.v1.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from authz.transport.codes import Code
from authz.transport.ending import Ending
from authz.transport.readiness import Readiness

SERVICES: Final = frozenset({"", "envoy.service.auth.v3.Authorization"})
"""The names that have a status: the server as a whole, and the service that Envoy asks."""
MAX_REQUEST_BYTES: Final = 1024

_SERVING: Final[bytes] = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
_NOT_SERVING: Final[bytes] = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING).SerializeToString()
_SERVICE_UNKNOWN: Final[bytes] = HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN).SerializeToString()


class GrpcError(Exception):
    """A gRPC status other than OK; for calls that are not Check, so that I2 has no say."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        """Constant ASCII text without "%": it goes onto the wire unescaped."""


class Health:
    """Answers grpc.health.v1: one for all listeners."""

    def __init__(self, readiness: Readiness, max_watches: int) -> None:
        """Answer from `readiness`, with at most `max_watches` open streams."""
        self._readiness = readiness
        self._max_watches = max_watches
        self.watches = 0
        """Watch streams that are open."""

    def check(self, request: bytes) -> bytes:
        """Answer a serialized HealthCheckRequest.

        Raises:
            GrpcError: NOT_FOUND for a service without a status, INVALID_ARGUMENT for what is no request.
        """
        service = _service(request)
        if service not in SERVICES:
            raise GrpcError(Code.NOT_FOUND, "unknown service")
        return self._status()

    async def watch(self, request: bytes, ending: Ending) -> AsyncGenerator[bytes, None]:
        """Yield the status now, and again whenever it changes; a service without one is SERVICE_UNKNOWN.

        Raises:
            GrpcError: RESOURCE_EXHAUSTED over the limit (I12), INVALID_ARGUMENT, and UNAVAILABLE once `ending` is
                over: the stream never ends otherwise.
        """
        known = _service(request) in SERVICES
        if self.watches >= self._max_watches:
            raise GrpcError(Code.RESOURCE_EXHAUSTED, "too many watches")
        self.watches += 1
        changed = asyncio.Event()
        unsubscribe, leave = self._readiness.subscribe(changed.set), ending.join(changed.set)
        last = b""
        try:
            while not ending.over:
                changed.clear()
                status = self._status() if known else _SERVICE_UNKNOWN
                if status != last:
                    last = status
                    yield status
                else:
                    await changed.wait()
            raise GrpcError(Code.UNAVAILABLE, "this connection is being closed")
        finally:
            unsubscribe()
            leave()
            self.watches -= 1

    def _status(self) -> bytes:
        return _SERVING if self._readiness.ready else _NOT_SERVING


def _service(request: bytes) -> str:
    if len(request) > MAX_REQUEST_BYTES:
        raise GrpcError(Code.INVALID_ARGUMENT, "not a HealthCheckRequest")
    try:
        return str(HealthCheckRequest.FromString(request).service)
    except DecodeError:
        raise GrpcError(Code.INVALID_ARGUMENT, "not a HealthCheckRequest") from None
