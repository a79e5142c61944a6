"""From gRPC to the desk: finds methods by the protocol's descriptors, reads requests strictly, answers rich errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor

from authz.control.caller import Caller
from authz.control.charter import CONTROL
from authz.control.desk import Desk
from authz.control.faults import Code, ControlError, try_later
from authz.control.method import Method, Methods, Stream, read
from authz.control.settings import ControlSettings

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_T = TypeVar("_T")
_DETAILS = "grpc-status-details-bin"


class Dispatcher:
    """Makes gRPC's handlers of services."""

    def __init__(self, settings: ControlSettings, desk: Desk, identify: Callable[[Context], Caller]) -> None:
        """`identify` answers who is at the other end, or raises ControlError."""
        self._settings = settings
        self._desk = desk
        self._identify = identify
        self._calls = 0
        self._streams = 0
        self._log = structlog.get_logger("authz.control")

    def handlers(self, service: ServiceDescriptor, methods: Methods) -> Any:
        """Answer the handlers of one service, exactly those that the protocol has.

        Raises:
            KeyError: one is missing.
        """
        made = {
            each.name: self._handler(action_of(service.name, each.name), methods[each.name]) for each in service.methods
        }
        return grpc.method_handlers_generic_handler(service.full_name, made)

    def _handler(self, action: str, method: Method[Any] | Stream[Any]) -> Any:
        if isinstance(method, Stream):

            async def follow(raw: bytes, context: Context) -> AsyncIterator[bytes]:
                async with aclosing(self._follow(action, method, raw, context)) as answers:  # type: ignore[type-var]
                    async for answer in answers:
                        yield answer

            return grpc.unary_stream_rpc_method_handler(follow)

        async def answer(raw: bytes, context: Context) -> bytes:
            return await self._answer(action, method, raw, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _answer(self, action: str, method: Method[Any], raw: bytes, context: Context) -> bytes:
        async def work() -> bytes:
            self._desk.begin()
            caller = None
            if self._calls >= self._settings.max_concurrent_calls:
                raise try_later(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", "too many calls at once")
            self._calls += 1
            try:
                async with asyncio.timeout(self._patience(context)):
                    caller = self._identify(context)
                    request = read(method.request, raw)
                    return (await self._desk.call(action, method, request, caller)).SerializeToString()
            except ControlError as error:
                self._desk.refuse(action, error, caller)
                raise
            finally:
                self._calls -= 1

        return await self._guard(action, context, work)

    async def _follow(self, action: str, method: Stream[Any], raw: bytes, context: Context) -> AsyncIterator[bytes]:
        limits = self._settings.watch
        if self._streams >= limits.max_streams:
            await _abort(context, try_later(Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", "too many streams at once"))
        self._streams += 1
        self._desk.begin()
        caller = None
        try:
            caller = self._identify(context)
            request = read(method.request, raw)
            async with aclosing(self._desk.stream(action, method, request, caller)) as answers:  # type: ignore[type-var]
                loop = asyncio.get_running_loop()
                end = loop.time() + limits.max_seconds
                while True:
                    async with asyncio.timeout_at(end):
                        message = await anext(answers, None)
                    if message is None:
                        return
                    yield message.SerializeToString()
        except TimeoutError:
            await _abort(
                context, try_later(Code.UNAVAILABLE, "STREAM_ENDED", "the stream's time is over; open another")
            )
        except ControlError as error:
            self._desk.refuse(action, error, caller)
            await _abort(context, error)
        except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
            raise
        except Exception as fault:  # noqa: BLE001 - nothing of a fault is told but that there was one
            await _abort(context, self._fault(action, fault))
        finally:
            self._streams -= 1

    async def _guard(self, action: str, context: Context, work: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await work()
        except ControlError as error:
            await _abort(context, error)
        except TimeoutError:
            message = "the deadline passed before the call was done; it may yet be carried out"
            await _abort(context, ControlError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message))
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as fault:  # noqa: BLE001 - nothing of a fault is told but that there was one
            await _abort(context, self._fault(action, fault))

    def _fault(self, action: str, fault: Exception) -> ControlError:
        self._log.error("a control call failed", action=action, exc_info=fault)
        return ControlError(Code.INTERNAL, "INTERNAL", f"{action} failed; the server's log says how")

    def _patience(self, context: Context) -> float:
        remaining = cast("float | None", context.time_remaining())
        if remaining is None:
            return self._settings.default_deadline_seconds
        return min(max(0.0, remaining), self._settings.max_deadline_seconds)


async def _abort(context: Context, error: ControlError) -> NoReturn:
    await context.abort(error.code, error.message, ((_DETAILS, error.status().SerializeToString()),))
    raise AssertionError("abort raises")  # pragma: no cover


def action_of(service: str, method: str) -> str:
    """Answer the action's name, as policies see it: "control:revocations.start_lockdown"."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in method).lstrip("_")
    return f"{CONTROL}{service.lower()}.{snake}"
