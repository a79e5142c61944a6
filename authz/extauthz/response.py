"""A decision to CheckResponse bytes, such that Envoy does what was decided.

What must be impossible here (I2): an empty message or an unset status, which Envoy reads as OK; status OK beside a
denial, which Envoy allows. Source: envoy.service.auth.v3.CheckResponse; Envoy's reading of it is told in docs/envoy.md.
"""

import re
from collections.abc import Hashable, Iterable, Mapping
from http import HTTPStatus
from typing import Literal

import msgspec
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse, OkHttpResponse
from google.protobuf.struct_pb2 import Struct

from authz.errors import ConfigError, Reason
from authz.extauthz.mutations import Mutations, MutationSettings, escape, values_of
from authz.grants.scope import DETAIL_TYPE
from authz.memo import Memo
from authz.model import Asked, CheckCall, Outcome
from authz.policy.obligations import APPLY
from authz.resource_pattern import parse_path

_REMEMBERED = 1_024
"""Most sets of header names that are remembered with what must not go on of them, and most allows."""
_MEMO_BYTES = 4_096
"""Longer allows are not remembered."""
_MEMO_CHARS = 4_096
"""Longer sets are not."""

_APPEND = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_ADD = HeaderValueOption.ADD_IF_ABSENT
_SET = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
# google.rpc.Code by the HTTP status of the reason; also the grpc-status that a gRPC client gets.
_GRPC_CODE = {400: 3, 401: 16, 403: 7, 413: 3, 414: 3, 415: 3, 429: 8, 503: 14}
_PREFIX = re.compile(r"[a-z0-9][a-z0-9-]*-")
_VISIBLE = re.compile(r"[\x20-\x7e]+")
# What the client is not told apart. Of grants it is told what is wrong, for their holders have to act on it; that they
# were found out is no business of those who use a stolen key.
_POLICY_REASONS = frozenset(
    {
        Reason.DENIED_BY_RULE,
        Reason.NO_MATCHING_RULE,
        Reason.RULE_ERROR,
        Reason.OBLIGATION_UNKNOWN,
        Reason.PRINCIPAL_REVOKED,
        Reason.CREDENTIAL_REVOKED,
        Reason.TRUST_DOMAIN_REVOKED,
        Reason.ISSUED_BEFORE_CUTOFF,
        Reason.BREAK_GLASS,
    }
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
    """The `retry-after` header of a 503, and of a 429 for which it is not known when there is room again."""
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

    def __init__(self, settings: ResponseSettings, *, grant_header: str = "", forward_grant: bool = False) -> None:
        """Compile every mutation set. `grant_header`: where grants come in, and whether the upstream gets them too.

        Raises:
            ConfigError: a set has problems, or a name is not defined.
        """
        for key, problem_found in settings.problems():
            raise ConfigError(f"response.{key}: {problem_found}")
        self._settings = settings
        self._allows: Memo[tuple[tuple[str, ...], _Changes | None], bytes] = Memo(_REMEMBERED)
        self._shapes: Memo[tuple[bool, tuple[str, ...]], tuple[bool, tuple[str, ...]]] = Memo(_REMEMBERED)
        self._known_shapes: Memo[tuple[str, str], tuple[bool, tuple[str, ...]]] = Memo(_REMEMBERED)
        self._grant_header = grant_header
        self._forward_grant = forward_grant
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

    @property
    def reads(self) -> frozenset[str]:
        """The attributes that answers are made from, such as `obj.id`, besides the subject's id and the task's."""
        sets = [Mutations(*self._always, one) for one in self._settings.mutations.values()]
        return frozenset(path for one in (self._compiled[()], *sets) for path in one.reads)

    def shape(self, call: CheckCall) -> Hashable:
        """Answer what of a call the form of its answer depends on, besides those attributes."""
        return self._shape(call) if call.layer == "http" else call.layer

    def _shape(self, call: CheckCall) -> tuple[bool, tuple[str, ...]]:
        """Whether the client speaks gRPC, and what its upstream must not get."""
        names, kind = "\n".join(call.headers), call.headers.get("content-type", "")
        found = self._known_shapes.get((names, kind))
        if found is None:
            found = self._shapes.same((is_grpc(call), self._unwanted(call)))  # it is kept with each decision
            if len(names) + len(kind) <= _MEMO_CHARS:
                self._known_shapes.put((names, kind), found)
        return found

    def _unwanted(self, call: CheckCall) -> tuple[str, ...]:
        """The headers that the upstream must not get: what the client wrote in our name, and its grant.

        Frameworks read `_` as `-` (I5).
        """
        headers = call.headers
        prefix, grant = self._settings.statement_prefix, self._grant_header
        unwanted = {name for name in headers if name.replace("_", "-").startswith(prefix)}
        if grant and grant in headers:
            unwanted = unwanted - {grant} if self._forward_grant else unwanted | {grant}
        return tuple(sorted(unwanted))

    def allow(self, outcome: Outcome) -> bytes:
        """Encode an allow.

        Raises:
            KeyError: an `apply` obligation names no mutation set; the PDP turns it into a denial.
        """
        described, changes = _described(outcome), self._changes(outcome)
        known = self._allows.get((described, changes))
        if known is None:
            known = self._write_allow(described, changes)
            # Without a path not every value is written, so that the length of what is tells nothing of the rest (I12).
            if len(known) <= _MEMO_BYTES and (changes is None or changes.has_path):
                self._allows.put((described, changes), known)
        return known

    def _changes(self, outcome: Outcome) -> "_Changes | None":
        call, request, decision = outcome.call, outcome.request, outcome.decision
        if call is None or call.layer != "http":
            return None
        if request is None:
            raise TypeError("an allow of nothing")  # I2: no path may reach here; if one does, it becomes a denial
        names = tuple([value for name, value in decision.obligations if name == APPLY])
        templates = self._mutations(names).templates
        values = values_of(request, outcome.decision_id, decision.policy_version)
        filled = tuple([render(values) for _, render in templates])
        if request.others:
            every = [filled]
            for each in request.others:
                values = values_of(each, outcome.decision_id, decision.policy_version)
                every.append(tuple([render(values) for _, render in templates]))
            # What is filled in has no spaces of its own, so that the values of a batch stay apart.
            filled = tuple([", ".join(dict.fromkeys(one)) for one in zip(*every, strict=True)])
        return _Changes(names, filled, self._shape(call)[1], bool(call.path), decision.offered)

    def _write_allow(self, described: tuple[str, ...], changes: "_Changes | None") -> bytes:
        """Write an allow from these alone, so that it may be remembered by them."""
        response = CheckResponse()
        response.status.code = 0
        response.status.message = "OK"  # so that not even an allow is a 0-byte message: that is what a fault looks like
        _describe(response.dynamic_metadata, described)
        if changes is not None:
            self._mutate(response.ok_response, changes)
        return response.SerializeToString()  # type: ignore[no-any-return]  # the generated modules carry no types

    def _mutations(self, names: tuple[str, ...]) -> Mutations:
        if names not in self._compiled:
            self._compiled[names] = Mutations(*self._always, *(self._settings.mutations[name] for name in names))
        return self._compiled[names]

    def _mutate(self, ok: OkHttpResponse, changes: "_Changes") -> None:
        mutations = self._mutations(changes.names)
        values = iter(changes.values)  # in the order of `Mutations.templates`
        written = set()
        for templates, action in (
            (mutations.set_request, _SET),
            (mutations.append_request, _APPEND),
            (mutations.add_request, _ADD),
        ):
            for name, _ in templates:
                _header(ok.headers, name, next(values), action)
                written.add(name)
        # Envoy removes after it sets, so what is set must not be named here.
        ok.headers_to_remove.extend(sorted({*changes.unwanted, *mutations.remove_request} - written))
        for name, _ in mutations.set_response:
            _header(ok.response_headers_to_add, name, next(values), _SET)
        for name, _ in mutations.append_response:
            _header(ok.response_headers_to_add, name, next(values), _APPEND)
        if changes.offered is not None:
            name = f"{self._settings.statement_prefix}allowed-tools"
            _header(ok.response_headers_to_add, name, escape(",".join(changes.offered)), _SET)
        # CVE-2026-73547: older Envoys crash on query mutations of a CONNECT without a path.
        if mutations.rewrites_query and changes.has_path:
            for name, _ in mutations.set_query:
                ok.query_parameters_to_set.add(key=name, value=next(values))
            ok.query_parameters_to_remove.extend(mutations.remove_query)

    def deny(self, outcome: Outcome, observed: Mapping[str, object] | None = None) -> bytes:
        """Encode a denial; `observed`: what to tell the client of its own request (only `authz doctor` is told)."""
        reason, call = outcome.decision.reason, outcome.call
        response = CheckResponse()
        response.status.code = _GRPC_CODE[reason.http_status]
        response.status.message = reason.value
        _describe(response.dynamic_metadata, _described(outcome))
        if call is None or call.layer == "http":
            as_error = reason.http_status == HTTPStatus.SERVICE_UNAVAILABLE and (
                self._settings.not_able_to_decide == "error"
            )
            self._tell_client(
                response,
                reason,
                outcome.decision_id,
                as_error=as_error,
                grpc=is_grpc(call),
                observed=observed,
                wanted=_wanted(outcome),
                retry_after=outcome.decision.retry_after,
            )
            self._name_approval(response, outcome.told)
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
        wanted: Mapping[str, object] | None,
        retry_after: int,
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
            denied.body = _problem(reason, code, decision_id, observed, wanted).decode()
        _header(denied.headers, "cache-control", "no-store", _SET)
        _header(denied.headers, f"{settings.statement_prefix}decision-id", decision_id, _SET)
        if reason.http_status == HTTPStatus.UNAUTHORIZED:
            _header(denied.headers, "www-authenticate", settings.challenge, _SET)
        elif reason.http_status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            _header(denied.headers, "retry-after", str(retry_after or settings.retry_after_seconds), _SET)

    def _name_approval(self, response: CheckResponse, told: Mapping[str, object]) -> None:
        """Tell in a header, too, what the client waits for: a gRPC client sees no body."""
        if "id" in told and response.HasField("denied_response"):
            name = f"{self._settings.statement_prefix}approval-id"
            _header(response.denied_response.headers, name, str(told["id"]), _SET)


class _Changes(msgspec.Struct, frozen=True, gc=False):
    """What an allow changes of a request, with every value filled in."""

    names: tuple[str, ...]
    """The sets of mutations that the rule applies."""
    values: tuple[str, ...]
    unwanted: tuple[str, ...]
    has_path: bool
    offered: tuple[str, ...] | None = None


_DESCRIBED = ("decision_id", "effect", "reason", "policy_version", "rule", "principal", "task")


def _described(outcome: Outcome) -> tuple[str, ...]:
    """What access logs and later filters are told, in the order of `_DESCRIBED`."""
    decision, subject, asked = outcome.decision, outcome.subject, outcome.asked
    return (
        outcome.decision_id,
        decision.effect.value,
        decision.reason.value,
        decision.policy_version,
        decision.rule.id if decision.rule else "",
        subject.id if subject else "",
        str(asked.task["id"]) if asked else "",
    )


def _describe(metadata: Struct, described: tuple[str, ...]) -> None:
    """Fill the dynamic metadata `envoy.filters.http.ext_authz`."""
    fields = metadata.fields
    for name, text in zip(_DESCRIBED, described, strict=True):
        fields[name].string_value = text


def _is_plain(path: str) -> bool:
    """Whether the path, written as a pattern, means itself and nothing else."""
    try:
        pattern = parse_path(path)
    except ValueError:
        return False
    return not pattern.open_ended and None not in pattern.segments


def _wanted(outcome: Outcome) -> Mapping[str, object] | None:
    """What of its own a denial says about how the call could pass: members of the problem details."""
    if outcome.decision.reason is Reason.GRANT_REQUIRED:
        wanted = _grant_request(outcome.asked)
        return None if wanted is None else {"grant_request": wanted}
    return {"access_request": outcome.told} if outcome.told else None


def _grant_request(asked: Asked | None) -> Mapping[str, object] | None:
    """What to ask for, to be let through with a grant: made from the request alone, so that it tells nothing new."""
    if asked is None or not _is_plain(str(asked.obj.get("path", ""))):
        return None
    return {
        "task": {"id": str(asked.task["id"]), "purpose": str(asked.task["purpose"])},
        "authorization_details": [
            {
                "type": DETAIL_TYPE,
                "actions": sorted({each.name for each in asked.every}),
                "locations": [asked.obj.get("host", "")],
                "resources": [asked.obj.get("path", "")],
            }
        ],
    }


def _problem(
    reason: Reason,
    code: str,
    decision_id: str,
    observed: Mapping[str, object] | None,
    wanted: Mapping[str, object] | None,
) -> bytes:
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
    if wanted is not None:
        told |= wanted
    return msgspec.json.encode(told)


def is_grpc(call: CheckCall | None) -> bool:
    """Whether the client speaks gRPC (by its content type, as Envoy judges it too)."""
    if call is None:
        return False
    kind = call.headers.get("content-type", "").lower()
    return kind == "application/grpc" or kind.startswith(("application/grpc+", "application/grpc;"))


def _header(headers: object, name: str, value: str, action: int) -> None:
    # `append` stays unset and the action is always written: old and new Envoys then agree (docs/envoy.md).
    option = headers.add()  # type: ignore[attr-defined]  # the generated modules carry no types
    option.header.key = name
    option.header.value = value
    option.append_action = action
    option.keep_empty_value = True
