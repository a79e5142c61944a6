"""Keeps in memory what the shared store says is over, and tells the rest of the process what changed there."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from authz.grants.changes import (
    CutOff,
    CutOffKind,
    DenyAllBut,
    EndCutOff,
    EndDenyAllBut,
    Restore,
    RevocationChange,
    RevocationKind,
    Revoke,
)
from authz.grants.revocations import FeedGap, RevocationView
from authz.grants.revoked import Revoked
from authz.stores.database.errors import ChangesLostError
from authz.stores.database.records import BreakGlass, Change, CompletedTask, Revocation
from authz.stores.database.store import Store
from authz.stores.database.view import Over

OnChanges = Callable[[Sequence[Change]], Awaitable[None]]
"""Told of changes once the view has taken them up, in order; an empty sequence: everything may have changed."""

_SWEEP = 10_000


class SharedView:
    """One process's view of the store: what is revoked, and who is to be told of further changes."""

    def __init__(self, store: Store, margin_seconds: float, max_entries: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._margin = margin_seconds
        self._max_entries = max_entries
        self._clock = clock
        self._store_id = ""
        self._told: list[OnChanges] = []
        self._untold: list[Change] | None = []  # None: everything may have changed
        self._catching_up = asyncio.Lock()
        self.revocations = RevocationView(Revoked(margin_seconds, max_entries))

    def subscribe(self, told: OnChanges) -> None:
        """Have `told` awaited for every change."""
        self._told.append(told)

    async def load(self) -> None:
        """Read everything that is over now.

        Raises:
            StoreTrouble: it cannot be read.
        """
        async with self._catching_up:
            await self._load()

    async def catch_up(self) -> None:
        """Return once all that the store holds now is in force here.

        Raises:
            StoreTrouble: it cannot be read.
        """
        async with self._catching_up:
            while True:
                await self._tell()  # what could not be told the last time
                page = await self._store.changes_since(self.revocations.sequence)
                if page.store_id != self._store_id or not page.complete:
                    await self._load()
                    return
                await self._take(page.changes)
                if self.revocations.sequence >= page.head:
                    return

    async def run(self) -> None:
        """Follow the store until it is closed."""
        while True:
            try:
                store_id = self._store_id
                async for changes in self._store.watch(self.revocations.sequence, store_id):
                    await self._take_up(changes, store_id)
                    self.revocations.sweep(self._clock(), _SWEEP)
            except ChangesLostError:
                await self.load()
            else:
                return

    async def _take_up(self, changes: Sequence[Change], store_id: str) -> None:
        """Take up what arrived, as far as it is new: it need not be read once more."""
        async with self._catching_up:
            if store_id == self._store_id:
                await self._tell()
                await self._take([change for change in changes if change.seq > self.revocations.sequence])
                return
        await self.catch_up()  # the numbers that arrived are of a store that is no longer ours

    async def _load(self) -> None:
        revoked = self._nothing()

        def begin() -> Callable[[Over], None]:
            nonlocal revoked
            filling = revoked = self._nothing()  # what an attempt left that broke off may be undone by now
            return lambda over: _take_over(filling, over)

        view = await self._store.view(begin)
        if view.break_glass is not None:
            revoked.take(_deny_all_but(view.break_glass))
        if view.store_id == self._store_id or not self._store_id:
            self.revocations.replace(revoked, view.seq)
        else:  # another store, such as one restored from a backup: its numbers begin elsewhere
            self.revocations = RevocationView(revoked, view.seq)
        self._store_id = view.store_id
        self._store.applied_seq = view.seq
        self._untold = None
        await self._tell()

    async def _take(self, changes: Sequence[Change]) -> None:
        try:
            for change in changes:
                self.revocations.apply(change.seq, to_revocation_change(change))
        except FeedGap:
            await self._load()
            return
        self._store.applied_seq = self.revocations.sequence
        if self._untold is not None:
            self._untold.extend(changes)
        await self._tell()

    async def _tell(self) -> None:
        """Tell what is new; if somebody cannot take it up, all of it is told again the next time."""
        if self._untold is None or self._untold:
            changes = tuple(self._untold or ())
            for told in self._told:
                await told(changes)
            self._untold = []

    def _nothing(self) -> Revoked:
        return Revoked(self._margin, self._max_entries)


def to_revocation_change(change: Change) -> RevocationChange | None:
    """Answer what a change of the store means to the view; None: nothing.

    Raises:
        msgspec.ValidationError: it was written by a version of this program that this one does not understand.
    """
    data: dict[str, Any] = change.data
    match change.kind:
        case "revoked":
            return _revoke(msgspec.convert(data["revocation"], Revocation))
        case "revocation_undone":
            return _restore(msgspec.convert(data["revocation"], Revocation))
        case "task_completed":
            until = data["until"]
            return Revoke(RevocationKind.COMPLETED_TASK, change.about, until if until is not None else change.at)
        case "break_glass_started":
            return _deny_all_but(msgspec.convert(data["switch"], BreakGlass))
        case "break_glass_ended":
            return EndDenyAllBut(change.about)
        case _:
            return None


def _take_over(revoked: Revoked, over: Over) -> None:
    match over:
        case Revocation():
            revoked.take(_revoke(over))
        case CompletedTask():
            revoked.take(Revoke(RevocationKind.COMPLETED_TASK, over.id, over.until))
        case _:
            pass  # a grant that is used up is found out when it is used


def _revoke(revocation: Revocation) -> Revoke | CutOff:
    expires = math.inf if revocation.expires_at is None else revocation.expires_at
    if revocation.kind == "issued_before":
        before = 0.0 if revocation.before is None else revocation.before
        return CutOff(CutOffKind(revocation.cut_off), revocation.value, before, expires)
    return Revoke(RevocationKind(revocation.kind), revocation.value, expires)


def _restore(revocation: Revocation) -> Restore | EndCutOff:
    if revocation.kind == "issued_before":
        return EndCutOff(CutOffKind(revocation.cut_off), revocation.value)
    return Restore(RevocationKind(revocation.kind), revocation.value)


def _deny_all_but(switch: BreakGlass) -> DenyAllBut:
    return DenyAllBut(switch.id, switch.author, switch.reason, switch.until, switch.allow)
