"""Turns an allow that rests on a human's word into the question for it: what exactly was asked, by whom, of whom."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from authz.approvals.binding import Binding, arguments_digest, binding_digest, without_id
from authz.approvals.demand import Demand
from authz.budgets.visit import Departure
from authz.decision.due import Due
from authz.decision.pending import Held
from authz.decision.snapshot import Snapshot
from authz.errors import Reason, Refusal
from authz.grants.grant import Grant
from authz.model import Asked, CheckCall, Obligations, Outcome, Subject
from authz.policy.obligations import (
    APPROVAL,
    APPROVAL_EXCLUDE,
    APPROVAL_PERSONS,
    APPROVAL_TTL,
    APPROVAL_USES,
    FOR_TASK,
    MAX_APPROVAL_USES,
    MAX_PERSONS,
    approval_count,
    seconds,
)

_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "CONNECT", "TRACE", "DELETE"})
_JSON_RPC: Final = frozenset({"mcp", "a2a"})
"""Bodies that were read as JSON-RPC, strictly: whoever tries again sends another id."""
_PARTIAL_BODY: Final = "x-envoy-auth-partial-body"
"""The proxy adds it to what it asks exactly if it sends a body along."""


class Wanted(msgspec.Struct, frozen=True):
    """A human's word that a call needs, and all that it is about."""

    digest: str
    """What it would be bound to."""
    arguments: str
    """The digest of what the action is done with."""
    demand: Demand
    chain: tuple[str, ...]
    """Every party from the first to the caller."""
    behind: tuple[str, ...]
    """For whom the work began, by every name that is known."""
    outcome: Outcome
    """The call, decided but for the human's word."""
    departures: tuple[Departure, ...]
    """Limits that it may exceed on that word."""
    call: CheckCall
    subject: Subject
    asked: Asked
    grant: Grant | None


class Approvals(Protocol):
    """Knows what humans have said."""

    def find(self, wanted: Wanted, now: float) -> Held | None:
        """Answer why this call must not pass, where that is known; None: the store has to be asked.

        Called on the path of a request, so it looks in memory and nowhere else.
        """

    async def settle(self, due: Due, wanted: Wanted | None) -> Held:
        """Count what a decision rests on, a use of an approval among it, or open a request for one and count nothing.

        ALLOWED: all of it is counted, and the call may pass. Atomic: of any number of callers on any number of replicas
        exactly as many pass as there are uses, and what one part refuses takes nothing from another. `wanted`: None
        where nobody has to be asked, unless a limit would be exceeded.

        Raises:
            Refusal: something of it is used up, or it cannot be told. OverLimit: a limit would be exceeded, and a human
            may let it be.
        """


class NoApprovals:
    """Where no store is open, nobody's word is known: a dry run tells that one is wanted, a call does not pass."""

    def find(self, wanted: Wanted, now: float) -> Held | None:  # noqa: ARG002 - as any other `Approvals`
        """Nothing is known."""
        return None

    async def settle(self, due: Due, wanted: Wanted | None) -> Held:  # noqa: ARG002 - likewise
        """Refuse."""
        raise Refusal(Reason.STATE_UNAVAILABLE, "approvals are kept in the shared store, which is not configured")


NO_APPROVALS = NoApprovals()


def demand_of(
    obligations: Obligations, default_ttl_seconds: float, departures: Sequence[Departure] = ()
) -> Demand | None:
    """The strictest of what the rules that allow demand of a human's word; None: nobody has to be asked.

    A word on a departure from a limit is good for one call, whatever the rules say.
    """
    asked = [value for name, value in obligations if name == APPROVAL]
    groups = sorted({*asked, *(each.group for each in departures)})
    if not groups:
        return None
    uses = [value for name, value in obligations if name == APPROVAL_USES]
    counted = [1] if departures else []
    counted += [approval_count(APPROVAL_USES, value, MAX_APPROVAL_USES) for value in uses if value != FOR_TASK]
    persons = [
        approval_count(APPROVAL_PERSONS, value, MAX_PERSONS) for name, value in obligations if name == APPROVAL_PERSONS
    ]
    exclude = {part for name, value in obligations if name == APPROVAL_EXCLUDE for part in value.split("+")}
    return Demand(
        groups=tuple(groups),
        persons=max(persons, default=1),
        max_uses=min(counted, default=1),
        for_task=bool(uses) and not counted,
        ttl_seconds=min((seconds(value) for name, value in obligations if name == APPROVAL_TTL), default=0.0)
        or default_ttl_seconds,
        exclude=tuple(sorted(exclude)),
    )


