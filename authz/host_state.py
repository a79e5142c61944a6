"""The shared state as one process of a host has it, with what it does there for as long as it serves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from authz.composition import Composition
from authz.config.settings import Config
from authz.shared_state import SharedState, shared_state
from authz.stores.epoch import SharedEpoch
from authz.stores.sightings import SightingExchange
from authz.transport.readiness import Readiness
from authz.worker.context import Worker

STATE = "shared_state"
"""The readiness condition that holds while the shared state is followed."""
_LOOK_SECONDS = 0.5


class HostSiblings:
    """The processes of this host, as the shared epoch knows them."""

    def __init__(self, epoch: SharedEpoch) -> None:
        self._epoch = epoch

    async def apply(self, timeout_seconds: float) -> int:
        """Have every process take up what changed; answer how many have not in time."""
        return len(await self._epoch.wait_applied(self._epoch.advance(), timeout_seconds))


@contextlib.asynccontextmanager
async def shared_by_host(
    config: Config, base: Path, worker: Worker, readiness: Readiness
) -> AsyncIterator[SharedState]:
    """Open the shared state for the length of a block; to be entered before the process serves.

    Raises:
        AuthzError: it cannot be opened.
    """
    async with shared_state(config, base, HostSiblings(worker.epoch)) as state:

        async def apply(_: int) -> None:
            await state.view.catch_up()

        worker.subscribe(apply)
        watching = asyncio.create_task(_watch_state(state, readiness))
        try:
            yield state
        finally:
            watching.cancel()


@contextlib.asynccontextmanager
async def exchanging(composition: Composition, shared: SharedState) -> AsyncIterator[None]:
    """Tell the other processes what identities were seen with, and hear it of them."""
    running = asyncio.create_task(SightingExchange(composition.sharing, shared.store, time.time).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _watch_state(state: SharedState, readiness: Readiness) -> None:
    while True:
        if state.store.staleness_seconds <= state.max_age_seconds:
            readiness.hold(STATE)
        else:
            readiness.fail(STATE, f"the shared state is {state.store.staleness_seconds:.0f} s old")
        await asyncio.sleep(_LOOK_SECONDS)
