"""Which counters count a call, made where there are none yet: room for so many and no more."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from authz.budgets.counter import Counter, Table, short
from authz.budgets.matching import Budget, tenant_of, tenant_reader, tool_of
from authz.budgets.settings import TaskSettings
from authz.budgets.visit import Visit
from authz.errors import Reason, Refusal
from authz.memo import Memo

_PLANS: Final = 8_192
_CLAIMED: Final = "?"
"""After the beginning of a counter's name: it is one of those that callers name."""

Plan: TypeAlias = "tuple[tuple[Counter, ...], tuple[Counter, ...]]"
"""The counters that count a call: of plain numbers of calls, and others."""


class Counters:
    """All counters of one process, but for those of retries."""

    def __init__(self, budgets: Sequence[Budget], settings: TaskSettings) -> None:
        self._budgets = tuple(each for each in budgets if each.counts != "retries")
        self._by_prefix = {each.prefix: each for each in self._budgets if not each.exact}
        self._tenant = tenant_reader(settings.tenant)
        self.tables = (Table[Counter](settings.max_tracked), Table[Counter](settings.max_claimed))
        """Those of what is proved, and of what callers name."""
        self._plans: Memo[tuple[object, ...], Plan] = Memo(_PLANS)

    def __bool__(self) -> bool:
        """Whether there is any budget to count for."""
        return bool(self._budgets)

    def forget_plans(self) -> None:
        """Find out anew which counters count which calls."""
        self._plans.clear()

    def plan(self, visit: Visit) -> Plan:
        """The counters that count a call.

        Raises:
            Refusal: BUDGET_UNTRACKED, there is no room for another.
        """
        asked, subject, account = visit.asked, visit.subject, visit.account
        obj = asked.obj
        key = (account, subject.id, asked.name, asked.tool, obj["host"], obj["path"], obj.get("sensitivity"))
        plan = self._plans.get(key)
        if plan is not None:
            for counter in plan[0]:
                if counter.dead:
                    break
            else:
                if not plan[1] or not any(counter.dead for counter in plan[1]):
                    return plan
        counters = [self._counter(budget, visit) for budget in self._budgets if budget.fits(subject, asked)]
        plan = (
            tuple(each for each in counters if each.budget.plain),
            tuple(each for each in counters if not each.budget.plain),
        )
        self._plans.put(key, plan)
        return plan

    def _counter(self, budget: Budget, visit: Visit) -> Counter:
        account = visit.account
        claimed = "tool" in budget.per or ("task" in budget.per and not account.granted and bool(account.task))
        table, key = self.tables[1 if claimed else 0], self.key(budget, visit, claimed=claimed)
        counter = table.get(key)
        if counter is None:
            counter = Counter(budget, key, visit.time)
            if not table.put(key, counter, visit.time):
                setting = "max_claimed" if claimed else "max_tracked"
                raise Refusal(Reason.BUDGET_UNTRACKED, f"tasks.{setting} counters are in use")
        return counter

    def key(self, budget: Budget, visit: Visit, *more: str, claimed: bool = True) -> str:
        """What a counter of a budget is called."""
        parts = [f"{budget.prefix}{_CLAIMED if claimed else ''}"]
        for per in budget.per:
            match per:
                case "principal":
                    parts.append(visit.subject.id)
                case "task":
                    parts.append(visit.account.key)
                case "tool":
                    parts.append(tool_of(visit.asked))
                case "tenant":
                    parts.append(tenant_of(visit.subject, self._tenant))
        # What callers choose must not make two keys one.
        return short("|".join([part.replace("\\", "\\\\").replace("|", "\\|") for part in (*parts, *more)]))

    def known(self, key: str, time: float) -> Counter | None:
        """Answer the counter of a name, made where others have used it; None: it is of no budget here."""
        prefix = key.partition("|")[0]
        budget = self._by_prefix.get(prefix.removesuffix(_CLAIMED))
        if budget is None:
            return None
        table = self.tables[1 if prefix.endswith(_CLAIMED) else 0]
        counter = table.get(key)
        if counter is None:
            counter = Counter(budget, key, time)
            if not table.put(key, counter, time):
                return None
        return counter
