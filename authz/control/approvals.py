"""The service `Approvals`: what waits for a human's word, and that word (I8)."""

from collections.abc import AsyncIterator, Callable

from authz.approvals.approval import Approval, State, Vote
from authz.approvals.eligibility import NOT_HUMAN, Ballot, ballot
from authz.approvals.human import Human
from authz.approvals.risk import off_hours, warnings
from authz.approvals.settings import ApprovalSettings
from authz.control.approval_shapes import STATES, facts_of, risk_told, told, viewer_told
from authz.control.backing import Backing
from authz.control.caller import Caller
from authz.control.charter import Objection, Question
from authz.control.faults import precondition
from authz.control.fields import timestamp
from authz.control.method import Call, Method, Methods, Stream
from authz.control.pages import read_page
from authz.control.v1 import approvals_pb2 as pb
from authz.errors import Reason
from authz.model import Attributes
from authz.stores.database.approving import Decide, Told, Withdraw
from authz.stores.database.errors import NotFoundError
from authz.stores.database.listing import ApprovalFilter
from authz.stores.database.listing import Page as StorePage
from authz.stores.database.records import Change

_STATE_OF: dict[int, State] = {number: name for name, number in STATES.items()}
_EVENTS = {
    "approval_opened": pb.ApprovalEvent.KIND_OPENED,
    "approval_voted": pb.ApprovalEvent.KIND_VOTED,
    "approval_approved": pb.ApprovalEvent.KIND_APPROVED,
    "approval_rejected": pb.ApprovalEvent.KIND_REJECTED,
    "approval_withdrawn": pb.ApprovalEvent.KIND_WITHDRAWN,
    "approval_used": pb.ApprovalEvent.KIND_USED,
}

Dead = Callable[[Approval], str]
"""Answers why nothing can come of a request any more, as far as revocations in memory say; "": nothing does."""


