"""Decides one call by the candidate, and says how that differs from what was answered."""

from collections.abc import Callable
from enum import Enum

import msgspec

from authz.decision.snapshot import Snapshot
from authz.errors import Reason, Refusal
from authz.model import Asked, CheckCall, Decision, Effect, Subject, Target

BY_POLICY = frozenset(
    {
        Reason.ALLOWED,
        Reason.DENIED_BY_RULE,
        Reason.NO_MATCHING_RULE,
        Reason.RULE_ERROR,
        Reason.OBLIGATION_UNKNOWN,
        Reason.IDENTITY_MISSING,
        Reason.GRANT_REQUIRED,
    }
)
"""Why a call is decided as it is where the policy was asked; any other reason would hold under every policy."""


class Kind(Enum):
    """How the candidate's decision compares with the live one."""

    SAME = "same"
    NEWLY_ALLOWED = "newly_allowed"
    NEWLY_DENIED = "newly_denied"
    OTHER_OBLIGATIONS = "other_obligations"
    ERROR = "error"


class Decided(msgspec.Struct, frozen=True):
    """One call, as it was decided live."""

    call: CheckCall
    time: float
    decision: Decision
    decision_id: str
    asked: Asked | None = None
    """What was asked for, with the grant that was verified then; only the live policy has all keys for that."""


class Comparison(msgspec.Struct, frozen=True):
    """One call, as both decided it."""

    kind: Kind
    live: Decision
    candidate: Decision
    subject: Subject | None = None
    target: Target | None = None


def compare(decided: Decided, snapshot: Snapshot, out_of_time: Callable[[], bool]) -> Comparison:
    """Ask the candidate as the live policy was asked; whatever goes wrong is a denial with its reason."""
    subject = target = None
    try:
        subject = snapshot.resolver.identify(decided.call, decided.time)
        asked = snapshot.binder.name(decided.call, snapshot.canonicalise(decided.call))
        target = asked.target
        shown = decided.asked
        if shown is not None:
            asked = msgspec.structs.replace(asked, sharing=shown.sharing)
        if shown is not None and shown.grant_key:
            asked = msgspec.structs.replace(
                asked, task=shown.task, grant=shown.grant, grant_key=shown.grant_key, until=shown.until
            )
        delegators = asked.grant["delegators"]
        assert isinstance(delegators, tuple)  # noqa: S101 - `attributes_of` a grant says so
        task = str(asked.task["id"]) if asked.grant_key else ""
        subject = snapshot.chains.join(decided.call, subject, delegators, decided.time, task)  # type: ignore[arg-type]  # texts
        request = snapshot.binder.bind(decided.call, asked, subject, decided.time)
        candidate = snapshot.decide(request, out_of_time)
    except Refusal as refusal:
        candidate = _denial(refusal.reason, snapshot.version, refusal.detail)
    except Exception as fault:  # noqa: BLE001 - the candidate may be anything; it is only looked at
        candidate = _denial(Reason.INTERNAL_ERROR, snapshot.version, type(fault).__name__)
    return Comparison(_kind(decided.decision, candidate), decided.decision, candidate, subject, target)


def _kind(live: Decision, candidate: Decision) -> Kind:
    failed = candidate.reason not in BY_POLICY or candidate.reason is Reason.RULE_ERROR
    if failed and candidate.reason is not live.reason:
        return Kind.ERROR
    if live.allowed != candidate.allowed:
        return Kind.NEWLY_ALLOWED if candidate.allowed else Kind.NEWLY_DENIED
    if live.allowed and set(live.obligations) != set(candidate.obligations):
        return Kind.OTHER_OBLIGATIONS
    return Kind.SAME


def _denial(reason: Reason, version: str, detail: str) -> Decision:
    return Decision(effect=Effect.DENY, reason=reason, policy_version=version, detail=detail)
