"""All that one decision rests on, counted together or not at all, in one transaction.

Its costs, a use of its grant, a use of a human's word: what one of them refuses takes nothing from the others.
"""

from collections.abc import Iterator

import msgspec

from authz.stores.database.approving import ASK, Ask, Asked
from authz.stores.database.errors import EndedError, StoreRefusal
from authz.stores.database.spending import SPEND, Spend, Spent
from authz.stores.database.using import USE, Use
from authz.stores.database.work import Kind, Work, each


class Settle(msgspec.Struct, frozen=True):
    """What one decision wants counted; None: nothing of that kind."""

    spend: Spend | None = None
    use: Use | None = None
    ask: Ask | None = None


class Settled(msgspec.Struct, frozen=True):
    """What came of it. Nothing was counted unless all of it passes."""

    spent: Spent = Spent()
    used_up: bool = False
    """Whether the grant has no use left, or is over."""
    asked: Asked | None = None
    """What is said of the request for a human's word; None: nobody had to be asked, or something else refused."""

    @property
    def passes(self) -> bool:
        """Whether the decision may stand."""
        return self.spent.refused < 0 and not self.used_up and (self.asked is None or self.asked.answer == "passed")


def _settle(work: Work, wanted: Settle) -> Settled:
    settled = work.attempt(lambda: _count(work, wanted), lambda found: found.passes)
    if settled.asked is None or settled.passes:
        return settled
    # It waits for a human, and uses nothing up meanwhile; the request for their word is all that stays.
    return Settled(asked=_ask(work, wanted.ask))


def _count(work: Work, wanted: Settle) -> Settled:
    # A human comes last: nobody is asked for what is refused anyway.
    if wanted.spend is not None:
        [spent] = SPEND.run(work, [wanted.spend])
        if isinstance(spent, StoreRefusal):
            raise spent
        if spent.refused >= 0:
            return Settled(spent=spent)
    if wanted.use is not None:
        [used] = USE.run(work, [wanted.use])
        if isinstance(used, StoreRefusal) and not isinstance(used, EndedError):
            raise used
        if used is not True:
            return Settled(used_up=True)
    return Settled(asked=_ask(work, wanted.ask))


def _ask(work: Work, ask: Ask | None) -> Asked | None:
    if ask is None:
        return None
    [asked] = ASK.run(work, [ask])
    if isinstance(asked, StoreRefusal):
        raise asked
    return asked


def _locks(wanted: Settle) -> Iterator[str]:
    if wanted.spend is not None:
        yield from SPEND.locks(wanted.spend)
    if wanted.use is not None:
        yield from USE.locks(wanted.use)
    if wanted.ask is not None:
        yield from ASK.locks(wanted.ask)


SETTLE: Kind[Settle, Settled] = Kind("settle", Settled, lambda wanted: list(_locks(wanted)), each(_settle))
"""One after the other, each with a savepoint: for decisions that wait for a human, or would exceed a limit."""
