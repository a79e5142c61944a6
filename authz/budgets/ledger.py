"""Who has spent what: asked at every call, cached or not, in memory, by one thread.

A call passes three times. `enter` says whose account it is, refuses what is suspended or retried too often, and joins
what the task did so far to the question. `charge` takes what an allow costs, all or nothing. `conclude` gives back what
a denied call took, and counts the denial. What counts is never forgotten to make room: where there is none, what is new
is refused (I12). docs/budgets.md says what holds across processes.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from authz.budgets.account import Account, Breaker, Labels
from authz.budgets.books import Books
from authz.budgets.counter import Counter, Table, seconds_until, short
from authz.budgets.counters import Counters
from authz.budgets.demands import budget_demand, counted, limit_demands
from authz.budgets.departures import departure_of, exceeding
from authz.budgets.matching import Budget, argument_of, resource_of, tool_of
from authz.budgets.retries import Retries
from authz.budgets.settings import BudgetSettings, TaskSettings
from authz.budgets.visit import Demand, NoRoom, OverLimit, Visit
from authz.errors import Reason, Refusal
from authz.memo import Memo
from authz.model import Asked, Subject
from authz.task_limits import NO_LIMITS, TaskLimits

LABEL_FACTS: Final = frozenset({"seen", "max_sensitivity"})
FIRST_USE: Final = "first_use"
_REMEMBERED: Final = 8_192
_NOT_HELD_AGAINST: Final = frozenset({Reason.TASK_SUSPENDED, Reason.APPROVAL_REQUIRED})
"""Denials that do not count against a task: else a suspension would never end, and who waits for a human and asks again
now and then, as it is told to, would be taken for one that misbehaves."""
_CLIENT_ERRORS: Final = range(400, 500)

S = TypeVar("S", bound=Hashable)


class Ledger:
    """All accounts and counters of one process. Not for use by several threads.

    Times are seconds of a clock that never goes back, counted from the epoch.
    """

    def __init__(self, budgets: Sequence[BudgetSettings], settings: TaskSettings) -> None:
        self._max_tools = settings.max_tools
        self._budgets = [Budget(each) for each in budgets]
        self._spans = {each.name: each.span for each in self._budgets}
        self._limit_group = settings.limit_approval
        self.books = Books(settings)
        self.counters = Counters(self._budgets, settings)
        self._counts = bool(self.counters)
        self._retries = Retries(self._budgets, self.counters, settings)
        self._is_retried = bool(self._retries)
        self.labels = Labels(settings.sensitivities)
        self._breaker = Breaker(settings.breaker) if settings.breaker is not None else None
        self._alike: Memo[Any, Any] = Memo(_REMEMBERED)
        self._version = ""
        self.reads_labels = False
        """Whether the rules in force read labels, so that none may be missed by another process."""
        self.reads_tools = False
        """Whether they read which tools were used."""
        self.shares = False
        self.news: list[Counter] = []
        """Counters that the shared store has not been told of."""
        self.moved: list[Account] = []
        """Accounts likewise."""
        self.unsure: dict[str, Account] = {}
        """Accounts with labels likewise."""
        self.on_suspend: Callable[[Account, float], None] = _ignore
        """Told of every task that the breaker suspends, and until when."""
        self.suspensions = 0
        self.exceeded: dict[str, int] = {each.name: 0 for each in self._budgets}
        """How many calls each budget refused."""

    @property
    def kept(self) -> dict[str, int]:
        """How many accounts and counters there are, by what they are for."""
        return {name: len(table) for name, table in self._tables}

    @property
    def untracked(self) -> dict[str, int]:
        """How often there was no room for a new one."""
        return {name: table.refused for name, table in self._tables}

    @property
    def _tables(self) -> tuple[tuple[str, Table[Account] | Table[Counter]], ...]:
        return (
            ("tasks", self.books.tables[0]),
            ("claimed_tasks", self.books.tables[1]),
            ("counters", self.counters.tables[0]),
            ("claimed_counters", self.counters.tables[1]),
            ("retries", self._retries.table),
        )

    def share(self) -> None:
        """Note from now on what a shared store is to be told of."""
        self.shares = True
        for budget in self._budgets:
            budget.shared = not budget.exact and budget.counts != "retries"

    # In

    def enter(  # noqa: PLR0913, PLR0917 - a call, and the policy that it meets
        self, subject: Subject, asked: Asked, limits: TaskLimits, reads: frozenset[str], version: str, time: float
    ) -> Visit:
        """Take in a call; `reads` names what the rules read of tasks, `version` the policy that they belong to.

        Raises:
            Refusal: TASK_SUSPENDED; BUDGET_EXCEEDED, retried too often; BUDGET_UNTRACKED, no room for a new account.
        """
        if version is not self._version:
            # Another inventory or catalogue: tenants and sensitivities may be others.
            self._version = version
            self.counters.forget_plans()
            self.reads_labels = not reads.isdisjoint(LABEL_FACTS)
            self.reads_tools = FIRST_USE in reads
        account = self.books.of(subject, asked, time)
        if account.suspended > time:
            raise Refusal(Reason.TASK_SUSPENDED, "by the circuit breaker", seconds_until(account.suspended, time))
        visit = Visit(account, subject, asked, limits, time)
        if self._is_retried:
            counter = self._retries.used_up(visit)
            if counter is not None:
                self._exceeded(counter, 1, visit)
        if reads:
            visit.asked = self._with_facts(asked, account)
        return visit

    def _with_facts(self, asked: Asked, account: Account) -> Asked:
        """Join what the task did to the question. To each element of a batch, all the others were seen already."""
        seen = account.seen
        if asked.batch:
            also = {str(each.obj.get("sensitivity") or "") for each in asked.every} - {""}
            seen = tuple(sorted({*seen, *also}))
        batch = tuple([self._joined(each, account, seen) for each in asked.batch])
        return msgspec.structs.replace(self._joined(asked, account, seen), batch=batch)

    def _joined(self, asked: Asked, account: Account, seen: tuple[str, ...]) -> Asked:
        facts = self.labels.facts(account, tool_of(asked), seen)
        return msgspec.structs.replace(asked, task={**asked.task, **facts})

    # Charge

    def charge(self, visit: Visit | None) -> None:
        """Take what an allow costs, all or nothing, and note what must be counted in the shared store first.

        Raises:
            Refusal: BUDGET_EXCEEDED, TASK_LIMIT; BUDGET_ARGUMENT, an amount cannot be counted; BUDGET_UNTRACKED.
        """
        if visit is None:
            return
        if visit.asked.batch:
            self._charge_batch(visit)
        else:
            self._charge_one(visit)

    def _charge_batch(self, visit: Visit) -> None:
        """Charge every element of a batch, or none."""
        parts: list[Visit] = []
        try:
            for each in visit.asked.every:
                part = Visit(visit.account, visit.subject, each, visit.limits, visit.time)
                part.alone = False
                self._charge_one(part)
                parts.append(part)
        except Refusal:
            for part in parts:
                self._give_back(part)
            raise
        visit.calls = len(parts)
        visit.counted = tuple(counter for part in parts for counter in part.counted)
        visit.taken = tuple(each for part in parts for each in part.taken)
        visit.demands = tuple(each for part in parts for each in part.demands)
        visit.labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
        visit.tools = tuple(dict.fromkeys(tool for part in parts for tool in part.tools))

    def _charge_one(self, visit: Visit) -> None:
        account = visit.account
        if self._counts:
            self._charge_budgets(visit)
        limits = visit.limits
        if limits is not NO_LIMITS and limits:
            try:
                visit.demands += limit_demands(visit, self._limit_group)
            except Refusal:
                self._give_back(visit)
                raise
        account.calls += 1
        visit.calls = 1
        self._note_use(visit, account)

    def _charge_budgets(self, visit: Visit) -> None:
        counting, others = self.counters.plan(visit)
        time, shares = visit.time, self.shares
        for counter in counting:
            if time >= counter.slot_end:
                counter.turn(time)
            if counter.total >= counter.limit:
                self._exceeded(counter, 1, visit)
        if others:
            self._charge_others(visit, others)
        for counter in counting:
            counter.total += 1
            counter.here += 1
            if shares and not counter.noted:
                self.note(counter)
        visit.counted = counting

    def _note_use(self, visit: Visit, account: Account) -> None:
        """Note what an allowed call shows of its task."""
        asked = visit.asked
        # What a task is seen to do for the first time is rare. It has done it once the call is allowed for good: one
        # that still waits, for a human's word say, must not make the next look like the second.
        if (asked.tool or asked.name) not in account.tools:
            visit.tools = (short(tool_of(asked)),)
        label = asked.obj.get("sensitivity")
        if label and (label not in account.seen or account.unsure):
            self._note_label(visit, str(label))
        self._note_moved(account)

    def _note_moved(self, account: Account) -> None:
        if self.shares and not account.moved:
            account.moved = True
            self.moved.append(account)

    def _charge_others(self, visit: Visit, others: Sequence[Counter]) -> None:
        """Charge all but plain numbers of calls: exact budgets, sums, distinct resources."""
        asked, time = visit.asked, visit.time
        demands, taken = [], []
        for counter in others:
            budget = counter.budget
            amount, member = 1, ""
            if budget.counts == "sum":
                amount = counted(argument_of(asked, budget.argument), budget.name)
            elif budget.counts == "resources":
                member = short(resource_of(asked))
            if budget.exact:
                demands.append(self._exact(counter, amount, member, visit))
                continue
            if not counter.room(time, amount, member):
                self._exceeded(counter, amount, visit)
            taken.append((counter, amount, member))
        for counter, n, member in taken:
            counter.add(counter.slot, n, member)
        visit.taken = tuple([(counter, counter.slot, n, member) for counter, n, member in taken])
        visit.demands = tuple(demands)
        if self.shares:
            for counter, _, _ in taken:
                self.note(counter)

    def note(self, counter: Counter) -> None:
        """Have the shared store told of what a counter counted."""
        if not counter.noted:
            counter.noted = True
            self.news.append(counter)

    def _same(self, value: S) -> S:
        """The same object for equal values: many tasks do and see the same."""
        known = self._alike.get(value)
        if known is None:
            self._alike.put(value, value)
            return value
        return known  # type: ignore[no-any-return]  # an equal one

    def note_tools(self, account: Account, tools: Iterable[str]) -> None:
        """Note that a task used tools, here or elsewhere."""
        for tool in tools:
            if len(account.tools) < self._max_tools:
                account.tools = self._same(account.tools | {tool})

    def _note_label(self, visit: Visit, label: str) -> None:
        account = visit.account
        if label not in account.seen:
            # Kept although the call may still be denied: a label too many bars, one too few lets out.
            account.seen = self._same(tuple(sorted((*account.seen, label))))
            if self.shares:
                account.unsure |= {label}
                self.unsure[account.key] = account
        if label in account.unsure and self.reads_labels and label != self.labels.lowest:
            visit.labels = (label,)

    def _exact(self, counter: Counter, amount: int, member: str, visit: Visit) -> Demand:
        try:
            return budget_demand(counter, amount, member, visit)
        except Refusal:
            self.exceeded[counter.budget.name] += 1
            raise

    def refused(self, visit: Visit, found: NoRoom) -> Refusal:
        """Note that the store has no room for a demand, and answer what to tell: `OverLimit` where a human may help."""
        demand = visit.demands[found.at]
        if demand.group:
            return OverLimit(departure_of(demand, found.used), found.at)
        if demand.reason is Reason.TASK_LIMIT:
            known = visit.account.blocked or {}
            visit.account.blocked = {**known, demand.detail: (demand.limit, demand.amount)}
            return Refusal(Reason.TASK_LIMIT, demand.detail)
        self.exceeded[demand.detail] += 1
        retry_at = self._spans[demand.detail].end(found.gone)
        for table in self.counters.tables:
            counter = table.get(demand.counter)
            if counter is not None and not demand.distinct:
                counter.blocked = (retry_at, demand.amount)
        visit.retry_after = seconds_until(retry_at, visit.time)
        return Refusal(Reason.BUDGET_EXCEEDED, demand.detail, visit.retry_after)

    def _exceeded(self, counter: Counter, amount: int, visit: Visit) -> None:
        """Refuse what does not fit; or note that a human has to let it pass, where one may."""
        budget = counter.budget
        if budget.group and visit.alone:
            visit.beyond += (exceeding(budget, counter.used, amount),)
            return
        self.exceeded[budget.name] += 1
        raise Refusal(Reason.BUDGET_EXCEEDED, budget.name, counter.retry_after(visit.time, amount))

    # Out

    def conclude(self, visit: Visit, reason: Reason) -> None:
        """End a visit: a call that was denied after all costs nothing, and counts as denied."""
        if reason is Reason.ALLOWED:
            if visit.tools:
                self.note_tools(visit.account, visit.tools)
                self._note_moved(visit.account)
            return
        account, time = visit.account, visit.time
        if visit.calls:
            self._give_back(visit)
        if reason.http_status not in _CLIENT_ERRORS or reason in _NOT_HELD_AGAINST:
            return
        account.denials += 1
        self._note_moved(account)
        if self._is_retried and reason is not Reason.BUDGET_EXCEEDED:
            self._retries.count(visit)
        if self._breaker is not None and self._breaker.denied(account, time):
            self.suspensions += 1
            self.on_suspend(account, account.suspended)

    def _give_back(self, visit: Visit) -> None:
        for counter in visit.counted:
            counter.take_back(counter.budget.span.slot(visit.time), 1)
        for counter, slot, amount, member in visit.taken:
            counter.take_back(slot, amount, member)
        if self.shares:
            for counter in (*visit.counted, *(each[0] for each in visit.taken)):
                self.note(counter)
        visit.account.calls -= visit.calls
        visit.counted, visit.taken, visit.calls = (), (), 0


def _ignore(*_: object) -> None:
    """Nobody wants to know."""
