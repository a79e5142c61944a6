"""Who may decide: a human of the right group, and nobody who has a part in the asking (I8)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from authz.approvals.approval import Approval, Vote, missing
from authz.approvals.demand import ORIGIN, OWNER
from authz.approvals.human import Human, folded, is_one_of

NOT_HUMAN: Final = "not_human"
ENDED: Final = "ended"
REQUESTER: Final = "requester"
OWNER_EXCLUDED: Final = "owner_excluded"
ORIGIN_EXCLUDED: Final = "origin_excluded"
NOT_IN_GROUP: Final = "not_in_group"
VOTED: Final = "voted_already"
NAME_CHARS: Final = 4_096
"""Room for any name by which a part in the asking is known, with all that does not print written out."""
TOKEN_OVER: Final = "token_expired"


class Obstacle(msgspec.Struct, frozen=True):
    """Why a person may not decide: a stable code, and a sentence for them."""

    code: str
    told: str

    def __str__(self) -> str:
        return f"{self.code}: {self.told}"


class Ballot(msgspec.Struct, frozen=True):
    """What one person may do about one request."""

    group: str = ""
    """The group for which their yes would count."""
    obstacles: tuple[Obstacle, ...] = ()

    @property
    def open(self) -> bool:
        """Whether they may decide."""
        return not self.obstacles


def ballot(
    approval: Approval, votes: Sequence[Vote], human: Human | None, now: float, *, refusing: bool = False
) -> Ballot:
    """What `human` may do about a request; None: nobody was proved to be one.

    `refusing`: whether they mean to say no, which any member of any of its groups may at any time while it is open.
    """
    found: list[Obstacle] = []
    state = approval.state_at(now)
    if state != "open":
        found.append(Obstacle(ENDED, f"this request is {state}"))
    if human is None:
        found.append(Obstacle(NOT_HUMAN, "only a human decides: sign in (authz login)"))
        return Ballot("", tuple(found))
    if not now < human.expires:
        found.append(Obstacle(TOKEN_OVER, "your sign-in has expired: sign in again (authz login)"))
    found.extend(_parts(approval, human))
    if any(vote.person == human.id or folded(vote.name) in human.names for vote in votes):
        found.append(Obstacle(VOTED, "you, or somebody of your name, have spoken already; another person has to"))
    mine = [group for group in approval.demand.groups if group in human.groups]
    lacking = missing(approval.demand, votes)
    if not mine:
        wanted = " and ".join(approval.demand.groups)
        found.append(Obstacle(NOT_IN_GROUP, f"only the group {wanted} decides, and you are not in it"))
    elif not refusing and state == "open" and not any(group in lacking for group in mine):
        found.append(Obstacle(NOT_IN_GROUP, f"your group was heard; {' and '.join(lacking)} has yet to be"))
    return Ballot(next((group for group in mine if group in lacking), ""), tuple(found))


def _parts(approval: Approval, human: Human) -> list[Obstacle]:
    """What part they have in the asking."""
    found = []
    if is_one_of(human, (approval.principal,)):
        found.append(Obstacle(REQUESTER, "this is your own request"))
    exclude = approval.demand.exclude
    if OWNER in exclude and is_one_of(human, (approval.owner,)):
        found.append(Obstacle(OWNER_EXCLUDED, "you answer for the requester, and the rule excludes its owner"))
    if ORIGIN in exclude and is_one_of(human, (approval.origin, *approval.behind)):
        found.append(Obstacle(ORIGIN_EXCLUDED, "the work began for you, and the rule excludes you"))
    return found
