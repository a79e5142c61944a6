"""When one thing was seen with an identity, and how many were seen at the same time."""

from collections.abc import Iterable
from enum import Enum
from heapq import heappop, heappush

import msgspec


class Evidence(Enum):
    """What tells one workload from another that has the same identity."""

    CERTIFICATE = "certificate"
    """The fingerprint of a leaf: each instance has a key of its own."""
    ADDRESS = "address"
    """Where the proxy saw the connection come from."""
    OWNER = "owner"
    """Whom the caller declares to work for."""


class Sighting(msgspec.Struct, gc=False):
    """From when to when something was seen, without a gap of a window or more."""

    first: float
    last: float
    not_before: float = 0.0
    """Of a certificate: its times; 0: not known."""
    not_after: float = 0.0
    told: float = float("-inf")
    """The `last` that was told to others."""

    def see(self, now: float, window: float) -> None:
        """Note that it is seen; after a gap it counts as new, so that an address may be given to another."""
        if self.last <= now - window:
            self.first = now
        self.last = max(self.last, now)

    def join(self, first: float, last: float, window: float) -> bool:
        """Take in what somebody else saw of it; answer whether that says anything new."""
        before = self.first, self.last
        if first >= self.last + window:
            self.first, self.last = first, last
        elif last + window > self.first:
            self.first, self.last = min(self.first, first), max(self.last, last)
        return before != (self.first, self.last)


class Sighted(msgspec.Struct, frozen=True):
    """What was seen with an identity, as replicas tell one another and as it is kept."""

    identity: str
    kind: str
    """"certificate", "address" or "owner"; "identity": that it was seen at all."""
    value: str
    """The fingerprint, address or owner; of "identity": ""."""
    first_seen: float
    last_seen: float
    not_before: float = 0.0
    not_after: float = 0.0


IDENTITY = "identity"
"""The kind of what tells that an identity was seen at all."""


def most_at_once(sightings: Iterable[Sighting], since: float, handover: float) -> int:
    """Answer how many were in use at the same time, of those that were seen after `since`.

    One that is on its way out goes on being seen for `handover` seconds beside what takes its place: that much of its
    end does not count. Cost: about 15 us for 32.
    """
    used = [
        (sighting.first, max(sighting.first, sighting.last - handover))
        for sighting in sightings
        if sighting.last > since
    ]
    used.sort()
    most = 0
    going_on: list[float] = []
    for start, end in used:
        while going_on and going_on[0] <= start:
            heappop(going_on)
        heappush(going_on, end)
        most = max(most, len(going_on))
    return most
