"""The accounts of tasks: whose is whose, and room for so many and no more."""

from typing import Final

from authz.budgets.account import Account, account_key
from authz.budgets.counter import Table
from authz.budgets.settings import TaskSettings
from authz.errors import Reason, Refusal
from authz.memo import Memo
from authz.model import Asked, Subject

_REMEMBERED: Final = 8_192
_ANONYMOUS: Final = "anonymous"
"""Stands for whoever proves nothing: without, the task that they name would in the store be that of a grant."""
_OVERFLOW: Final = " +"
"""What stands for all tasks together that one identity declares beyond its share."""


class Books:
    """All accounts of one process."""

    def __init__(self, settings: TaskSettings) -> None:
        self._settings = settings
        self.tables = (Table[Account](settings.max_tracked), Table[Account](settings.max_claimed))
        """Those of what is proved, and of what is only claimed."""
        self._declared: dict[str, int] = {}
        self._claimed: Memo[tuple[object, str], Account] = Memo(_REMEMBERED)
        """Accounts of tasks without a grant, by task and identity: to make their keys takes longer."""

    def of(self, subject: Subject, asked: Asked, time: float) -> Account:
        """The account that a call belongs to, opened where there is none.

        Raises:
            Refusal: BUDGET_UNTRACKED, there is no room for another.
        """
        task = asked.task["id"]
        keep = time + self._settings.forget_seconds
        if asked.grant_key:
            found = self.tables[0].get(str(task))
            if found is None:
                task = str(task)
                found = self._open(0, task, Account(task, task, "", granted=True, until=keep), time)
            found.until = max(found.until, asked.until + self._settings.forget_seconds)
            return found
        # Only claimed: apart from tasks of grants, and apart for each identity, so that nobody spends another's.
        known = self._claimed.get((task, subject.id))
        if known is None or known.dead:
            known = self._claim(str(task), subject, keep, time)
            self._claimed.put((task, subject.id), known)
        known.until = keep
        return known

    def _claim(self, task: str, subject: Subject, keep: float, time: float) -> Account:
        who = subject.id or _ANONYMOUS
        key, place = account_key(task, who), 1 if task else 0
        account = self.tables[place].get(key)
        if account is None:
            if task and self._declared.get(who, 0) >= self._settings.max_declared:
                return self._overflow(who, keep, time)
            account = self._open(place, key, Account(key, task, who, granted=False, until=keep), time)
            if task:
                self._declared[who] = self._declared.get(who, 0) + 1
        return account

    def _overflow(self, who: str, keep: float, time: float) -> Account:
        key = account_key(_OVERFLOW, who)
        account = self.tables[0].get(key)
        if account is None:
            self._recount()
            account = self._open(0, key, Account(key, _OVERFLOW, who, granted=False, until=keep), time)
        return account

    def _recount(self) -> None:
        """Count anew how many tasks each identity has declared: some are forgotten by now."""
        self._declared = {}
        for account in self.tables[1]:
            self._declared[account.principal] = self._declared.get(account.principal, 0) + 1

    def _open(self, place: int, key: str, account: Account, time: float) -> Account:
        if not self.tables[place].put(key, account, time):
            raise Refusal(Reason.BUDGET_UNTRACKED, f"tasks.{'max_claimed' if place else 'max_tracked'} tasks are open")
        return account

    def known(self, key: str) -> Account | None:
        """Answer the account of a task, where there is one here."""
        return self.tables[0].get(key) or self.tables[1].get(key)

    def mark(self, key: str, kind: str, value: str, until: float, time: float) -> None:
        """Take over what another process found of a task: a label, or that it is suspended until then."""
        account = self.heard_of(key, until, time)
        if account is None:
            return
        if kind == "suspended":
            account.suspended = max(account.suspended, until)
        elif value not in account.seen:
            account.seen = tuple(sorted((*account.seen, value)))

    def heard_of(self, key: str, until: float, time: float) -> Account | None:
        """Answer the account of a task that another process tells of; None: there is no room for it, and its calls are
        refused.
        """
        account = self.known(key)
        if account is None:
            task, _, principal = key.partition(" ")
            place = 1 if principal and task else 0
            account = Account(key, task, principal, granted=not principal, until=until)
            if not self.tables[place].put(key, account, time):
                return None
        account.until = max(account.until, until)
        return account

    def resume(self, key: str) -> None:
        """Lift a suspension."""
        account = self.known(key)
        if account is not None:
            account.suspended, account.denied = 0.0, None
