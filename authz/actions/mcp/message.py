"""One JSON-RPC 2.0 message, read strictly."""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz.errors import Reason, Refusal
from authz.model import Value

_REQUEST: Final = frozenset({"jsonrpc", "id", "method", "params"})
_RESPONSES: Final = (frozenset({"jsonrpc", "id", "result"}), frozenset({"jsonrpc", "id", "error"}))
_MAX_METHOD_CHARS: Final = 128
_MAX_ID_CHARS: Final = 256


class JsonRpc(msgspec.Struct, frozen=True, gc=False):
    """What a message says."""

    method: str = ""
    """"": a response."""
    id: str | int | None = None
    """None: a notification."""
    params: Mapping[str, Value] | None = None


def read_message(value: Value) -> JsonRpc:
    """Answer what a message says.

    Raises:
        Refusal: BODY_MALFORMED: not JSON-RPC 2.0 as MCP has it: a member too many, a null id, parameters that are no
            object.
    """
    if type(value) is not dict or value.get("jsonrpc") != "2.0":
        raise Refusal(Reason.BODY_MALFORMED, "not a JSON-RPC 2.0 message")
    if not value.keys() <= _REQUEST or "method" not in value:
        if value.keys() in _RESPONSES:
            return _response(value)
        raise Refusal(Reason.BODY_MALFORMED, "members that no JSON-RPC message has, or not all that one has")
    method, number, params = value["method"], value.get("id"), value.get("params")
    if not isinstance(method, str) or not 0 < len(method) <= _MAX_METHOD_CHARS:
        raise Refusal(Reason.BODY_MALFORMED, "a method that is no text")
    if "id" in value:
        _check_id(number)
    if "params" in value and not isinstance(params, Mapping):
        raise Refusal(Reason.BODY_MALFORMED, "params are no object")
    return JsonRpc(method, number, params)


def _response(value: Mapping[str, Value]) -> JsonRpc:
    _check_id(value["id"])
    if not isinstance(value.get("error", value.get("result")), Mapping):
        raise Refusal(Reason.BODY_MALFORMED, "a result or error that is no object")
    return JsonRpc(id=value["id"])  # type: ignore[arg-type]  # likewise


def _check_id(number: Value) -> None:
    if type(number) is int or (type(number) is str and 0 < len(number) <= _MAX_ID_CHARS):
        return
    raise Refusal(Reason.BODY_MALFORMED, "an id that is neither text nor a whole number")