class Approvals:
    """Serves `authz.control.v1.Approvals`."""

    def __init__(self, backing: Backing, settings: ApprovalSettings, dead: Dead) -> None:
        self._backing = backing
        self._store = backing.store
        self._settings = settings
        self._dead_by_revocation = dead
        self._clock = backing.clock

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "List": Method(pb.ListApprovalsRequest, self._ask_list, self._list),
            "Get": Method(pb.GetApprovalRequest, self._ask_get, self._get),
            "Approve": Method(pb.ApproveRequest, self._ask_approve, self._approve),
            "Reject": Method(pb.RejectApprovalRequest, self._ask_reject, self._reject),
            "Withdraw": Method(pb.WithdrawRequest, self._ask_withdraw, self._withdraw),
            "Watch": Stream(pb.WatchApprovalsRequest, self._ask_watch, self._watch),
        }

    # Looking

    async def _ask_list(self, request: pb.ListApprovalsRequest, caller: Caller) -> Question:
        self._demand_enabled()
        fields = self._backing.fields()
        fields.demand("state", request.state in {0, pb.APPROVAL_STATE_DEAD, *STATES.values()}, "not one that is known")
        fields.demand(
            "state", request.state != pb.APPROVAL_STATE_DEAD, "is not kept, but found out of each: select others"
        )
        fields.text("principal", request.principal)
        fields.text("task_id", request.task_id)
        known = not request.group or request.group in self._settings.groups
        fields.demand("group", known, "not one of approvals.groups")
        fields.demand("mine", not request.mine or caller.human is not None, _unproved(caller))
        fields.settle()
        about: Attributes = {"type": "approval", "holder": request.principal, "human": _id(caller.human)}
        return Question("/approvals/", about)

    async def _list(self, request: pb.ListApprovalsRequest, call: Call) -> pb.ListApprovalsResponse:
        selection = ("approvals", request.state, request.principal, request.task_id, request.group, request.mine)
        page = read_page(request.page, self._backing.settings, *selection)
        wanted = ApprovalFilter(
            state="open" if request.mine else _STATE_OF.get(request.state),
            principal=request.principal,
            task_id=request.task_id,
            group=request.group,
        )
        found = await self._store.approvals(wanted, StorePage(page.after, page.size))
        shown = [each for each in found.items if not request.mine or self._open_to(each, call)]
        return pb.ListApprovalsResponse(
            approvals=[
                told(each, call.now, dead=self._dead_by_revocation(each.approval), whole=False) for each in shown
            ],
            next_page_token=page.token(found.next_page) if found.next_page else "",
            open=await self._store.open_approvals(),
        )

    def _open_to(self, found: Told, call: Call) -> bool:
        return ballot(found.approval, found.votes, call.caller.human, call.now).open

    async def _ask_get(self, request: pb.GetApprovalRequest, caller: Caller) -> Question:
        question, _ = await self._about(request.approval_id, caller)
        return question

    async def _get(self, request: pb.GetApprovalRequest, call: Call) -> pb.GetApprovalResponse:
        found = await self._store.approval(request.approval_id)
        approval, caller, now = found.approval, call.caller, call.now
        dead = await self._dead(approval)
        history = await self._store.approval_history(approval)
        unusual = off_hours(self._settings.business_hours, approval.opened_at)
        yes, no = (ballot(approval, found.votes, caller.human, now, refusing=refusing) for refusing in (False, True))
        own = self._brings_own(approval, caller)
        reasons = [*map(str, yes.obstacles), *([_OWN_WORD] if own else ()), *([f"dead: {dead}"] if dead else ())]
        if caller.unproved:
            reasons.append(caller.unproved)
        return pb.GetApprovalResponse(
            approval=told(found, now, dead=dead),
            risk=risk_told(
                history,
                warnings(approval, facts_of(approval), history, unusual_hour=unusual),
                unusual_hour=unusual,
                now=now,
            ),
            viewer=viewer_told(
                caller.human,
                approve=yes.open and not own and not dead,
                reject=no.open and not own,
                withdraw=self._may_withdraw(approval, caller) and approval.state_at(now) in {"open", "approved"},
                group=yes.group,
                reasons=reasons,
            ),
        )

    # Deciding

    async def _ask_approve(self, request: pb.ApproveRequest, caller: Caller) -> Question:
        fields = self._backing.fields()
        fields.demand("uses", request.uses >= 0, "must not be negative")
        fields.demand("uses", not (request.uses and request.for_task), "not together with for_task")
        fields.text("comment", request.comment)
        if request.binding_sha256:
            fields.sha256("binding_sha256", request.binding_sha256)
        fields.settle()
        question, found = await self._about(request.approval_id, caller)
        return self._judged(question, found, caller, refusing=False)

    async def _approve(self, request: pb.ApproveRequest, call: Call) -> pb.ApproveResponse:
        found = await self._store.approval(request.approval_id)
        approval, uses = found.approval, request.uses or 1
        await self._demand_open(approval, call.now)
        demand = approval.demand
        if request.for_task and not (demand.for_task and approval.task_id):
            raise precondition(
                "NOT_FOR_TASK", approval.id, "the rule does not say approval_uses=task, or no task is named"
            )
        if not request.for_task and not demand.for_task and uses > demand.max_uses:
            raise precondition(
                "TOO_MANY_USES", approval.id, f"the rule permits {demand.max_uses} at most (approval_uses)"
            )
        vote = self._vote(found, call, request.comment, uses=uses, for_task=request.for_task, approved=True)
        kept = await self._store.decide(Decide(vote, request.binding_sha256 or approval.digest))
        await self._backing.settle()
        return pb.ApproveResponse(approval=told(kept, call.now))

    async def _ask_reject(self, request: pb.RejectApprovalRequest, caller: Caller) -> Question:
        fields = self._backing.fields()
        fields.text("comment", request.comment, required=True)
        fields.settle()
        question, found = await self._about(request.approval_id, caller)
        return self._judged(question, found, caller, refusing=True)

    async def _reject(self, request: pb.RejectApprovalRequest, call: Call) -> pb.RejectApprovalResponse:
        found = await self._store.approval(request.approval_id)
        self._demand_waiting(found.approval, call.now)
        vote = self._vote(found, call, request.comment, approved=False)
        kept = await self._store.decide(Decide(vote, found.approval.digest))
        await self._backing.settle()
        return pb.RejectApprovalResponse(approval=told(kept, call.now))

    def _vote(  # noqa: PLR0913 - what somebody said
        self, found: Told, call: Call, comment: str, *, approved: bool, uses: int = 1, for_task: bool = False
    ) -> Vote:
        human = call.caller.human
        mine = ballot(found.approval, found.votes, human, call.now, refusing=not approved)
        if human is None or not mine.open:  # the question was answered otherwise a moment ago
            raise precondition("NOT_ANY_MORE", found.approval.id, "; ".join(map(str, mine.obstacles)))
        return Vote(
            approval_id=found.approval.id,
            person=human.id,
            name=human.name,
            group=mine.group if approved else "",
            approved=approved,
            comment=comment,
            uses=uses,
            for_task=for_task,
            at=call.now,
            tool=call.caller.name,
        )

    # Taking back

    async def _ask_withdraw(self, request: pb.WithdrawRequest, caller: Caller) -> Question:
        fields = self._backing.fields()
        fields.text("comment", request.comment)
        fields.settle()
        question, found = await self._about(request.approval_id, caller)
        if found is None or self._may_withdraw(found.approval, caller):
            return question
        return _forbidden(question, Reason.APPROVER_NOT_ALLOWED, "neither the requester's tool nor one who may decide")

    async def _withdraw(self, request: pb.WithdrawRequest, call: Call) -> pb.WithdrawResponse:
        caller = call.caller
        by = f"{caller.human.id} with {caller.name}" if caller.human is not None else caller.name
        kept = await self._store.withdraw(Withdraw(request.approval_id, by, request.comment))
        await self._backing.settle()
        return pb.WithdrawResponse(approval=told(kept, call.now))

    def _may_withdraw(self, approval: Approval, caller: Caller) -> bool:
        human = caller.human
        decides = human is not None and not human.groups.isdisjoint(approval.demand.groups)
        # Who comes by the console is a human with a name, but no operator for that: their groups speak for them.
        operates = bool(caller.operator) and caller.transport != "console"
        return caller.subject.id == approval.principal or operates or decides

    # Following

    async def _ask_watch(self, request: pb.WatchApprovalsRequest, _: Caller) -> Question:
        self._demand_enabled()
        fields = self._backing.fields()
        fields.text("principal", request.principal)
        known = not request.group or request.group in self._settings.groups
        fields.demand("group", known, "not one of approvals.groups")
        fields.settle()
        return Question("/approvals/", {"type": "approval", "holder": request.principal})

    async def _watch(self, request: pb.WatchApprovalsRequest, call: Call) -> AsyncIterator[pb.ApprovalEvent]:
        after, store_id = self._store.head, self._store.store_id
        yield pb.ApprovalEvent(kind=pb.ApprovalEvent.KIND_WATCHING, at=timestamp(call.now))
        async for changes in self._store.watch(after, store_id):
            for change in changes:
                if _concerns(change, request.group, request.principal):
                    event = await self.event_of(change)
                    if event is not None:
                        yield event

    async def event_of(self, change: Change) -> pb.ApprovalEvent | None:
        """Answer what a change of the store means to those who follow approvals; None: nothing."""
        if change.kind not in _EVENTS:
            return None
        try:
            found = await self._store.approval(change.about)
        except NotFoundError:
            return None
        event = pb.ApprovalEvent(at=timestamp(change.at), approval=told(found, self._clock(), whole=False))
        event.kind = _EVENTS[change.kind]
        return event

    # What all share

    def _demand_enabled(self) -> None:
        if not self._settings.enabled:
            raise precondition("APPROVALS_OFF", "approvals", "approvals are off: approvals.groups is not set")

    async def _about(self, approval_id: str, caller: Caller) -> tuple[Question, Told | None]:
        """Answer what policy is asked, and what it is about; None: there is none, which policy is not told apart."""
        self._demand_enabled()
        fields = self._backing.fields()
        fields.identifier("approval_id", approval_id)
        fields.settle()
        about: Attributes = {"type": "approval", "id": approval_id, "human": _id(caller.human)}
        try:
            found = await self._store.approval(approval_id)
        except NotFoundError:
            return Question(f"/approvals/{approval_id}", about), None
        approval = found.approval
        about |= {
            "holder": approval.principal,
            "subject": approval.origin,
            "action": approval.action,
            "groups": approval.demand.groups,
            "task": {"id": approval.task_id, "purpose": facts_of(approval).task_purpose},
        }
        return Question(f"/approvals/{approval_id}", about), found

    def _judged(self, question: Question, found: Told | None, caller: Caller, *, refusing: bool) -> Question:
        """The question with what speaks against this human's word, so that its refusal goes on record as one."""
        if caller.human is None:
            return _forbidden(question, Reason.APPROVER_NOT_HUMAN, _unproved(caller))
        if found is None:
            return question
        if self._brings_own(found.approval, caller):
            return _forbidden(question, Reason.APPROVER_NOT_ALLOWED, _OWN_WORD)
        now = self._clock()
        if found.approval.state_at(now) != "open":
            return question  # what it is, its caller is told when nothing else speaks against them
        mine = ballot(found.approval, found.votes, caller.human, now, refusing=refusing)
        if mine.open:
            return question
        reason = Reason.APPROVER_NOT_HUMAN if _is_nobody(mine) else Reason.APPROVER_NOT_ALLOWED
        return _forbidden(question, reason, "; ".join(map(str, mine.obstacles)))

    def _brings_own(self, approval: Approval, caller: Caller) -> bool:
        """Whether the tool is one of those who ask: a human's token in its hands is no human's word (I8)."""
        return caller.subject.id in {approval.principal, *facts_of(approval).chain}

    async def _demand_open(self, approval: Approval, now: float) -> None:
        self._demand_waiting(approval, now)
        if dead := await self._dead(approval):
            raise precondition("APPROVAL_DEAD", approval.id, dead)

    def _demand_waiting(self, approval: Approval, now: float) -> None:
        if (state := approval.state_at(now)) != "open":
            raise precondition("APPROVAL_ENDED", approval.id, f"approval {approval.id} is {state}")

    async def _dead(self, approval: Approval) -> str:
        """Why nothing can come of it: its grant or task is over, or its principal revoked; "": something can."""
        if dead := self._dead_by_revocation(approval):
            return dead
        if not approval.grant_id:
            return ""
        try:
            grant = await self._store.grant(approval.grant_id)
        except NotFoundError:
            return ""  # issued elsewhere: revocations in memory have been asked
        if grant.state != "active":
            return f"the grant that it was asked under is {grant.state}"
        return "" if grant.expires_at > self._clock() else "the grant that it was asked under has expired"


_OWN_WORD = "requester: who asks cannot bring a human's word on it"


def _forbidden(question: Question, reason: Reason, why: str) -> Question:
    return Question(question.path, question.about, Objection(reason, why))


def _is_nobody(mine: Ballot) -> bool:
    return any(each.code == NOT_HUMAN for each in mine.obstacles)


def _unproved(caller: Caller) -> str:
    return caller.unproved or f"{NOT_HUMAN}: no OpenID token came with the call: sign in (authz login)"


def _id(human: Human | None) -> str:
    return human.id if human is not None else ""


def _concerns(change: Change, group: str, principal: str) -> bool:
    if change.kind not in _EVENTS:
        return False
    data = change.data
    return (not group or group in data["groups"]) and principal in {"", data["principal"]}
