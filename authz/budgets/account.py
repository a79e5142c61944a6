"""What one task has done so far: calls, denials, labels, tools; and whether it is suspended."""

from collections.abc import Mapping, Sequence
from typing import Final

from authz.budgets.counter import short
from authz.budgets.settings import BreakerSettings
from authz.budgets.window import Span, Tally
from authz.model import Attributes

BREAKER_SLOTS: Final = 10


class Account:
    """One task, all of its grants together; or, for calls without a grant, what one identity says is one."""

    __slots__ = (
        "blocked",
        "calls",
        "dead",
        "denials",
        "denied",
        "granted",
        "key",
        "moved",
        "principal",
        "seen",
        "suspended",
        "task",
        "told",
        "tools",
        "tools_told",
        "unsure",
        "until",
    )

    def __init__(self, key: str, task: str, principal: str, *, granted: bool, until: float) -> None:
        """`principal`: whose task it is, where no grant proves it. `until`: as of when it may be forgotten."""
        self.key = key
        self.task = task
        self.principal = principal
        self.granted = granted
        self.until = until
        self.calls = 0
        """Allowed."""
        self.denials = 0
        self.moved = False
        """Whether the shared store waits for what it does not know yet."""
        self.told = (0, 0)
        """How many of both the shared store knows of, from everybody; what is above that it has not been told."""
        self.seen: tuple[str, ...] = ()
        """Sensitivities of what it was allowed, sorted."""
        self.unsure: frozenset[str] = frozenset()
        """Those of them of which the shared store may not know yet."""
        self.tools: frozenset[str] = frozenset()
        self.tools_told: frozenset[str] = frozenset()
        """Those of them that the shared store knows of."""
        self.suspended = 0.0
        """Until when."""
        self.denied: Tally | None = None
        """Denials of late, for the breaker."""
        self.blocked: dict[str, tuple[int, int]] | None = None
        """Limits of the task that are known to be reached: name -> limit, and the amount that did not fit."""
        self.dead = False

    def idle(self, time: float) -> bool:
        """Whether it may be forgotten."""
        return self.until <= time and self.suspended <= time


def account_key(task: str, principal: str) -> str:
    """What the account of a task is called: the task's id, and where only an identity says that there is such a task,
    that identity after it. The ids of tasks of grants hold no blank.
    """
    return short(f"{task} {principal}") if principal else task


class Labels:
    """Which sensitivity is above which."""

    def __init__(self, sensitivities: Sequence[str]) -> None:
        self._rank: Mapping[str, int] = {name: rank for rank, name in enumerate(sensitivities)}
        self.lowest = sensitivities[0] if sensitivities else ""

    def highest(self, seen: Sequence[str]) -> str:
        """The most sensitive; "": none. What is not listed is above all."""
        above = len(self._rank)
        return max(seen, key=lambda name: (self._rank.get(name, above), name), default="")

    def facts(self, account: Account, tool: str, seen: tuple[str, ...]) -> Attributes:
        """What rules see of a task besides its id and purpose."""
        return {
            "calls": account.calls,
            "denials": account.denials,
            "seen": seen,
            "max_sensitivity": self.highest(seen),
            "first_use": tool not in account.tools,
        }


class Breaker:
    """Suspends tasks that misbehave."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._span = Span(settings.window_seconds, BREAKER_SLOTS)

    def denied(self, account: Account, time: float) -> bool:
        """Count a denial; answer whether that was one too many: then the task is suspended from now on."""
        if not account.task or account.suspended > time:
            return False
        if account.denied is None:
            account.denied = Tally()
        slot = self._span.slot(time)
        account.denied.add(slot, 1)
        if account.denied.roll(self._span.oldest(slot)) < self._settings.denials:
            return False
        account.suspended = time + self._settings.suspend_seconds
        account.denied = None
        return True
