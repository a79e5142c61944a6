"""An allow that waits: uses of a grant or of an approval must be counted, in the shared store, before it is given."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from authz.errors import Reason, Refusal

Spend: TypeAlias = Callable[[str, str], Awaitable[bool]]
"""Counts one use of the grant of an id for the decision of an id; answers whether there was one left. Atomic: of any
number of callers on any number of replicas, as many are answered yes as the grant has uses. Raises when not sure."""


class Held(msgspec.Struct, frozen=True):
    """Why a call that rules allow does not pass, and what its caller is told to wait for; or on what it passes."""

    reason: Reason
    detail: str = ""
    """For the record, of a call that passes (ALLOWED) too."""
    told: Mapping[str, object] = {}
    """For the client: `access_request` of the problem details."""


Step: TypeAlias = Callable[[], Awaitable["Held | None"]]
"""One of the things that must be counted; answers what holds the call back, or with ALLOWED on what it passes; None: on
nothing worth a word. Raises when not sure."""


class Pending:
    """What is left to do of a decision. Whoever gets one calls `spend`, then `conclude`, once, whatever came of it."""

    __slots__ = ("_conclude", "_held", "_passed", "_steps", "otherwise")

    def __init__(
        self,
        steps: Sequence[Step],
        conclude: Callable[[Reason | None, Held | None], bytes],
        otherwise: Reason | None = None,
    ) -> None:
        """`otherwise`: what to conclude where nothing is counted: a dry run."""
        self._steps = steps
        self._conclude = conclude
        self._held: Held | None = None
        self._passed: Held | None = None
        self.otherwise = otherwise

    async def spend(self) -> Reason | None:
        """Count all that must be counted, in order, as far as it goes; answer why the call does not pass.

        Raises:
            Refusal: it cannot be told. Anything else that the store raises means the same.
        """
        for step in self._steps:
            try:
                held = await step()
            except Refusal as refusal:
                self._held = Held(refusal.reason, refusal.detail)  # goes on record with what it says
                raise
            if held is not None and held.reason is not Reason.ALLOWED:
                self._held = held
                return held.reason
            self._passed = held or self._passed
        return None

    def conclude(self, refused: Reason | None) -> bytes:
        """Record, count and encode: an allow when nothing refused it and the caller still stands; else a denial."""
        held = self._passed if refused is None else self._held
        return self._conclude(refused, held if held is None or held.reason is (refused or Reason.ALLOWED) else None)


async def nothing_counts(grant_id: str, decision_id: str) -> bool:  # noqa: ARG001 - as any other `Spend`
    """Where no store is configured no use can be counted, so that no counted grant is good for anything."""
    raise Refusal(Reason.STATE_UNAVAILABLE, "uses of grants are counted in the shared store, which is not configured")


def grant_use(spend: Spend, grant_id: str, decision_id: str) -> Step:
    """The step that counts one use of a grant."""

    async def step() -> Held | None:
        return None if await spend(grant_id, decision_id) else Held(Reason.GRANT_USED_UP)

    return step
