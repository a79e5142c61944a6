"""The state that replicas share, as one process has it: opened, followed, and in force everywhere before it counts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from authz.approval_state import ApprovalState
from authz.config.settings import Config
from authz.control.faults import Code, ControlError, try_later
from authz.decision.standing import FreshStanding, limits_of
from authz.errors import Reason, Refusal
from authz.model import Freshness
from authz.stores.database.errors import EndedError, StoreError
from authz.stores.database.records import Change
from authz.stores.database.store import Store
from authz.stores.shared_view import SharedView
from authz.stores.signing_keys import KeyRing

KEY_CHANGES = frozenset({"key_added", "key_retired"})
_KEY_MARGIN_SECONDS = 60.0
"""A retired key verifies for so much longer than a grant can live: another process may sign with it a moment longer."""


class Siblings(Protocol):
    """The processes of this host."""

    async def apply(self, timeout_seconds: float) -> int:
        """Have every process take up what changed; answer how many have not in time."""


class NoSiblings:
    """There is one process on this host."""

    async def apply(self, timeout_seconds: float) -> int:  # noqa: ARG002 - nobody is waited for
        """Nobody else has anything to take up."""
        return 0


class SharedState:
    """The store, what this process knows of it, and the keys that sign grants."""

    def __init__(self, config: Config, base: Path, store: Store, siblings: Siblings) -> None:
        grants = config.grants
        self.store = store
        self.view = SharedView(store, grants.leeway_seconds, grants.max_revocations, time.time)
        self.ring = KeyRing(
            store,
            base / config.store.state_directory,
            config.control.signing_algorithm,
            grants.max_lifetime_seconds + grants.leeway_seconds + _KEY_MARGIN_SECONDS,
            time.time,
        )
        self.takes_orders = config.control.enabled
        self.issues = grants.enabled and config.control.enabled
        self._siblings = siblings
        self._turn = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None
        self._settle_seconds = config.control.settle_seconds
        self.view.subscribe(self._keys_changed)
        self.policy_age: Callable[[], float] = lambda: store.staleness_seconds
        """How old the policy in force is; whoever knows where it comes from puts a better answer here."""
        most = config.store.max_staleness_seconds
        self.max_age_seconds = min(most, config.freshness.max_revocation_age_seconds or most)
        """How old what is known of revocations may be."""
        self.approvals: ApprovalState | None = None
        """What humans have said; None: nobody is asked."""
        if config.approvals.enabled:
            self.approvals = ApprovalState(config.approvals, store, time.time)
            self.view.subscribe(self.approvals.take)
        self.standing = FreshStanding(
            lambda: self.view.revocations,
            lambda: Freshness(policy=self.policy_age(), revocations=store.staleness_seconds),
            limits_of(config.freshness.max_policy_age_seconds, self.max_age_seconds),
        )
        """Knows what may not go on; what is known for too long denies everything (I2)."""

    async def settle(self) -> None:
        """Return once what the store holds is in force in every process of this host.

        Raises:
            ControlError: it is kept, but some process has not taken it up in time; it is not used for longer than its
                supervisor lets it.
        """
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle_in_turn())
            self._settling.add_done_callback(_retrieve)
        await asyncio.shield(self._settling)

    async def _settle_in_turn(self) -> None:
        """Settle once for all who have come until it begins: their changes were committed before they came."""
        async with self._turn:
            self._settling = None  # who comes from now on may have changed something that this does not see
            await self._settle()

    async def _settle(self) -> None:
        # Side by side: the siblings read what is committed, and need not wait until this process has.
        siblings = asyncio.create_task(self._siblings.apply(self._settle_seconds))
        try:
            async with asyncio.timeout(self._settle_seconds):
                await self.view.catch_up()
        except TimeoutError:
            raise _late("this process") from None
        finally:
            late = await siblings
        if late:
            raise _late(f"{late} of the processes")

    async def spend(self, grant_id: str, decision_id: str) -> bool:
        """Count one use of a grant; answer whether there was one left.

        Raises:
            Refusal: it cannot be told.
        """
        try:
            return await self.store.consume(grant_id, decision_id)
        except EndedError:
            return False
        except StoreError:
            raise Refusal(Reason.STATE_UNAVAILABLE, "the use of a grant could not be counted") from None

    async def start(self) -> None:
        """Know what is over, and which keys there are.

        Raises:
            AuthzError: the store or a key cannot be used.
        """
        await self.view.load()
        if self.issues:
            await self.ring.start()

    async def _keys_changed(self, changes: Sequence[Change]) -> None:
        if self.issues and (not changes or any(change.kind in KEY_CHANGES for change in changes)):
            await self.ring.refresh()


def _retrieve(done: "asyncio.Task[None]") -> None:
    """Look at how it ended, in case that all who waited for it have gone."""
    if not done.cancelled():
        done.exception()


def _late(who: str) -> ControlError:
    return try_later(
        Code.UNAVAILABLE, "NOT_YET_IN_FORCE", f"it is kept, but {who} on this host has not taken it up in time"
    )


@contextlib.asynccontextmanager
async def shared_state(config: Config, base: Path, siblings: Siblings) -> AsyncIterator[SharedState]:
    """Open the shared state for the length of a block, and follow what changes in it.

    Raises:
        AuthzError: it cannot be opened.
    """
    log = structlog.get_logger("authz.store")
    async with Store.opened(config.store, base, report=log.warning) as store:
        state = SharedState(config, base, store, siblings)
        await state.start()
        following = asyncio.create_task(_follow(state))
        try:
            yield state
        finally:
            following.cancel()


async def _follow(state: SharedState) -> None:
    """Follow the store; nothing that goes wrong ends it, and what is not known for too long denies (I2)."""
    log = structlog.get_logger("authz.store")
    while True:
        try:
            await state.view.run()
        except Exception as error:  # noqa: BLE001 - a view that is not followed would let the revoked in
            log.warning("changes could not be taken up; trying again", fault=type(error).__name__)
        await asyncio.sleep(0.1)
