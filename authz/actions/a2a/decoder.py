"""A2A to the one action that a request is: `a2a:SendMessage`, `a2a:SendMessage:book_flight`, `a2a:GetTask`, ...

JSON-RPC and HTTP+JSON are read from path and body, gRPC from its path alone. Requests of 0.3 are called as 1.0 calls
them. Texts and data of messages are not read: policies see how many parts of which kind there are.

Servers parse these bodies as protobuf's JSON, which takes `task_id` for `taskId`; so what is a field's name but for
case and underscores is refused. Source: A2A 1.0.1; ProtoJSON (protobuf.dev).
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import parse_qsl

from authz.actions.a2a.operations import ALL, BY_CONFIG, BY_TASK, GRPC, OLD_NAMES, SENDS, Operation, by_path
from authz.actions.a2a.settings import A2aSettings
from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.actions.mcp.message import read_message
from authz.actions.shape import a_list, ambiguous, an_object, label, malformed, mismatch, objects, unknown
from authz.actions.strict_json import read_json, refuse_lookalikes
from authz.errors import Reason, Refusal
from authz.model import Action, Attributes, Value

KIND: Final = "a2a"
_VERSION: Final = "a2a-version"
_SKILL: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_NEW_KINDS: Final = frozenset({"text", "raw", "url", "data"})
_OLD_KINDS: Final = frozenset({"text", "file", "data"})
_KNOWN: Final = {
    name.casefold(): name
    for name in (
        *("tenant", "message", "configuration", "metadata", "id", "name", "contextId", "taskId", "role", "parts"),
        *("referenceTaskIds", "extensions", "messageId", "kind", "text", "raw", "url", "data", "file", "status"),
        *("taskPushNotificationConfig", "pushNotificationConfig", "pushNotificationConfigId", "mediaType"),
    )
}
_FILE: Final = frozenset({"uri", "bytes", "name", "mimeType"})
_PATH_FIELDS: Final = frozenset({"id", "name", "taskId", "tenant"})


class A2aDecoder:
    """Reads the requests of one A2A agent."""

    content_types: ClassVar[tuple[str, ...]] = ("application/json", "application/a2a+json")

    def __init__(self, settings: A2aSettings) -> None:
        self._settings = settings

    def wants_body(self, message: Message) -> bool:
        """Answer whether it is a POST of an operation that has parameters besides its path."""
        if message.grpc or message.method != "POST":
            return False
        operation = by_path(message.method, message.path)
        return operation is None or operation.name not in BY_TASK or message.size != 0

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:
        """Answer what the caller asks the agent for.

        Raises:
            Refusal: BODY_*: no A2A request, or one that can be read in two ways.
        """
        if message.grpc:
            return self._grpc(message)
        query = _query(message.query)
        version = self._version(message, query)
        operation = by_path(message.method, message.path)
        if operation is None:
            return self._json_rpc(body, version, limits)
        if body:
            params = an_object(read_json(body, limits.json), "the body")
            if "jsonrpc" in params:
                mismatch("JSON-RPC in the body, and a path of the REST binding")
        else:
            if message.size > 0:
                malformed("a body where the operation has none")
            params = {}
        _check_path_fields(operation, params, query)
        return self._action(operation.name, {**query, **params}, operation.task, version or "1.0")

    def _grpc(self, message: Message) -> Sequence[Action]:
        found = GRPC.fullmatch(message.path)
        if found is None or found[1] not in ALL:
            unknown("no gRPC method of A2AService")
        return (Action(f"{KIND}:{found[1]}", {"version": "1.0", "binding": "grpc"}, KIND),)

    def _version(self, message: Message, query: Mapping[str, Value]) -> str:
        told = {message.headers.get(_VERSION, ""), str(query.get("A2A-Version", ""))} - {""}
        if len(told) > 1:
            mismatch("header and query tell of two versions of A2A")
        for version in told:
            if version not in self._settings.versions:
                unknown("a version of A2A that is not among `versions`")
            return version
        return ""

    def _json_rpc(self, body: bytes, version: str, limits: Limits) -> Sequence[Action]:
        value = read_json(body, limits.json)
        if type(value) is list:
            unknown("A2A has no batches")
        read = read_message(value)
        name = OLD_NAMES.get(read.method)
        spoken = "0.3" if name else "1.0"
        if name is None:
            name = read.method
        if name not in ALL or read.id is None:
            unknown("a method that A2A does not have, or a notification")
        if spoken not in self._settings.versions:
            unknown("a version of A2A that is not among `versions`")
        if version not in {"", spoken}:
            mismatch(f"a method of A2A {spoken}, and a header of {version}")
        return self._action(name, read.params or {}, "", spoken)

    def _action(self, name: str, params: Mapping[str, Value], task: str, version: str) -> Sequence[Action]:
        _check_names(params)
        args: Attributes = {"version": version}
        if tenant := label(params, "tenant"):
            args["tenant"] = tenant
        context, skill = label(params, "contextId"), ""
        if name in SENDS:
            sent = an_object(params.get("message"), "the message")
            _check_names(sent)
            task, context = label(sent, "taskId"), label(sent, "contextId")
            skill = self._skill(sent, params)
            _describe(sent, args)
            _check_pushes(params, args)
        elif name in BY_TASK | BY_CONFIG:
            task = task or label(params, _task_field(name, version))
            if not task:
                malformed("no id of a task")
        if name in BY_CONFIG:
            _note_url(params, args)
        resource: Attributes = {key: given for key, given in (("task", task), ("context", context)) if given}
        full = f"{KIND}:{name}:{skill}" if skill else f"{KIND}:{name}"
        return (Action(full, args, KIND, skill, resource),)

    def _skill(self, sent: Mapping[str, Value], params: Mapping[str, Value]) -> str:
        """Answer the skill that metadata names; "": none."""
        key = self._settings.skill_key
        if not key:
            return ""
        named: set[str] = set()
        for owner in (sent, params):
            if owner.get("metadata") is None:
                continue
            metadata = an_object(owner["metadata"], "metadata")
            for other, value in metadata.items():
                if other.casefold() != key.casefold():
                    continue
                if other != key or type(value) is not str or not _SKILL.fullmatch(value):
                    ambiguous("a skill whose key or name is not written as it should be")
                named.add(value)
        if len(named) > 1:
            mismatch("message and request name two skills")
        return named.pop() if named else ""


def _task_field(name: str, version: str) -> str:
    # 0.3 calls the task of a configuration `id`, but where it is set.
    by_id = name in BY_TASK or (version == "0.3" and name != "CreateTaskPushNotificationConfig")
    return "id" if by_id else "taskId"


def _check_names(owner: Mapping[str, Value]) -> None:
    for name in owner:
        known = _KNOWN.get(name.replace("_", "").casefold())
        if known is not None and known != name:
            ambiguous(f"a field that servers could take for `{known}`")


def _describe(sent: Mapping[str, Value], args: Attributes) -> None:
    parts = objects(sent, "parts")
    if not parts:
        malformed("a message without parts")
    kinds = [_kind(part) for part in parts]
    args["parts"] = len(parts)
    args["kinds"] = tuple(sorted(set(kinds)))
    args["role"] = label(sent, "role").removeprefix("ROLE_").lower()
    urls = [url for part in parts if (url := _url(part))]
    if urls:
        args["urls"] = tuple(urls)
    for name, key in (("referenceTaskIds", "references"), ("extensions", "extensions")):
        if given := sent.get(name):
            args[key] = tuple(label({name: each}, name) for each in a_list(given, f"`{name}`"))


def _kind(part: Mapping[str, Value]) -> str:
    _check_names(part)
    if (old := part.get("kind")) is not None:
        if old not in _OLD_KINDS or old not in part:
            unknown("a part of a kind that A2A 0.3 does not have")
        if part.keys() & (_NEW_KINDS | _OLD_KINDS) != {old}:
            ambiguous("a part that is of two kinds")
        return str(old)
    found = part.keys() & _NEW_KINDS
    if len(found) != 1:
        malformed("a part that is not of exactly one kind")
    return "file" if (kind := found.pop()) in {"raw", "url"} else kind


def _url(part: Mapping[str, Value]) -> str:
    if "url" in part:
        return _text(part["url"])
    file = part.get("file")
    if file is None:
        return ""
    told = an_object(file, "a file")
    refuse_lookalikes(told, _FILE)
    uri = told.get("uri")
    return "" if uri is None else _text(uri)


def _text(value: Value) -> str:
    if type(value) is not str:
        malformed("a URL that is no text")
    return value


def _check_pushes(params: Mapping[str, Value], args: Attributes) -> None:
    if params.get("configuration") is None:
        return
    configuration = an_object(params["configuration"], "the configuration")
    _check_names(configuration)
    for name in ("taskPushNotificationConfig", "pushNotificationConfig"):
        if configuration.get(name) is not None:
            _note_url(an_object(configuration[name], f"`{name}`"), args)


def _note_url(config: Mapping[str, Value], args: Attributes) -> None:
    """Let policies see where the agent is asked to send to: an address that the caller chooses."""
    _check_names(config)
    inner = config.get("pushNotificationConfig")
    if inner is not None:
        config = an_object(inner, "`pushNotificationConfig`")
        _check_names(config)
    if config.get("url") is not None:
        if "push_url" in args:
            ambiguous("two addresses for notifications")
        args["push_url"] = _text(config["url"])


def _query(query: str) -> dict[str, Value]:
    if not query:
        return {}
    if ";" in query:
        ambiguous("a `;` in the query, which some servers take for a `&`")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=64, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise Refusal(Reason.BODY_MALFORMED, "a query that is no list of parameters") from None
    read: dict[str, Value] = dict(pairs)
    if len({name.replace("_", "").casefold() for name in read}) != len(pairs):
        ambiguous("a parameter of the query twice")
    return read


def _check_path_fields(operation: Operation, params: Mapping[str, Value], query: Mapping[str, Value]) -> None:
    """Refuse what some servers could let go before the path, and others not; other spellings are refused later."""
    if operation.task and not _PATH_FIELDS.isdisjoint(query):
        ambiguous("the query names a task or tenant, as the path does")
    if params and query.keys() - {"A2A-Version"}:
        ambiguous("parameters in query and body")
    # The SDK's server takes the tenant of this binding from the path alone, others from wherever it is named.
    if any(label(owner, "tenant") not in {"", operation.before} for owner in (params, query)):
        mismatch("a tenant that the path does not name just before the operation")
    if operation.task and params.get(_task_field(operation.name, "1.0")) not in {None, operation.task}:
        mismatch("path and body name two tasks")
