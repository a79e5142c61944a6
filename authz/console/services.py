"""The way from a page to what it shows or does: the same desk that every other client of the control plane comes to.

There is no other: what a page asks is judged by the control plane's policy as this human's call, and put on record.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from authz.control.caller import Caller
from authz.control.charter import CONTROL, Question
from authz.control.desk import Desk
from authz.control.dispatch import action_of
from authz.control.method import Method, Methods, Stream

_Answer = TypeVar("_Answer", bound=Message)
SIGN_IN = f"{CONTROL}console.sign_in"
SIGN_OUT = f"{CONTROL}console.sign_out"


class Services:
    """Calls methods of the control plane in the name of a human."""

    def __init__(self, desk: Desk, services: Mapping[ServiceDescriptor, Methods], timeout_seconds: float) -> None:
        self._desk = desk
        self._timeout = timeout_seconds
        self._methods: dict[tuple[str, str], Method[Any] | Stream[Any]] = {
            (service.name, name): method for service, methods in services.items() for name, method in methods.items()
        }

    async def call(self, service: str, name: str, request: Message, answer: type[_Answer], caller: Caller) -> _Answer:
        """Call a method that answers once.

        Raises:
            ControlError: it is not allowed, waits for a second person, or fails.
        """
        method = self._methods[service, name]
        if not isinstance(method, Method):
            raise TypeError(f"{service}.{name} answers more than once")
        async with asyncio.timeout(self._timeout):
            found = await self._desk.call(action_of(service, name), method, request, caller)
        if not isinstance(found, answer):
            raise TypeError(f"{service}.{name} does not answer that")
        return found

    def follow(self, service: str, name: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        """Call a method that goes on; it is judged anew before each answer (I4)."""
        method = self._methods[service, name]
        if not isinstance(method, Stream):
            raise TypeError(f"{service}.{name} answers once")
        return self._desk.stream(action_of(service, name), method, request, caller)

    def signed(self, action: str, caller: Caller) -> None:
        """Judge and record that somebody comes or goes.

        Raises:
            ControlError: policy, or a revocation, does not let them.
        """
        self._desk.judge(action, Question("/console", {"type": "console", "author": caller.name}), caller)
