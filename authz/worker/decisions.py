"""Who follows decisions at the process that takes orders is told those of all processes of the host.

The others learn what is followed through the supervisor, and only then do anything: each counts what is selected, and
tells it a few times a second, as many decisions as there is room for and the rest as numbers.
"""

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from authz.control.feed import Feed, FollowsHost
from authz.control.selection import Selection, wanted
from authz.model import Effect, Outcome
from authz.worker.brief import brief, outcome_of
from authz.worker.messages import Follow, Seen

_TELL_SECONDS: Final = 0.1
_A_SECOND: Final = 10
"""So many tellings are a second."""
_IN_ONE: Final = 128
"""Decisions in one message: none is so long that others wait for it."""


class _Gathered:
    """What was decided here since it was told last, for one who follows elsewhere."""

    def __init__(self, selects: Selection, limit: int) -> None:
        self._wants = wanted(selects)
        self._sampled = selects.most > 0
        self._limit = min(selects.most, limit) if self._sampled else limit
        self._kept: deque[Outcome] = deque()
        self._missed: dict[str, dict[str, int]] = {}
        # Of each effect by itself, so that a flood of allows does not push the few denials out.
        self._room = {Effect.ALLOW._value_: self._limit, Effect.DENY._value_: self._limit}

    def tell(self, outcome: Outcome) -> None:
        """Keep a decision that is selected, or count it where there is no room."""
        if not self._wants(outcome):
            return
        decision = outcome.decision
        effect = decision.effect._value_  # not `.value`: that is a call
        if self._room[effect]:
            self._room[effect] -= 1
            self._kept.append(outcome)
        else:
            count(self._missed, effect, decision.reason._value_)

    def take(self, name: str) -> Seen | None:
        """Answer the next message; None: there is nothing to tell."""
        if not self._kept and not self._missed:
            return None
        decisions = tuple(brief(self._kept.popleft()) for _ in range(min(_IN_ONE, len(self._kept))))
        missed: dict[str, dict[str, int]] = {}
        if not self._kept:  # those that found no room came after those that did
            missed, self._missed = self._missed, {}
            if not self._sampled:
                self.make_room()
        return Seen(name, decisions, missed)

    def make_room(self) -> None:
        """Keep so many again, if those that were kept are told."""
        if not self._kept:
            self._room = dict.fromkeys(self._room, self._limit)


class HostDecisions:
    """The part of one process in telling decisions through the host. For the event loop's thread alone."""

    def __init__(self, feed: Feed[Outcome], send: Callable[[Follow | Seen], None], behind: Callable[[], bool]) -> None:
        """`send` hands a message to the supervisor; `behind`: whether it does not keep up with what it is sent."""
        self._feed = feed
        self._send = send
        self._behind = behind
        self._made = 0
        self._names: dict[FollowsHost[Outcome], str] = {}
        self._gathered: dict[str, _Gathered] = {}
        self._telling: asyncio.Task[None] | None = None
        feed.on_change = self._changed

    def follow(self, message: Follow) -> None:
        """Take up what is followed elsewhere."""
        for name in self._gathered.keys() - message.selections.keys():
            self._feed.leave(self._gathered.pop(name))
        for name in message.selections.keys() - self._gathered.keys():
            gathered = self._gathered[name] = _Gathered(message.selections[name], self._feed.limit)
            self._feed.join(gathered)
        if self._gathered and self._telling is None:
            self._telling = asyncio.create_task(self._tell())
        elif not self._gathered:
            self.stop()

    def seen(self, message: Seen) -> None:
        """Hand on what was decided elsewhere to the one who follows, if it still does."""
        for follower, name in self._names.items():
            if name == message.name:
                for told in message.decisions:
                    follower.receive(outcome_of(told))
                if message.missed:
                    follower.miss(message.missed)

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def _changed(self) -> None:
        """Tell the others what is followed here."""
        selections = {}
        for follower, selects in self._feed.of_host.items():
            if isinstance(selects, Selection):
                if follower not in self._names:
                    self._made += 1
                    # The process is named, too: another that takes orders later must not get what was meant for this.
                    self._names[follower] = f"{os.getpid()}.{self._made}"
                selections[self._names[follower]] = selects
        self._names = {follower: name for follower, name in self._names.items() if name in selections}
        self._send(Follow(selections))

    async def _tell(self) -> None:
        for tellings in itertools.count():
            await asyncio.sleep(_TELL_SECONDS)
            for name, gathered in tuple(self._gathered.items()):
                if tellings % _A_SECOND == 0:
                    gathered.make_room()
                while not self._behind() and (message := gathered.take(name)) is not None:
                    self._send(message)
                    await asyncio.sleep(0)  # requests first


def count(missed: dict[str, dict[str, int]], effect: str, reason: str) -> None:
    """Count one decision among those that are known by their number alone."""
    reasons = missed.setdefault(effect, {})
    reasons[reason] = reasons.get(reason, 0) + 1


def without_decisions(message: Seen) -> Seen:
    """Answer the same as numbers alone: for a way that does not keep up."""
    missed = {effect: dict(reasons) for effect, reasons in message.missed.items()}
    for told in message.decisions:
        count(missed, told.effect.value, told.reason.value)
    return Seen(message.name, (), missed)
