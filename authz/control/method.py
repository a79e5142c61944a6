"""What a method of the control plane is made of: how it is judged, and what it does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.faults import Code, ControlError

_Request = TypeVar("_Request", bound=Message)


class Call(msgspec.Struct, frozen=True):
    """One call that was allowed."""

    caller: Caller
    """Who asked: the author, where another person confirmed."""
    action: str
    decision_id: str
    now: float
    approver: str = ""
    """Who confirmed it; "" where nobody had to."""


class Method(msgspec.Struct, Generic[_Request], frozen=True):
    """A method that answers once."""

    request: type[_Request]
    ask: Callable[[_Request, Caller], Awaitable[Question]]
    """What policy is asked. Checks the request's fields first, and raises ControlError for those that are wrong; tells
    nothing of what it looked up."""
    run: Callable[[_Request, Call], Awaitable[Message]]
    """Carries it out; everything else has been decided."""
    can_wait: bool = False
    """Whether it can be kept for a second person. A method that cannot is denied where policy asks for one."""


class Stream(msgspec.Struct, Generic[_Request], frozen=True):
    """A method that answers as long as the caller listens."""

    request: type[_Request]
    ask: Callable[[_Request, Caller], Awaitable[Question]]
    run: Callable[[_Request, Call], AsyncIterator[Message]]


Methods = dict[str, Method[Any] | Stream[Any]]
"""The methods of one service, by their names in the protocol."""


def read(kind: type[Message], raw: bytes) -> Message:
    """Read a request strictly: a field that is not known could be a restriction that would not be kept.

    Raises:
        ControlError: it is no message of that kind, or has fields that this server does not know.
    """
    try:
        request = kind.FromString(raw)
    except DecodeError:
        raise ControlError(Code.INVALID_ARGUMENT, "MALFORMED", f"not a {kind.DESCRIPTOR.full_name}") from None
    size = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size:
        raise ControlError(
            Code.INVALID_ARGUMENT, "UNKNOWN_FIELD", "the request has fields that this server does not know"
        )
    return request
