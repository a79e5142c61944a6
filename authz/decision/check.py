"""THE request path: CheckRequest bytes in, CheckResponse bytes out. Picture: docs/architecture.md."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from authz.decision.snapshot import Snapshot
from authz.errors import Reason, Refusal
from authz.model import CheckCall, Decision, Effect, Outcome


class SnapshotSource(Protocol):
    """Holds the live snapshot; replacing it is one assignment."""

    @property
    def current(self) -> Snapshot:
        """The snapshot in force now."""


class Codec(Protocol):
    """Speaks the proxy's protocol."""

    def decode(self, message: bytes) -> CheckCall:
        """Read a CheckRequest, or raise Refusal."""

    def allow(self, outcome: Outcome) -> bytes:
        """Encode an allow."""

    def deny(self, outcome: Outcome) -> bytes:
        """Encode a denial; never empty, whatever was not reached (I2)."""


class Trail(Protocol):
    """Keeps the audit records."""

    def offer(self, outcome: Outcome) -> bool:
        """Take the record of one call; answer whether it will be kept."""


class Meter(Protocol):
    """Counts decisions."""

    def decided(self, outcome: Outcome) -> None:
        """Count one decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckerParts:
    """What a checker is made of."""

    snapshots: SnapshotSource
    codec: Codec
    trail: Trail
    meter: Meter
    clock: Callable[[], float]
    """Seconds since the epoch."""
    monotonic: Callable[[], float]
    """Seconds that only rise."""
    new_id: Callable[[], str]
    """A fresh decision id."""
    report_fault: Callable[[Exception], None]
    """Told of every fault that became a denial."""
    no_record_no_allow: bool = True
    """Whether a call whose audit record cannot be kept is denied (I9); else its decision stands and is counted."""


class Checker:
    """Decides calls; every fault inside becomes a denial with a reason (I2)."""

    def __init__(self, parts: CheckerParts) -> None:
        """Take the parts apart once, so that the path does no look-up."""
        self._snapshots = parts.snapshots
        self._codec = parts.codec
        self._offer = parts.trail.offer
        self._decided = parts.meter.decided
        self._clock = parts.clock
        self._monotonic = parts.monotonic
        self._new_id = parts.new_id
        self._report_fault = parts.report_fault
        self._no_record_no_allow = parts.no_record_no_allow

    def check(self, message: bytes, budget_seconds: float) -> bytes:
        """Decide one CheckRequest within `budget_seconds`; answer a CheckResponse, never empty, never an exception."""
        started = self._monotonic()
        now = self._clock()
        deadline = started + budget_seconds
        snapshot = self._snapshots.current
        call = subject = request = None
        try:
            call = self._codec.decode(message)
            subject = snapshot.resolver.identify(call, now)
            target = snapshot.canonicalise(call)
            request = snapshot.binder.bind(call, target, subject, now)
            decision = snapshot.decide(request, lambda: self._monotonic() > deadline)
            if self._monotonic() > deadline:
                decision = denial(Reason.DEADLINE_EXCEEDED, snapshot.version)
        except Refusal as refusal:
            decision = denial(refusal.reason, snapshot.version, refusal.detail)
        except Exception as fault:  # noqa: BLE001 - I2: whatever breaks in here must deny
            decision = self._fault(fault, snapshot.version)
        return self._conclude(
            Outcome(
                decision_id=self._new_id(),
                decision=decision,
                call=call,
                subject=subject,
                request=request,
                time=now,
                latency_seconds=self._monotonic() - started,
            )
        )

    def refuse(self, reason: Reason, detail: str = "") -> bytes:
        """Answer, record and count a denial for a call that never reached `check`."""
        return self._conclude(
            Outcome(
                decision_id=self._new_id(),
                decision=denial(reason, self._snapshots.current.version, detail),
                call=None,
                subject=None,
                request=None,
                time=self._clock(),
                latency_seconds=0.0,
            )
        )

    def _conclude(self, outcome: Outcome) -> bytes:
        """Encode, record and count; what is recorded is what is answered."""
        response = b""
        if outcome.decision.allowed:
            try:
                response = self._codec.allow(outcome)
            except Exception as fault:  # noqa: BLE001 - I2: an allow that cannot be told is a denial
                outcome = _replaced(outcome, self._fault(fault, outcome.decision.policy_version))
        if not self._kept(outcome) and self._no_record_no_allow:  # I9
            outcome = _replaced(outcome, denial(Reason.AUDIT_UNAVAILABLE, outcome.decision.policy_version))
        self._decided(outcome)
        return response if outcome.decision.allowed else self._codec.deny(outcome)

    def _kept(self, outcome: Outcome) -> bool:
        try:
            return self._offer(outcome)
        except Exception as fault:  # noqa: BLE001 - a trail that breaks has not kept the record (I9)
            self._report_fault(fault)
            return False

    def _fault(self, fault: Exception, version: str) -> Decision:
        self._report_fault(fault)
        return denial(Reason.INTERNAL_ERROR, version, type(fault).__name__)


def denial(reason: Reason, policy_version: str = "", detail: str = "") -> Decision:
    """Answer the decision to deny for `reason`."""
    return Decision(effect=Effect.DENY, reason=reason, policy_version=policy_version, detail=detail)


def _replaced(outcome: Outcome, decision: Decision) -> Outcome:
    return msgspec.structs.replace(outcome, decision=decision)
