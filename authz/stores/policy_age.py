"""How long ago the policy in force was last known to be the newest that its source holds."""

from collections.abc import Callable
from typing import Final

NEVER: Final = float("-inf")


class PolicyAge:
    """Told of every look at the source, and of every load. For the event loop's thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` answers seconds that only rise. What is read at the start is the newest."""
        self._monotonic = monotonic
        self._looked = self._known = monotonic()
        self.behind = False
        """Whether the source holds something that is not in force: it does not load, or is not loaded yet."""

    def unknown(self) -> None:
        """What is in force at the start is a copy of earlier: nobody was asked whether it is the newest."""
        self._looked = self._known = NEVER

    def looked(self) -> None:
        """The source was asked, and holds nothing new."""
        self._looked = self._monotonic()
        if not self.behind:
            self._known = self._looked

    def changed(self) -> None:
        """The source was asked, and holds something new, which is not in force yet."""
        self._looked = self._monotonic()
        self.behind = True

    def loaded(self) -> None:
        """What the source held when it was asked last is in force."""
        self.behind = False
        self._known = self._looked

    def failed(self) -> None:
        """What the source holds does not load."""
        self.behind = True

    @property
    def seconds(self) -> float:
        """How old the policy in force is, in this sense. Cost: a clock read."""
        return self._monotonic() - self._known
