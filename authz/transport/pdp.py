"""What the transports serve: a policy decision point that speaks bytes."""

from typing import Final, Protocol, runtime_checkable

from authz.errors import Reason

LAST_RESORT: Final = b"\x0a\x02\x08\x0e\x12\x05\x0a\x03\x08\xf7\x03"
"""A denied CheckResponse (status 14, HTTP 503), for when even a refusal could not be made. Envoy reads a message of
no bytes as OK, so there must always be something to send (I2). A test decodes it."""


@runtime_checkable
class Pending(Protocol):
    """An allow that waits for uses of a grant or an approval to be counted; `decision.pending.Pending` is one."""

    async def spend(self) -> Reason | None:
        """Count them; answer why the call does not pass. Raises when that cannot be told."""

    def conclude(self, refused: Reason | None) -> bytes:
        """Answer, record and count what came of it; to be called once."""


class DecisionPoint(Protocol):
    """Answers CheckRequests; `decision.check.Checker` is the one that serves."""

    def check(self, message: bytes, budget_seconds: float) -> bytes | Pending:
        """Decide a serialized CheckRequest, at once but for a `Pending`; never raises, never answers nothing."""

    def refuse(self, reason: Reason, detail: str) -> bytes:
        """Answer a denied CheckResponse for a call that never reached `check`, and record and count it."""


class ServerObserver(Protocol):
    """Told what the server goes through; `telemetry.metrics.Metrics` counts it."""

    def shed(self, reason: Reason) -> None:
        """A call was refused because the server could not have answered it in time."""

    def lag(self, seconds: float) -> None:
        """The event loop came this late to a tick."""

    def reloaded(self, what: str, *, succeeded: bool) -> None:
        """Something was read again from disk, and is in force now, or was refused."""
