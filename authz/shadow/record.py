"""Puts a difference in words, for the audit trail."""

import msgspec

from authz.audit.redact import masked, masked_path, plain
from authz.audit.schema import VERSION, Obligation, RuleRecord, ShadowDecision, ShadowDifference
from authz.audit.settings import AuditSettings
from authz.audit.words import rfc3339
from authz.model import Decision
from authz.shadow.compare import Comparison, Decided

_MAX_OBLIGATIONS = 32


def difference_line(decided: Decided, found: Comparison, settings: AuditSettings) -> bytes:
    """Write the record of one difference as a line of JSON, with its newline; no more is told than in any record."""
    size, target, subject = settings.max_text_chars, found.target, found.subject
    record = ShadowDifference(
        v=VERSION,
        time=rfc3339(decided.time),
        decision_id=plain(decided.decision_id, size),
        kind=found.kind.value,
        live=_decision(found.live, settings),
        candidate=_decision(found.candidate, settings),
        request_id=masked(decided.call.request_id, size),
        subject=plain(subject.id, size) if subject else "",
        layer=plain(decided.call.layer, size),
        method=plain(target.method, size) if target else "",
        host=plain(target.host, size) if target else "",
        path=masked_path(target.path, size) if target else "",
    )
    return msgspec.json.encode(record) + b"\n"


def _decision(decision: Decision, settings: AuditSettings) -> ShadowDecision:
    size, rule = settings.max_text_chars, decision.rule
    text = plain(rule.text, size) if rule and settings.rule_text else ""
    return ShadowDecision(
        effect=decision.effect.value,
        reason=decision.reason.value,
        detail=masked(decision.detail, size),
        rule=RuleRecord(id=plain(rule.id, size), ptype=plain(rule.ptype, size), text=text) if rule else None,
        obligations=tuple(
            Obligation(name=plain(name, size), value=masked(value, size))
            for name, value in decision.obligations[:_MAX_OBLIGATIONS]
        ),
        policy_version=plain(decision.policy_version, size),
    )
