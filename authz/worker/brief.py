"""A decision as one process of a host tells it to another: what is shown of it, masked and bounded already."""

import msgspec

from authz.audit.redact import masked, masked_path, plain
from authz.control.selection import MAX_CHARS
from authz.errors import Reason
from authz.model import Asked, Decision, Effect, Kind, Obligations, Outcome, RuleRef, Subject, Target

_MAX_OBLIGATIONS = 32


class Brief(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """One decision, without what it was made of."""

    id: str
    effect: Effect
    reason: Reason
    time: float
    latency_seconds: float
    policy_version: str = ""
    rule: RuleRef | None = None
    obligations: Obligations = ()
    detail: str = ""
    cached: bool = False
    subject: tuple[str, Kind] | None = None
    target: tuple[str, str, str] | None = None
    """Method, host and path."""
    task_id: str = ""


def brief(outcome: Outcome) -> Brief:
    """Answer what is told of a decision."""
    decision, subject, asked = outcome.decision, outcome.subject, outcome.asked
    target = asked.target if asked else None
    task_id = asked.task.get("id") if asked else ""
    rule = decision.rule
    return Brief(
        id=outcome.decision_id,
        effect=decision.effect,
        reason=decision.reason,
        time=outcome.time,
        latency_seconds=outcome.latency_seconds,
        policy_version=decision.policy_version,
        rule=RuleRef(rule.ptype, plain(rule.file, MAX_CHARS), rule.line, plain(rule.text, MAX_CHARS)) if rule else None,
        obligations=tuple(
            (plain(name, MAX_CHARS), masked(value, MAX_CHARS))
            for name, value in decision.obligations[:_MAX_OBLIGATIONS]
        ),
        detail=masked(decision.detail, MAX_CHARS),
        cached=outcome.cached,
        subject=(plain(subject.id, MAX_CHARS), subject.kind) if subject else None,
        target=(
            masked(target.method, MAX_CHARS),
            masked(target.host, MAX_CHARS),
            masked_path(target.path, MAX_CHARS),
        )
        if target
        else None,
        task_id=masked(task_id, MAX_CHARS) if isinstance(task_id, str) else "",
    )


def outcome_of(told: Brief) -> Outcome:
    """Answer the decision again, as far as it was told: without the call and the request."""
    return Outcome(
        decision_id=told.id,
        decision=Decision(
            effect=told.effect,
            reason=told.reason,
            policy_version=told.policy_version,
            rule=told.rule,
            obligations=told.obligations,
            detail=told.detail,
        ),
        call=None,
        subject=Subject(id=told.subject[0], kind=told.subject[1]) if told.subject else None,
        request=None,
        time=told.time,
        latency_seconds=told.latency_seconds,
        asked=_asked(told),
        cached=told.cached,
    )


def _asked(told: Brief) -> Asked | None:
    if told.target is None:
        return None
    method, host, path = told.target
    target = Target(method=method, host=host, path=path)
    return Asked(target=target, obj={}, protocol="", name="", task={"id": told.task_id})
