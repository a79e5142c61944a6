"""A decision to CheckResponse bytes, such that Envoy does what was decided.

What must be impossible here (I2): an empty message or an unset status, which Envoy reads as OK; status OK beside a
denial, which Envoy allows. Source: envoy.service.auth.v3.CheckResponse; Envoy's reading of it is told in docs/envoy.md.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Literal

import msgspec
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse, OkHttpResponse
from google.protobuf.struct_pb2 import Struct

from authz.errors import ConfigError, Reason
from authz.extauthz.mutations import Mutations, MutationSettings, values_of
from authz.model import CheckCall, Outcome

APPLY = "apply"
"""The obligation that names a set of mutations: `apply=strip-credentials`."""

_APPEND = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_ADD = HeaderValueOption.ADD_IF_ABSENT
_SET = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
# google.rpc.Code by the HTTP status of the reason; also the grpc-status that a gRPC client gets.
_GRPC_CODE = {400: 3, 401: 16, 403: 7, 413: 3, 414: 3, 429: 8, 503: 14}
_PREFIX = re.compile(r"[a-z0-9][a-z0-9-]*-")
_VISIBLE = re.compile(r"[\x20-\x7e]+")
_POLICY_REASONS = frozenset(
    {Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE, Reason.RULE_ERROR, Reason.OBLIGATION_UNKNOWN}
)


class ResponseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the proxy is told to do besides allow or deny."""

    statement_prefix: str = "x-authz-"
    """Headers of this prefix are ours: whatever the client sent under it never reaches the upstream."""
    always: tuple[str, ...] = ()
    """Names of mutation sets that every allow applies; rules add more by the obligation `apply=NAME`."""
    mutations: dict[str, MutationSettings] = {}
    """Named sets of mutations."""
    client_reason: Literal["public", "full"] = "public"
    """What a denied client is told: "public" calls every denial by policy `access_denied`, so that forbidden and
    unknown look alike; "full" gives the reason code. Records, metrics and access logs always have the code."""
    challenge: str = 'Bearer realm="authz"'
    """The `www-authenticate` header of a 401 (RFC 9110 section 11.6.1)."""
    retry_after_seconds: int = 1
    """The `retry-after` header of a 429 or 503."""
    not_able_to_decide: Literal["deny", "error"] = "deny"
    """How a 503 is told to Envoy: as a denial, or (an opt-in) as `error_response`, which obeys `failure_mode_allow`."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        if not _PREFIX.fullmatch(self.statement_prefix):
            yield "statement_prefix", "must be lower-case letters, digits and `-`, and end in `-`, such as `x-authz-`"
        if not _VISIBLE.fullmatch(self.challenge):
            yield "challenge", "must be visible ASCII"
        if self.retry_after_seconds < 0:
            yield "retry_after_seconds", "must not be negative"
        yield from (
            ("always", f"there is no mutation set `{name}` in response.mutations")
            for name in self.always
            if name not in self.mutations
        )


class Encoder:
    """Encodes decisions; built once from settings."""

    def __init__(self, settings: ResponseSettings) -> None:
        """Compile every mutation set.

        Raises:
            ConfigError: a set has problems, or a name is not defined.
        """
        for key, problem_found in settings.problems():
            raise ConfigError(f"response.{key}: {problem_found}")
        self._settings = settings
        prefix = settings.statement_prefix
        statements = MutationSettings(
            set_request_headers={f"{prefix}subject": "{sub.id}", f"{prefix}decision-id": "{decision.id}"}
        )
        self._always = (statements, *(settings.mutations[name] for name in settings.always))
        # One entry for each list of `apply` obligations that a rule has: the policy bounds it, requests cannot.
        self._compiled: dict[tuple[str, ...], Mutations] = {(): Mutations(*self._always)}
        for name, one in settings.mutations.items():
            self._compiled[(name,)] = Mutations(*self._always, one)

    @property
    def mutation_names(self) -> frozenset[str]:
        """The values that the obligation `apply` may have."""
        return frozenset(self._settings.mutations)

    def allow(self, outcome: Outcome) -> bytes:
        """Encode an allow.

        Raises:
            KeyError: an `apply` obligation names no mutation set; the PDP turns it into a denial.
        """
        response = CheckResponse()
        response.status.code = 0
        response.status.message = "OK"  # so that not even an allow is a 0-byte message: that is what a fault looks like
        _describe(response.dynamic_metadata, outcome)
        if outcome.call is not None and outcome.call.layer == "http":
            self._mutate(response.ok_response, outcome)
        return response.SerializeToString()  # type: ignore[no-any-return]  # the generated modules carry no types

    def _mutations(self, names: tuple[str, ...]) -> Mutations:
        if names not in self._compiled:
            self._compiled[names] = Mutations(*self._always, *(self._settings.mutations[name] for name in names))
        return self._compiled[names]

    def _mutate(self, ok: OkHttpResponse, outcome: Outcome) -> None:
        call, request, decision = outcome.call, outcome.request, outcome.decision
        if call is None or request is None:
            raise TypeError("an allow of nothing")  # I2: no path may reach here; if one does, it becomes a denial
        mutations = self._mutations(tuple(value for name, value in decision.obligations if name == APPLY))
        values = values_of(request, outcome.decision_id, decision.policy_version)
        written = set()
        for templates, action in (
            (mutations.set_request, _SET),
            (mutations.append_request, _APPEND),
            (mutations.add_request, _ADD),
        ):
            for name, render in templates:
                _header(ok.headers, name, render(values), action)
                written.add(name)
        # Envoy removes after it sets, so what is set must not be named here. Frameworks read `_` as `-` (I5).
        prefix = self._settings.statement_prefix
        forged = {name for name in call.headers if name.replace("_", "-").startswith(prefix)}
        ok.headers_to_remove.extend(sorted((forged | set(mutations.remove_request)) - written))
        for name, render in mutations.set_response:
            _header(ok.response_headers_to_add, name, render(values), _SET)
        for name, render in mutations.append_response:
            _header(ok.response_headers_to_add, name, render(values), _APPEND)
        # CVE-2026-73547: older Envoys crash on query mutations of a CONNECT without a path.
        if mutations.rewrites_query and call.path:
            for name, render in mutations.set_query:
                ok.query_parameters_to_set.add(key=name, value=render(values))
            ok.query_parameters_to_remove.extend(mutations.remove_query)

    def deny(self, outcome: Outcome, observed: Mapping[str, object] | None = None) -> bytes:
        """Encode a denial; `observed`: what to tell the client of its own request (only `authz doctor` is told)."""
        reason, call = outcome.decision.reason, outcome.call
        response = CheckResponse()
        response.status.code = _GRPC_CODE[reason.http_status]
        response.status.message = reason.value
        _describe(response.dynamic_metadata, outcome)
        if call is None or call.layer == "http":
            as_error = reason.http_status == HTTPStatus.SERVICE_UNAVAILABLE and (
                self._settings.not_able_to_decide == "error"
            )
            self._tell_client(
                response, reason, outcome.decision_id, as_error=as_error, grpc=is_grpc(call), observed=observed
            )
        return response.SerializeToString()  # type: ignore[no-any-return]  # the generated modules carry no types

    def _tell_client(  # noqa: PLR0913 - what a denial consists of
        self,
        response: CheckResponse,
        reason: Reason,
        decision_id: str,
        *,
        as_error: bool,
        grpc: bool,
        observed: Mapping[str, object] | None,
    ) -> None:
        settings = self._settings
        denied = response.error_response if as_error else response.denied_response
        denied.status.code = reason.http_status
        code = "access_denied" if settings.client_reason == "public" and reason in _POLICY_REASONS else reason.value
        if grpc:
            # Envoy derives grpc-status from the HTTP status; that mapping knows no RESOURCE_EXHAUSTED, so say it.
            _header(denied.headers, "grpc-status", str(_GRPC_CODE[reason.http_status]), _SET)
            _header(denied.headers, "grpc-message", code, _SET)
        else:
            _header(denied.headers, "content-type", "application/problem+json", _SET)
            denied.body = _problem(reason, code, decision_id, observed).decode()
        _header(denied.headers, "cache-control", "no-store", _SET)
        _header(denied.headers, f"{settings.statement_prefix}decision-id", decision_id, _SET)
        if reason.http_status == HTTPStatus.UNAUTHORIZED:
            _header(denied.headers, "www-authenticate", settings.challenge, _SET)
        elif reason.http_status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            _header(denied.headers, "retry-after", str(settings.retry_after_seconds), _SET)


def _describe(metadata: Struct, outcome: Outcome) -> None:
    """Fill the dynamic metadata `envoy.filters.http.ext_authz`, for access logs and later filters."""
    decision, fields = outcome.decision, metadata.fields
    fields["decision_id"].string_value = outcome.decision_id
    fields["effect"].string_value = decision.effect.value
    fields["reason"].string_value = decision.reason.value
    fields["policy_version"].string_value = decision.policy_version
    fields["rule"].string_value = decision.rule.id if decision.rule else ""
    fields["principal"].string_value = outcome.subject.id if outcome.subject else ""
    fields["task"].string_value = _task(outcome.request.env) if outcome.request else ""


def _problem(reason: Reason, code: str, decision_id: str, observed: Mapping[str, object] | None) -> bytes:
    """Encode problem details (RFC 9457): constant text, a code and the decision's id."""
    status = HTTPStatus(reason.http_status)
    told: dict[str, object] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": reason.summary,
        "reason": code,
        "decision_id": decision_id,
    }
    if observed is not None:
        told["observed"] = observed
    return msgspec.json.encode(told)


def is_grpc(call: CheckCall | None) -> bool:
    """Whether the client speaks gRPC (by its content type, as Envoy judges it too)."""
    if call is None:
        return False
    kind = call.headers.get("content-type", "").lower()
    return kind == "application/grpc" or kind.startswith(("application/grpc+", "application/grpc;"))


def _task(env: Mapping[str, object]) -> str:
    task = env.get("task")
    return str(task.get("id", "")) if isinstance(task, Mapping) else ""


def _header(headers: object, name: str, value: str, action: int) -> None:
    # `append` stays unset and the action is always written: old and new Envoys then agree (docs/envoy.md).
    option = headers.add()  # type: ignore[attr-defined]  # the generated modules carry no types
    option.header.key = name
    option.header.value = value
    option.append_action = action
    option.keep_empty_value = True
