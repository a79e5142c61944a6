"""The records that could not be kept, counted until the trail itself can say so (I9)."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Literal

from authz.audit.schema import VERSION, TrailGap
from authz.audit.words import rfc3339

RefusalKind = Literal["queue_full", "sink_broken"]


class Gap:
    """A gap that may be growing. Any thread may use it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: Counter[RefusalKind] = Counter()
        self._since = self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether there is one to tell of."""
        return bool(self._refused)

    def add(self, kind: RefusalKind) -> None:
        """Count one record."""
        now = self._clock()
        with self._lock:
            if not self._refused:
                self._since = now
            self._until = now
            self._refused[kind] += 1

    def take(self) -> TrailGap | None:
        """Answer the gap so far and begin a new one; None: nothing was refused."""
        with self._lock:
            if not self._refused:
                return None
            refused, self._refused = self._refused, Counter()
            return TrailGap(
                v=VERSION,
                time=rfc3339(self._clock()),
                pid=os.getpid(),
                since=rfc3339(self._since),
                until=rfc3339(self._until),
                queue_full=refused["queue_full"],
                sink_broken=refused["sink_broken"],
            )
