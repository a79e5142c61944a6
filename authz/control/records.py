"""Who keeps the records of decisions, and who is told of them besides."""

from typing import Protocol

from authz.control.feed import Feed
from authz.model import Outcome


class Records(Protocol):
    """Keeps the audit records."""

    def offer(self, outcome: Outcome) -> bool:
        """Take the record of one call; answer whether it will be kept."""


class Told:
    """A trail that also tells those who follow decisions."""

    def __init__(self, trail: Records, feed: Feed[Outcome]) -> None:
        self._offer = trail.offer
        self._feed = feed

    def offer(self, outcome: Outcome) -> bool:
        """Take the record of one call; answer whether it will be kept."""
        if self._feed.followed:
            self._feed.tell(outcome)
        return self._offer(outcome)
