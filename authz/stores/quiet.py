"""Lets a long load run beside a server that goes on deciding: its thread yields, and the garbage collector keeps still.

A load of 100,000 rules makes a million objects and runs for seconds. Left alone it would keep the interpreter from a
request for 5 ms at a time, and each full collection would stop everything for 0.1 s or more.
"""

import contextlib
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator

_SWITCH_SECONDS = 0.0002
"""How long a request waits before it asks a load that runs to step aside."""
_PATIENT_SECONDS = 0.005
"""How long a load waits before it asks a request that runs to; the interpreter's own default."""
_PIECE_SECONDS, _LONGEST_PIECE_SECONDS = 0.00015, 0.002
_NAP_SECONDS = 0.0001
_NEVER = 1 << 30
_YOUNG, _MIDDLE = 700, 2
"""Small young generations, so that collecting them takes 0.1 ms."""

_lock = threading.Lock()
_loads = 0
_before: tuple[float, tuple[int, int, int]] = (0.0, (0, 0, 0))


@contextlib.contextmanager
def beside_decisions() -> Iterator[None]:
    """Run a load within this: requests get the interpreter soon, and nothing that is old is collected.

    Afterwards all that lives is taken out of the collector's sight: what a snapshot holds would otherwise be looked
    through again and again. Snapshots hold no reference cycles, so that counting references is what frees them. Loads
    may overlap.
    """
    global _loads, _before  # noqa: PLW0603 - the interpreter has one collector and one switch interval
    with _lock:
        if not _loads:
            _before = sys.getswitchinterval(), gc.get_threshold()
            sys.setswitchinterval(_SWITCH_SECONDS)
            gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
        _loads += 1
    try:
        yield
    finally:
        with _lock:
            _loads -= 1
            if not _loads:
                gc.freeze()
                sys.setswitchinterval(_before[0])
                gc.set_threshold(*_before[1])


class Pacer:
    """Has a load run for about half of the time, in pieces shorter than a request; `step_aside` is called often."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._until = 0.0

    def step_aside(self) -> None:
        """Once the piece is over, let requests have the interpreter for a while; cheap before that."""
        now = self._clock()
        if now < self._until:
            return
        # A request that is being decided when the nap ends is not to be interrupted: who waits, waits patiently.
        sys.setswitchinterval(_PATIENT_SECONDS)
        self._sleep(_NAP_SECONDS)
        sys.setswitchinterval(_SWITCH_SECONDS if _loads else _PATIENT_SECONDS)
        woken = self._clock()
        # On a machine with too much to do naps are far longer than asked for: without this a load would never end.
        self._until = woken + min(max(woken - now, _PIECE_SECONDS), _LONGEST_PIECE_SECONDS)


def settle() -> None:
    """Collect what starting left behind and set the rest aside, before there is a request that would have to wait."""
    gc.collect()
    gc.freeze()
