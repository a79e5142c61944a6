"""MCP messages as AuthZEN questions: the request that a question tells of, as the proxy would show it.

Source: COAZ-MCP, AuthZEN's binding for MCP, draft 1: the method is the action's name, and what it is about is the
resource. Where the server is and what a tool is called with are not in that mapping. A question says them besides:
`server` of the resource's properties, `params` (or `arguments` alone) and `headers` of the action's. The message made
of it is read by the decoder that reads real ones, so that there is no second reading to differ from the first.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from authz.actions.mcp.methods import METHODS
from authz.errors import Reason, Refusal
from authz.model import Asked, CheckCall, Value

_SERVER: Final = "mcp_server"
"""The resource of what is asked of the server as a whole; its id is where that is."""
_TYPES: Final = {"uri": "resource", "prompt": "prompt", "task": "task"}
"""AuthZEN's resource types, by the name that the resource has in `r.obj`."""
_RESOURCES: Final = frozenset({"tool", *_TYPES.values()})
_CALL: Final = "tools/call"
_COMPLETE: Final = "completion/complete"
_HEADER: Final = re.compile(r"mcp-[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\t -~]{0,8192}")
_MAX_HEADERS: Final = 64


class Told(msgspec.Struct, frozen=True):
    """What a question says of a message."""

    method: str
    """The action's name."""
    action: Mapping[str, Value]
    """The action's properties."""
    type: str
    id: str
    resource: Mapping[str, Value]
    """The resource's properties."""

    @property
    def is_message(self) -> bool:
        """Whether it is about a message of MCP, whether or not it says enough of it."""
        if self.type == _SERVER:
            return True
        return self.type in _RESOURCES and ("server" in self.resource or self.method in METHODS)


def message_of(told: Told) -> CheckCall:
    """Answer the request with that message.

    Raises:
        Refusal: BODY_MISSING, BODY_MALFORMED, BODY_MISMATCH: the question does not say what the message is, or says it
            in two ways.
    """
    host, path = _server(told)
    known = METHODS.get(told.method)
    message: dict[str, Value] = {"jsonrpc": "2.0", "method": told.method, "params": _params(told)}
    if known is None or not known.notifies:
        message["id"] = 1
    body = msgspec.json.encode(message)
    return CheckCall(
        layer="http",
        method="POST",
        host=host,
        path=path,
        headers={"content-type": "application/json", **_headers(told.action.get("headers", {}))},
        body=body,
        size=len(body),
        raw_headers=True,
    )


def demand_read(asked: Asked) -> None:
    """Pass when a decoder took what is asked for out of the message.

    Raises:
        Refusal: BODY_UNKNOWN: the proxy may still say for real requests that they are read, which nobody says here.
    """
    if not asked.kind:
        raise Refusal(Reason.BODY_UNKNOWN, "no route has messages to that server read")


def _server(told: Told) -> tuple[str, str]:
    server = told.resource.get("server", told.id if told.type == _SERVER else None)
    if server is None:
        raise Refusal(Reason.BODY_MISSING, "the resource's properties do not say the `server`")
    if not isinstance(server, str):
        raise Refusal(Reason.BODY_MALFORMED, "`server` is no text")
    host, slash, path = server.removeprefix("https://").partition("/")
    return host, f"/{path}" if slash else "/"


def _params(told: Told) -> Mapping[str, Value]:
    """The message's parameters: those that are said, and what the resource tells."""
    action = told.action
    if ("params" in action) == ("arguments" in action):
        raise Refusal(Reason.BODY_MISSING, "the action's properties say neither `params` nor `arguments`, or both")
    params = action["params"] if "params" in action else {"arguments": action["arguments"]}
    if not isinstance(params, Mapping):
        raise Refusal(Reason.BODY_MALFORMED, "`params` are no object")
    expected, name = _about(told.method, params)
    if told.type != expected:
        raise Refusal(Reason.BODY_MISMATCH, f"the resource of this method is of the type {expected}")
    if not name:
        return params
    if told.method != _COMPLETE:
        params = {name: told.id, **params}
    if _named(told.method, params, name) != told.id:
        raise Refusal(Reason.BODY_MISMATCH, "resource and parameters say what it is about in two ways")
    return params


def _about(method: str, params: Mapping[str, Value]) -> tuple[str, str]:
    """The type of what a method is about, and the parameter that says it; "": none does."""
    if method == _CALL:
        return "tool", "name"
    if method == _COMPLETE:
        ref = params.get("ref")
        prompt = isinstance(ref, Mapping) and ref.get("type") == "ref/prompt"
        return ("prompt", "name") if prompt else ("resource", "uri")
    known = METHODS.get(method)
    return (_TYPES[known.resource], known.about) if known is not None and known.about else (_SERVER, "")


def _named(method: str, params: Mapping[str, Value], name: str) -> Value:
    owner = params.get("ref") if method == _COMPLETE else params
    return owner.get(name) if isinstance(owner, Mapping) else None


def _headers(given: Value) -> dict[str, str]:
    """The message's own headers, `MCP-Protocol-Version` and those that mirror it; no others."""
    if not isinstance(given, Mapping) or len(given) > _MAX_HEADERS:
        raise Refusal(Reason.BODY_MALFORMED, "`headers` are no object, or too many")
    headers: dict[str, str] = {}
    for name, value in given.items():
        plain = name.lower()
        if plain in headers or _HEADER.fullmatch(plain) is None:
            raise Refusal(Reason.BODY_MALFORMED, "`headers` has one that is none of MCP's, or one twice")
        if not isinstance(value, str) or _HEADER_VALUE.fullmatch(value) is None:
            raise Refusal(Reason.BODY_MALFORMED, "`headers` has a value that no header can have")
        headers[plain] = value
    return headers
