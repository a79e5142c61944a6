"""Decisions for the eye: counted exactly, and some of them kept, at a cost that does not depend on who looks.

Thousands are made in a second. Each costs here a few additions; which are kept is bounded by time, not by their number,
and what is kept is made fit to be shown only when somebody asks for it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from authz.control.feed import Missed
from authz.model import Effect, Outcome


class Counts(msgspec.Struct):
    """How many decisions there were."""

    allowed: int = 0
    denied: int = 0
    reasons: dict[str, int] = {}


class Sampler:
    """Follows a feed for one who looks: what came since the last look."""

    def __init__(self, wants: Callable[[Outcome], bool] | None, most: int) -> None:
        """`wants`: which are meant; None: all. `most`: kept of each effect between two looks, the first."""
        self._wants = wants
        self._most = most
        self._begin()
        if wants is None:
            self.tell = self.receive  # type: ignore[method-assign]  # it is asked of every decision

    def _begin(self) -> None:
        self._allowed: dict[str, int] = {}
        self._denied: dict[str, int] = {}
        self._kept: list[Outcome] = []
        # Apart, so that a flood of allows leaves room for the few denials.
        self._allows = self._denials = self._most
        """How many more there is room for. The first are kept and not the newest: to take each one in and let an older
        one go costs every decision more than all the rest here."""

    def tell(self, outcome: Outcome) -> None:
        """Count one decision."""
        if self._wants is None or self._wants(outcome):
            self.receive(outcome)

    def receive(self, outcome: Outcome) -> None:
        """Count one decision that is meant."""
        decision = outcome.decision
        reason = decision.reason._value_  # `.value` and the hash of a member cost more than all the rest here
        if decision.effect is Effect.ALLOW:
            counts = self._allowed
            if self._allows:
                self._allows -= 1
                self._kept.append(outcome)
        else:
            counts = self._denied
            if self._denials:
                self._denials -= 1
                self._kept.append(outcome)
        counts[reason] = counts.get(reason, 0) + 1

    def miss(self, missed: Missed) -> None:
        """Count decisions of other processes that are known by their number alone."""
        for effect, reasons in missed.items():
            counts = self._allowed if effect == Effect.ALLOW.value else self._denied
            for reason, number in reasons.items():
                counts[reason] = counts.get(reason, 0) + number

    def take(self) -> tuple[Counts, list[Outcome]]:
        """Answer what came since the last time, some of it with the newest first, and begin anew."""
        allowed, denied = self._allowed, self._denied
        reasons = {name: allowed.get(name, 0) + denied.get(name, 0) for name in (*allowed, *denied)}
        counts = Counts(sum(allowed.values()), sum(denied.values()), reasons)
        kept = self._kept
        self._begin()
        return counts, _some(kept, self._most)


class Recent:
    """Remembers the decisions that were shown lately, so that one of them can be explained."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_id: dict[str, Outcome] = {}

    def keep(self, outcomes: Iterable[Outcome]) -> None:
        """Remember these; the oldest make room."""
        for outcome in outcomes:
            self._by_id.pop(outcome.decision_id, None)
            self._by_id[outcome.decision_id] = outcome
        while len(self._by_id) > self._most:
            del self._by_id[next(iter(self._by_id))]

    def find(self, decision_id: str) -> Outcome | None:
        """Answer one that was shown; None: it was not, or is forgotten."""
        return self._by_id.get(decision_id)


class Lately:
    """Follows a feed all the time: a few decisions of each of the last seconds, for those who come to look."""

    def __init__(self, *, most: int, a_second: int) -> None:
        """`most`: how many are kept; `a_second`: how many of each effect in one second."""
        self.a_second = a_second
        self._since = self._until = 0.0
        self._allows = self._denials = 0
        """How many more there is room for until then."""
        self._kept: deque[Outcome] = deque(maxlen=most)

    def tell(self, outcome: Outcome) -> None:
        """Keep a decision, if its second has room left."""
        if not self._since <= outcome.time < self._until:
            self._since = outcome.time // 1.0
            self._until = self._since + 1.0
            self._allows = self._denials = self.a_second
        if outcome.decision.effect is Effect.ALLOW:
            if self._allows:
                self._allows -= 1
                self._kept.append(outcome)
        elif self._denials:
            self._denials -= 1
            self._kept.append(outcome)

    receive = tell

    def miss(self, missed: Missed) -> None:
        """Take note of nothing: numbers cannot be shown."""

    def newest(self, wants: Callable[[Outcome], bool], most: int) -> list[Outcome]:
        """Answer what is kept of a sort, the newest first."""
        return _newest([outcome for outcome in self._kept if wants(outcome)], most)


def _some(outcomes: Sequence[Outcome], most: int) -> list[Outcome]:
    """Some of both effects, half of them denials where there are so many, with the newest first."""
    denials = [outcome for outcome in outcomes if outcome.decision.effect is not Effect.ALLOW]
    allows = [outcome for outcome in outcomes if outcome.decision.effect is Effect.ALLOW]
    shown = denials[: max(most - len(allows), (most + 1) // 2)]
    return _newest((*shown, *allows[: most - len(shown)]), most)


def _newest(outcomes: Iterable[Outcome], most: int) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.time, reverse=True)[:most]
