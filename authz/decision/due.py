"""What one decision must have counted besides a human's word: all of it together with that word, or nothing."""

from collections.abc import Callable

import msgspec

from authz.budgets.visit import Demand, NoRoom
from authz.errors import Refusal


class Due(msgspec.Struct, frozen=True):
    """What is counted with the word, in one transaction of the shared store."""

    decision_id: str
    refused: Callable[[NoRoom], Refusal]
    """Answers what to say where there is no room for a demand."""
    grant_id: str = ""
    """The grant of which one use is counted; "": none is."""
    demands: tuple[Demand, ...] = ()
    """What it costs."""
    beyond: frozenset[int] = frozenset()
    """Which of the demands are counted beyond their limit, for the word is about that."""
