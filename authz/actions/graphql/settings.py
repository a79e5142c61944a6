"""What can be set about reading GraphQL."""

from typing import Annotated

import msgspec


class GraphqlSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How GraphQL requests are read."""

    max_tokens: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 2_000
    """Most tokens of a document; each costs some microseconds before the request is decided."""
    batches: bool = False
    """Whether an array of requests in one body is read; each of them is then an action."""
    persisted: Annotated[dict[str, str], msgspec.Meta(max_length=10_000)] = {}
    """Documents that may be asked for by id or SHA-256 without being sent: the id, and the text that the upstream
    keeps for it. An id that is not listed is denied."""
