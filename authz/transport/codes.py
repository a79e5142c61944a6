"""The status codes of gRPC that are answered here, so that serving them over h2corn loads no gRPC library.

Source: grpc/doc/statuscodes.md.
"""

from enum import Enum


class Code(Enum):
    """A code, by the name that gRPC libraries give it, too."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14
