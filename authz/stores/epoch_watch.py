"""What a process does when the shared epoch rises: apply what changed, then acknowledge."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from authz.stores.epoch import SharedEpoch

Apply = Callable[[int], Awaitable[None]]
"""Brings into force here what changed up to an epoch; raises when it cannot."""


class EpochWatch:
    """Woken by every `advance` on this host; no time passes in looking.

    What cannot be applied is not acknowledged: the supervisor then replaces this worker by one that reads everything
    anew. Acknowledging happens in the event loop, so a decision that began under an older epoch has ended by then.
    """

    def __init__(self, epoch: SharedEpoch) -> None:
        """Watch from `start` on."""
        self._epoch = epoch
        self._appliers: list[Apply] = []
        self._applied = 0
        self._applying: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("authz.epoch")

    def subscribe(self, apply: Apply) -> None:
        """Have `apply` awaited for every rise (several in a row may come as one), before it is acknowledged."""
        self._appliers.append(apply)

    async def start(self, known: int) -> None:
        """Apply what changed since the epoch `known`, and from then on whatever changes; return once it is in force.

        To be called when this process is about to serve.
        """
        self._applied = known
        asyncio.get_running_loop().add_reader(self._epoch.waker, self._woken)
        self._epoch.serve()
        while self._applied < (epoch := self._epoch.current):
            await self._apply(epoch)

    def stop(self) -> None:
        """Watch no more."""
        asyncio.get_running_loop().remove_reader(self._epoch.waker)
        if self._applying is not None:
            self._applying.cancel()

    def _woken(self) -> None:
        self._epoch.woken()
        if self._epoch.current <= self._applied or self._applying is not None:
            return
        if not self._appliers:
            self._acknowledge(self._epoch.current)
            return
        self._applying = asyncio.create_task(self._catch_up())
        self._applying.add_done_callback(self._caught_up)

    async def _catch_up(self) -> None:
        while self._applied < (epoch := self._epoch.current):
            await self._apply(epoch)

    def _caught_up(self, done: asyncio.Task[None]) -> None:
        self._applying = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._log.error("a change could not be applied, and is not acknowledged", fault=type(error).__name__)

    async def _apply(self, epoch: int) -> None:
        for apply in self._appliers:
            await apply(epoch)
        self._acknowledge(epoch)

    def _acknowledge(self, epoch: int) -> None:
        self._applied = epoch
        self._epoch.acknowledge(epoch)
