"""A process that changes a store as fast as it can and tells each thing that was acknowledged, until it is killed."""

import asyncio
import itertools
from pathlib import Path

from stores import Place, a_grant, a_revocation, a_task

# What the store itself needs, loaded once by the process that the victims are forked from.
import authz.stores.database.store


def run(url, base, name, tell):
    """`tell`: a pipe; a message is sent only after the store has acknowledged what it says."""
    asyncio.run(_run(Place(url, Path(base)), name, tell))


async def _run(place, name, tell):
    async with place.opened() as store:
        numbers = itertools.count()
        await asyncio.gather(*[_caller(store, name, numbers, tell) for _ in range(8)])


async def _caller(store, name, numbers, tell):
    while True:
        n = f"{name}-{next(numbers)}"
        await store.issue(a_grant(f"g{n}", f"t{n}", max_uses=1), a_task(f"t{n}"))
        tell.send(("issued", n))
        assert await store.consume(f"g{n}", f"d{n}")
        tell.send(("used", n))
        await store.revoke(a_revocation(f"r{n}", "principal", f"p{n}"))
        tell.send(("revoked", n))
        await store.complete(f"t{n}", "me")
        tell.send(("completed", n))


assert authz.stores.database.store
