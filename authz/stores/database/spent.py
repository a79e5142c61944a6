"""What was spent, as the rest of the program sees it: every method awaits, and raises what `Store`'s do."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from authz.stores.database.spending import (
    MARK,
    SHARE,
    SPEND,
    UNMARK,
    Amount,
    Mark,
    Share,
    Shared,
    Spend,
    Spent,
    Unmark,
    Wanted,
    read_marks,
    read_marks_of,
    read_spent,
)


class SpentStore:
    """The part of the store that keeps accounts."""

    def __init__(
        self, do: Callable[..., Awaitable[Any]], read: Callable[..., Awaitable[Any]], clock: Callable[[], float]
    ) -> None:
        self._do = do
        self._read = read
        self._clock = clock

    async def share(self, amounts: Sequence[Amount], since: int) -> Shared:
        """Add what this process counted, and answer what changed after a number."""
        answer: Shared = await self._do(SHARE, Share(tuple(amounts), since), None)
        return answer

    async def spend(self, demands: Sequence[Wanted]) -> Spent:
        """Count amounts, all or none: of any number of callers on any number of replicas, as many pass as fit."""
        answer: Spent = await self._do(SPEND, Spend(tuple(demands)), None)
        return answer

    async def mark(self, mark: Mark) -> None:
        """Have every process know something of a task."""
        await self._do(MARK, mark, None)

    async def unmark(self, task: str, kind: str, by: str) -> bool:
        """Take it back; answer whether it was so."""
        answer: bool = await self._do(UNMARK, Unmark(task, kind, by), None)
        return answer

    async def marks(self) -> Sequence[Mark]:
        """Answer all that is to be known of tasks."""
        answer: Sequence[Mark] = await self._read(
            lambda connection: list(read_marks(connection, self._clock())), "load_timeout_seconds"
        )
        return answer

    async def marks_of(self, task: str) -> Sequence[Mark]:
        """Answer what is to be known of one task."""
        answer: Sequence[Mark] = await self._read(lambda connection: list(read_marks_of(connection, task)))
        return answer

    async def amounts(self, counters: Sequence[str]) -> Sequence[Amount]:
        """Answer what was spent under these counters."""
        answer: Sequence[Amount] = await self._read(lambda connection: read_spent(connection, counters))
        return answer
