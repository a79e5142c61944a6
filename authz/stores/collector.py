"""Keeps the passes of the garbage collector short, however much the server remembers.

Left alone the collector looks through everything that lives whenever that has grown by a quarter: 84 ms at 38,000
cached decisions, and nobody is answered meanwhile. It finds next to nothing, since what serves holds no reference
cycles and is freed by counting references. So what has survived one full pass is set aside, and passes look at what is
new.

What becomes a cycle after it was set aside is not found by that. Therefore everything is looked at once more when the
program's memory has tripled since the last time: what is lost in cycles is bounded by what lives (I12). Tripled, since
a reload doubles it for a while, and is not to be followed by a long pass.
"""

import gc
import sys
from collections.abc import Callable
from typing import Any, Final

YOUNG: Final = 700
"""Objects made, less those freed, that a pass over the young waits for; the interpreter's own."""
MIDDLE: Final = 4
OLD: Final = 1
"""A pass over the middle generation looks at some 3,500 objects, one over the old at some 10,000: about 2 ms."""
GROWTH: Final = 3
_OLDEST: Final = 2


class ShortPasses:
    """To be told by the collector of its passes."""

    def __init__(self, memory: Callable[[], int] = sys.getallocatedblocks) -> None:
        """`memory` answers how much is in use."""
        self._memory = memory
        self._limit = GROWTH * memory()
        self._whole = False
        """Whether the next full pass looks at everything."""

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        """Called by the collector at the "start" and the "stop" of each pass; see `gc.callbacks`."""
        if phase != "stop" or info["generation"] != _OLDEST:
            return
        used = self._memory()
        if self._whole:
            self._whole, self._limit = False, GROWTH * used
        elif used > self._limit:
            self._whole = True
            gc.unfreeze()
            return
        gc.freeze()


def keep_passes_short() -> ShortPasses:
    """Have it so in this process, from now on; answer what was put among `gc.callbacks`."""
    passes = ShortPasses()
    gc.callbacks.append(passes)
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    return passes
