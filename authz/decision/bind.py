"""From what was resolved to what a policy sees: `r.sub`, `r.obj`, `r.act`, `r.env`. Reference: docs/attributes.md.

An attribute that is absent is "" (or 0, False, {}), so that a rule over it does not err; a key that is missing inside a
map (labels, claims, context, ...) does err, and a rule that errs denies (I1).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl

import msgspec

from authz.errors import ConfigError, Reason, Refusal
from authz.model import AccessRequest, Attributes, CheckCall, Subject, Target, Value

_ROOTS = ("sub", "obj", "act", "env")
_SECONDS_PER_HOUR, _HOURS, _SECONDS_PER_DAY, _DAYS = 3600, 24, 86400, 7
_THURSDAY = 3  # the epoch began on one; Monday is 0

_NO_CREDENTIAL: Attributes = {"kind": "", "fingerprint": "", "age": float("inf"), "lifetime": float("inf")}
"""Of unknown age: a rule that asks for a young credential must not take none for one."""

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
    max_query_parameters: int = 64
    """Most query parameters; more is refused where a policy reads `r.act.query`."""


class Binder:
    """Builds the question that a policy answers."""

    def __init__(self, settings: BindSettings, catalogue: Describe, *, reads_query: bool = True) -> None:
        """`reads_query`: whether any rule looks at `r.act.query`; only then may a repeated parameter refuse."""
        self._settings = settings
        self._describe = catalogue.describe
        self._expose = tuple(name.lower() for name in settings.expose_headers)
        self._reads_query = reads_query

    def bind(self, call: CheckCall, target: Target, subject: Subject, now: float) -> AccessRequest:
        """Answer the access request: one place that gives every attribute its name.

        Raises:
            Refusal: a query that could be read in two ways, or a task declaration over its bound.
        """
        act = self._act(call, target)
        path = target.path if call.layer == "http" else f"tcp:{target.port}"
        found = self._describe(target.host, path, str(act["name"]) if call.layer == "tcp" else target.method)
        return AccessRequest(
            subject=subject,
            target=target,
            sub=_sub(subject, now),
            obj={"host": target.host, "port": target.port, "path": path, **found},
            act=act,
            env=self._env(call, now),
        )

    def _act(self, call: CheckCall, target: Target) -> Attributes:
        if call.layer == "tcp":
            return {"method": "CONNECT", "protocol": "tcp", "name": "connect", "query": {}}
        protocol, name = "http", target.method
        kind = call.headers.get("content-type", "").lower()
        if kind.startswith("application/grpc"):
            protocol, name = "grpc", target.path[1:]
        elif call.headers.get("upgrade", "").lower() == "websocket":
            protocol = "websocket"
        return {"method": target.method, "protocol": protocol, "name": name, "query": self._query(target.query)}

    def _query(self, query: str) -> Attributes:
        if not query or not self._reads_query:
            return {}
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

    def _env(self, call: CheckCall, now: float) -> Attributes:
        headers = call.headers
        seconds = int(now)
        return {
            "time": now,
            "hour": seconds // _SECONDS_PER_HOUR % _HOURS,
            "weekday": (seconds // _SECONDS_PER_DAY + _THURSDAY) % _DAYS,
            "source_address": call.source_address,
            "destination_address": call.destination_address,
            "destination_port": call.destination_port,
            "destination_principal": call.destination_principal,
            "sni": call.sni,
            "context": call.context_extensions,
            "metadata": call.metadata,
            "route": call.route_metadata,
            "headers": {name: headers[name] for name in self._expose if name in headers},
            "task": self._task(headers),
            "body_partial": call.body_partial,
            "size": call.size,
        }

    def _task(self, headers: Mapping[str, str]) -> Attributes:
        settings = self._settings
        task_id = headers.get(settings.task_id_header, "")
        purpose = headers.get(settings.task_purpose_header, "")
        if max(len(task_id), len(purpose)) > settings.max_task_characters:
            raise Refusal(Reason.REQUEST_TOO_LARGE, "task declaration")
        return {"id": task_id, "purpose": purpose}


def _sub(subject: Subject, now: float) -> Attributes:
    credential = subject.credential or subject.token
    return {
        "registered": False,
        "owner": "",
        "environment": "",
        "purpose": "",
        "clearance": 0,
        "labels": {},
        **subject.attributes,
        # After the inventory's attributes: no inventory entry can speak over what was proved (I5).
        "id": subject.id,
        "kind": subject.kind.value,
        "trust_domain": subject.trust_domain,
        "path": subject.path,
        "namespace": subject.namespace,
        "service_account": subject.service_account,
        "sources": subject.sources,
        "credential": {
            "kind": credential.kind,
            "fingerprint": credential.fingerprint,
            "age": max(0.0, now - credential.not_before),
            "lifetime": credential.lifetime,
        }
        if credential
        else _NO_CREDENTIAL,
        "claims": subject.claims,
        "hops": subject.hops,
    }


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
