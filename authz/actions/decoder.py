"""What a decoder is: it reads one protocol, from the body of a request to the actions that the request asks for.

Further ones plug in through the entry point group `authz.decoders`: a callable that takes the decoder's own table of
the configuration (a mapping, empty where there is none) and answers a `Decoder`. docs/actions.md tells how.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from authz.actions.limits import Limits
from authz.model import Action, Attributes, Value


class Message(msgspec.Struct, frozen=True, gc=False):
    """The request whose body is read: its canonical reading, bounded, still what a client wrote."""

    method: str = ""
    path: str = ""
    """Canonical, without the query (I6)."""
    query: str = ""
    headers: Mapping[str, str] = {}
    """Lower-case names; values of a repeated header are joined by ","."""
    content_type: str = ""
    """The media type alone, in lower case: "application/json"; "" where there is none."""
    size: int = -1
    """The length that the proxy knows; -1: not known."""
    metadata: Mapping[str, Value] = {}
    """The dynamic metadata of the proxy, the configured namespaces."""
    resource: Attributes = {}
    """`r.obj` as the catalogue describes it: `type`, `id`, `host`, ..."""
    grpc: bool = False
    """Whether it is a gRPC call: POST, the content type of gRPC, a path of a service and a method."""
    repeated: Collection[str] = frozenset()
    """Names of headers that came more than once; known only where the proxy tells (`encode_raw_headers`)."""


class Decoder(Protocol):
    """Reads one protocol. One object serves all requests, so that it keeps nothing of any of them."""

    @property
    def content_types(self) -> Collection[str]:
        """Media types that it reads, in lower case; a body of another is denied before it is asked."""

    def wants_body(self, message: Message) -> bool:
        """Answer whether this request is read from its body; if so a missing, partial or encoded one is denied.

        Raises:
            Refusal: the request is none that the protocol has.
        """

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:
        """Answer what is asked for, at least one action; all of them must be allowed.

        `body` is whole, not encoded, within `limits.max_body_bytes`; b"" where none is wanted.

        Raises:
            Refusal: it can be read in two ways, or not at all.
        """
