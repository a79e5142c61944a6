"""gRPC: which service and method a call is for, as its path says; the message itself is not read."""

import re
from collections.abc import Sequence
from typing import ClassVar

from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.errors import Reason, Refusal
from authz.model import Action

_PATH = re.compile(r"/((?:[A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*)/([A-Za-z_][A-Za-z0-9_]*)")


class GrpcDecoder:
    """Names the method as `package.Service/Method`, as calls without a decoder are named, too."""

    content_types: ClassVar[tuple[str, ...]] = ()

    def wants_body(self, message: Message) -> bool:  # noqa: ARG002 - of no call
        """Answer no: protobuf says nothing without its schema."""
        return False

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:  # noqa: ARG002 - none is read
        """Answer the one action.

        Raises:
            Refusal: not a gRPC call, where only such are expected.
        """
        found = _PATH.fullmatch(message.path)
        if not message.grpc or found is None:
            raise Refusal(Reason.BODY_UNKNOWN, "not a gRPC call: POST /package.Service/Method, type application/grpc")
        service, method = found.groups()
        return (Action(f"{service}/{method}", {"service": service, "method": method}, "grpc", method),)
