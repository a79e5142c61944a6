"""Denials of the same action on the same resource: after so many it is not even asked any more."""

from collections.abc import Sequence

from authz.budgets.counter import Counter, Table
from authz.budgets.counters import Counters
from authz.budgets.matching import Budget, resource_of
from authz.budgets.settings import TaskSettings
from authz.budgets.visit import Visit


class Retries:
    """Counts them in a table of its own, for whoever probes chooses what is in it."""

    def __init__(self, budgets: Sequence[Budget], counters: Counters, settings: TaskSettings) -> None:
        self._budgets = tuple(each for each in budgets if each.counts == "retries")
        self._counters = counters
        self.table = Table[Counter](settings.max_claimed)

    def __bool__(self) -> bool:
        """Whether any budget counts them."""
        return bool(self._budgets)

    def used_up(self, visit: Visit) -> Counter | None:
        """The counter that has no room for another try; None: there is none."""
        if not len(self.table):
            return None
        for key, _ in self._keys(visit):
            counter = self.table.get(key)
            if counter is not None and not counter.room(visit.time, 1, ""):
                return counter
        return None

    def count(self, visit: Visit) -> None:
        """Count a denial."""
        for key, budget in self._keys(visit):
            counter = self.table.get(key)
            if counter is None:
                counter = Counter(budget, key, visit.time)
                if not self.table.put(key, counter, visit.time):
                    continue  # it was denied, and will be again
            counter.room(visit.time, 1, "")  # goes on to the slot of now
            counter.add(counter.slot, 1)

    def _keys(self, visit: Visit) -> list[tuple[str, Budget]]:
        more = visit.asked.name, resource_of(visit.asked)
        return [
            (self._counters.key(budget, visit, *more), budget)
            for budget in self._budgets
            if budget.fits(visit.subject, visit.asked)
        ]
