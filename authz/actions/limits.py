"""How much of a body is read, and how it may be built (I12)."""

from typing import Annotated

import msgspec

from authz.actions.strict_json import JsonLimits


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a body is read; whatever goes over is denied."""

    max_body_bytes: Annotated[int, msgspec.Meta(ge=1, le=10_485_760)] = 262_144
    """The largest body that is read, in bytes; let Envoy's `max_request_bytes` be at least as large."""
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 16
    """Most actions that one body may ask for: the messages of a JSON-RPC batch, the top-level fields of a GraphQL
    operation."""
    max_args_bytes: Annotated[int, msgspec.Meta(ge=2, le=10_485_760)] = 65_536
    """The largest arguments of one action, in bytes of JSON."""
    json: JsonLimits = JsonLimits()
    """What a JSON body may be."""
