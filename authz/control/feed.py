"""Tells those who follow, without ever waiting for them (I12)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar

_T = TypeVar("_T")
_Told_contra = TypeVar("_Told_contra", contravariant=True)

Missed: TypeAlias = Mapping[str, Mapping[str, int]]
"""How many events of other processes are known by their number alone: by effect, and of each by reason."""


class Follows(Protocol[_Told_contra]):
    """Follows a feed; it may not take long, and may not fail."""

    def tell(self, event: _Told_contra) -> None:
        """Take an event."""


class FollowsHost(Follows[_Told_contra], Protocol[_Told_contra]):
    """Follows what other processes of this host tell, too, which know what it selects."""

    def receive(self, event: _Told_contra) -> None:
        """Take an event of another process, which selected it."""

    def miss(self, missed: Missed) -> None:
        """Count selected events that are not handed over."""


class Follower(Generic[_T]):
    """One who follows: a bounded queue of what it has not taken yet."""

    def __init__(self, wants: Callable[[_T], bool], limit: int) -> None:
        self._wants = wants
        self._waiting: deque[_T] = deque()
        self._limit = limit
        self._skipped = 0
        self._come = asyncio.Event()

    def tell(self, event: _T) -> None:
        """Queue an event that is wanted; one that finds no room is counted."""
        if self._wants(event):
            self.receive(event)

    def receive(self, event: _T) -> None:
        """Queue an event; one that finds no room is counted."""
        if len(self._waiting) >= self._limit:
            self._skipped += 1
        else:
            self._waiting.append(event)
        self._come.set()

    def miss(self, missed: Missed) -> None:
        """Count events that there was no room for elsewhere."""
        self._skipped += sum(sum(reasons.values()) for reasons in missed.values())
        self._come.set()

    async def events(self) -> AsyncIterator[tuple[_T | None, int]]:
        """Each event, with how many before it found no room; None: that number alone."""
        while True:
            while self._waiting or self._skipped:
                skipped, self._skipped = self._skipped, 0
                yield self._waiting.popleft() if self._waiting else None, skipped
            self._come.clear()
            await self._come.wait()


class Feed(Generic[_T]):
    """One source of events and those who follow it. For the event loop's thread alone."""

    def __init__(self, limit: int) -> None:
        """`limit`: how many events wait for each."""
        self.limit = limit
        self._followers: set[Follows[_T]] = set()
        self._of_host: dict[FollowsHost[_T], Hashable] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Told when somebody begins or ends to follow all processes of the host."""

    @property
    def followed(self) -> bool:
        """Whether anybody follows: else nothing need be made."""
        return bool(self._followers)

    @property
    def of_host(self) -> Mapping[FollowsHost[_T], Hashable]:
        """Those who follow all processes of the host, and what each selects."""
        return self._of_host

    def tell(self, event: _T) -> None:
        """Tell all."""
        for follower in self._followers:
            follower.tell(event)

    def join(self, follower: Follows[_T]) -> None:
        """Tell this one, too, from now on, of what this process does."""
        self._followers.add(follower)

    def join_host(self, follower: FollowsHost[_T], selects: Hashable) -> None:
        """Tell this one, too, from now on, of what any process of this host does."""
        self._followers.add(follower)
        self._of_host[follower] = selects
        self.on_change()

    def leave(self, follower: Follows[_T]) -> None:
        """Tell this one no more."""
        self._followers.discard(follower)
        if self._of_host.pop(follower, None) is not None:  # type: ignore[call-overload]  # one that never was there
            self.on_change()

    async def follow(self, wants: Callable[[_T], bool], selects: Hashable) -> AsyncIterator[tuple[_T | None, int]]:
        """Each event from now on that is wanted, with how many before it were missed; None: that number alone.

        `selects`: what `wants` does, in a form that other processes can be told.
        """
        follower = Follower(wants, self.limit)
        self.join_host(follower, selects)
        try:
            async for event in follower.events():
                yield event
        finally:
            self.leave(follower)
