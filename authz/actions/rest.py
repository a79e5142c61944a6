"""Plain REST: the method, and the type of the resource that the catalogue gives."""

from collections.abc import Sequence
from typing import ClassVar

from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.errors import Reason, Refusal
from authz.model import Action


class RestDecoder:
    """Names `GET` of a resource of type "account" `rest:GET:account`; the id is `r.obj.id`."""

    content_types: ClassVar[tuple[str, ...]] = ()

    def wants_body(self, message: Message) -> bool:  # noqa: ARG002 - of no request
        """Answer no: method and path say it."""
        return False

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:  # noqa: ARG002 - none is read
        """Answer the one action.

        Raises:
            Refusal: the catalogue does not know the resource, so that the name would not tell it from others.
        """
        kind = message.resource.get("type")
        if not kind:
            raise Refusal(Reason.BODY_UNKNOWN, "the catalogue has no type for this host, path and method")
        return (Action(f"rest:{message.method}:{kind}", kind="rest"),)
