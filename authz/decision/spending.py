"""What calls cost: budgets, limits of tasks, and what a task did so far. Whoever keeps the accounts is asked here."""

from typing import Protocol

from authz.budgets.ledger import Ledger
from authz.budgets.visit import NoRoom, Visit
from authz.errors import Reason, Refusal
from authz.grants.verifier import VerifiedGrant
from authz.model import Asked, Subject
from authz.task_limits import NO_LIMITS


class Spending(Protocol):
    """Keeps the accounts. The first three are called on the path of every request, and look in memory only."""

    def enter(  # noqa: PLR0913, PLR0917 - a call, and the policy that it meets
        self,
        subject: Subject,
        presented: VerifiedGrant | None,
        asked: Asked,
        reads: frozenset[str],
        version: str,
        monotonic: float,
    ) -> tuple[Asked, Visit | None]:
        """Take in a call, and join what its task did so far to the question.

        `reads`: the names below `r.env.task` that the rules read; `version`: that of the snapshot.

        Raises:
            Refusal: it may not even be asked now.
        """

    def charge(self, visit: Visit | None) -> None:
        """Take what an allow costs.

        Raises:
            Refusal: there is not enough left.
        """

    def conclude(self, visit: Visit, reason: Reason) -> None:
        """Learn how the call ended, allowed ones too; one that was denied costs nothing."""

    async def settle(self, visit: Visit) -> None:
        """Have the shared store count what only it can, and know what it must, before the allow is given.

        Raises:
            Refusal: there is not enough left, or it cannot be told. Anything else that the store raises means the same.
        """

    def refused(self, visit: Visit, found: NoRoom) -> Refusal:
        """Learn that the store has no room for a demand, and answer what to tell."""

    async def tell(self, visit: Visit) -> None:
        """Have known what must be, before the allow is given; what it costs is counted already.

        Raises:
            Refusal: it cannot be told. Anything else that the store raises means the same.
        """


class NothingCosts:
    """Where no accounts are kept."""

    def enter(  # noqa: PLR0913, PLR0917 - as `Spending`
        self,
        subject: Subject,  # noqa: ARG002
        presented: VerifiedGrant | None,
        asked: Asked,
        reads: frozenset[str],  # noqa: ARG002
        version: str,  # noqa: ARG002
        monotonic: float,  # noqa: ARG002
    ) -> tuple[Asked, Visit | None]:
        """Nobody has done anything."""
        if presented is not None and presented.grant.task.limits:
            # I7: what cannot be held is not let through.
            raise Refusal(Reason.STATE_UNAVAILABLE, "the grant has limits, and accounts of tasks are not kept here")
        return asked, None

    def charge(self, visit: Visit | None) -> None:
        """Nothing costs anything."""

    def conclude(self, visit: Visit, reason: Reason) -> None:
        """Nothing is to be remembered."""

    async def settle(self, visit: Visit) -> None:  # noqa: ARG002
        """Nothing ever waits."""
        raise Refusal(Reason.STATE_UNAVAILABLE, "no accounts are kept")

    def refused(self, visit: Visit, found: NoRoom) -> Refusal:  # noqa: ARG002
        """Nothing has a limit."""
        return Refusal(Reason.STATE_UNAVAILABLE, "no accounts are kept")

    async def tell(self, visit: Visit) -> None:
        """Nothing ever waits."""
        await self.settle(visit)


NOTHING_COSTS = NothingCosts()


class Settles(Protocol):
    """Counts in the shared store."""

    async def settle(self, ledger: Ledger, visit: Visit) -> None:
        """As `Spending.settle`."""

    async def tell(self, visit: Visit) -> None:
        """As `Spending.tell`."""


class NoStore:
    """There is no shared store: what must be counted in it cannot be."""

    async def settle(self, ledger: Ledger, visit: Visit) -> None:  # noqa: ARG002
        """Refuse."""
        raise Refusal(Reason.STATE_UNAVAILABLE, "exact budgets and limits of tasks need the shared store")

    async def tell(self, visit: Visit) -> None:  # noqa: ARG002
        """Refuse."""
        raise Refusal(Reason.STATE_UNAVAILABLE, "what tasks see is made known by the shared store")


class Accounts:
    """The accounts of one process."""

    def __init__(self, ledger: Ledger, started: float, store: Settles, *, tracks: bool) -> None:
        """`started`: when the monotonic clock showed 0, in seconds since the epoch: time for budgets never goes back.

        `tracks`: whether every call is charged; else those of tasks with limits, and all while rules read of tasks.
        """
        self.ledger = ledger
        self.store = store
        self._started = started
        self._enter = ledger.enter
        self.charge = ledger.charge
        self.conclude = ledger.conclude
        self.refused = ledger.refused
        self.tell = store.tell
        self._tracks = tracks

    def enter(  # noqa: PLR0913, PLR0917 - as `Spending`
        self,
        subject: Subject,
        presented: VerifiedGrant | None,
        asked: Asked,
        reads: frozenset[str],
        version: str,
        monotonic: float,
    ) -> tuple[Asked, Visit | None]:
        """As `Spending.enter`."""
        limits = presented.grant.task.limits if presented is not None else NO_LIMITS
        if not (self._tracks or reads or limits):
            return asked, None
        visit = self._enter(subject, asked, limits, reads, version, self._started + monotonic)
        return visit.asked, visit

    async def settle(self, visit: Visit) -> None:
        """As `Spending.settle`."""
        await self.store.settle(self.ledger, visit)
