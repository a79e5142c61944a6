"""Whether this server should be given traffic, as named conditions that others set."""

from collections.abc import Callable, Iterable

DRAINING = "draining"
"""The condition that fails once the server has begun to stop."""


class Readiness:
    """Ready while every condition holds; not ready from the first moment, and never again once drained.

    Used from the event loop's thread only.
    """

    def __init__(self, conditions: Iterable[str]) -> None:
        """Name what must hold; nothing does yet."""
        self._failing = dict.fromkeys(conditions, "starting")
        if not self._failing:
            raise ValueError("readiness without conditions would be ready before anything is")
        self._observers: list[Callable[[], None]] = []

    @property
    def ready(self) -> bool:
        """Whether every condition holds."""
        return not self._failing

    @property
    def failing(self) -> dict[str, str]:
        """The conditions that do not hold, and why."""
        return dict(self._failing)

    def hold(self, condition: str) -> None:
        """Say that a condition holds now."""
        if self._failing.pop(condition, None) is not None:
            self._tell()

    def fail(self, condition: str, why: str) -> None:
        """Say that a condition, known or new, does not hold; `why` is shown to operators (I10)."""
        if self._failing.get(condition) != why:
            self._failing[condition] = why
            self._tell()

    def drain(self) -> None:
        """Say that the server stops; this is not taken back."""
        self.fail(DRAINING, "the server is stopping")

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call `observer` after every change, until the answered function is called."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _tell(self) -> None:
        for observer in tuple(self._observers):
            observer()
