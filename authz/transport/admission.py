"""Whether a call can still be answered in time. A denial that comes fast beats a decision that comes late.

Deciding is synchronous, so calls queue where nobody sees it: in the event loop. A tick measures how late the loop is;
that lateness is what a call has already waited when we first see it, and is taken from its budget.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from authz.errors import Reason, Refusal
from authz.transport.pdp import ServerObserver
from authz.transport.settings import OverloadSettings


class Admission:
    """Counts calls in flight, measures the event loop's lag, and divides up the deadlines. One for all listeners."""

    def __init__(
        self,
        settings: OverloadSettings,
        observer: ServerObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start idle; `clock` answers seconds that only rise."""
        self.inflight = 0
        """Calls begun and not answered yet."""
        self.buffered_bytes = 0
        """Bytes set aside for messages that are not complete yet."""
        self.clock = clock
        self.margin = settings.deadline_margin_seconds
        self.max_lag_share = settings.max_lag_share
        self._settings = settings
        self.max_inflight = settings.max_inflight_calls
        """More are refused."""
        self._max_deadline = settings.max_deadline_seconds
        self._default = min(settings.default_deadline_seconds, settings.max_deadline_seconds)
        self._observer = observer
        self._measured = 0.0
        self._due = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> None:
        """Begin a call; whoever entered leaves.

        Raises:
            Refusal: OVERLOADED; the call is counted as begun all the same, until `leave`.
        """
        self.inflight += 1
        self.demand_room()

    def demand_room(self) -> None:
        """Return if no more calls are in flight than may be; raises what `enter` does."""
        if self.inflight > self.max_inflight:
            raise Refusal(Reason.OVERLOADED, "too many calls in flight")

    def leave(self) -> None:
        """End a call."""
        self.inflight -= 1

    def claim(self, seconds: float | None, arrived: float) -> "Claim":
        """Answer what a call, first seen at `arrived`, may take, when its caller gave it `seconds` (None: not said)."""
        return Claim(self, self.deadline(seconds), arrived)

    def deadline(self, seconds: float | None) -> float:
        """Answer how long a call may take, when its caller gave it `seconds` (None: not said)."""
        return self._default if seconds is None else min(seconds, self._max_deadline)

    def budget(self, deadline: float, arrived: float, now: float) -> float:
        """Answer the seconds left to decide a call that came at `arrived`, with `deadline` from then; more than 0.

        Raises:
            Refusal: OVERLOADED or DEADLINE_EXCEEDED.
        """
        # `lag`, spelt out.
        overdue, measured = now - self._due, self._measured
        lag = overdue if overdue > measured else measured  # noqa: FURB136 - `max` is a call
        left = deadline - self.margin - (now - arrived)
        if left > lag <= deadline * self.max_lag_share:
            return left - lag
        if left > 0 and lag > deadline * self.max_lag_share:  # else it is the caller's own doing, however late we are
            raise Refusal(Reason.OVERLOADED, f"the event loop is {lag * 1000:.0f} ms late")
        raise Refusal(Reason.DEADLINE_EXCEEDED, "no time was left when the call was to be decided")

    def lag(self, now: float) -> float:
        """Answer how many seconds late the event loop is."""
        # A tick that should have come by now tells of a lag that is still growing.
        return max(self._measured, now - self._due)

    @contextmanager
    def buffering(self, size: int) -> Iterator[None]:
        """Set memory aside for a message of `size` bytes that arrives in parts (I12).

        Raises:
            Refusal: OVERLOADED.
        """
        if self.buffered_bytes + size > self._settings.max_buffered_bytes:
            raise Refusal(Reason.OVERLOADED, "too many bytes of incomplete messages")
        self.buffered_bytes += size
        try:
            yield
        finally:
            self.buffered_bytes -= size

    def start(self) -> None:
        """Begin to measure the running event loop."""
        interval = self._settings.lag_probe_interval_seconds
        self._due = self.clock() + interval
        self._timer = asyncio.get_running_loop().call_later(interval, self._tick)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._due = float("inf")

    def _tick(self) -> None:
        late = max(0.0, self.clock() - self._due)
        self._measured = max(late, self._measured / 2)  # a lag fades by half a tick, so that shedding does not flutter
        self._observer.lag(late)
        self.start()


class Claim:
    """One call's claim on time: what is left of the deadline that its caller set."""

    __slots__ = ("_admission", "_arrived", "_deadline")

    def __init__(self, admission: Admission, deadline: float, arrived: float) -> None:
        """`deadline` is in seconds from `arrived`, by the admission's clock."""
        self._admission = admission
        self._deadline = deadline
        self._arrived = arrived

    def patience(self) -> float:
        """Answer the seconds that may still be spent on waiting for the message; 0 when there are none."""
        admission = self._admission
        return max(0.0, self._deadline - admission.margin - (admission.clock() - self._arrived))

    def buffering(self, size: int) -> AbstractContextManager[None]:
        """Set memory aside: see `Admission.buffering`."""
        return self._admission.buffering(size)

    def budget(self) -> float:
        """Answer the seconds left to decide the call: see `Admission.budget`."""
        admission = self._admission
        return admission.budget(self._deadline, self._arrived, admission.clock())
