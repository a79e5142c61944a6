"""How the protocol shows a decision, and which ones a request means."""

from authz.audit.redact import masked, masked_path, plain
from authz.control.fields import timestamp
from authz.control.selection import MAX_CHARS, Selection
from authz.control.v1 import decisions_pb2 as pb
from authz.model import Outcome


def selection(request: pb.TailRequest | pb.SampleRequest, most: int = 0) -> Selection:
    """Answer which decisions a request means."""
    return Selection(request.effect, tuple(sorted(set(request.reasons))), request.subject, request.path, most)


def told(outcome: Outcome) -> pb.Decision:
    """Answer a decision as operators see it: the same facts as in the audit record, with the same masks (I10)."""
    decision, subject, asked = outcome.decision, outcome.subject, outcome.asked
    target = asked.target if asked else None
    task_id = asked.task.get("id") if asked else ""
    message = pb.Decision(
        id=outcome.decision_id,
        at=timestamp(outcome.time),
        effect=decision.effect.value,
        reason=decision.reason.value,
        subject=plain(subject.id, MAX_CHARS) if subject else "",
        subject_kind=subject.kind.value if subject else "",
        method=masked(target.method, MAX_CHARS) if target else "",
        host=masked(target.host, MAX_CHARS) if target else "",
        path=masked_path(target.path, MAX_CHARS) if target else "",
        rule=plain(decision.rule.id, MAX_CHARS) if decision.rule else "",
        policy_version=decision.policy_version,
        task_id=masked(task_id, MAX_CHARS) if isinstance(task_id, str) else "",
    )
    message.latency.FromNanoseconds(int(outcome.latency_seconds * 1e9))
    return message
