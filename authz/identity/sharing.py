"""Whether one identity is used by more workloads than it is meant for: what policies read as `r.sub.shared`.

Each call tells which certificate, address and declared owner an identity was seen with. What was in use at the same
time is counted, so that a rotated certificate, or an instance that another replaces, is not taken for a second user.
Documentation: docs/shared-identities.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from authz.errors import Reason, Refusal
from authz.identity.sharing_settings import SharingSettings
from authz.identity.sightings import IDENTITY, Evidence, Sighted, Sighting, most_at_once
from authz.model import NOT_SHARED, Attributes, CheckCall, Subject, Value

_CERTIFICATES: Final = frozenset(("x509-svid", "xfcc"))
"""Kinds of credentials of which each instance has one; a workload may have any number of tokens."""
_SPARED: Final = 16
"""So many of the least recently seen identities are looked through for one that is not shared, to be forgotten."""
_KINDS: Final = {each.value: each for each in Evidence}


class Expected(msgspec.Struct, frozen=True, gc=False):
    """How many of each an identity is meant to be used with."""

    certificates: int
    addresses: int
    owners: int


def expected(attributes: Mapping[str, Value], settings: SharingSettings) -> Expected:
    """Answer what the inventory, or else configuration, expects of who has these attributes."""
    instances = _number(attributes, "expected_instances") or settings.default_instances
    return Expected(
        instances,
        _number(attributes, "max_addresses") or instances,
        _number(attributes, "max_task_owners") or settings.default_task_owners,
    )


class Usage:
    """What an identity was seen with lately."""

    __slots__ = (
        "_crowded", "_looked", "_settings", "_sightings", "_swept", "expected", "first", "id", "last", "state", "told",
    )  # fmt: skip

    def __init__(self, identity: str, settings: SharingSettings, now: float) -> None:
        self.id = identity
        self.first = self.last = now
        self.told = float("-inf")
        self.expected = expected({}, settings)
        self.state: Attributes = NOT_SHARED
        """What policies see. Never changed, only replaced."""
        self._settings = settings
        self._sightings: dict[Evidence, dict[str, Sighting]] = {kind: {} for kind in Evidence}
        self._crowded = dict.fromkeys(Evidence, float("-inf"))
        """Until when more of a kind count as seen than are remembered."""
        self._swept = dict.fromkeys(Evidence, float("-inf"))
        self._looked = float("-inf")

    @property
    def shared(self) -> bool:
        """Whether it is used by more than it is meant for."""
        return self.state["shared"] is True

    def see(self, kind: Evidence, value: str, now: float) -> Sighting | None:
        """Note that it is seen with something; None: there is no room for that."""
        of_kind = self._sightings[kind]
        window = self._settings.window_seconds
        found = of_kind.get(value)
        if found is not None:
            found.see(now, window)
            return found
        if not self._has_room(kind, now):
            return None
        found = of_kind[value] = Sighting(now, now)
        self._looked = float("-inf")
        return found

    def join(self, kind: Evidence, seen: Sighted, last: float, now: float) -> None:
        """Take in what another process saw."""
        of_kind = self._sightings[kind]
        found = of_kind.get(seen.value)
        if found is None:
            if self._has_room(kind, now):
                of_kind[seen.value] = Sighting(seen.first_seen, last, seen.not_before, seen.not_after, last)
                self._looked = float("-inf")
        else:
            if found.join(min(seen.first_seen, last), last, self._settings.window_seconds):
                self._looked = float("-inf")
            found.told = max(found.told, last)

    def _has_room(self, kind: Evidence, now: float) -> bool:
        """Whether one more can be remembered (I12).

        What is in use is never forgotten for what is new: a flood of addresses would hide itself so.
        """
        of_kind, settings = self._sightings[kind], self._settings
        limit = self._limit(kind)
        if len(of_kind) < limit:
            return True
        if not 0 <= now - self._swept[kind] < settings.resolution_seconds:  # who floods must not make each call dear
            self._swept[kind] = now
            since = now - settings.window_seconds
            for value in [value for value, each in of_kind.items() if each.last <= since]:
                del of_kind[value]
            if len(of_kind) < limit:
                return True
        if self._crowded[kind] <= now:
            self._looked = float("-inf")
        self._crowded[kind] = now + settings.window_seconds
        return False

    def look(self, now: float) -> bool:
        """Count anew, if that could come out otherwise than the last time; answer whether it has become shared."""
        settings = self._settings
        if self._looked <= now < self._looked + settings.resolution_seconds:
            return False
        self._looked = now
        before = self.shared
        self.state = state_of(self.counts(now), self.expected, self.state)
        return self.shared and not before

    def counts(self, now: float) -> tuple[int, int, int]:
        """How many certificates, addresses and owners are in use at a time."""
        settings = self._settings
        handovers = (settings.certificate_handover_seconds, settings.address_handover_seconds, 0.0)
        numbers = []
        for kind, handover in zip(Evidence, handovers, strict=True):
            of_kind = self._sightings[kind]
            number = most_at_once(of_kind.values(), now - settings.window_seconds, handover)
            numbers.append(max(number, self._limit(kind)) if self._crowded[kind] > now else number)
        return numbers[0], numbers[1], numbers[2]

    def evidence(self, kind: Evidence, now: float) -> Iterator[tuple[str, Sighting]]:
        """What of a kind is in use."""
        since = now - self._settings.window_seconds
        return ((value, each) for value, each in self._sightings[kind].items() if each.last > since)

    def news(self) -> Iterator[Sighted]:
        """What others have not been told, or long ago; it counts as told."""
        every = self._settings.last_seen_seconds
        if self.last >= self.told + every:
            self.told = self.last
            yield Sighted(self.id, IDENTITY, "", self.first, self.last)
        for kind, of_kind in self._sightings.items():
            for value, each in of_kind.items():
                if each.last >= each.told + every:
                    each.told = each.last
                    if value.isprintable():  # else it is for this process alone: no database takes every text
                        yield Sighted(
                            self.id, kind.value, value, each.first, each.last, each.not_before, each.not_after
                        )

    def untell(self) -> None:
        """Have everything be news again."""
        self.told = float("-inf")
        for of_kind in self._sightings.values():
            for each in of_kind.values():
                each.told = float("-inf")

    def _limit(self, kind: Evidence) -> int:
        """How many of a kind are remembered: more than are expected, so that too many always show."""
        allowed = self.expected
        of_kind = {
            Evidence.CERTIFICATE: allowed.certificates,
            Evidence.ADDRESS: allowed.addresses,
            Evidence.OWNER: allowed.owners,
        }
        return max(self._settings.max_evidence, of_kind[kind] + 1)


class _Known(msgspec.Struct, frozen=True, gc=False):
    """That an identity was seen so at a moment."""

    subject: Subject
    usage: Usage
    seen: float
    until: float


class SharingTracker:
    """Watches identities. For one thread; times come in as arguments."""

    def __init__(self, settings: SharingSettings) -> None:
        self.settings = settings
        self._header = settings.owner_header
        self._resolution = settings.resolution_seconds
        self._known: dict[tuple[int, str, str], _Known] = {}
        """What was seen within the last second or so."""
        self._usages: dict[str, Usage] = {}
        """The least recently seen first."""
        self._fresh: dict[str, None] = {}
        """Identities of which there may be news for others."""
        self.detected = 0
        """How often an identity became shared."""
        self.forgotten = 0
        """How many identities were forgotten for want of room."""

    def __len__(self) -> int:
        return len(self._usages)

    def observe(self, call: CheckCall, subject: Subject, now: float) -> Attributes:
        """Note a call, and answer what policies see of its caller's sharing.

        Cost: well under 1 us unless something of it is new, or a second has passed.

        Raises:
            Refusal: the declared owner is none.
        """
        owner = call.headers.get(self._header, "")
        key = (id(subject), call.source_address, owner)
        known = self._known.get(key)
        # What is remembered keeps the subject alive, so that no other object can have its place in memory.
        if known is not None and known.seen <= now < known.until:
            return known.usage.state
        if not subject.id:
            return NOT_SHARED
        usage = self._observe(subject, call.source_address, owner, now)
        if len(self._known) >= self.settings.max_identities:
            self._known.clear()
        self._known[key] = _Known(subject, usage, now, now + self._resolution)
        return usage.state

    def look(self, subject: Subject, now: float) -> Attributes:
        """Answer what policies see of somebody who does not call: a dry run notes nothing."""
        usage = self._usages.get(subject.id)
        if usage is None:
            return NOT_SHARED
        return state_of(usage.counts(now), expected(subject.attributes, self.settings), usage.state)

    def usages(self) -> Iterable[Usage]:
        """What each identity was seen with, the least recently seen first."""
        return self._usages.values()

    def shared(self) -> int:
        """How many are shared, as of when each was last looked at. Cost: 0.1 us for each that is watched."""
        return sum(usage.shared for usage in self._usages.values())

    def news(self, limit: int) -> list[Sighted]:
        """Take what others have not been told, about `limit` of it at most."""
        found: list[Sighted] = []
        while self._fresh and len(found) < limit:
            usage = self._usages.get(self._fresh.popitem()[0])
            if usage is not None:
                found.extend(usage.news())
        return found

    def untold(self, sighted: Iterable[Sighted]) -> None:
        """Take news back that could not be told: they are told later."""
        for each in sighted:
            usage = self._usages.get(each.identity)
            if usage is not None:
                usage.untell()
                self._fresh[usage.id] = None

    def merge(self, sighted: Iterable[Sighted], now: float) -> None:
        """Take in what others saw; what they say of the future counts as now."""
        since = now - self.settings.window_seconds
        for each in sighted:
            last = min(each.last_seen, now)
            kind = _KINDS.get(each.kind)
            if kind is None or last <= since:
                continue
            usage = self._usages.get(each.identity)
            if usage is None:
                usage = self._add(each.identity, now)
                usage.told = usage.last = last
            usage.join(kind, each, last, now)

    def _observe(self, subject: Subject, address: str, owner: str, now: float) -> Usage:
        if len(owner) > self.settings.max_owner_characters or not owner.isprintable():
            raise Refusal(Reason.REQUEST_MALFORMED, "the declared task owner")
        usage = self._usages.pop(subject.id, None)
        if usage is None:
            usage = self._add(subject.id, now)
        else:
            self._usages[subject.id] = usage  # now the most recently seen
        usage.expected = expected(subject.attributes, self.settings)
        usage.last = max(usage.last, now)
        credential = subject.credential
        if credential is not None and credential.kind in _CERTIFICATES:
            seen = usage.see(Evidence.CERTIFICATE, credential.fingerprint, now)
            if seen is not None:
                seen.not_before, seen.not_after = credential.not_before, credential.not_after
        if address:
            usage.see(Evidence.ADDRESS, address, now)
        if owner:
            usage.see(Evidence.OWNER, owner, now)
        self.detected += usage.look(now)
        self._fresh[subject.id] = None
        return usage

    def _add(self, identity: str, now: float) -> Usage:
        if len(self._usages) >= self.settings.max_identities:
            oldest = list(islice(self._usages.values(), _SPARED))
            gone = next((usage for usage in oldest if not usage.shared), oldest[0])
            del self._usages[gone.id]
            self._fresh.pop(gone.id, None)
            self.forgotten += 1
        usage = self._usages[identity] = Usage(identity, self.settings, now)
        return usage


def state_of(counts: tuple[int, int, int], allowed: Expected, before: Attributes = NOT_SHARED) -> Attributes:
    """Answer what policies see; the very same object as `before` where that says the same."""
    certificates, addresses, owners = counts
    shared = certificates > allowed.certificates or addresses > allowed.addresses or owners > allowed.owners
    state: Attributes = {
        "shared": shared,
        "sharing": {"certificates": certificates, "addresses": addresses, "owners": owners},
    }
    return before if state == before else state


def _number(attributes: Mapping[str, Value], name: str) -> int:
    value = attributes.get(name, 0)
    return value if isinstance(value, int) else 0
