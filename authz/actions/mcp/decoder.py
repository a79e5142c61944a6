"""MCP over HTTP: one JSON-RPC message, or in one revision a batch of them, to the actions that they are.

    mcp:tools/call:transfer_funds     a tool, its arguments in r.act.args
    mcp:prompts/get:summary           a prompt, r.obj.prompt
    mcp:resources/read                a resource, r.obj.uri
    mcp:tools/list, mcp:initialize, mcp:notifications/cancelled, ...
    mcp:response                      the client's answer to what the server asked it: a message of its own, or
                                      `inputResponses` of a request, which is then two actions
    mcp:stream/open, mcp:session/end  GET and DELETE

Source: the specification's revisions 2024-11-05 to 2026-07-28; JSON-RPC 2.0.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.actions.mcp.envoy import check_agreement, told_by_envoy
from authz.actions.mcp.headers import (
    BATCHING,
    SESSION,
    STATELESS,
    VERSION,
    check_mirrored,
    check_once,
    check_session,
    refuse_mirrored,
    revision_of,
)
from authz.actions.mcp.message import JsonRpc, read_message
from authz.actions.mcp.methods import METHODS, NAMED, Method
from authz.actions.mcp.names import NAME_RULES, one_reading
from authz.actions.mcp.params import MirroredParams, refuse_params
from authz.actions.mcp.settings import McpSettings
from authz.actions.strict_json import read_json, refuse_lookalikes
from authz.errors import Reason, Refusal
from authz.model import Action, Value

KIND: Final = "mcp"
LIST: Final = "tools/list"
CALL: Final = "tools/call"
_META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
_NO_PARAMS: Mapping[str, Value] = {}
_EXTRA = Method()
_EXTRA_NOTIFICATION = Method(notifies=True)
_RESPONSE = (Action("mcp:response", kind=KIND),)
_BY_HTTP_METHOD: Final = {
    "GET": (Action("mcp:stream/open", kind=KIND),),
    "DELETE": (Action("mcp:session/end", kind=KIND),),
}
_MAX_TASK_CHARS: Final = 256
_EXPRESSION: Final = re.compile(r"\{[^{}]*\}")
"""What of a template is filled in (RFC 6570)."""


class McpDecoder:
    """Reads the requests of one MCP server."""

    content_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def __init__(self, settings: McpSettings) -> None:
        self._settings = settings
        self._accepted = NAME_RULES[settings.names]
        self._tools = frozenset(settings.tools) if settings.only_tools else None
        self._methods = {
            **METHODS,
            **{
                name: _EXTRA_NOTIFICATION if name.startswith("notifications/") else _EXTRA
                for name in settings.extra_methods
            },
        }
        self._params = MirroredParams(settings.mirrored, others_among=settings.unmirrored == "among")
        self._offers = tuple(Action(f"mcp:{CALL}:{tool}", kind=KIND, tool=tool) for tool in settings.tools)

    def wants_body(self, message: Message) -> bool:
        """Answer whether it is a POST that we are to parse.

        Raises:
            Refusal: BODY_UNKNOWN: a method that MCP does not have.
        """
        if message.method == "POST":
            return self._settings.source != "envoy"
        if message.method not in _BY_HTTP_METHOD:
            raise Refusal(Reason.BODY_UNKNOWN, "MCP has POST, GET and DELETE only")
        return False

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:
        """Answer what the client asks for.

        Raises:
            Refusal: BODY_*: no MCP message, or one that can be read in two ways.
        """
        headers = message.headers
        check_once(message.repeated)
        revision = revision_of(headers, self._settings)
        check_session(headers)
        if message.method != "POST":
            return self._without_body(message, revision)
        if self._settings.source == "envoy":
            return self._actions(told_by_envoy(message.metadata), headers, revision)
        value = read_json(body, limits.json)
        if isinstance(value, list):
            return self._batch(value, message, revision, limits)
        read = read_message(value)
        if self._settings.source == "both":
            check_agreement(read, message.metadata)
        return self._actions(read, headers, revision)

    def _without_body(self, message: Message, revision: str) -> Sequence[Action]:
        if revision == STATELESS:
            raise Refusal(Reason.BODY_UNKNOWN, f"revision {STATELESS} has POST only")
        if message.size > 0:
            raise Refusal(Reason.BODY_MALFORMED, "a body where MCP has none")
        refuse_mirrored(message.headers, "headers name a method, and there is no body")
        return _BY_HTTP_METHOD[message.method]

    def _batch(self, value: list[Value], message: Message, revision: str, limits: Limits) -> Sequence[Action]:
        if revision != BATCHING:
            raise Refusal(Reason.BODY_MALFORMED, f"revision {revision} has no batches")
        if not 0 < len(value) <= limits.max_batch:
            raise Refusal(Reason.BODY_TOO_LARGE, f"a batch of {len(value)} messages")
        refuse_mirrored(message.headers, "headers name one method, and the body is a batch")
        if self._settings.source == "both":
            raise Refusal(Reason.BODY_MISMATCH, "Envoy's MCP filter does not read batches")
        read = [read_message(each) for each in value]
        if any(each.method == "initialize" for each in read):
            raise Refusal(Reason.BODY_MALFORMED, "initialize stands in a batch")
        return tuple(action for each in read for action in self._actions(each, message.headers, revision))

    def _actions(self, read: JsonRpc, headers: Mapping[str, str], revision: str) -> Sequence[Action]:
        if not read.method:
            if revision == STATELESS:
                raise Refusal(Reason.BODY_MISMATCH, f"revision {STATELESS} has no responses of clients")
            refuse_mirrored(headers, "the body is a response, for which the headers are not")
            return _RESPONSE
        method = self._methods.get(read.method)
        if method is None:
            raise Refusal(Reason.BODY_UNKNOWN, "a method that MCP does not have; see `extra_methods`")
        if method.notifies != (read.id is None):
            raise Refusal(Reason.BODY_MALFORMED, "a notification with an id, or a request without one")
        params = read.params if read.params is not None else _NO_PARAMS
        if params:
            refuse_lookalikes(dict(params), NAMED)
        name = self._name(method, params)
        resource = self._resource(read.method, method, params)
        about = (name or str(resource[method.resource])) if method.names or method.about else None
        check_mirrored(headers, revision, read.method, about)
        self._check_version(read.method, params, headers, revision)
        if read.method == CALL and self._tools is not None and name not in self._tools:
            raise Refusal(Reason.BODY_UNKNOWN, "a tool that `tools` does not name")
        arguments = _arguments(method, params)
        if read.method == CALL:
            self._params.check(headers, name, arguments, demanded=revision == STATELESS)
        else:
            refuse_params(headers)
        action = Action(
            name=f"mcp:{read.method}:{name}" if name else f"mcp:{read.method}",
            args=arguments,
            kind=KIND,
            tool=name if read.method == CALL else "",
            resource=resource,
            offers=self._offers if read.method == LIST else (),
        )
        if (answers := params.get("inputResponses")) is None:
            return (action,)
        # What older revisions send as responses of their own: more input to the tool than its arguments.
        if not isinstance(answers, dict):
            raise Refusal(Reason.BODY_MALFORMED, "inputResponses are no object")
        return action, Action("mcp:response", {"responses": answers}, KIND)

    def _name(self, method: Method, params: Mapping[str, Value]) -> str:
        """The tool or prompt that is named, "" where none can be."""
        if not method.names:
            return ""
        return self._checked(params.get(method.names))

    def _checked(self, name: Value) -> str:
        if not isinstance(name, str):
            raise Refusal(Reason.BODY_MALFORMED, "no name of a tool or prompt")
        if self._accepted(name) is None:
            raise Refusal(Reason.BODY_AMBIGUOUS, "a name that `names` does not accept: it may look like another")
        return name

    def _resource(self, name: str, method: Method, params: Mapping[str, Value]) -> dict[str, Value]:
        if name == "completion/complete":
            return self._completed(params.get("ref"))
        if not method.about:
            return {}
        about = params.get(method.about)
        if method.resource == "uri":
            return {"uri": _uri(about)}
        if method.resource == "prompt":
            return {"prompt": self._checked(about)}
        if not isinstance(about, str) or not 0 < len(about) <= _MAX_TASK_CHARS or not about.isprintable():
            raise Refusal(Reason.BODY_MALFORMED, "no id of a task")
        return {method.resource: about}

    def _completed(self, ref: Value) -> dict[str, Value]:
        """What a completion is for: a prompt, or a template of resources."""
        if not isinstance(ref, Mapping):
            raise Refusal(Reason.BODY_MALFORMED, "no reference of what to complete")
        refuse_lookalikes(dict(ref), frozenset({"type", "name", "uri"}))
        if ref.get("type") == "ref/prompt":
            return {"prompt": self._checked(ref.get("name"))}
        uri = ref.get("uri")
        if ref.get("type") != "ref/resource" or not isinstance(uri, str) or not uri.isprintable():
            raise Refusal(Reason.BODY_MALFORMED, "no reference of what to complete")
        if not one_reading(_EXPRESSION.sub("x", uri)):
            raise Refusal(Reason.BODY_AMBIGUOUS, "a template of URIs that could be read in two ways, or is none")
        return {"uri": uri}

    def _check_version(
        self, method: str, params: Mapping[str, Value], headers: Mapping[str, str], revision: str
    ) -> None:
        """Refuse a body that says that it is of another revision than its header does."""
        if method == "initialize":
            if revision == STATELESS:
                raise Refusal(Reason.BODY_UNKNOWN, f"revision {STATELESS} has no initialize")
            if VERSION in headers and params.get("protocolVersion") != revision:
                raise Refusal(Reason.BODY_MISMATCH, f"{VERSION} and protocolVersion differ")
            if SESSION in headers:
                raise Refusal(Reason.BODY_MISMATCH, "initialize begins a session, and came in one")
        meta = params.get("_meta")
        if meta is not None and not isinstance(meta, Mapping):
            raise Refusal(Reason.BODY_MALFORMED, "_meta is no object")
        told = meta.get(_META_VERSION) if meta is not None else None
        if told != revision and (revision == STATELESS or told is not None):
            raise Refusal(Reason.BODY_MISMATCH, f"{VERSION} and the revision in _meta differ")


def _arguments(method: Method, params: Mapping[str, Value]) -> dict[str, Value]:
    """What policies see as `r.act.args`: the arguments of a tool or prompt, else the parameters but for `_meta`."""
    if not method.names:
        return {name: value for name, value in params.items() if name != "_meta"}
    arguments = params.get("arguments", _NO_PARAMS)
    if not isinstance(arguments, dict):
        if arguments is _NO_PARAMS:
            return {}
        raise Refusal(Reason.BODY_MALFORMED, "arguments are no object")
    return arguments


def _uri(value: Value) -> str:
    if not isinstance(value, str):
        raise Refusal(Reason.BODY_MALFORMED, "no URI of a resource")
    if not one_reading(value):
        raise Refusal(Reason.BODY_AMBIGUOUS, "a URI that could be read in two ways, or is none")
    return value
