"""Approvals as the protocol shows them: masked when they were kept, and again bounded and in one line each here."""

from collections.abc import Iterable, Sequence

import msgspec

from authz.approvals.approval import Approval, State, Vote, missing
from authz.approvals.facts import Facts, Shown
from authz.approvals.human import Human
from authz.approvals.risk import History
from authz.audit.redact import masked, plain
from authz.control.fields import timestamp
from authz.control.v1 import approvals_pb2 as pb
from authz.control.v1.common_pb2 import Task
from authz.stores.database.approving import Told

STATES: dict[State, int] = {
    "open": pb.APPROVAL_STATE_OPEN,
    "approved": pb.APPROVAL_STATE_APPROVED,
    "rejected": pb.APPROVAL_STATE_REJECTED,
    "expired": pb.APPROVAL_STATE_EXPIRED,
    "spent": pb.APPROVAL_STATE_SPENT,
    "withdrawn": pb.APPROVAL_STATE_WITHDRAWN,
}
_CHARS = 1_024
_EARLIER_ABOUT = 3


def facts_of(approval: Approval) -> Facts:
    """What is shown of it."""
    return msgspec.convert(approval.facts, Facts)


def told(found: Told, now: float, *, dead: str = "", whole: bool = True) -> pb.Approval:
    """Answer an approval. `dead`: why nothing can come of it any more; `whole`: with the arguments."""
    approval, votes = found.approval, found.votes
    facts, demand = facts_of(approval), approval.demand
    state = approval.state_at(now)
    return pb.Approval(
        id=approval.id,
        state=pb.ApprovalState.Name(
            pb.APPROVAL_STATE_DEAD if dead and state in {"open", "approved"} else STATES[state]
        ),
        action=_action(approval, facts, whole=whole),
        resource=pb.ApprovalResource(
            type=facts.resource_type,
            id=facts.resource_id,
            sensitivity=facts.sensitivity,
            environment=facts.environment,
            cardholder_data=facts.cardholder_data,
        ),
        requester=pb.ApprovalRequester(
            principal=approval.principal,
            kind=facts.principal_kind,
            owner=approval.owner,
            origin=approval.origin,
            chain=facts.chain,
            task=Task(id=masked(approval.task_id, _CHARS), purpose=facts.task_purpose),
            task_declared=facts.task_declared,
            grant_id=approval.grant_id,
            source_address=facts.source_address,
        ),
        demand=pb.ApprovalDemand(
            rule=facts.rule,
            rule_text=facts.rule_text,
            policy_version=facts.policy_version,
            groups=demand.groups,
            persons=demand.persons,
            max_uses=demand.max_uses,
            may_be_for_task=demand.for_task and bool(approval.task_id),
            ttl_seconds=demand.ttl_seconds,
            exclude=demand.exclude,
            beyond=[
                pb.ExceededLimit(limit_of=each.limit_of, limit=each.limit, used=each.used, asked=each.asked)
                for each in facts.beyond
            ],
        ),
        opened_at=timestamp(approval.opened_at),
        expires_at=timestamp(approval.expires_at),
        decided_at=timestamp(approval.decided_at or 0.0),
        votes=[vote_told(vote) for vote in votes],
        missing=sum(missing(demand, votes).values()) if state == "open" else 0,
        uses=approval.uses,
        for_task=approval.for_task,
        used=approval.used,
        ended_by=plain(approval.ended_by, _CHARS),
        ended_why=dead or masked(approval.ended_why, _CHARS),
        binding_sha256=approval.digest,
        decision_id=approval.decision_id,
    )


def vote_told(vote: Vote) -> pb.ApprovalVote:
    """Answer one person's word."""
    return pb.ApprovalVote(
        person=plain(vote.person, _CHARS),
        name=plain(vote.name, _CHARS),
        group=vote.group,
        approved=vote.approved,
        comment=masked(vote.comment, _CHARS),
        at=timestamp(vote.at),
        tool=plain(vote.tool, _CHARS),
    )


def risk_told(history: History, warnings: Iterable[str], *, unusual_hour: bool, now: float) -> pb.ApprovalRisk:
    """Answer what to know of the risk."""
    return pb.ApprovalRisk(
        warnings=warnings,
        first_time=not history.approved_before,
        off_hours=unusual_hour,
        task_requests=history.task_requests,
        task_grants=history.task_grants,
        task_passed=history.task_passed,
        approved_before=history.approved_before,
        rejected_before=history.rejected_before,
        earlier=[_earlier(each, history.earlier_by.get(each.id, ()), now) for each in history.earlier],
        open_of_principal=history.open_of_principal,
    )


def viewer_told(  # noqa: PLR0913 - all that is told
    human: Human | None, *, approve: bool, reject: bool, withdraw: bool, group: str, reasons: Iterable[str]
) -> pb.ApprovalViewer:
    """Answer what a caller may do."""
    return pb.ApprovalViewer(
        person=plain(human.id, _CHARS) if human else "",
        name=plain(human.name, _CHARS) if human else "",
        may_approve=approve,
        may_reject=reject,
        may_withdraw=withdraw,
        reasons=reasons,
        group=group,
    )


def _action(approval: Approval, facts: Facts, *, whole: bool) -> pb.ApprovalAction:
    return pb.ApprovalAction(
        name=approval.action,
        method=facts.method,
        host=facts.host,
        path=facts.path,
        query=_shown(facts.query) if whole else (),
        arguments=_shown(facts.arguments) if whole else (),
        arguments_left_out=facts.left_out,
        arguments_cut=facts.cut,
        arguments_sha256=facts.arguments_sha256,
        body_bytes=facts.body_bytes,
        amounts=_shown(facts.amounts),
    )


def _shown(values: Iterable[Shown]) -> list[pb.ShownValue]:
    return [pb.ShownValue(name=each.name, value=each.value) for each in values]


def _earlier(approval: Approval, by: Sequence[str], now: float) -> pb.EarlierApproval:
    facts = facts_of(approval)
    amounts = [f"{each.name}={each.value}" for each in facts.amounts[:_EARLIER_ABOUT]]
    return pb.EarlierApproval(
        id=approval.id,
        state=pb.ApprovalState.Name(STATES[approval.state_at(now)]),
        opened_at=timestamp(approval.opened_at),
        by=[plain(each, _CHARS) for each in by],
        about=", ".join(amounts) or facts.path,
    )
