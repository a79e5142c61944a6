"""Killed at any point, again and again: what was acknowledged is there, and the store is sound."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import store_victim

from authz.stores.database.checking import check
from authz.stores.database.connect import connect

KILLS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 10
"""Of each database."""


def kill_one(context, place, name, chance):
    """Start a victim, kill it at a point that nobody knows, and answer what it had been told."""
    here, there = context.Pipe(duplex=False)
    victim = context.Process(target=store_victim.run, args=(place.settings.url, str(place.base), name, there))
    victim.start()
    there.close()
    acknowledged = []
    messages = chance.randrange(30)
    try:
        while len(acknowledged) < messages:
            acknowledged.append(here.recv())
        time.sleep(chance.random() * 0.01)  # the point of death, no synchronisation
        victim.kill()
        while True:
            acknowledged.append(here.recv())  # sent before it died
    except EOFError:
        pass
    victim.join()
    assert victim.exitcode == -signal.SIGKILL, "it ended by itself"
    here.close()
    return acknowledged


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_nothing_acknowledged_is_lost(place):
    chance = random.Random(2026)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["store_victim"])
    acknowledged = [told for n in range(KILLS) for told in kill_one(context, place, f"v{n}", chance)]
    kinds = ("issued", "used", "revoked", "completed")
    by_kind = {kind: {n for said, n in acknowledged if said == kind} for kind in kinds}
    assert all(by_kind.values()), "killed before anything could happen"
    async with place.opened() as store:
        for n in by_kind["issued"]:
            grant = await store.grant(f"g{n}")
            assert grant.used == 1 or n not in by_kind["used"]
            assert grant.state == "completed" or n not in by_kind["completed"]
        for n in by_kind["completed"]:
            assert (await store.task(f"t{n}")).state == "completed"
        for n in by_kind["revoked"]:
            assert (await store.revocation(f"r{n}")).value == f"p{n}"
    database = connect(place.settings, place.base)
    assert check(database).problems == ()
    database.close()
