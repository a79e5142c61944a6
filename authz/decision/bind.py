"""From what was resolved to what a policy sees: `r.sub`, `r.obj`, `r.act`, `r.env`. Reference: docs/attributes.md.

An attribute that is absent is "" (or 0, False, {}), so that a rule over it does not err; a key that is missing inside a
map (labels, claims, context, ...) does err, and a rule that errs denies (I1).
"""

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import Annotated, Protocol
from urllib.parse import parse_qsl

import msgspec

from authz.decision.named_by_body import NamedByBody, ReadActions, reads_nothing
from authz.decision.subject_attributes import subject_attributes
from authz.decision.zones import Zones, problems
from authz.errors import ConfigError, Reason, Refusal
from authz.grants.verifier import NO_GRANT, VerifiedGrant
from authz.memo import Memo
from authz.model import (
    ACTION_RESOURCE,
    CURRENT,
    NO_FACTS,
    NOT_SHARED,
    AccessRequest,
    Asked,
    Attributes,
    CheckCall,
    Freshness,
    Subject,
    Target,
    Value,
)

_ROOTS = ("sub", "obj", "act", "env")
SECONDS_PER_HOUR, SECONDS_PER_DAY = 3600, 86400
_HOURS, _DAYS = 24, 7
_THURSDAY = 3  # the epoch began on one; Monday is 0

_NO_TASK: Attributes = {"id": "", "purpose": "", "declared": True, **NO_FACTS}
_MEMO_CHARS = 512
"""Resources of longer paths are not remembered (I12)."""

DEFAULT_TOKENS = {"sub": "sub", "obj": "obj", "act": "act", "env": "env", "dom": "sub.trust_domain"}
"""What a model's request tokens stand for unless configuration maps them: whole objects."""


class Describe(Protocol):
    """Names a resource (the catalogue)."""

    def describe(self, host: str, path: str, method: str) -> Mapping[str, Value]:
        """Answer type, id, sensitivity, environment, cardholder_data and labels."""


class BindSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which parts of a request become attributes."""

    expose_headers: tuple[str, ...] = ()
    """Request headers that policies may read as `r.env.headers`; what a client writes there is only its claim."""
    task_id_header: str = "x-task-id"
    """Header in which a caller declares its task; only a declaration until a grant proves it. "": not read."""
    task_purpose_header: str = "x-task-purpose"
    """Header in which a caller declares the task's purpose. "": not read."""
    max_task_characters: int = 256
    """Longest task id or purpose; longer is refused."""
    request: dict[str, str] = {}
    """What each token of the model's request definition stands for, as `sub = "sub.id"`; by default `sub`, `obj`, `act`
    and `env` are the whole objects and `dom` is `sub.trust_domain`."""
    zones: dict[str, tuple[str, ...]] = {}
    """Parts of the network by name, such as `office = ["10.1.0.0/16"]`: what `r.env.zone` says of the source address;
    where networks lie within one another, the narrowest counts."""
    max_query_parameters: int = 64
    """Most query parameters; more is refused where a policy reads `r.act.query`."""
    max_memo_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 8_192
    """How many resources are remembered by host, path and method."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        return problems(self.zones)


class Binder:
    """Names what is asked for, and builds the question that a policy answers."""

    def __init__(
        self,
        settings: BindSettings,
        catalogue: Describe,
        *,
        reads_query: bool = True,
        classify: Callable[[Attributes], Hashable] = lambda _: None,
        read: ReadActions = reads_nothing,
    ) -> None:
        """`reads_query`: whether any rule looks at `r.act.query`; only then may a repeated parameter refuse.

        `classify` answers the class of a resource, as `Asked.place` holds it. `read` reads actions from bodies.
        """
        self._read = read
        self._named = NamedByBody(classify, settings.max_memo_entries)
        self._settings = settings
        self._classify = classify
        self._describe = catalogue.describe
        self._expose = tuple(name.lower() for name in settings.expose_headers)
        self._reads_query = reads_query
        self._zones = Zones(settings.zones)
        self._resources: Memo[tuple[str, int, str, str], tuple[Attributes, Hashable]] = Memo(settings.max_memo_entries)

    def without_bodies(self) -> "Binder":
        """One that names what is asked for as if no body were read: for what is asked without one."""
        other = copy.copy(self)
        other._read = reads_nothing  # noqa: SLF001 - of its own kind
        return other

    def name(
        self,
        call: CheckCall,
        target: Target,
        presented: VerifiedGrant | None = None,
        fresh: Freshness = CURRENT,
        sharing: Attributes = NOT_SHARED,
    ) -> Asked:
        """Name the resource, the action and the task: that of the grant presented, else what the caller declares.

        Raises:
            Refusal: a task declaration over its bound, or a body that cannot be read.

        Cost: about 1 us for what was asked for before, and what reading the body takes.
        """
        protocol, action = _action(call, target)
        obj, place = self._resource(call, target, action)
        if presented is None:
            task = self._task(call.headers)
            asked = Asked(target, obj, protocol, action, task, place, grant=NO_GRANT, fresh=fresh, sharing=sharing)
        else:
            asked = Asked(
                target,
                obj,
                protocol,
                action,
                presented.task,
                place,
                grant=presented.attributes,
                grant_key=presented.fingerprint,
                until=presented.validity.not_after,
                fresh=fresh,
                covers=presented.covers,
                sharing=sharing,
            )
        actions = self._read(call, target, obj, protocol)
        return self._named.in_place_of(asked, actions) if actions else asked

    def bind(self, call: CheckCall, asked: Asked, subject: Subject, now: float) -> AccessRequest:
        """Answer the access request, with those of a batch and of what is offered.

        Raises:
            Refusal: a query that could be read in two ways.
        """
        request = self._bind_one(call, asked, subject, now)
        if not (asked.batch or any(each.offers for each in asked.every)):
            return request
        # A batch may ask for one list again and again (I12).
        offers = {offered.tool: offered for each in asked.every for offered in self._named.offered(each)}
        return msgspec.structs.replace(
            request,
            others=tuple(self._bind_one(call, each, subject, now) for each in asked.batch),
            offers=tuple((tool, self._bind_one(call, offered, subject, now)) for tool, offered in offers.items()),
        )

    def _bind_one(self, call: CheckCall, asked: Asked, subject: Subject, now: float) -> AccessRequest:
        """One place that gives every attribute its name."""
        return AccessRequest(
            subject=subject,
            target=asked.target,
            sub=subject_attributes(subject, asked.sharing, now),
            obj=asked.obj,
            act=self.action(asked),
            env={
                **{name: read(call) for name, read in CALL_ATTRIBUTES.items()},
                **{name: read(now) for name, read in TIME_ATTRIBUTES.items()},
                "zone": self.zone(call),
                "headers": self.headers(call),
                "task": asked.task,
                "grant": {**asked.grant, "age": grant_age(asked, now)},
                "state": {"policy_age": asked.fresh.policy, "revocations_age": asked.fresh.revocations},
            },
        )

    def action(self, asked: Asked) -> Attributes:
        """What `r.act` is.

        Raises:
            Refusal: a query that could be read in two ways.
        """
        target = asked.target
        return {
            "method": target.method,
            "protocol": asked.protocol,
            "name": asked.name,
            "kind": asked.kind,
            "tool": asked.tool,
            "args": asked.args,
            "query": self._query(target.query),
        }

    def _query(self, query: str) -> Attributes:
        if not query or not self._reads_query:
            return {}
        if ";" in query:
            # Some upstreams take it for an `&`, and see a parameter, or a second value, that is none here (I6).
            raise Refusal(Reason.REQUEST_MALFORMED, "a `;` in the query")
        try:
            pairs = parse_qsl(
                query,
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=self._settings.max_query_parameters,
            )
        except ValueError:
            raise Refusal(Reason.REQUEST_MALFORMED, "query") from None
        parameters: Attributes = dict(pairs)
        if len(parameters) != len(pairs):
            # Which of two values an upstream takes differs from one to the next (I6).
            raise Refusal(Reason.REQUEST_MALFORMED, "repeated query parameter")
        return parameters

    def zone(self, call: CheckCall) -> str:
        """The zone that the source address is in."""
        return self._zones.of(call.source_address)

    def headers(self, call: CheckCall) -> Attributes:
        """The headers that policies may read."""
        headers = call.headers
        return {name: headers[name] for name in self._expose if name in headers}

    def _resource(self, call: CheckCall, target: Target, action: str) -> tuple[Attributes, Hashable]:
        host, port, path = target.host, target.port, target.path
        method = target.method if call.layer == "http" else action
        key = (host, port, path, method)
        found = self._resources.get(key)
        if found is None:
            path = path if call.layer == "http" else f"tcp:{port}"
            obj = {"host": host, "port": port, "path": path, **ACTION_RESOURCE, **self._describe(host, path, method)}
            found = obj, self._classify(obj)
            if len(path) <= _MEMO_CHARS:
                self._resources.put(key, found)
        return found

    def _task(self, headers: Mapping[str, str]) -> Attributes:
        settings = self._settings
        task_id = headers.get(settings.task_id_header, "")
        purpose = headers.get(settings.task_purpose_header, "")
        if not task_id and not purpose:
            return _NO_TASK
        if max(len(task_id), len(purpose)) > settings.max_task_characters:
            raise Refusal(Reason.REQUEST_TOO_LARGE, "task declaration")
        return {"id": task_id, "purpose": purpose, "declared": True, **NO_FACTS}


CALL_ATTRIBUTES: Mapping[str, Callable[[CheckCall], Value]] = {
    "source_address": attrgetter("source_address"),
    "destination_address": attrgetter("destination_address"),
    "destination_port": attrgetter("destination_port"),
    "destination_principal": attrgetter("destination_principal"),
    "sni": attrgetter("sni"),
    "context": attrgetter("context_extensions"),
    "metadata": attrgetter("metadata"),
    "route": attrgetter("route_metadata"),
    "body_partial": attrgetter("body_partial"),
    "size": attrgetter("size"),
}
"""What of the environment the call tells."""

TIME_ATTRIBUTES: Mapping[str, Callable[[float], Value]] = {
    "time": float,
    "hour": lambda now: int(now) // SECONDS_PER_HOUR % _HOURS,
    "weekday": lambda now: (int(now) // SECONDS_PER_DAY + _THURSDAY) % _DAYS,
}
"""What of the environment the clock tells."""


def grant_age(asked: Asked, now: float) -> float:
    """Seconds since the grant was issued; of none, so many that no rule takes it for a young one."""
    issued = asked.grant.get("issued_at")
    return max(0.0, now - issued) if asked.grant_key and isinstance(issued, int) else float("inf")


def _action(call: CheckCall, target: Target) -> tuple[str, str]:
    """The protocol, and what the action is called in it."""
    if call.layer == "tcp":
        return "tcp", "connect"
    headers = call.headers
    if (
        "content-type" in headers
        and headers["content-type"].lower().startswith("application/grpc")
        # No more than a claim of the client's: it renames only what can be a call, POST /package.Service/Method, so
        # that no other request is called what it is not, such as POST /GET "GET".
        and target.method == "POST"
        and "/" in target.path[1:-1]
        # Nor what only a body is called: POST /mcp:tools/call:pay.
        and ":" not in target.path
    ):
        return "grpc", target.path[1:]
    if "upgrade" in headers and headers["upgrade"].lower() == "websocket":
        return "websocket", target.method
    return "http", target.method


def token_values(tokens: tuple[str, ...], mapping: Mapping[str, str]) -> Callable[[AccessRequest], tuple[object, ...]]:
    """Answer the function that reads a model's request tokens from an access request.

    `mapping`: token -> dotted path such as `sub.id`; tokens that it lacks take their default.

    Raises:
        ConfigError: a token has no mapping, a mapping names no token or no attribute.
    """
    for name in mapping:
        if name not in tokens:
            raise ConfigError(
                f"attributes.request.{name}: the model has no request token `{name}`; it has {', '.join(tokens)}"
            )
    paths = []
    for token in tokens:
        path = mapping.get(token, DEFAULT_TOKENS.get(token, ""))
        root, *rest = path.split(".")
        if root not in _ROOTS:
            raise ConfigError(
                f"attributes.request: say which attribute the model's request token `{token}` stands for, "
                f'such as {token} = "sub.id"; a path starts with one of {", ".join(_ROOTS)}'
            )
        paths.append((root, tuple(rest)))

    def read(request: AccessRequest) -> tuple[object, ...]:
        return tuple(_follow(getattr(request, root), rest) for root, rest in paths)

    return read


def reads_attribute(reads: Iterable[str], mapping: Mapping[str, str], attribute: str) -> bool:
    """Answer whether a policy that reads `reads` ("r.act.query.id") may look at `attribute` ("act.query")."""
    for read in reads:
        token, *rest = read.split(".")[1:]
        path = ".".join([mapping.get(token, DEFAULT_TOKENS.get(token, token)), *rest])
        # Reading a whole object may be reading all that is in it.
        if f"{path}.".startswith(f"{attribute}.") or f"{attribute}.".startswith(f"{path}."):
            return True
    return False


def _follow(value: object, path: tuple[str, ...]) -> object:
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            raise Refusal(Reason.RULE_ERROR, f"the request has no attribute `{name}`")
        value = value[name]
    return value
