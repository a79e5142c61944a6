"""Stands in the place of the audit trail, passes every outcome on to it, and lets the candidate decide afterwards."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from authz.audit.settings import AuditSettings
from authz.decision.check import Trail
from authz.decision.snapshot import Snapshot
from authz.model import Outcome
from authz.shadow.compare import BY_POLICY, Decided, Kind, compare
from authz.shadow.record import difference_line
from authz.shadow.settings import ShadowSettings

KINDS = (*(kind.value for kind in Kind), "dropped", "unrecorded")
"""What can become of a call that the candidate was to be asked about."""
_LOOK_SECONDS = 0.05
_STOP_SECONDS = 5.0


class Candidate(Protocol):
    """Holds the candidate."""

    @property
    def current(self) -> Snapshot | None:
        """The candidate; None while it does not load."""


class Lines(Protocol):
    """Takes lines: a `Sink` that is safe to use beside the trail's own writer."""

    def write(self, lines: list[bytes]) -> None:
        """Write the lines, taking off the list those that are written whole. Raises OSError, leaving the rest."""


class ShadowTrail:
    """A `Trail` whose answers are those of the trail behind it."""

    def __init__(  # noqa: PLR0913 - what it is made of, each by name
        self,
        trail: Trail,
        candidate: Candidate,
        lines: Lines,
        settings: ShadowSettings,
        audit: AuditSettings,
        *,
        report: Callable[[str], object],
        chance: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """`report` gets a sentence for the log when differences cannot be recorded; from the worker's thread."""
        self._offer = trail.offer
        self._candidate = candidate
        self._lines = lines
        self._settings = settings
        self._audit = audit
        self._report = report
        self._chance = chance
        self._monotonic = monotonic
        self._queue: deque[Decided] = deque()
        self._counts = dict.fromkeys(KINDS, 0)
        self._room = settings.max_records_per_second  # records that may be written now
        self._refilled = monotonic()
        self._broken = False
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many calls came out how, by KINDS."""
        return self._counts

    def offer(self, outcome: Outcome) -> bool:
        """Answer what the trail answers; then keep the call for the candidate, if there is room. Cost: about 0.3 us."""
        kept = self._offer(outcome)
        if kept and outcome.call is not None and outcome.decision.reason in BY_POLICY:
            settings = self._settings
            if settings.sample >= 1.0 or self._chance() < settings.sample:
                if len(self._queue) < settings.queue_calls:
                    self._queue.append(
                        Decided(outcome.call, outcome.time, outcome.decision, outcome.decision_id, outcome.asked)
                    )
                else:
                    self._counts["dropped"] += 1
        return kept

    def start(self) -> None:
        """Begin to ask the candidate."""
        self._thread.start()

    def close(self) -> None:
        """Ask it no more; what waits is dropped. Before the trail behind it is closed."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - a bug in here must not end it, nor anything else
                self._counts["error"] += 1
                self._report(f"shadow: internal error: {type(error).__name__}")

    def turn(self) -> None:
        """Ask the candidate about all that waits, at the pace that settings allow. For the worker's thread."""
        while self._queue and not self._stopping.is_set():
            snapshot = self._candidate.current
            decided = self._queue.popleft()
            if snapshot is None:
                self._counts["error"] += 1
                continue
            started = self._monotonic()
            self._one(decided, snapshot, started + self._settings.max_seconds)
            share = self._settings.max_cpu_share
            self._sleep((self._monotonic() - started) * (1.0 / share - 1.0))

    def _one(self, decided: Decided, snapshot: Snapshot, deadline: float) -> None:
        found = compare(decided, snapshot, lambda: self._monotonic() > deadline)
        self._counts[found.kind.value] += 1
        if found.kind is not Kind.SAME:
            if self._may_record():
                self._record(difference_line(decided, found, self._audit))
            else:
                self._counts["unrecorded"] += 1

    def _may_record(self) -> bool:
        now, most = self._monotonic(), self._settings.max_records_per_second
        self._room = min(max(most, 1.0), self._room + (now - self._refilled) * most)
        self._refilled = now
        if self._room < 1.0:
            return False
        self._room -= 1.0
        return True

    def _record(self, line: bytes) -> None:
        try:
            self._lines.write([line])
        except OSError as error:
            self._counts["unrecorded"] += 1
            if not self._broken:
                self._report(f"shadow: differences cannot be recorded: {error.strerror or error}")
            self._broken = True
        else:
            self._broken = False
