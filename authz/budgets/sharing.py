"""What one process tells the others of its ledger, and what it learns from them: pure, no I/O."""

from collections.abc import Iterable
from typing import Final

import msgspec

from authz.budgets.account import Account
from authz.budgets.counter import Counter, short
from authz.budgets.ledger import Ledger

CALLS_OF: Final = "|calls of|"
DENIALS_OF: Final = "|denials of|"
TOOLS_OF: Final = "|tools of|"
"""Each a member of its own; how often does not count."""


class News(msgspec.Struct, frozen=True):
    """How much was spent in one slot of one counter: told, how much more; learnt, how much in all."""

    counter: str
    slot: int
    member: str
    amount: int
    until: float


class Exchange:
    """Collects what is new here, and takes over what is new elsewhere."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: list[tuple[Counter | Account, News]] = []
        """What is on its way to the store."""

    def collect(self, limit: int) -> tuple[News, ...]:
        """Take at most `limit` amounts to tell. They are on their way until `told` or `failed`."""
        ledger, found = self._ledger, self._told
        while ledger.news and len(found) < limit:
            counter = ledger.news.pop()
            span = counter.budget.span
            for (slot, member), amount in counter.take_unsent().items():
                if amount:
                    until = span.end(slot + 1)
                    found.append((counter, News(counter.key, slot, member, amount, until)))
        while ledger.moved and len(found) < limit:
            account = ledger.moved.pop()
            account.moved = False
            calls, denials = account.told
            for name, amount in ((CALLS_OF, account.calls - calls), (DENIALS_OF, account.denials - denials)):
                if amount:
                    found.append((account, News(short(name + account.key), 0, "", amount, account.until)))
            account.told = account.calls, account.denials
            if ledger.reads_tools:
                name, untold = short(TOOLS_OF + account.key), account.tools - account.tools_told
                found += [(account, News(name, 0, tool, 1, account.until)) for tool in untold]
                account.tools_told = account.tools
        # No more than the store takes at once: what it left out would be told by nobody.
        over = found[limit:]
        del found[limit:]
        self._untell(over)
        return tuple(news for _, news in found)

    def failed(self) -> None:
        """What was on its way may not have arrived: tell it again. What did arrive then counts twice: too strict."""
        told, self._told = self._told, []
        self._untell(told)

    def _untell(self, told: Iterable[tuple[Counter | Account, News]]) -> None:
        for owner, news in told:
            if isinstance(owner, Account):
                calls, denials = owner.told
                if news.counter.startswith(TOOLS_OF):
                    owner.tools_told -= {news.member}
                elif news.counter.startswith(CALLS_OF):
                    owner.told = calls - news.amount, denials
                else:
                    owner.told = calls, denials - news.amount
                if not owner.moved:
                    owner.moved = True
                    self._ledger.moved.append(owner)
            else:
                owner.untold(news.slot, news.member, news.amount)
                self._ledger.note(owner)

    def told(self, changed: Iterable[News], time: float) -> None:
        """It has arrived; `changed`: what the store holds now, of all processes together."""
        self._told = []
        for news in changed:
            if news.counter.startswith(TOOLS_OF):
                self._take_tool(news, time)
            elif news.counter.startswith("|"):
                self._take_account(news)
            else:
                self._take_counter(news, time)

    def _take_account(self, news: News) -> None:
        for name in (CALLS_OF, DENIALS_OF):
            if news.counter.startswith(name):
                account = self._ledger.books.known(news.counter.removeprefix(name))
                if account is None:
                    return
                calls, denials = account.told
                if name == CALLS_OF:
                    account.calls += news.amount - calls
                    account.told = news.amount, denials
                else:
                    account.denials += news.amount - denials
                    account.told = calls, news.amount

    def _take_tool(self, news: News, time: float) -> None:
        """Note a tool that a task used elsewhere, be it one that was not seen here yet: its first call here must not
        look like its first at all. But whoever only claims a task does not open it in every process by that.
        """
        books, key = self._ledger.books, news.counter.removeprefix(TOOLS_OF)
        account = books.known(key)
        if account is None and " " not in key and news.until > time:
            account = books.heard_of(key, news.until, time)
        if account is not None:
            self._ledger.note_tools(account, (news.member,))
            account.tools_told |= {news.member} & account.tools

    def _take_counter(self, news: News, time: float) -> None:
        counter = self._ledger.counters.known(news.counter, time)
        if counter is None:
            return
        span = counter.budget.span
        if news.slot >= span.oldest(span.slot(time)):
            counter.learn(news.slot, news.member, news.amount)
