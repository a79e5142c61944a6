"""The service `Reports`: what a security team asks about the identities that call."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

from authz.control.backing import Backing
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.fields import timestamp
from authz.control.method import Call, Method, Methods
from authz.control.v1 import reports_pb2 as pb
from authz.errors import Refusal
from authz.identity.inventory import UNREGISTERED
from authz.identity.overdue import Problem, overdue
from authz.identity.resolve import IdentityResolver
from authz.identity.sharing import SharingTracker, Usage, expected, state_of
from authz.identity.sightings import Evidence
from authz.model import Value
from authz.spiffe import parse_spiffe_id

_AT_ONCE: Final = 200
"""So many identities are looked at before calls get their turn."""
_ROWS: Final = 2_000
_SECONDS_PER_DAY: Final = 86_400.0
_PROBLEMS: Final = {
    Problem.NOT_ROTATED: pb.OverdueCredential.PROBLEM_NOT_ROTATED,
    Problem.LIVES_TOO_LONG: pb.OverdueCredential.PROBLEM_LIVES_TOO_LONG,
}
_Seen = tuple[float, float]
"""When something was first and last seen."""
_NEVER: Final = (0.0, 0.0)


class Reports:
    """Serves `authz.control.v1.Reports`."""

    def __init__(self, backing: Backing, tracker: SharingTracker, resolver: Callable[[], object]) -> None:
        """`resolver` answers the one in force, which knows the inventory of the moment."""
        self._backing = backing
        self._tracker = tracker
        self._resolver = resolver

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {"SharedIdentities": Method(pb.SharedIdentitiesRequest, self._ask, self._shared_identities)}

    async def _ask(self, request: pb.SharedIdentitiesRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.demand("max_entries", request.max_entries >= 0, "must not be negative")
        unused = request.unused_for.ToNanoseconds()
        fields.demand("unused_for", not request.HasField("unused_for") or unused > 0, "must be more than nothing")
        fields.settle()
        return Question("/reports/shared-identities", {"type": "report", "id": "shared-identities"})

    async def _shared_identities(self, request: pb.SharedIdentitiesRequest, call: Call) -> pb.SharedIdentitiesResponse:
        settings = self._backing.settings
        most = min(request.max_entries or settings.default_page_size, settings.max_page_size)
        unused_for = self._tracker.settings.unused_days * _SECONDS_PER_DAY
        if request.HasField("unused_for"):
            unused_for = request.unused_for.ToNanoseconds() / 1e9
        report = _Report(self._tracker, self._resolver(), call.now, most)
        await report.look_at_usages()
        since = await self._backing.store.seen.since()
        async for identity, seen in self._seen():
            report.look_at(identity, seen)
        if since is not None and since <= call.now - unused_for:
            report.look_for_unused(call.now - unused_for)
        report.finish()
        response = report.response
        response.watched = len(self._tracker)
        if since is not None:
            response.watched_since.FromMicroseconds(round(since * 1e6))
        return response

    async def _seen(self) -> AsyncIterator[tuple[str, _Seen]]:
        """Every identity that ever called, as far as any process has told."""
        after, more = "", True
        while more:
            rows = await self._backing.store.seen.last_seen(after, _ROWS)
            for row in rows:
                yield row.identity, (row.first_seen, row.last_seen)
                after = row.identity
            more = len(rows) == _ROWS
        for number, usage in enumerate(list(self._tracker.usages())):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            yield usage.id, (usage.first, usage.last)


class _Report:
    """One report in the making; each list has a bound."""

    def __init__(self, tracker: SharingTracker, resolver: object, now: float, most: int) -> None:
        self.response = pb.SharedIdentitiesResponse()
        self._tracker = tracker
        self._resolver = resolver
        self._now = now
        self._most = most
        self._entries: dict[str, _Seen | None] = {}
        if isinstance(resolver, IdentityResolver):
            self._entries = dict.fromkeys(resolver.registered())
        self._strangers: dict[str, _Seen] = {}

    async def look_at_usages(self) -> None:
        """Tell of what is shared, and of certificates that overlive."""
        for number, usage in enumerate(list(self._tracker.usages())):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            self._look_at_usage(usage)

    def _look_at_usage(self, usage: Usage) -> None:
        response, settings, now = self.response, self._tracker.settings, self._now
        attributes = self._attributes(usage.id)
        allowed = expected(attributes, settings)
        counts = usage.counts(now)
        if state_of(counts, allowed)["shared"] and self._room(len(response.shared)):
            shared = response.shared.add(identity=usage.id, owner=str(attributes["owner"]))
            told = (
                (shared.certificates, Evidence.CERTIFICATE, counts[0], allowed.certificates),
                (shared.addresses, Evidence.ADDRESS, counts[1], allowed.addresses),
                (shared.task_owners, Evidence.OWNER, counts[2], allowed.owners),
            )
            for target, kind, number, meant in told:
                target.at_once, target.expected = number, meant
                found = sorted(usage.evidence(kind, now), key=lambda each: -each[1].last)
                for value, each in found[: settings.max_evidence]:
                    target.seen.add(value=value, first_seen=timestamp(each.first), last_seen=timestamp(each.last))
        for late in overdue(usage, settings, now):
            if self._room(len(response.overdue)):
                response.overdue.add(
                    identity=late.identity,
                    certificate=late.fingerprint,
                    problem=_PROBLEMS[late.problem],
                    not_before=timestamp(late.sighting.not_before),
                    not_after=timestamp(late.sighting.not_after),
                    last_seen=timestamp(late.sighting.last),
                )

    def look_at(self, identity: str, seen: _Seen) -> None:
        """Take in when an identity was seen; it may come more than once."""
        for name in _entries_of(identity):
            if name in self._entries:
                self._entries[name] = _joined(self._entries[name], seen)
        if identity in self._strangers:
            self._strangers[identity] = _joined(self._strangers[identity], seen)
        elif self._attributes(identity)["registered"] is not True and self._room(len(self._strangers)):
            self._strangers[identity] = seen

    def look_for_unused(self, before: float) -> None:
        """Tell of the entries of the inventory that nobody used since."""
        for name, seen in self._entries.items():
            first, last = seen or _NEVER
            if last < before and self._room(len(self.response.unused)):
                owner = str(self._attributes(name.removesuffix("/*"))["owner"])
                self.response.unused.add(
                    identity=name, owner=owner, first_seen=timestamp(first), last_seen=timestamp(last)
                )

    def finish(self) -> None:
        """Tell of who is not in the inventory."""
        for identity, (first, last) in self._strangers.items():
            self.response.unregistered.add(identity=identity, first_seen=timestamp(first), last_seen=timestamp(last))

    def _room(self, taken: int) -> bool:
        self.response.truncated |= taken >= self._most
        return taken < self._most

    def _attributes(self, identity: str) -> Mapping[str, Value]:
        """What the inventory says of an identity now."""
        if not isinstance(self._resolver, IdentityResolver):
            return UNREGISTERED
        try:
            return self._resolver.assume(parse_spiffe_id(identity), "report").attributes
        except Refusal:
            return UNREGISTERED  # the subject of a foreign token, or of a trust domain that is not allowed any more


def _entries_of(identity: str) -> Iterator[str]:
    """The entries of an inventory that an identity may be meant by."""
    yield identity
    prefix = identity
    for _ in range(identity.count("/") - 2):
        prefix = prefix.rpartition("/")[0]
        yield f"{prefix}/*"


def _joined(known: _Seen | None, seen: _Seen) -> _Seen:
    return seen if known is None else (min(known[0], seen[0]), max(known[1], seen[1]))
