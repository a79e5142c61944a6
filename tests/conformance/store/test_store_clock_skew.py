"""Replicas whose clocks differ by minutes, over one store: no clock lets a grant live on that another has ended."""

import contextlib

import msgspec
import pytest
from grant_kit import ED_KEY, KEYS, SETTINGS, call, grant, grant_id, subject
from stores import Clock, a_grant, a_revocation, a_task

from authz.errors import Reason, Refusal
from authz.grants.token import sign_grant
from authz.grants.verifier import GrantVerifier
from authz.stores.database.errors import EndedError
from authz.stores.database.settings import RetentionSettings
from authz.stores.database.store import Store
from authz.stores.shared_view import SharedView

NOW = 1_790_000_000
LIFE = 200
LEEWAY = SETTINGS.leeway_seconds
SKEWS = {"ahead": 300, "right": 0, "behind": -300}
GRANT = grant(expires=NOW + LIFE)
TOKEN = sign_grant(GRANT, ED_KEY)


class Replica:
    """A store, a view of it and a verifier, by one clock."""

    def __init__(self, store, clock):
        self.store, self.clock = store, clock
        self.view = SharedView(store, LEEWAY, 1_000, clock)
        self.verifier = GrantVerifier(SETTINGS, KEYS)

    def verdict(self, now):
        """Say what comes of the token when this replica's own clock shows `now`."""
        try:
            found = self.verifier.verify(call(TOKEN), subject(), now)
        except Refusal as refusal:
            return refusal.reason
        self.view.revocations.sweep(now, 1_000)  # as it does all the time
        return self.view.revocations.refusal(subject(), found.grant, now) or Reason.ALLOWED

    def let_in(self):
        """Answer the moments of its own clock, of all that matter, at which it lets the token in."""
        ends = NOW + LIFE + LEEWAY
        moments = [NOW - LEEWAY - 1, NOW - LEEWAY, NOW, NOW + LIFE, ends - 0.5, ends, ends + 0.5, ends + 600]
        return [moment - NOW for moment in moments if self.verdict(moment) is Reason.ALLOWED]


@pytest.fixture
def opened(place):
    """Answer a context manager of a replica with a clock so far off, also of one that starts anew."""

    @contextlib.asynccontextmanager
    async def opening(skew):
        clock = Clock(NOW + SKEWS[skew])
        async with Store.opened(place.settings, place.base, clock=clock) as store:
            replica = Replica(store, clock)
            await replica.view.load()
            yield replica

    return opening


async def issued(replica, **changes):
    record = a_grant(grant_id(), "task-1", issued_at=NOW, not_before=NOW, expires_at=NOW + LIFE, **changes)
    await replica.store.issue(record, a_task("task-1", created_at=NOW))


async def complete(store):
    await store.complete("task-1", "me")


async def revoke(store):
    await store.revoke(a_revocation(value=grant_id(), created_at=NOW, expires_at=NOW + LIFE))


async def test_a_grant_lives_by_each_replica_s_own_clock_and_the_leeway_and_no_longer(opened):
    async with opened("right") as right:
        await issued(right)
    for skew in SKEWS:
        async with opened(skew) as replica:
            # So in true time one that is behind by s accepts it until s + leeway after its end, and begins s late.
            assert replica.let_in() == [-LEEWAY, 0, LIFE, LIFE + LEEWAY - 0.5, LIFE + LEEWAY]
            assert replica.verdict(NOW - LEEWAY - 1) is Reason.GRANT_NOT_YET_VALID
            assert replica.verdict(NOW + LIFE + LEEWAY + 0.5) is Reason.GRANT_EXPIRED


@pytest.mark.parametrize("by", list(SKEWS))
@pytest.mark.parametrize("end", [complete, revoke])
async def test_what_one_ends_no_other_lets_in_again_whatever_their_clocks(opened, end, by):
    async with opened("ahead") as ahead, opened("right") as right, opened("behind") as behind:
        replicas = {"ahead": ahead, "right": right, "behind": behind}
        await issued(right)
        await end(replicas[by].store)
        for replica in replicas.values():
            await replica.view.catch_up()
            assert replica.let_in() == []


@pytest.mark.parametrize("end", [complete, revoke])
async def test_one_that_starts_anew_knows_it_also_when_one_that_is_ahead_has_cleared_up(place, opened, end):
    retention = msgspec.convert({"grants_seconds": 3_600, "interval_seconds": 86_400}, RetentionSettings)
    place.settings = msgspec.structs.replace(place.settings, retention=retention)
    async with opened("ahead") as ahead:
        await issued(ahead)
        await end(ahead.store)
        ahead.clock.now += LIFE + LEEWAY  # the others accept it for 300 and 600 seconds more
        await ahead.store.compact()
    for skew in SKEWS:
        async with opened(skew) as replica:
            assert replica.let_in() == []


async def test_uses_are_counted_once_and_end_when_one_clock_says_so(opened):
    async with opened("ahead") as ahead, opened("behind") as behind:
        await issued(behind, max_uses=2)
        assert await behind.store.consume(grant_id(), "d1")
        with pytest.raises(EndedError):
            await ahead.store.consume(grant_id(), "d2")
        assert await behind.store.consume(grant_id(), "d3")
        assert not await behind.store.consume(grant_id(), "d4")
