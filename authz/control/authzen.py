"""OpenID AuthZEN Authorization API 1.0: the data plane's policy, asked by other enforcement points than Envoy.

Who asks is proved by mutual TLS and is judged like every call here (`control:decisions.evaluate`); whom they ask about
they only assert, and policies see that: `r.sub.sources` is ("authzen",) and no credential.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec
import structlog

from authz.actions.strict_json import JsonLimits, read_json
from authz.control.authzen_mcp import Told, demand_read, message_of
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.desk import Desk
from authz.control.faults import Code, ControlError
from authz.control.records import Records
from authz.control.web import Route, Routes, WebAnswer, WebRequest, http_status, to_json
from authz.decision.approving import demand_of
from authz.decision.observing import Looks
from authz.decision.snapshot import Snapshot
from authz.decision.standing import Bounds, Standing
from authz.errors import Reason, Refusal
from authz.identity.resolve import IdentityResolver
from authz.jose.decoding import decode_json_object
from authz.model import (
    AccessRequest,
    Asked,
    Attributes,
    CheckCall,
    Decision,
    Effect,
    Kind,
    Outcome,
    Subject,
    Target,
    Value,
)
from authz.spiffe import parse_spiffe_id, require_workload

ACTION: Final = "control:decisions.evaluate"
SOURCE: Final = "authzen"
HTTP: Final = "http"
"""The type of a resource whose id is a URL's host and path: it is read as the same request through Envoy would be."""

_KINDS: Final = {"user": Kind.HUMAN, "human": Kind.HUMAN, "agent": Kind.AGENT, "workload": Kind.WORKLOAD}
_MAX_NAME: Final = 2_048
_SPIFFE: Final = "spiffe://"

Semantic: TypeAlias = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]


class _Party(msgspec.Struct, frozen=True):
    type: str
    id: str
    properties: dict[str, Any] = {}


class _Action(msgspec.Struct, frozen=True):
    name: str
    properties: dict[str, Any] = {}


class _Evaluation(msgspec.Struct, frozen=True):
    subject: _Party
    action: _Action
    resource: _Party
    context: dict[str, Any] = {}


class _Document(msgspec.Struct, frozen=True):
    """What was sent."""

    members: Mapping[str, Value]
    unclear: Refusal | None
    """Why a body with these values would be refused, as it is written."""


class _Options(msgspec.Struct, frozen=True):
    evaluations_semantic: Semantic = "execute_all"


class AuthzenParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoints rest on."""

    desk: Desk
    records: Records
    standing: Standing
    """Whether those who are asked about still stand."""
    bounds: Bounds
    """How old what is known may be, for some resources."""
    sharing: Looks
    """Whether their identities are shared."""
    snapshot: Callable[[], Snapshot]
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    new_id: Callable[[], str]
    url: Callable[[], str]
    """Under which clients reach this server."""
    max_evaluations: int
    body_limits: JsonLimits
    """Of the JSON that messages in questions are taken from, as of the bodies of requests."""
    timeout_seconds: float
    no_record_no_allow: bool


class Authzen:
    """The endpoints, as routes."""

    def __init__(self, parts: AuthzenParts) -> None:
        self._parts = parts

    @property
    def routes(self) -> Routes:
        """What is served where."""
        return {
            "/access/v1/evaluation": Route("POST", self._evaluation, told),
            "/access/v1/evaluations": Route("POST", self._evaluations, told),
            "/.well-known/authzen-configuration": Route("GET", self._metadata, told, False, "public, max-age=60"),
        }

    async def _metadata(self, _: WebRequest) -> WebAnswer:
        url = self._parts.url()
        return to_json(
            200,
            {
                "policy_decision_point": url,
                "access_evaluation_endpoint": f"{url}/access/v1/evaluation",
                "access_evaluations_endpoint": f"{url}/access/v1/evaluations",
            },
        )

    async def _evaluation(self, request: WebRequest) -> WebAnswer:
        document = self._document(request)
        evaluation = _evaluation(document.members, {})
        self._judge(request.caller)
        return to_json(200, self._decide(evaluation, document.unclear))

    async def _evaluations(self, request: WebRequest) -> WebAnswer:
        document = self._document(request)
        items = document.members.get("evaluations")
        if items is None or items == []:  # the same as one evaluation (section 7.1)
            return await self._evaluation(request)
        if not isinstance(items, list) or len(items) > self._parts.max_evaluations:
            raise _bad(f"evaluations: expected an array of at most {self._parts.max_evaluations}")
        try:
            options = msgspec.convert(document.members.get("options", {}), _Options)
        except msgspec.ValidationError as error:
            raise _bad(f"options: {error}") from None
        self._judge(request.caller)
        answers = []
        for item in items:
            answer = self._item(item, document)
            answers.append(answer)
            if options.evaluations_semantic == "deny_on_first_deny" and not answer["decision"]:
                break
            if options.evaluations_semantic == "permit_on_first_permit" and answer["decision"]:
                break
        return to_json(200, {"evaluations": answers})

    def _item(self, item: object, document: _Document) -> dict[str, Any]:
        """Decide one of many; what is wrong with it is its own matter."""
        try:
            if not isinstance(item, dict):
                raise _bad("not an object")
            return self._decide(_evaluation(item, document.members), document.unclear)
        except ControlError as error:
            return {"decision": False, "context": {"error": {"status": http_status(error), "message": error.message}}}

    def _judge(self, caller: Caller | None) -> None:
        if caller is None:  # the route demands one
            raise ControlError(Code.UNAUTHENTICATED, "IDENTITY_MISSING", "no client certificate")
        self._parts.desk.judge(ACTION, Question("/decisions", {"type": "decision"}), caller)

    def _document(self, request: WebRequest) -> _Document:
        if request.media_type != "application/json":
            raise _bad("the content type must be application/json")
        try:
            members = decode_json_object(request.body)
        except ValueError as error:
            raise _bad(str(error)) from None
        try:
            read_json(request.body, self._parts.body_limits)
        except Refusal as refusal:
            return _Document(members, refusal)
        return _Document(members, None)

    def _decide(self, evaluation: _Evaluation, unclear: Refusal | None) -> dict[str, Any]:
        """Decide one question and put it on record; every fault of it denies (I2)."""
        parts = self._parts
        started, now = parts.monotonic(), parts.clock()
        snapshot = parts.snapshot()
        subject = request = asked = None
        try:
            subject = _subject(evaluation.subject, snapshot)
            asked, request = self._bind(evaluation, snapshot, subject, now, unclear)
            _demand_standing(parts.standing, subject, now)
            _demand_freshness(parts.bounds, asked, parts.standing)
            decision = snapshot.decide(request, lambda: parts.monotonic() - started > parts.timeout_seconds)
            _demand_no_approval(decision)
        except Refusal as refusal:
            decision = Decision(
                effect=Effect.DENY, reason=refusal.reason, policy_version=snapshot.version, detail=refusal.detail
            )
        except Exception as fault:  # noqa: BLE001 - I2: whatever breaks in here must deny, and be on record
            structlog.get_logger("authz.control").error("an evaluation failed", exc_info=fault)
            decision = Decision(
                effect=Effect.DENY,
                reason=Reason.INTERNAL_ERROR,
                policy_version=snapshot.version,
                detail=type(fault).__name__,
            )
        decision_id = parts.new_id()
        outcome = Outcome(
            decision_id=decision_id,
            decision=decision,
            call=CheckCall(layer=SOURCE, method=evaluation.action.name, path=_path(evaluation.resource)),
            subject=subject,
            request=request,
            asked=asked,
            time=now,
            latency_seconds=parts.monotonic() - started,
        )
        if not parts.records.offer(outcome) and parts.no_record_no_allow:  # I9
            decision = Decision(effect=Effect.DENY, reason=Reason.AUDIT_UNAVAILABLE, policy_version=snapshot.version)
        return {"decision": decision.allowed, "context": {"id": decision_id, "reason": str(decision.reason)}}

    def _bind(
        self, evaluation: _Evaluation, snapshot: Snapshot, subject: Subject, now: float, unclear: Refusal | None
    ) -> tuple[Asked, AccessRequest]:
        """Answer the same question as Envoy's, with what the asker adds under `properties` and `r.env.context`."""
        parts, action, resource = self._parts, evaluation.action, evaluation.resource
        told = Told(action.name, action.properties, resource.type, resource.id, resource.properties)
        call, plain = _call(evaluation, told, unclear), resource.type != HTTP and not told.is_message
        # I6: the reading that Envoy's request gets.
        target = Target(method=action.name, path=_path(resource)) if plain else snapshot.canonicalise(call)
        sharing = parts.sharing.look(subject, now)
        named = snapshot.binder.name(call, target, None, parts.standing.freshness(), sharing)
        if told.is_message:
            demand_read(named)
        else:
            named = msgspec.structs.replace(named, protocol=SOURCE, name=action.name)
        obj: Attributes = {"type": resource.type, "id": resource.id} if plain else {}
        asked = _with(named, {**obj, "properties": resource.properties})
        bound = snapshot.binder.bind(call, asked, subject, now)
        others = tuple(_said(each, evaluation) for each in bound.others)
        return asked, msgspec.structs.replace(_said(bound, evaluation), others=others)