class Approving:
    """Makes the questions, for one configuration."""

    def __init__(
        self, approvals: Approvals, bind_headers: Iterable[str] = (), default_ttl_seconds: float = 900.0
    ) -> None:
        self._bind_headers = tuple(sorted(set(bind_headers)))
        self._default_ttl_seconds = default_ttl_seconds
        self._for_real = approvals is not NO_APPROVALS  # a policy's test cases need bring no bodies
        self.find: Callable[[Wanted, float], Held | None] = approvals.find
        self.settle = approvals.settle

    def wanted(
        self, outcome: Outcome, grant: Grant | None, snapshot: Snapshot, departures: tuple[Departure, ...] = ()
    ) -> Wanted | None:
        """The word that an allow needs; None: it needs none. `departures`: the limits that it would exceed.

        Raises:
            Refusal: BODY_PARTIAL: what would be approved cannot be seen whole. REQUEST_MALFORMED: nor written down.
        """
        call, subject, asked, decision = outcome.call, outcome.subject, outcome.asked, outcome.decision
        demand = demand_of(decision.obligations, self._default_ttl_seconds, departures)
        if demand is None or call is None or subject is None or asked is None:
            return None
        if not subject.id:
            raise Refusal(Reason.IDENTITY_MISSING, "an approval is bound to who asks, and nobody is proved")
        if asked.batch:
            # A human is shown one action and approves that one.
            raise Refusal(Reason.APPROVAL_REQUIRED, "a batch: its elements are approved, and so sent, each for itself")
        if self._for_real:
            demand_whole_body(call)
        chain, target = chain_of(subject, grant), asked.target
        try:
            arguments = arguments_digest(without_id(call.body) if asked.kind in _JSON_RPC else call.body, asked.args)
            digest = binding_digest(
                Binding(
                    principal=subject.id,
                    chain=chain,
                    grant_id=grant.id if grant is not None else "",
                    task=(str(asked.task["id"]), str(asked.task["purpose"]), asked.task["declared"] is not False),
                    action=asked.name,
                    method=target.method,
                    host=target.host,
                    port=target.port,
                    path=target.path,
                    query=target.query,
                    resource=asked.obj,
                    headers=tuple((name, call.headers.get(name, "")) for name in self._bind_headers),
                    transaction=subject.transaction.context if subject.transaction is not None else {},
                    arguments=arguments,
                    policy=snapshot.engine.version,
                    rule=decision.rule.id if decision.rule else "",
                    demand=demand,
                    beyond=tuple((each.limit_of, each.limit) for each in departures),
                )
            )
        except ValueError as error:
            raise Refusal(Reason.REQUEST_MALFORMED, f"an approval cannot be bound to it: {error}") from None
        behind = behind_of(subject, grant)
        return Wanted(digest, arguments, demand, chain, behind, outcome, departures, call, subject, asked, grant)


def demand_whole_body(call: CheckCall) -> None:
    """Pass when all of the body, if there is one, is here: nobody approves what cannot be seen (I8).

    Raises:
        Refusal: BODY_PARTIAL.
    """
    if call.body_partial:
        raise Refusal(Reason.BODY_PARTIAL, "the proxy cut the body, and an approval is bound to all of it")
    if call.body_as_text and b"!" in call.body:
        raise Refusal(
            Reason.BODY_PARTIAL,
            "of a body that the proxy sends as text, `!` may be any byte that is not UTF-8: set pack_as_bytes",
        )
    if call.body or call.layer != "http":
        return
    headers = call.headers
    length = headers.get("content-length", "")
    if length == "0" or (not length and _PARTIAL_BODY in headers):
        return
    if length or "transfer-encoding" in headers or call.method not in _WITHOUT_BODY:
        raise Refusal(
            Reason.BODY_PARTIAL,
            "an approval is bound to the body, which the proxy does not send: configure with_request_body",
        )


def chain_of(subject: Subject, grant: Grant | None) -> tuple[str, ...]:
    """Every party from the first to the caller, as grant, proxies and transaction token agree on them."""
    if subject.chain:
        return tuple(hop.id for hop in subject.chain)
    handed = tuple(reversed(grant.delegators)) if grant is not None else ()
    seen = subject.hops[:-1] if subject.hops and subject.hops[-1] == subject.id else subject.hops
    return (*handed, *seen, subject.id)


def behind_of(subject: Subject, grant: Grant | None) -> tuple[str, ...]:
    """For whom the work began: where the task started, and the human whose token came along."""
    found = [grant.origin] if grant is not None else []
    found += [hop.id for hop in subject.chain[:-1] if "#" in hop.id or hop is subject.chain[0]]
    if subject.transaction is not None:
        found.append(subject.transaction.subject)
    claims: Mapping[str, object] = subject.claims
    issuer, person = claims.get("iss"), claims.get("sub")
    if isinstance(person, str) and person:
        found += [f"{issuer}#{person}"] if isinstance(issuer, str) else []
        found += [person]
    named = ("name", "preferred_username", "email")
    found += [name for claim in named if isinstance(name := claims.get(claim), str) and name]
    return tuple(dict.fromkeys(found))


NOBODY_ASKED = Approving(NO_APPROVALS)
