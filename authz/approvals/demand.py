"""What rules demand: whose word, of how many persons, and what it may at most be good for."""

from typing import Final

import msgspec

OWNER: Final = "owner"
"""Excludes who answers for the requester, as the inventory says."""
ORIGIN: Final = "origin"
"""Excludes the human for whom the work began."""
EXCLUSIONS: Final = (OWNER, ORIGIN)


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The strictest of what all the rules demand that allow a request."""

    groups: tuple[str, ...]
    """Each has to be heard; sorted."""
    persons: int = 1
    """How many of each group, all of them different persons."""
    max_uses: int = 1
    """The most uses that an approver may give."""
    for_task: bool = False
    """Whether they may give it for as long as the task lasts."""
    ttl_seconds: float = 900.0
    """How long what was approved is good at the longest."""
    exclude: tuple[str, ...] = ()
    """Who must not decide, of `EXCLUSIONS`; sorted."""

    @property
    def voices(self) -> int:
        """How many persons have to say yes."""
        return self.persons * len(self.groups)
