"""An approval as it is kept: what was asked, what was said, and what has become of it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from authz.approvals.demand import Demand

State: TypeAlias = Literal["open", "approved", "rejected", "expired", "spent", "withdrawn"]
"""Kept are all but "expired", which is a matter of the time alone.

    open -> approved -> spent
    open | approved -> withdrawn
    open -> rejected
    open | approved -> expired, by time
"""
LIVE: Final = frozenset({"open", "approved", "rejected"})
"""In these the same call is answered from what is there, and no further request is opened, until it lapses."""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a human's word. Times are seconds since the epoch."""

    id: str
    digest: str
    """What it is bound to."""
    state: State = "open"
    principal: str
    """Who asks: a SPIFFE ID."""
    origin: str = ""
    """For whom: the first of the chain."""
    owner: str = ""
    """Who answers for the principal."""
    behind: tuple[str, ...] = ()
    """Every name of those for whom the work began: where it started, and the human whose token the caller brought."""
    task_id: str = ""
    grant_id: str = ""
    action: str
    demand: Demand
    facts: dict[str, Any] = {}
    """What is shown, as `shown.Facts` writes it; secrets masked, bounded."""
    opened_at: float
    expires_at: float
    """When the request lapses; once approved, when the approval does."""
    ends_at: float | None = None
    """When the grant ends that it was asked under: nothing is good for longer."""
    decided_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""
    ended_why: str = ""
    uses: int = 0
    """How often it may be used; 0: not approved, or for the task."""
    for_task: bool = False
    used: int = 0
    decision_id: str = ""
    """The decision that opened it."""

    def state_at(self, now: float) -> State:
        """What has become of it by `now`. Written so that a NaN has expired."""
        if self.state in {"open", "approved"} and not now < self.expires_at:
            return "expired"
        return self.state

    @property
    def left(self) -> bool:
        """Whether, approved and in time, it is good for one more call."""
        return self.state == "approved" and (self.for_task or self.used < self.uses)


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """One person's word on one request."""

    approval_id: str
    person: str
    """ "issuer#subject"."""
    name: str
    group: str
    """For which group they spoke; "": they said no."""
    approved: bool
    comment: str = ""
    uses: int = 1
    for_task: bool = False
    at: float
    tool: str = ""
    """The caller of the control plane that brought it."""


def missing(demand: Demand, votes: Iterable[Vote]) -> dict[str, int]:
    """How many persons of each group have still to say yes; each person counts once, for one group."""
    said = [vote.group for vote in votes if vote.approved]
    lacking = {group: demand.persons - said.count(group) for group in demand.groups}
    return {group: count for group, count in lacking.items() if count > 0}


def approved(approval: Approval, votes: Sequence[Vote], now: float) -> Approval:
    """The approval once all have said yes: good for the least that any of them gave."""
    said = [vote for vote in votes if vote.approved]
    for_task = all(vote.for_task for vote in said)
    counted = [vote.uses for vote in said if not vote.for_task]
    until = now + approval.demand.ttl_seconds
    return msgspec.structs.replace(
        approval,
        state="approved",
        decided_at=now,
        expires_at=until if approval.ends_at is None else min(until, approval.ends_at),
        for_task=for_task,
        uses=0 if for_task else min(counted),
    )
