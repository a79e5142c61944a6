"""What a human is told of a limit that a call would exceed."""

from collections.abc import Callable

from authz.amount import show_amount
from authz.budgets.matching import Budget
from authz.budgets.visit import Demand, Departure
from authz.errors import Reason


def exceeding(budget: Budget, used: int, amount: int) -> Departure:
    """The departure from a budget that this process counts."""
    shown = _shown(sums=budget.counts == "sum")
    return Departure(f"budget {budget.name}", shown(budget.limit), shown(used), shown(amount), budget.group)


def departure_of(demand: Demand, used: int) -> Departure:
    """The departure from what the shared store counts."""
    what, shown = "task limit" if demand.reason is Reason.TASK_LIMIT else "budget", _shown(sums=demand.sums)
    return Departure(f"{what} {demand.detail}", shown(demand.limit), shown(used), shown(demand.amount), demand.group)


def _shown(*, sums: bool) -> Callable[[int], str]:
    return show_amount if sums else str
