"""What identities were seen with, as processes tell one another through the store."""

import asyncio

import pytest
from stores import NOW

from authz.identity.sharing import SharingTracker
from authz.identity.sharing_settings import SharingSettings
from authz.model import CheckCall, Credential, Subject
from authz.stores.database.errors import StoreError
from authz.stores.database.seeing import Cursor, SightingRow
from authz.stores.database.settings import RetentionSettings
from authz.stores.sightings import SightingExchange

WINDOW = 300.0


def row(value="10.0.0.1", first=NOW, last=NOW, kind="address", identity="spiffe://td/a"):
    return SightingRow(identity=identity, kind=kind, value=value, first_seen=first, last_seen=last)


async def rows(store):
    found, _ = await store.seen.after(Cursor(), 1_000)
    return {(each.kind, each.value): (each.first_seen - NOW, each.last_seen - NOW) for each in found}


async def test_what_is_seen_again_is_prolonged(store):
    await store.seen.see([row(), row("10.0.0.2")], WINDOW)
    await store.seen.see([row(first=NOW - 5, last=NOW + 7), row("10.0.0.2", NOW + 1, NOW + 2)], WINDOW)
    assert await rows(store) == {("address", "10.0.0.1"): (-5, 7), ("address", "10.0.0.2"): (0, 2)}
    await store.seen.see([row(first=NOW + 1, last=NOW + 3)], WINDOW)
    assert (await rows(store))["address", "10.0.0.1"] == (-5, 7), "what comes late takes nothing back"


async def test_what_is_seen_after_a_gap_is_seen_for_the_first_time(store):
    await store.seen.see([row(), row("", kind="identity")], WINDOW)
    later = {"first": NOW + 400, "last": NOW + 401}
    await store.seen.see([row(**later), row("", kind="identity", **later)], WINDOW)
    assert await rows(store) == {("address", "10.0.0.1"): (400, 401), ("identity", ""): (0, 401)}
    assert await store.seen.since() == NOW


async def test_page_by_page_in_the_order_of_writing(place):
    async with place.opened() as store:
        await store.seen.see([row(f"10.0.0.{n}") for n in range(5)], WINDOW)
        place.clock.now += 1
        await store.seen.see([row("10.0.0.3", last=NOW + 1)], WINDOW)
        first, cursor = await store.seen.after(Cursor(), 3)
        second, cursor = await store.seen.after(cursor, 3)
        assert [each.value for each in (*first, *second)] == [f"10.0.0.{n}" for n in (0, 1, 2, 4, 3)]
        assert await store.seen.after(cursor, 3) == ((), cursor)


async def test_it_is_kept_as_long_as_configured(place):
    retention = RetentionSettings(sightings_seconds=100, identities_seconds=1_000)
    async with place.opened(retention=retention) as store:
        await store.seen.see([row(), row("", kind="identity")], WINDOW)
        place.clock.now += 101
        await store.compact()
        assert list(await rows(store)) == [("identity", "")]
        place.clock.now += 1_000
        await store.compact()
        assert await rows(store) == {}


def observe(tracker, address, now, certificate="c1"):
    subject = Subject(id="spiffe://td/a", credential=Credential("x509-svid", certificate, NOW - 9, NOW + 9_000))
    return tracker.observe(CheckCall("http", source_address=address), subject, now)


async def test_two_replicas_hear_of_each_other(place):
    async with place.opened() as one, place.opened() as other:
        here, there = SharingTracker(SharingSettings()), SharingTracker(SharingSettings())
        ours, theirs = SightingExchange(here, one, place.clock), SightingExchange(there, other, place.clock)
        observe(here, "10.0.0.1", NOW)
        observe(there, "10.0.0.2", NOW + 10)
        place.clock.now += 100
        observe(here, "10.0.0.1", place.clock.now)
        for exchange in (ours, theirs, ours):
            await exchange.exchange()
        for tracker, address in ((here, "10.0.0.1"), (there, "10.0.0.2")):
            state = observe(tracker, address, place.clock.now + 2)
            assert state == {"shared": True, "sharing": {"certificates": 1, "addresses": 2, "owners": 0}}
        [seen] = await one.seen.last_seen("", 10)
        assert (seen.identity, seen.first_seen, seen.last_seen) == ("spiffe://td/a", NOW, NOW + 100)


async def test_what_could_not_be_told_is_told_later(place):
    tracker = SharingTracker(SharingSettings())
    observe(tracker, "10.0.0.1", NOW)
    async with place.opened() as store:
        exchange = SightingExchange(tracker, store, place.clock)
    with pytest.raises(StoreError):
        await exchange.tell()
    async with place.opened() as store:
        await SightingExchange(tracker, store, place.clock).tell()
        assert len(await rows(store)) == 3


async def test_it_is_told_at_the_end(place):
    tracker = SharingTracker(SharingSettings(exchange_seconds=600.0))
    async with place.opened() as store:
        running = asyncio.create_task(SightingExchange(tracker, store, place.clock).run())
        await asyncio.sleep(0)
        observe(tracker, "10.0.0.1", NOW)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(await rows(store)) == 3
