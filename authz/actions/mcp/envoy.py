"""What Envoy's own MCP filter says of a request, through dynamic metadata.

The filter (`envoy.filters.http.mcp`, Envoy 1.37 and later; "work in progress" by its own word) passes on method,
`params.name` or `params.uri`, and the id. What it cannot parse, a batch among it, it passes over in silence, or marks
with `passthrough_reason`; where its attributes come from headers it believes the caller. docs/actions.md tells more.
"""

from collections.abc import Mapping
from typing import Final

from authz.actions.mcp.message import JsonRpc
from authz.errors import Reason, Refusal
from authz.model import Value

NAMESPACES: Final = ("envoy.filters.http.mcp", "mcp_proxy")
"""Of the metadata: as of Envoy 1.38, and before."""
_COMPARED: Final = ("name", "uri", "taskId")


def told_by_envoy(metadata: Mapping[str, Value]) -> JsonRpc:
    """Answer the message as the filter read it.

    Raises:
        Refusal: BODY_MISMATCH: it read none, not all of it, or nothing that is a request.
    """
    told = next((metadata[name] for name in NAMESPACES if name in metadata), None)
    if not isinstance(told, Mapping):
        raise Refusal(
            Reason.BODY_MISMATCH, "Envoy's MCP filter says nothing of the request; is its namespace passed on?"
        )
    if (
        told.get("is_mcp_request") is not True
        or told.get("is_exceeding_limit")
        or told.get("passthrough_reason")
        or told.get("status", "mcp_ok") != "mcp_ok"
        or told.get("jsonrpc") != "2.0"
    ):
        raise Refusal(Reason.BODY_MISMATCH, "Envoy's MCP filter did not take the body for a whole MCP request")
    method, params = told.get("method"), told.get("params", {})
    if not isinstance(method, str) or not isinstance(params, Mapping):
        raise Refusal(Reason.BODY_MISMATCH, "Envoy's MCP filter names no method")
    return JsonRpc(method, _number(told.get("id")), params)


def check_agreement(read: JsonRpc, metadata: Mapping[str, Value]) -> None:
    """Refuse a message that the filter read otherwise; of responses it says nothing.

    Raises:
        Refusal: BODY_MISMATCH.
    """
    if not read.method:
        return
    told = told_by_envoy(metadata)
    ours, theirs = read.params or {}, told.params or {}
    if (
        told.method != read.method
        or told.id != read.id
        or any(theirs.get(name) != ours.get(name) for name in _COMPARED if name in theirs or name == "name")
    ):
        raise Refusal(Reason.BODY_MISMATCH, "Envoy's MCP filter reads the body otherwise")


def _number(told: Value) -> str | int | None:
    """An id, whose whole numbers come as floats in metadata."""
    if isinstance(told, float) and told.is_integer():
        return int(told)
    return told if isinstance(told, str) else None
