"""What the shared store is asked to count before a call is allowed."""

from typing import Final

from authz.amount import parse_amount, units_of
from authz.budgets.account import Account
from authz.budgets.counter import Counter, seconds_until, short
from authz.budgets.matching import argument_of, resource_of
from authz.budgets.visit import CALLS, RESOURCES, SUM, Demand, Visit
from authz.errors import Reason, Refusal

_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "CONNECT"})
"""Methods of which a missing argument means that there is none, not that the body was not read."""


def budget_demand(counter: Counter, amount: int, member: str, visit: Visit) -> Demand:
    """What an exact budget asks for.

    Raises:
        Refusal: BUDGET_EXCEEDED, the store is known to refuse.
    """
    budget, time = counter.budget, visit.time
    group = budget.group if visit.alone else ""
    until, least = counter.blocked
    if not group and time < until and amount >= least:
        raise Refusal(Reason.BUDGET_EXCEEDED, budget.name, seconds_until(until, time))
    slot, span = budget.span.slot(time), budget.span
    until = span.end(slot + 1)
    return Demand(
        counter=counter.key,
        amount=amount,
        limit=budget.limit,
        slot=slot,
        oldest=span.oldest(slot),
        distinct=member,
        reason=Reason.BUDGET_EXCEEDED,
        detail=budget.name,
        until=until,
        group=group,
        sums=budget.counts == "sum",
    )


def limit_demands(visit: Visit, group: str) -> tuple[Demand, ...]:
    """What the limits of the task itself ask for; they are counted by the task, whichever of its grants is used.

    `group`: of the approvers who may let a call exceed them, "" for nobody.

    Raises:
        Refusal: TASK_LIMIT, one is known to be reached; BUDGET_ARGUMENT.
    """
    limits, account, asked = visit.limits, visit.account, visit.asked
    group = group if visit.alone else ""
    found = []
    if limits.calls:
        found.append(_limit_demand(account, CALLS, 1, limits.calls, group))
    if limits.resources:
        found.append(_limit_demand(account, RESOURCES, 1, limits.resources, group, short(resource_of(asked))))
    for argument, limit in limits.sums.items():
        value = argument_of(asked, argument.split("."))
        if value is None and (asked.kind or asked.target.method in _BODILESS):
            continue
        amount = counted(value, f"act.args.{argument}")
        if amount:
            found.append(_limit_demand(account, f"{SUM}{argument}", amount, parse_amount(limit), group))
    blocked = visit.account.blocked
    if blocked and not group:
        for demand in found:
            known, least = blocked.get(demand.detail, (-1, 0))
            if known == demand.limit and demand.amount >= least and not demand.distinct:
                raise Refusal(Reason.TASK_LIMIT, demand.detail)
    return tuple(found)


def limit_counter(task: str, what: str) -> str:
    """Answer what the shared store calls the counter of a limit of a task."""
    return short(f"|{what}|{task}")


def _limit_demand(account: Account, what: str, amount: int, limit: int, group: str, member: str = "") -> Demand:  # noqa: PLR0913, PLR0917 - what a demand is made of
    return Demand(
        counter=limit_counter(account.key, what),
        amount=amount,
        limit=limit,
        slot=0,
        oldest=0,
        distinct=member,
        reason=Reason.TASK_LIMIT,
        detail=what,
        until=account.until,
        group=group,
        sums=what.startswith(SUM),
    )


def counted(value: object, what: str) -> int:
    """An amount in millionths.

    Raises:
        Refusal: BUDGET_ARGUMENT, it cannot be counted.
    """
    units = units_of(value)
    if units is None:
        raise Refusal(Reason.BUDGET_ARGUMENT, f"{what}: no amount that can be counted exactly")
    return units