def _evaluation(document: Mapping[str, Value], defaults: Mapping[str, Value]) -> _Evaluation:
    names = ("subject", "action", "resource", "context")
    merged = {name: document.get(name, defaults.get(name)) for name in names}
    try:
        found = msgspec.convert({name: value for name, value in merged.items() if value is not None}, _Evaluation)
    except msgspec.ValidationError as error:
        raise _bad(str(error)) from None
    texts = (found.subject.type, found.subject.id, found.action.name, found.resource.type, found.resource.id)
    if not all(0 < len(text) <= _MAX_NAME for text in texts):
        raise _bad(f"types, ids and names must have 1 to {_MAX_NAME} characters")
    if f"{found.subject.type}:{found.subject.id}".startswith(_SPIFFE):
        raise _bad("a workload's id is its whole SPIFFE ID, whatever its type")
    return found


def _subject(party: _Party, snapshot: Snapshot) -> Subject:
    """Answer whom the asker means; a SPIFFE ID gets what the inventory says of it."""
    if party.id.startswith(_SPIFFE):
        if not isinstance(snapshot.resolver, IdentityResolver):
            raise Refusal(Reason.IDENTITY_MISSING, "nobody here knows workloads")
        return snapshot.resolver.assume(require_workload(parse_spiffe_id(party.id)), SOURCE)
    return Subject(id=f"{party.type}:{party.id}", kind=_KINDS.get(party.type, Kind.WORKLOAD), sources=(SOURCE,))


def _demand_standing(standing: Standing, subject: Subject, now: float) -> None:
    refused = standing.refusal(subject, None, now)
    if refused is not None:
        raise Refusal(refused)


def _demand_freshness(bounds: Bounds, asked: Asked, standing: Standing) -> None:
    stale = bounds.exceeded(asked.obj, standing.freshness())
    if stale:
        raise Refusal(Reason.STATE_STALE, f"{stale}, for this class of resource")


def _demand_no_approval(decision: Decision) -> None:
    """A human's word is given to a call through the proxy, which proves who makes it; here it is only asserted."""
    if decision.allowed and demand_of(decision.obligations, 0.0) is not None:
        raise Refusal(Reason.APPROVAL_REQUIRED, f"rule {decision.rule.id}" if decision.rule else "")


def _path(resource: _Party) -> str:
    return f"{resource.type}:{resource.id}"


def _call(evaluation: _Evaluation, told: Told, unclear: Refusal | None) -> CheckCall:
    """The request that a question is about."""
    action, resource = evaluation.action, evaluation.resource
    if told.is_message:
        if unclear is not None:
            raise Refusal(unclear.reason, unclear.detail)
        return message_of(told)
    if resource.type != HTTP:
        return CheckCall(layer="http", method=action.name)
    host, slash, path = resource.id.removeprefix("https://").partition("/")
    return CheckCall(layer="http", method=action.name, host=host, path=f"{slash}{path}", raw_headers=True)


def _with(asked: Asked, obj: Attributes) -> Asked:
    """What is asked for, all of it, with what the asker says of the resource; nobody is told of offers."""
    batch = tuple(_with(each, obj) for each in asked.batch)
    return msgspec.structs.replace(asked, obj={**asked.obj, **obj}, batch=batch, offers=())


def _said(request: AccessRequest, evaluation: _Evaluation) -> AccessRequest:
    return msgspec.structs.replace(
        request,
        sub={**request.sub, "type": evaluation.subject.type, "properties": evaluation.subject.properties},
        act={**request.act, "properties": evaluation.action.properties},
        env={**request.env, "context": evaluation.context},
    )


def _bad(message: str) -> ControlError:
    return ControlError(Code.INVALID_ARGUMENT, "BAD_REQUEST", message)


def told(error: ControlError) -> WebAnswer:
    """Word an error: 401 and 403 are about the asker, never about a decision."""
    return to_json(http_status(error), {"error": error.reason.lower(), "message": error.message})
