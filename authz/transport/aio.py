"""The same services on grpc.aio: the reference transport, held to the same tests as ours.

Check is declared as a stream of requests, so that no message and two messages are seen, and denied, too. What gRPC's
own core answers before we see it stays a gRPC status: a message over the hard limit (four times ours, or that many
bytes after decompression) is RESOURCE_EXHAUSTED, an unknown compression or method UNIMPLEMENTED.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import grpc

from authz.errors import Reason, Refusal
from authz.transport.answer import LEFT_ALONE
from authz.transport.ending import Ending
from authz.transport.health import GrpcError
from authz.transport.services import Services

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
HEALTH_WATCH: Final = "/grpc.health.v1.Health/Watch"


class GrpcHandlers(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs only
    """Routes exact method names to handlers that take and answer bytes."""

    def __init__(self, services: Services, ending: Ending) -> None:
        """Take the parts apart once."""
        self._answerer = services.answerer
        self._admission = services.admission
        self._health = services.health
        self._callers = services.callers
        self._max_message_bytes = services.max_message_bytes
        self._ending = ending
        self._handlers = {
            CHECK: grpc.stream_unary_rpc_method_handler(self._check),
            HEALTH_CHECK: grpc.unary_unary_rpc_method_handler(self._health_check),
            HEALTH_WATCH: grpc.unary_stream_rpc_method_handler(self._health_watch),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Answer the handler of a method; None becomes UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)

    async def _check(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """Serve Authorization/Check: from here on every failure is a denied CheckResponse (I2)."""
        admission = self._admission
        try:
            admission.enter()
            self._demand_allowed(context)
            claim = admission.claim(context.time_remaining(), admission.clock())
            message = await self._one_message(requests, claim.patience())
            response = self._answerer.answer(message, claim)
            return response if isinstance(response, bytes) else await self._answerer.settle(response, claim)
        except Refusal as refusal:
            return self._answerer.refuse(refusal)
        except LEFT_ALONE:
            raise
        except BaseException as fault:  # noqa: BLE001 - I2: a fault of the transport must deny, too
            return self._answerer.fault("the transport failed", fault)
        finally:
            admission.leave()

    def _demand_allowed(self, context: Context) -> None:
        if self._callers is None:
            return
        peer = context.auth_context()
        if peer.get("transport_security_type") == [b"ssl"]:
            self._callers.demand(b"".join(peer.get("x509_pem_cert", ())).decode("ascii", "replace"))

    async def _one_message(self, requests: AsyncIterator[bytes], patience: float) -> bytes:
        message: bytes | None = None
        try:
            async with asyncio.timeout(patience):
                async for part in requests:
                    if message is not None:
                        raise Refusal(Reason.REQUEST_MALFORMED, "more than one message")
                    message = part
        except TimeoutError:
            raise Refusal(Reason.DEADLINE_EXCEEDED, "the message did not arrive in time") from None
        if message is None:
            raise Refusal(Reason.REQUEST_MALFORMED, "no message")
        if len(message) > self._max_message_bytes:
            raise Refusal(
                Reason.REQUEST_TOO_LARGE,
                f"a message of {len(message)} bytes, at most {self._max_message_bytes} allowed",
            )
        return message

    async def _health_check(self, request: bytes, context: Context) -> bytes:
        try:
            return self._health.check(request)
        except GrpcError as error:
            return await context.abort(grpc.StatusCode[error.code.name], error.message)

    async def _health_watch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self._health.watch(request, self._ending)) as statuses:
                async for status in statuses:
                    yield status
        except GrpcError as error:
            await context.abort(grpc.StatusCode[error.code.name], error.message)
