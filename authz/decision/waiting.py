"""What an allow waits for, in the shared store: a human's word, a use of its grant, what only the store can count."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec

from authz.budgets.visit import Departure, NoRoom, OverLimit, Visit
from authz.decision.approving import Approving, Wanted
from authz.decision.due import Due
from authz.decision.pending import Held, Spend, Step, grant_use
from authz.decision.snapshot import Snapshot
from authz.decision.spending import Spending
from authz.errors import Reason, Refusal
from authz.grants.grant import Grant
from authz.model import Effect, Outcome


class Waits(msgspec.Struct, frozen=True):
    """What one allow waits for."""

    steps: Sequence[Step] = ()
    """What must be counted, in this order."""
    reusable: bool = True
    """Whether the decision may be used again: not one that rests on a word or a use of a grant."""
    otherwise: Reason | None = None
    """What to conclude where nothing is counted: a dry run."""


NO_WAIT = Waits()


class Waiting:
    """Knows what allows wait for."""

    def __init__(
        self, spend: Spend, spending: Spending, approving: Approving, report_fault: Callable[[Exception], None]
    ) -> None:
        self._spend = spend
        self._spending = spending
        self._approving = approving
        self._report_fault = report_fault

    def of(self, outcome: Outcome, grant: Grant | None, visit: Visit | None, snapshot: Snapshot) -> Waits | Held:
        """Answer what an allow waits for; or why it does not pass, where that is known without waiting."""
        counted = grant is not None and grant.uses > 0
        settles = visit is not None and visit.waits
        beyond = visit.beyond if visit is not None else ()
        asks = bool(beyond) or (bool(outcome.decision.obligations) and not outcome.cached)
        if not (counted or settles or asks):
            return NO_WAIT
        asked = self._ask(outcome, grant, snapshot, beyond) if asks else None
        if isinstance(asked, Held):
            return asked
        if asked is not None or (visit is not None and visit.may_depart):
            steps = self._together(outcome, grant, visit, snapshot, asked)
        else:
            steps = self._apart(outcome, grant, visit)
        otherwise = Reason.APPROVAL_REQUIRED if asked is not None else None
        return Waits(steps, reusable=not (counted or otherwise), otherwise=otherwise)

    def _apart(self, outcome: Outcome, grant: Grant | None, visit: Visit | None) -> Sequence[Step]:
        steps: list[Step] = []
        if grant is not None and grant.uses:
            steps.append(grant_use(self._spend, grant.id, outcome.decision_id))
        if visit is not None and visit.waits:
            steps.append(_after(self._spending.settle, visit))
        return steps

    def _together(
        self, outcome: Outcome, grant: Grant | None, visit: Visit | None, snapshot: Snapshot, asked: Wanted | None
    ) -> Sequence[Step]:
        """Where a human has a say: what waits for a word, or is refused, must use nothing up, least of all a word."""
        due = Due(
            outcome.decision_id,
            refused=partial(self._refused, visit),
            grant_id=grant.id if grant is not None and grant.uses else "",
            demands=visit.demands if visit is not None else (),
        )

        async def step() -> Held | None:
            wanted, over = asked, due
            for _ in (*due.demands, None):  # each time one more limit is found to be exceeded
                try:
                    return await self._approving.settle(over, wanted)
                except OverLimit as found:
                    beyond = (*(wanted.departures if wanted is not None else ()), found.departure)
                    over = msgspec.structs.replace(over, beyond=over.beyond | {found.at})
                again = self._ask(outcome, grant, snapshot, beyond)
                if isinstance(again, Held):
                    return again
                wanted = again
            raise Refusal(Reason.INTERNAL_ERROR, "a limit that may be exceeded is refused")

        return [step, _after(self._spending.tell, visit)] if visit is not None and visit.labels else [step]

    def _refused(self, visit: Visit | None, found: NoRoom) -> Refusal:
        assert visit is not None  # noqa: S101 - what has demands is a visit
        return self._spending.refused(visit, found)

    def _ask(
        self, outcome: Outcome, grant: Grant | None, snapshot: Snapshot, beyond: tuple[Departure, ...]
    ) -> Wanted | Held | None:
        try:
            wanted = self._approving.wanted(outcome, grant, snapshot, beyond)
            if wanted is None:
                return None
            known = self._approving.find(wanted, outcome.time)
        except Refusal as refusal:
            return Held(refusal.reason, refusal.detail)
        except Exception as fault:  # noqa: BLE001 - I2
            self._report_fault(fault)
            return Held(Reason.INTERNAL_ERROR, type(fault).__name__)
        return known or wanted


def _after(act: Callable[[Visit], Awaitable[None]], visit: Visit) -> Step:
    async def step() -> None:
        await act(visit)

    return step


def held_back(outcome: Outcome, held: Held, retry_after: int = 0) -> Outcome:
    """Answer the denial of what the rules allow; the record goes on to name the rule that wants more."""
    decision = msgspec.structs.replace(
        outcome.decision,
        effect=Effect.DENY,
        reason=held.reason,
        obligations=(),
        detail=held.detail,
        retry_after=retry_after,
    )
    return msgspec.structs.replace(outcome, decision=decision, told=held.told, cached=False)


def passed(outcome: Outcome, held: Held) -> Outcome:
    """Answer the allow, with what it rests on for the record."""
    return msgspec.structs.replace(outcome, decision=msgspec.structs.replace(outcome.decision, detail=held.detail))
