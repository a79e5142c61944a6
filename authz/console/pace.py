"""How much the console may take of the event loop, which decides for the data plane: so many requests, so much time."""

from asyncio import sleep
from collections.abc import Awaitable, Generator
from time import monotonic, perf_counter
from typing import Any, Final

_BURST_SECONDS: Final = 1.0
_WEIGHT: Final = 0.125
"""Of the last request, in what is expected of the next."""


class Pace:
    """Lets so many begin in a second; the others wait for their turn, which comes in time or not at all."""

    def __init__(self, per_second: float, patience: float) -> None:
        self._interval = 1.0 / per_second
        self._patience = patience
        self._next = float("-inf")

    async def turn(self) -> bool:
        """Return when it is one's turn; answer False at once when that would be too late."""
        now = monotonic()
        at = max(self._next, now - _BURST_SECONDS) + self._interval
        if at - now > self._patience:
            return False
        self._next = at
        if at > now:
            await sleep(at - now)
        return True


class Share:
    """Lets requests begin no faster than that what they take of the loop's time is this share of it.

    What one took is known when it has ended; until then it counts as what the last ones took, so that many who come at
    once do not all begin at once.
    """

    def __init__(self, share: float, patience: float) -> None:
        self._share = share
        self._patience = patience
        self._free = float("-inf")
        self._expected = 0.0

    async def turn(self) -> float | None:
        """Return when it is one's turn, with the seconds expected of it; None at once: that would be too late."""
        now = monotonic()
        at = max(self._free, now)
        if at - now > self._patience:
            return None
        expected = self._expected
        self._free = at + expected / self._share
        if at > now:
            await sleep(at - now)
        return expected

    def took(self, seconds: float, expected: float) -> None:
        """Learn how much of the loop's time one took, of which so much was expected."""
        self._free += (seconds - expected) / self._share
        self._expected += (seconds - self._expected) * _WEIGHT


class Timed:
    """Runs an awaitable, and knows how long the loop was kept by it, without what it waited for."""

    def __init__(self, work: Awaitable[None]) -> None:
        self._work = work
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        fault: BaseException | None = None
        while True:
            began = perf_counter()
            try:
                waits_for = steps.send(None) if fault is None else steps.throw(fault)
            except StopIteration:
                return
            finally:
                self.seconds += perf_counter() - began
            fault = None
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - cancelled, or timed out: the work's own to handle
                fault = error
