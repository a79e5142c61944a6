"""When the calls of an open loop are due: a fixed rate that does not wait for answers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """A schedule of calls at `rate` a second from `begin` on.

    The latency of a call counts from when it was due, not from when it was sent: a server (or a generator) that stalls
    is charged for every call that it kept waiting, which is what a caller would have felt (coordinated omission).
    """

    begin: float
    rate: float
    seconds: float
    sent: int = 0
    stopped: bool = False
    """No more calls fall due."""

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.seconds <= 0:
            raise ValueError("a rate and a duration are above 0")

    @property
    def total(self) -> int:
        """How many calls there are."""
        return max(1, round(self.rate * self.seconds))

    @property
    def done(self) -> bool:
        """Whether all have been taken."""
        return self.stopped or self.sent >= self.total

    def due_at(self, number: int) -> float:
        """When call `number` (from 0) is due; computed from the start each time, so that errors do not add up."""
        return self.begin + number / self.rate

    def take(self, now: float, most: int) -> list[float]:
        """The due times of the calls that are due and not yet taken, `most` at once."""
        due: list[float] = []
        while len(due) < most and not self.done and self.due_at(self.sent) <= now:
            due.append(self.due_at(self.sent))
            self.sent += 1
        return due

    def wait(self, now: float) -> float:
        """Seconds until the next call is due; 0 when one is."""
        return max(0.0, self.due_at(self.sent) - now)
