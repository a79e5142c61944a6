"""The PDP in this process: the same composition as `authz serve`, with a clock and a trail that can be watched."""

from collections import deque
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.check import Checker
from authz.decision.snapshot import Snapshot
from authz.model import Outcome
from authz.stores.holder import SnapshotHolder
from bench.client import Deck
from bench.frames import GRPC_PREFIX, Card, verdict
from bench.traffic import traffic
from bench.world import Identities, Setup, configuration

BUDGET_SECONDS = 60.0


class Keeper:
    """A trail that words each record as the real one does, and lets go of the oldest; and a meter."""

    def __init__(self, settings: AuditSettings) -> None:
        self.recorder = Recorder(settings)
        self.queue: deque[bytes] = deque(maxlen=64)
        self.outcome: Outcome | None = None
        self.count = 0

    def offer(self, outcome: Outcome) -> bool:
        """Keep it."""
        self.queue.append(self.recorder.line(outcome))
        return True

    def decided(self, outcome: Outcome) -> None:
        """Count it."""
        self.outcome = outcome
        self.count += 1


class Inside:
    """A PDP of one setup, in this process."""

    def __init__(self, setup: Setup, identities: Identities, directory: Path, principals: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "authz.toml"
        config.write_text(
            configuration(setup, identities, directory, f"unix:{directory}/none.sock", principals=principals)
        )
        self.composition = Composition(load(config, Config, {}), directory)
        self.snapshot: Snapshot = self.composition.build_snapshot()
        self.keeper = Keeper(self.composition.config.audit)
        self.epoch = LocalEpoch()
        self.parts = self.composition.parts(SnapshotHolder(self.snapshot), self.keeper, self.keeper, epoch=self.epoch)
        self.checker = Checker(self.parts)

    def uncached(self) -> "Inside":
        """The same, loaded once, without a decision cache."""
        other = copy(self)
        nothing = CacheSettings(max_allowed_entries=0, max_denied_entries=0)
        other.parts = replace(self.parts, cache=DecisionCache(nothing, self.epoch))
        other.checker = Checker(other.parts)
        return other

    @property
    def cached(self) -> int:
        """How many decisions are kept."""
        return sum(self.parts.cache.entries)

    def check(self, message: bytes) -> bytes:
        """Decide one request."""
        return self.checker.check(message, BUDGET_SECONDS)

    def demand(self, message: bytes, expect: int) -> bytes:
        """Decide it, and raise AssertionError when the answer is wrong."""
        answer = self.check(message)
        if verdict(answer) != expect:
            raise AssertionError(f"code {verdict(answer)} instead of {expect}")
        return answer


def messages(kind: str, identities: Identities, count: int) -> list[tuple[bytes, int]]:
    """`count` CheckRequests of this traffic, without framing, with the right answers."""
    return list(stream(kind, identities, count))


def stream(kind: str, identities: Identities, count: int) -> Iterator[tuple[bytes, int]]:
    """The same, made one at a time."""
    dealt = traffic(kind, identities)
    yield from _dealt(Deck(dealt.cards, dealt.order), count)


def _dealt(deck: Deck, count: int) -> Iterator[tuple[bytes, int]]:
    for _ in range(count):
        card, request, resource = deck.deal()
        yield bare(card, request, resource), card.expect


def bare(card: Card, request: bytes, resource: bytes) -> bytes:
    """The CheckRequest of a card alone: its parts begin with the frame's head, the stream, and gRPC's prefix."""
    return card.render((b"", request, resource))[5 + GRPC_PREFIX :]
