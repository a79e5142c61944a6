"""When a credential holds."""

import msgspec

from authz.errors import Reason, Refusal


class Validity(msgspec.Struct, frozen=True, gc=False):
    """From when to when, both inclusive, in seconds since the epoch.

    Kept beside every memoised proof and asked on each use: a memo must not outlive what it remembers (I4).
    """

    not_before: float
    not_after: float

    def holds(self, now: float) -> bool:
        """Whether `now` lies within, with no leeway; never for a NaN."""
        return self.not_before <= now <= self.not_after

    def check(self, now: float, leeway_seconds: float, early: Reason, late: Reason) -> None:
        """Pass when `now` lies within, give or take `leeway_seconds` of difference between clocks.

        Raises:
            Refusal: `early` or `late`.
        """
        # Written so that a NaN would be refused.
        if not now >= self.not_before - leeway_seconds:
            raise Refusal(early, "its time has not come")
        if not now <= self.not_after + leeway_seconds:
            raise Refusal(late, "its time has passed")
