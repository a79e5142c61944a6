"""The trail itself: a bounded queue that never waits, and the thread that empties it (I9, I12)."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable

from authz.audit.gap import Gap
from authz.audit.record import Recorder
from authz.audit.schema import VERSION, Record, TrailStarted, TrailStopped
from authz.audit.settings import AuditSettings
from authz.audit.sink import Sink, open_sink
from authz.audit.words import rfc3339
from authz.errors import ConfigError
from authz.model import Outcome

_DECISION = (b'{"event":"decision"', b'{"event":"control"')


class AuditTrail:
    """Keeps the record of every call, or says at once that it cannot.

    `offer` may be called from any thread; `start`, `reopen` and `close` from one. `count` is told what became of
    records, and of how many: "written"; "dropped" (refused); "failed" (accepted, and not written by the end). `report`
    gets a sentence for the log when writing stops or works again. Both may be called from the writer's thread, which is
    the only one that counts "written".
    """

    def __init__(
        self,
        settings: AuditSettings,
        *,
        count: Callable[[str, int], None],
        report: Callable[[str], None],
        sink: Sink | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._count = count
        self._report = report
        self._sink = sink or open_sink(settings.destination, fsync=settings.fsync == "batch")
        self._clock = clock
        self._recorder = Recorder(settings)
        self._limit = settings.queue_records
        self._wake_at = min(settings.batch_records, max(1, settings.queue_records // 2))
        self._queue: deque[bytes] = deque()
        self._running = False
        self._broken = False  # the last attempt to write failed
        self._reopen = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._lines: list[bytes] = []  # put in words and not yet written; the writer's own
        self._gap = Gap(clock)
        self._told: set[str] = set()  # names of faults; their number is that of exception types

    @property
    def healthy(self) -> bool:
        """Whether the next record would be kept, as far as is known."""
        return self._running and not self._broken and len(self._queue) < self._limit

    @property
    def backlog(self) -> int:
        """How many records wait to be written."""
        return len(self._queue) + len(self._lines)

    def start(self) -> None:
        """Open the destination and begin to accept records.

        Raises:
            ConfigError: the destination cannot be written to.
        """
        try:
            self._sink.open()
        except OSError as error:
            raise ConfigError(f"audit: cannot write to {self._sink.name}: {error.strerror or error}") from error
        self._append(TrailStarted(v=VERSION, time=rfc3339(self._clock()), pid=os.getpid()))
        self._running = True
        self._thread.start()

    def offer(self, outcome: Outcome) -> bool:
        """Answer whether the record of this call is kept, or will be; it never waits.

        False, exactly when: as many records wait as `queue_records` allows; or the last attempt to write failed and
        none has succeeded since; or the trail was closed or not yet started. What was accepted before is kept and tried
        again. Cost: that of wording the record, see `Recorder.line`; writing is done by a thread of its own.
        """
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._limit or self._broken or not self._running:
            return self._refuse()
        queue.append(self._line(outcome))
        if waiting == self._wake_at:
            self._wake.set()
        return True

    def reopen(self) -> None:
        """Open the file by its name again (SIGHUP, after a rotation). Safe in a signal handler of the event loop."""
        self._reopen = True
        self._wake.set()

    def close(self) -> int:
        """Accept no more, write what waits, and answer how many records could not be written in the time allowed."""
        if not self._running:
            return 0
        self._running = False
        self._wake.set()
        self._thread.join(self._settings.shutdown_seconds)
        if not self._thread.is_alive():  # else it is held by a destination that does not take what is written
            self._sink.close()
        lost = len(self._queue) + _decisions(self._lines)
        if lost:
            self._count("failed", lost)
        return lost

    def _refuse(self) -> bool:
        if self._running:
            self._gap.add("sink_broken" if self._broken else "queue_full")
        self._count("dropped", 1)
        return False

    # The writer's thread

    def _run(self) -> None:
        while True:
            self._wake.wait(self._settings.retry_seconds if self._broken else self._settings.flush_seconds)
            self._wake.clear()
            stopping = not self._running  # read before the queue is emptied: nothing accepted earlier is left behind
            try:
                self._turn(stopping=stopping)
            except Exception as error:  # noqa: BLE001 - a dead writer would be a trail that is silently not kept (I9)
                self._broke(type(error).__name__)
            if stopping:
                return

    def _turn(self, *, stopping: bool) -> None:
        """Write all that waits, or as much as is taken."""
        if self._reopen:
            self._reopen = False
            self._sink.reopen()
        while self._lines or self._queue or self._gap.open or self._broken:
            self._fill()
            if not self._write():
                return
        if stopping:
            self._append(TrailStopped(v=VERSION, time=rfc3339(self._clock()), pid=os.getpid()))
            self._write()

    def _fill(self) -> None:
        """Take the next batch, unless one is left over from a failure."""
        if self._lines:
            return
        gap = self._gap.take()
        if gap:
            self._append(gap)
        for _ in range(min(len(self._queue), self._settings.batch_records)):
            self._lines.append(self._queue.popleft())

    def _line(self, outcome: Outcome) -> bytes:
        try:
            return self._recorder.line(outcome)
        except Exception as error:  # noqa: BLE001 - whatever it holds, the call stays on record (I9)
            fault = type(error).__name__
            if fault not in self._told:  # once: a caller that found out how must not fill the log, too
                self._told.add(fault)
                self._report(f"audit: a record could not be put in words and is kept in short: {fault}")
            return self._recorder.bare_line(outcome, fault)

    def _append(self, record: Record) -> None:
        self._lines.append(self._recorder.encode(record))

    def _write(self) -> bool:
        before = self._lines.copy()
        try:
            self._sink.write(self._lines)
        except OSError as error:
            self._broke(error.strerror or str(error))
        else:
            self._works()
        written = _decisions(before[: len(before) - len(self._lines)])
        if written:
            self._count("written", written)
        return not self._broken

    def _works(self) -> None:
        if self._broken:
            self._broken = False
            self._report(f"audit: {self._sink.name} takes records again")

    def _broke(self, why: str) -> None:
        if not self._broken:
            self._broken = True
            self._report(f"audit: {self._sink.name} does not take records: {why}")


def _decisions(lines: list[bytes]) -> int:
    """How many of the lines are records of calls; the others tell of the trail itself."""
    return sum(line.startswith(_DECISION) for line in lines)
