"""The service `Grants`: just-in-time grants, from the asking to the end of the task."""

from collections.abc import Callable

from authz.control.backing import Backing, new_id
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.faults import Code, ControlError, precondition
from authz.control.fields import seconds_of
from authz.control.grant_life import GrantLife
from authz.control.grant_shapes import limits_of, scope_of, told
from authz.control.issuer import Issued, Issuer, Order
from authz.control.method import Call, Method, Methods
from authz.control.v1 import grants_pb2 as pb
from authz.errors import Reason, Refusal
from authz.grants.grant import Grant, Task
from authz.grants.scope import Scope
from authz.model import Attributes
from authz.stores.database.errors import NotFoundError
from authz.task_limits import TaskLimits

ProveActor = Callable[[Caller, str], Caller]
"""Answers the caller once a token of theirs has been verified as well; raises ControlError."""


class Grants:
    """Serves `authz.control.v1.Grants`."""

    def __init__(self, backing: Backing, issuer: Issuer, prove_actor: ProveActor) -> None:
        self._backing = backing
        self._settings = backing.settings
        self._issuer = issuer
        self._store = backing.store
        self._prove_actor = prove_actor
        self._clock = backing.clock

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "Issue": Method(pb.IssueRequest, self._ask_issue, self._issue),
            "Exchange": Method(pb.ExchangeRequest, self._ask_exchange, self._exchange),
            "Introspect": Method(pb.IntrospectRequest, self._ask_introspect, self._introspect),
            **GrantLife(self._backing).methods,
        }

    # Issue

    async def _ask_issue(self, request: pb.IssueRequest, caller: Caller) -> Question:
        self._demand_enabled()
        fields = self._backing.fields(request.idempotency_key)
        holder = fields.workload("holder", request.holder or caller.subject.id)
        if request.task.id:
            fields.checked("task.id", lambda: Task(request.task.id))
        fields.checked("task.purpose", lambda: Task("-", request.task.purpose))
        if request.bind_certificate:
            fields.demand("bind_certificate", holder == caller.subject.id, "only of a holder who is the caller")
            fields.demand("bind_certificate", bool(caller.certificate), "this call is not made with a certificate")
            fields.demand("certificate_sha256", not request.certificate_sha256, "not together with bind_certificate")
        elif request.certificate_sha256:
            fields.sha256("certificate_sha256", request.certificate_sha256)
        seconds = self._seconds(request)
        self._issuer.check(
            fields,
            seconds=seconds,
            uses=request.uses,
            audience=request.audience,
            certificate=_certificate(request, caller),
        )
        fields.checked("permissions", lambda: scope_of(request.permissions))
        fields.checked("limits", lambda: limits_of(request.limits))
        fields.settle()
        limits = limits_of(request.limits)
        about = self._about(holder, scope_of(request.permissions), request.uses, seconds, limits)
        about["task"] = {"id": request.task.id, "purpose": request.task.purpose}
        about["certificate"] = _certificate(request, caller)
        about.update(chain=(holder,), origin=holder)
        return Question(f"/grants/{holder}", about)

    async def _issue(self, request: pb.IssueRequest, call: Call) -> pb.IssueResponse:
        caller = call.caller
        order = Order(
            holder=request.holder or caller.subject.id,
            task=Task(request.task.id or new_id("t"), request.task.purpose, limits_of(request.limits)),
            scope=scope_of(request.permissions),
            seconds=int(self._seconds(request)),
            uses=request.uses,
            certificate=_certificate(request, caller),
            not_before=int(seconds_of(request.not_before)) if request.HasField("not_before") else 0,
        )
        once = self._backing.once(call, request.idempotency_key, request)
        issued = await self._issuer.issue(order, caller.name, once)
        return pb.IssueResponse(grant=self._told(issued), token=issued.token, header=self._issuer.settings.header)

    # Exchange

    async def _ask_exchange(self, request: pb.ExchangeRequest, caller: Caller) -> Question:
        self._demand_enabled()
        fields = self._backing.fields(request.idempotency_key)
        fields.workload("caller", caller.subject.id)
        fields.demand("subject_token", bool(request.subject_token), "must not be empty")
        if request.bind_certificate:
            fields.demand("bind_certificate", bool(caller.certificate), "this call is not made with a certificate")
        if request.permissions:
            fields.checked("permissions", lambda: scope_of(request.permissions))
        fields.checked("limits", lambda: limits_of(request.limits))
        fields.settle()
        if request.actor_token:
            self._prove_actor(caller, request.actor_token)
        parent = await self._parent(request.subject_token)
        self._issuer.check(
            fields,
            seconds=max(1.0, self._exchange_seconds(request, parent)),
            uses=request.uses,
            audience=request.audience,
            certificate=caller.certificate if request.bind_certificate else "",
        )
        if request.HasField("ttl"):
            fields.demand("ttl", request.ttl.seconds >= 1, "must be at least one second")
        fields.demand("uses", not parent.uses or request.uses in {0, 1}, "a grant that is counted gives one use")
        fields.settle()
        if parent.holder == caller.subject.id and parent.certificate not in {"", caller.certificate}:
            raise _refused(Refusal(Reason.GRANT_CERTIFICATE))
        scope = scope_of(request.permissions) if request.permissions else parent.scope
        limits = parent.task.limits.narrowed(limits_of(request.limits))
        about = self._about(caller.subject.id, scope, request.uses, self._exchange_seconds(request, parent), limits)
        about["task"] = {"id": parent.task.id, "purpose": parent.task.purpose}
        about["subject"] = parent.holder
        about.update(_handed_on(parent, caller.subject.id))
        return Question(f"/grants/{caller.subject.id}", about)

    async def _exchange(self, request: pb.ExchangeRequest, call: Call) -> pb.ExchangeResponse:
        parent = await self._parent(request.subject_token)
        caller = call.caller
        bound = request.bind_certificate or (parent.certificate and parent.holder == caller.subject.id)
        order = Order(
            holder=caller.subject.id,
            task=Task(parent.task.id, parent.task.purpose, parent.task.limits.narrowed(limits_of(request.limits))),
            scope=scope_of(request.permissions) if request.permissions else parent.scope,
            seconds=int(self._exchange_seconds(request, parent)),
            uses=request.uses,
            certificate=caller.certificate if bound else "",
            not_before=0,
        )
        once = self._backing.once(call, request.idempotency_key, request)
        issued = await self._issuer.exchange(parent, order, caller.name, call.decision_id, once)
        return pb.ExchangeResponse(grant=self._told(issued), token=issued.token, header=self._issuer.settings.header)

    async def _parent(self, token: str) -> Grant:
        try:
            return await self._issuer.read(token)
        except Refusal as refusal:
            raise _refused(refusal) from None

    def _exchange_seconds(self, request: pb.ExchangeRequest, parent: Grant) -> float:
        left = parent.expires - int(self._clock())
        return min(left, request.ttl.seconds) if request.HasField("ttl") else left

    # Introspect

    async def _ask_introspect(self, request: pb.IntrospectRequest, _: Caller) -> Question:
        self._demand_enabled()
        fields = self._backing.fields()
        fields.demand("token", bool(request.token), "must not be empty")
        fields.settle()
        try:
            grant = await self._issuer.read(request.token)
        except Refusal:
            return Question("/grants/", {"type": "grant"})
        return Question(f"/grants/{grant.holder}", {"type": "grant", "id": grant.id, "holder": grant.holder})

    async def _introspect(self, request: pb.IntrospectRequest, _: Call) -> pb.IntrospectResponse:
        try:
            grant = await self._issuer.read(request.token)
            record = await self._store.grant(grant.id)
        except (Refusal, NotFoundError):
            return pb.IntrospectResponse(active=False)
        if record.state != "active" or (record.max_uses and record.used >= record.max_uses):
            return pb.IntrospectResponse(active=False)
        return pb.IntrospectResponse(active=True, grant=told(record, grant.task.purpose, self._clock()))

    # What all share

    def _demand_enabled(self) -> None:
        if not self._issuer.settings.enabled:
            raise precondition("GRANTS_OFF", "grants", "grants are off: grants.issuer is not set")

    def _seconds(self, request: pb.IssueRequest) -> float:
        if not request.HasField("ttl"):
            return min(self._settings.default_grant_seconds, self._issuer.settings.max_lifetime_seconds)
        return float(request.ttl.seconds)

    def _told(self, issued: Issued) -> pb.Grant:
        return told(issued.record, issued.purpose, self._clock())

    def _about(self, holder: str, scope: Scope, uses: int, seconds: float, limits: TaskLimits) -> Attributes:
        return {
            "type": "grant",
            "holder": holder,
            "audience": self._issuer.settings.accepted_audience,
            "actions": _all(scope, "actions"),
            "locations": _all(scope, "locations"),
            "resources": _all(scope, "resources"),
            "ttl": float(seconds),
            "uses": uses,
            "limits": {
                "calls": limits.calls,
                "resources": limits.resources,
                "sums": {argument: float(amount) for argument, amount in limits.sums.items()},
            },
        }


def _all(scope: Scope, part: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for detail in scope.details for each in getattr(detail, part)))


def _certificate(request: pb.IssueRequest, caller: Caller) -> str:
    return caller.certificate if request.bind_certificate else request.certificate_sha256


def _refused(refusal: Refusal) -> ControlError:
    reason = refusal.reason
    return ControlError(
        Code.INVALID_ARGUMENT, reason.name, f"subject_token: {reason.value}", metadata={"reason": reason.value}
    )


def _handed_on(parent: Grant, holder: str) -> Attributes:
    """What an exchange makes of the chain: `delegator` is "" where a holder only narrows its own grant."""
    before = parent.delegators if holder == parent.holder else (parent.holder, *parent.delegators)
    chain = (*reversed(before), holder)
    if len(set(chain)) != len(chain):
        raise precondition("DELEGATION_LOOP", "subject_token", "the caller has handed this task on before")
    return {
        "delegator": "" if holder == parent.holder else parent.holder,
        "chain": chain,
        "depth": len(before),
        "origin": chain[0],
    }
