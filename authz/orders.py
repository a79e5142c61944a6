"""The control plane in one process of several: all follow what is ordered, the one that leads takes the orders."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import structlog

from authz.composition import Composition
from authz.console_plane import load_console
from authz.control_plane import check_policy_source, control_plane
from authz.data_plane_parts import DataPlaneParts
from authz.errors import AuthzError
from authz.shared_state import KEY_CHANGES, SharedState
from authz.stores.database.errors import NotFoundError
from authz.stores.database.records import Change
from authz.stores.policy_source import PolicyText


async def applied_policy(shared: SharedState, composition: Composition) -> bool:
    """Have the newest revision in the store stand for the policy files; answer whether that is a change.

    Raises:
        StoreError: it cannot be read.
    """
    if not composition.config.control.apply_policies:
        return False
    try:
        revision = await shared.store.policy()
    except NotFoundError:
        return False
    before = composition.applied_policy
    if before is not None and before[0] == revision.number:
        return False
    model = composition.config.policy.model
    files = tuple((name, text) for name, text in revision.content.items() if name != model)
    text = PolicyText(model_file=model, model=revision.content.get(model, ""), policies=files)
    composition.applied_policy = (revision.number, text)
    return True


class Orders:
    """The control plane in one process of several: all follow what is ordered, the one that leads takes the orders."""

    def __init__(self, base: Path, parts: DataPlaneParts) -> None:
        self._base = base
        self._parts = parts
        self._serving: asyncio.Task[None] | None = None
        self._listens = asyncio.Event()

    async def follow(self) -> None:
        """Put every policy and key in force that any replica orders, beginning with the newest.

        Raises:
            StoreError: they cannot be read. ConfigError: what is ordered would replace what others vouch for.
        """
        check_policy_source(self._parts.composition.config)
        await self._ordered(())
        self._parts.shared.view.subscribe(self._ordered)

    def lead(self, leads: bool) -> None:  # noqa: FBT001 - a callback's
        """Take orders from now on, or leave that to another process."""
        if leads and self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        elif not leads and self._serving is not None:
            self._serving.cancel()
            self._serving = None

    async def started(self) -> None:
        """Return once orders are taken, where it is for this process to do so.

        Raises:
            AuthzError: it cannot be done.
        """
        if self._serving is not None:
            listens = asyncio.create_task(self._listens.wait())
            await asyncio.wait((listens, self._serving), return_when=asyncio.FIRST_COMPLETED)
            listens.cancel()
            if self._serving.done():
                self._serving.result()

    async def stop(self) -> None:
        """Take no more orders."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _serve(self) -> None:
        log = structlog.get_logger("authz.control")
        try:
            async with control_plane(self._base, self._parts):
                self._listens.set()
                await asyncio.Event().wait()
        except AuthzError as error:
            log.critical("the control plane does not listen", problem=str(error))
            raise

    async def _ordered(self, changes: Sequence[Change]) -> None:
        kinds = {change.kind for change in changes}
        composition, shared = self._parts.composition, self._parts.shared
        before = composition.applied_policy
        anew = False
        if not changes or "policy_applied" in kinds:
            anew = await applied_policy(shared, composition)
        if not changes or kinds & KEY_CHANGES:
            composition.own_grant_keys = shared.ring.key_set()
            anew = True
        if anew and not await self._parts.reloader.reload():
            composition.applied_policy = before  # I11: what does not load replaces nothing
        shared.store.policy_version = self._parts.holder.current.version


@contextlib.asynccontextmanager
async def taking_orders(base: Path, parts: DataPlaneParts) -> AsyncIterator[Orders]:
    """Follow, and where this process leads take, orders.

    Raises:
        StoreError: the shared state cannot be read. ConfigError: the console is on and not installed.
    """
    load_console(parts.composition.config)  # also where another leads: it may end, and then this one serves already
    orders = Orders(base, parts)
    await orders.follow()
    try:
        yield orders
    finally:
        await orders.stop()
