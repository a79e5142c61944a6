"""Budgets over all processes: told and learnt every moment, or counted in the shared store at once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

import structlog

from authz.budgets.account import Account
from authz.budgets.ledger import Ledger
from authz.budgets.sharing import Exchange, News
from authz.budgets.visit import NoRoom, Visit
from authz.config.settings import Config
from authz.control.faults import ControlError
from authz.errors import Reason, Refusal
from authz.shared_state import SharedState
from authz.stores.database.errors import StoreError
from authz.stores.database.records import Change
from authz.stores.database.spending import MAX_TOLD, Amount, Mark, wanted_of

LABEL, SUSPENDED = "label", "suspended"


class SharedBudgets:
    """The ledger of this process among those of all others."""

    def __init__(
        self, config: Config, shared: SharedState, ledger: Ledger, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._settings = config.tasks
        self._store = shared.store
        self._settle = shared.settle
        self._ledger = ledger
        self._exchange = Exchange(ledger)
        self._known = 0
        self._suspended: list[tuple[Account, float]] = []
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger("authz.budgets")
        self._troubled = False
        ledger.share()
        ledger.on_suspend = self._suspend
        shared.view.subscribe(self._changed)

    # On the path of a call that waits

    async def settle(self, ledger: Ledger, visit: Visit) -> None:
        """Count what a call asks for, and have its label known everywhere on this host.

        Raises:
            Refusal: it does not fit, or it cannot be told.
        """
        if visit.demands:
            await self._count(ledger, visit)
        if visit.labels:
            await self.tell(visit)

    async def _count(self, ledger: Ledger, visit: Visit) -> None:
        try:
            spent = await self._store.spending.spend([wanted_of(each) for each in visit.demands])
        except StoreError:
            raise Refusal(Reason.STATE_UNAVAILABLE, "what the call costs could not be counted") from None
        if spent.refused >= 0:
            raise ledger.refused(visit, NoRoom(spent.refused, spent.gone, spent.used))

    async def tell(self, visit: Visit) -> None:
        """Have what a task sees known everywhere on this host.

        Raises:
            Refusal: it could not be told.
        """
        account = visit.account
        until = max(account.until, self._clock() + self._settings.forget_seconds)
        try:
            for label in visit.labels:
                await self._store.spending.mark(Mark(account.key, LABEL, label, self._clock(), until))
            await self._settle()
        except (StoreError, ControlError):
            raise Refusal(Reason.STATE_UNAVAILABLE, "what the task sees could not be made known") from None
        account.unsure -= set(visit.labels)

    # In the background

    async def start(self) -> None:
        """Know what was spent, and what every process must know of tasks.

        Raises:
            StoreError: it cannot be read.
        """
        await self._read_marks()
        while not await self._exchange_once():
            pass

    async def run(self) -> None:
        """Tell and learn for ever; what goes wrong is tried again."""
        while True:
            await asyncio.sleep(self._settings.share_seconds)
            try:
                while not await self._exchange_once():
                    pass
                await self._tell_marks()
            except StoreError as error:
                if not self._troubled:
                    self._log.warning("what was spent cannot be shared; this process counts alone", problem=str(error))
                self._troubled = True
            else:
                self._troubled = False

    async def last(self) -> None:
        """Tell what is left to tell, before the end."""
        await self._exchange_once()
        await self._tell_marks()

    async def _exchange_once(self) -> bool:
        """Tell what is new and learn what others told; answer whether that was all."""
        async with self._turn:
            told = self._exchange.collect(MAX_TOLD)
            try:
                answer = await self._store.spending.share([_amount(news) for news in told], self._known)
            except BaseException:
                self._exchange.failed()
                raise
            if answer.number < self._known:  # another store, such as one restored from a backup
                self._known = 0
                self._exchange.told((), self._clock())
                return False
            self._known = answer.number
            self._exchange.told([_news(amount) for amount in answer.amounts], self._clock())
            return answer.complete and not self._ledger.news

    async def _tell_marks(self) -> None:
        """Tell of suspensions, and of labels that no call waited for."""
        now = self._clock()
        suspended, self._suspended = self._suspended, []
        for at, (account, until) in enumerate(suspended):
            try:
                await self._store.spending.mark(Mark(account.key, SUSPENDED, "", now, until))
            except StoreError:
                self._suspended = suspended[at:] + self._suspended
                raise
        unsure, self._ledger.unsure = self._ledger.unsure, {}
        for account in unsure.values():
            # Where rules read them, the call that is the first to see one has it known; all but the mildest.
            told = account.unsure & {self._ledger.labels.lowest} if self._ledger.reads_labels else account.unsure
            for label in told:
                await self._store.spending.mark(Mark(account.key, LABEL, label, now, account.until))
            account.unsure -= told

    def _suspend(self, account: Account, until: float) -> None:
        self._log.warning("a task is suspended by the circuit breaker", task=account.task, until=round(until))
        self._suspended.append((account, until))

    async def _changed(self, changes: Sequence[Change]) -> None:
        """Take up what other processes found of tasks."""
        if not changes:
            await self._read_marks()
        for change in changes:
            if change.kind == "task_marked":
                data = change.data
                self._ledger.books.mark(change.about, data["mark"], data["value"], data["until"], self._clock())
            elif change.kind == "task_unmarked" and change.data["mark"] == SUSPENDED:
                self._ledger.books.resume(change.about)

    async def _read_marks(self) -> None:
        for mark in await self._store.spending.marks():
            self._ledger.books.mark(mark.task, mark.kind, mark.value, mark.until, self._clock())


def _amount(news: News) -> Amount:
    return Amount(news.counter, news.slot, news.member, news.amount, news.until)


def _news(amount: Amount) -> News:
    return News(amount.counter, amount.slot, amount.member, amount.amount, amount.until)


@contextlib.asynccontextmanager
async def shared_budgets(config: Config, shared: SharedState, ledger: Ledger) -> AsyncIterator[SharedBudgets]:
    """Share what is spent for the length of a block.

    Raises:
        StoreError: what was spent cannot be read.
    """
    sharing = SharedBudgets(config, shared, ledger)
    await sharing.start()
    running = asyncio.create_task(sharing.run())
    try:
        yield sharing
    finally:
        running.cancel()
        with contextlib.suppress(StoreError, asyncio.CancelledError):
            await asyncio.gather(running, return_exceptions=True)
            await sharing.last()
