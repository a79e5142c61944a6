"""One call on its way past the brakes: whom it is charged to, what was taken for it, what it must wait for."""

from typing import Final

import msgspec

from authz.budgets.account import Account
from authz.budgets.counter import Counter
from authz.errors import Reason, Refusal
from authz.model import Asked, Subject
from authz.task_limits import TaskLimits

CALLS: Final = "calls"
RESOURCES: Final = "resources"
SUM: Final = "sum:"
"""What limits are called: of sums, with the argument's path after it."""


class Demand(msgspec.Struct, frozen=True):
    """An amount that the shared store counts before the call is allowed: all of a call's together, or none."""

    counter: str
    """What it is counted under."""
    amount: int
    limit: int
    slot: int
    oldest: int
    """The oldest slot that counts."""
    distinct: str
    """Of distinct resources: which one; "": the amount is added up."""
    reason: Reason
    """Why it is denied where it does not fit."""
    detail: str
    until: float
    """When it need not be remembered any more."""
    group: str = ""
    """The group of approvers who may let a call exceed the limit; "": nobody."""
    sums: bool = False
    """Whether amounts are millionths."""


class NoRoom(msgspec.Struct, frozen=True):
    """What the shared store says of a demand that does not fit."""

    at: int
    """Which of the demands it is."""
    gone: int
    """Which slot must have gone for it to fit."""
    used: int
    """How much of the limit was used before."""


class Departure(msgspec.Struct, frozen=True):
    """A limit that one call would exceed, and who may let it. All texts, for people."""

    limit_of: str
    """What has the limit: "budget payments", "task limit calls"."""
    limit: str
    used: str
    asked: str
    """How much the call adds."""
    group: str
    """The group of approvers whose word lets it pass once."""


class OverLimit(Refusal):
    """A demand does not fit, and a human may let it pass."""

    def __init__(self, departure: Departure, at: int) -> None:
        """`at`: which of the demands it is."""
        super().__init__(Reason.APPROVAL_REQUIRED, departure.limit_of)
        self.departure = departure
        self.at = at


class Visit:
    """What is known of one call. Made when it comes in; `Ledger.conclude` ends it."""

    # Of the class where they are as they mostly stay: a visit is made for every call.
    calls = 0
    """How many calls it was charged as: of a batch, each element; 0: it was not."""
    counted: "tuple[Counter, ...]" = ()
    """Counters of calls that counted this one."""
    taken: "tuple[tuple[Counter, int, int, str], ...]" = ()
    """Others: counter, slot, amount and member."""
    demands: tuple[Demand, ...] = ()
    labels: tuple[str, ...] = ()
    """Sensitivities of which the shared store must know before this call is allowed."""
    tools: tuple[str, ...] = ()
    """Those that the task uses for the first time, if the call is allowed in the end."""
    beyond: tuple[Departure, ...] = ()
    """Limits counted in this process that it exceeds, if a human lets it."""
    alone = True
    """Whether it is a call by itself: of elements of a batch no human is asked."""
    retry_after = 0
    """Of a refusal while waiting: when to come again."""

    def __init__(self, account: Account, subject: Subject, asked: Asked, limits: TaskLimits, time: float) -> None:
        self.account = account
        self.subject = subject
        self.asked = asked
        self.limits = limits
        self.time = time

    @property
    def waits(self) -> bool:
        """Whether the shared store must be asked before an allow is given."""
        return bool(self.demands or self.labels)

    @property
    def may_depart(self) -> bool:
        """Whether a human may let it exceed a limit that the shared store counts."""
        return any(demand.group for demand in self.demands)
