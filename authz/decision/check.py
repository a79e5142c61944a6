"""THE request path: CheckRequest bytes in, CheckResponse bytes out. Picture: docs/architecture.md."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from authz.budgets.visit import Visit
from authz.decision.approving import NOBODY_ASKED, Approving
from authz.decision.batch import refuse_counted
from authz.decision.cache import DecisionCache, Entry
from authz.decision.key import Key
from authz.decision.observing import NOT_OBSERVED, Observes
from authz.decision.pending import Held, Pending, Spend, nothing_counts
from authz.decision.questions import Known, Questions, name
from authz.decision.snapshot import Snapshot
from authz.decision.spending import NOTHING_COSTS, Spending
from authz.decision.standing import NO_BOUNDS, NOTHING_REVOKED, Bounds, Standing
from authz.decision.waiting import NO_WAIT, Waiting, Waits, held_back, passed
from authz.errors import Reason, Refusal
from authz.grants.grant import Grant
from authz.grants.verifier import VerifiedGrant
from authz.model import NOT_SHARED, Asked, Attributes, CheckCall, Decision, Effect, Outcome, Subject
from authz.policy.obligations import LOG, MAX_AGE, seconds

_REUSABLE = frozenset(
    {Reason.ALLOWED, Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE, Reason.IDENTITY_MISSING}
    | {Reason.HOP_DENIED, Reason.DELEGATION_DENIED}
)
"""What the rules said. Whatever failed, or came too late, is tried again; so is a want of a grant: the answer names
the very request."""


class SnapshotSource(Protocol):
    """Holds the live snapshot; replacing it is one assignment."""

    @property
    def current(self) -> Snapshot:
        """The snapshot in force now."""


class Codec(Protocol):
    """Speaks the proxy's protocol."""

    def decode(self, message: bytes) -> CheckCall:
        """Read a CheckRequest, or raise Refusal."""

    def shape(self, call: CheckCall) -> Hashable:
        """Answer what of a call the form of its answer depends on, besides what is in every key."""

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
    """A fresh decision id; all are equally long, and none can be guessed."""
    cache: DecisionCache
    report_fault: Callable[[Exception], None]
    """Told of every fault that became a denial."""
    max_questions: int = 16_384
    """How many questions are remembered as they were understood."""
    no_record_no_allow: bool = True
    """Whether a call whose audit record cannot be kept is denied (I9); else its decision stands and is counted."""
    standing: Standing = NOTHING_REVOKED
    """Whether callers and grants still stand."""
    bounds: Bounds = NO_BOUNDS
    """How old what is known of them may be, for some resources."""
    sharing: Observes = NOT_OBSERVED
    """Notes who calls from where, and knows whose identity is shared."""
    spend: Spend = nothing_counts
    """Counts the uses of grants."""
    spending: Spending = NOTHING_COSTS
    """Keeps the accounts of what calls cost."""
    approving: Approving = NOBODY_ASKED
    """Knows what humans have said of what waits for them."""


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
        self._cache = parts.cache
        self.questions = Questions(parts.max_questions, parts.codec.shape)
        self._report_fault = parts.report_fault
        self._no_record_no_allow = parts.no_record_no_allow
        self._standing = parts.standing
        self._freshness = parts.standing.freshness
        self._exceeded = parts.bounds.exceeded
        self._observe = parts.sharing.observe
        self._spending = parts.spending
        self._enter = parts.spending.enter
        self._charge = parts.spending.charge
        self._waits = Waiting(parts.spend, parts.spending, parts.approving, parts.report_fault).of
        self._mark = parts.new_id()
        self._mark_bytes = self._mark.encode()

    def check(self, message: bytes, budget_seconds: float) -> bytes | Pending:
        """Decide one CheckRequest within `budget_seconds`; answer a CheckResponse, never empty, never an exception."""
        started, now, epoch = self._monotonic(), self._clock(), self._cache.epoch
        deadline, snapshot = started + budget_seconds, self._snapshots.current
        call = subject = presented = known = asked = visit = request = key = entry = None
        try:
            call = self._codec.decode(message)
            caller = subject = snapshot.resolver.identify(call, now)
            subject, presented = snapshot.acting(call, caller, now)
            refused, sharing = self._look(call, caller, subject, presented, now)
            known = self.questions.recall(snapshot, call, subject, presented, sharing)
            named, key = self._name(snapshot, call, presented, sharing, known)
            asked, visit = self._enter(subject, presented, named, snapshot.keys.facts, snapshot.version, started)
            self._hold(refused, presented, asked)
            if known is None or asked is not named:
                key = self.questions.key(snapshot, call, subject, presented, asked, named=asked is named)
            entry = self._cache.find(snapshot, key, epoch, now)
            if entry is None:
                request = snapshot.binder.bind(call, asked, subject, now)
                decision = snapshot.decide(request, lambda: self._monotonic() > deadline)
            else:
                decision = entry.decision
            if self._monotonic() > deadline:
                entry, decision = None, denial(Reason.DEADLINE_EXCEEDED, snapshot.version)
            elif decision.allowed:
                self._charge(visit)
        except Refusal as refusal:
            entry, decision = None, denial(refusal.reason, snapshot.version, refusal.detail, refusal.retry_after)
        except Exception as fault:  # noqa: BLE001 - I2: whatever breaks in here must deny
            entry, decision = None, self._fault(fault, snapshot.version)
        latency, recalled = self._monotonic() - started, known is not None and asked is known.asked
        outcome = Outcome(
            self._new_id(), decision, call, subject, request, now, latency, asked, entry is not None, recalled
        )
        return self._answer(outcome, entry, presented, visit, snapshot, key, epoch)

    def _answer(  # noqa: PLR0913, PLR0917 - all that was found out about the call
        self,
        outcome: Outcome,
        entry: Entry | None,
        presented: VerifiedGrant | None,
        visit: Visit | None,
        snapshot: Snapshot,
        key: Key | None,
        epoch: int,
    ) -> bytes | Pending:
        """Answer what was decided; what was decided afresh is kept where it may be used again."""
        if entry is not None and presented is None and visit is None:
            # What is used again waits for a use of its grant, or for accounts; here are neither.
            return self._conclude(outcome, entry.parts)
        grant = presented.grant if presented is not None else None
        waits = self._waits(outcome, grant, visit, snapshot) if outcome.decision.allowed else NO_WAIT
        if isinstance(waits, Held):
            return self._conclude(*self._encode(held_back(outcome, waits)), visit)
        if entry is not None:
            parts = entry.parts
        else:
            outcome, parts = self._encode(outcome)
            if outcome.request is not None and waits.reusable:
                self._keep(snapshot, key, epoch, outcome, parts)
        if waits.steps and outcome.decision.allowed:
            return self._pending(outcome, parts, grant, visit, waits)
        return self._conclude(outcome, parts, visit)

    def _look(
        self, call: CheckCall, caller: Subject, subject: Subject, presented: VerifiedGrant | None, now: float
    ) -> tuple[Reason | None, Attributes]:
        """Look whether caller and grant still stand, and who else uses the caller's identity.

        What is revoked is in use by nobody: else who stole it could have its owner count as shared ever after.
        """
        refused = self._standing.refusal(subject, presented.grant if presented is not None else None, now)
        return refused, self._observe(call, caller, now) if refused is None else NOT_SHARED

    def _name(
        self,
        snapshot: Snapshot,
        call: CheckCall,
        presented: VerifiedGrant | None,
        sharing: Attributes,
        known: Known | None,
    ) -> tuple[Asked, Key | None]:
        """Name what is asked for, or recall it with its key; how fresh the state is, is each call's own."""
        fresh = self._freshness()
        if known is None:
            return name(snapshot, call, presented, fresh, sharing), None
        asked = known.asked
        return asked if fresh is asked.fresh else msgspec.structs.replace(asked, fresh=fresh), known.key

    def _hold(self, refused: Reason | None, presented: VerifiedGrant | None, asked: Asked) -> None:
        """Pass when nothing refuses caller or grant, and it covers what is asked; at every request, cached or not.

        I7: a grant takes away all that it does not cover, and adds nothing to what the rules allow.
        """
        if refused is not None:
            raise Refusal(refused)
        stale = self._exceeded(asked.obj, asked.fresh)  # of a batch, all are of the class of the first
        if stale:
            raise Refusal(Reason.STATE_STALE, f"{stale}, for this class of resource")
        if presented is not None:
            if not all(map(presented.covers, asked.every)):
                raise Refusal(Reason.GRANT_SCOPE)
            if presented.grant.uses:
                refuse_counted(asked)

    def _pending(
        self, outcome: Outcome, parts: tuple[bytes, ...], grant: Grant | None, visit: Visit | None, waits: Waits
    ) -> Pending:
        """Hold an allow back until all that it waits for has been counted."""
        subject, asked = outcome.subject, outcome.asked
        assert subject is not None  # noqa: S101 - what waits was decided, and so its subject identified
        assert asked is not None  # noqa: S101 - and what it asks for named

        began = self._monotonic()

        def conclude(refused: Reason | None, held: Held | None) -> bytes:
            # While it was counted, caller or grant may have been revoked.
            stands = self._standing.refusal(subject, grant, self._clock())
            if stands is None and self._exceeded(asked.obj, self._freshness()):
                stands = Reason.STATE_STALE
            if refused is None and stands is not None:
                held = Held(stands)
            elif refused is not None and held is None:
                held = Held(refused)
            latency = outcome.latency_seconds + self._monotonic() - began
            ended, encoded = msgspec.structs.replace(outcome, latency_seconds=latency), parts
            if held is not None and held.reason is Reason.ALLOWED:
                ended = passed(ended, held)
            elif held is not None:
                after = visit.retry_after if visit is not None else 0
                ended, encoded = self._encode(held_back(ended, held, after))
            return self._conclude(ended, encoded, visit)

        return Pending(waits.steps, conclude, waits.otherwise)

    def refuse(self, reason: Reason, detail: str = "") -> bytes:
        """Answer, record and count a denial for a call that never reached `check`."""
        outcome = Outcome(
            decision_id=self._new_id(),
            decision=denial(reason, self._snapshots.current.version, detail),
            call=None,
            subject=None,
            request=None,
            time=self._clock(),
            latency_seconds=0.0,
        )
        return self._conclude(*self._encode(outcome))

    def _encode(self, outcome: Outcome) -> tuple[Outcome, tuple[bytes, ...]]:
        """Encode an outcome, cut where its id goes; an allow that cannot be told becomes a denial (I2)."""
        marked = msgspec.structs.replace(outcome, decision_id=self._mark)
        try:
            encoded = self._codec.allow(marked) if outcome.decision.allowed else self._codec.deny(marked)
        except Exception as fault:  # noqa: BLE001 - I2
            decision = self._fault(fault, outcome.decision.policy_version)
            outcome = msgspec.structs.replace(outcome, decision=decision)
            encoded = self._codec.deny(msgspec.structs.replace(marked, decision=decision))
        return outcome, tuple(encoded.split(self._mark_bytes))

    def _keep(
        self, snapshot: Snapshot, key: Key | None, epoch: int, outcome: Outcome, parts: tuple[bytes, ...]
    ) -> None:
        """Keep a decision for as long as all that it rests on holds (I4)."""
        decision, subject, asked, now = outcome.decision, outcome.subject, outcome.asked, outcome.time
        if decision.reason not in _REUSABLE or subject is None or asked is None:
            return
        try:
            until = snapshot.keys.until(subject, asked, now)
            for name, value in decision.obligations:
                if name == MAX_AGE:
                    until = min(until, now + seconds(value))
                elif name == LOG:
                    until = now  # what the rules saw of one call is not what they would see of the next
            self._cache.keep(snapshot, key, Entry(decision, parts, subject, now, until, epoch))
        except Exception as fault:  # noqa: BLE001 - I2: it is decided and can be answered, only not used again
            self._report_fault(fault)

    def _conclude(self, outcome: Outcome, parts: tuple[bytes, ...], visit: Visit | None = None) -> bytes:
        """Record, count and answer; what is recorded is what is answered."""
        if not self._kept(outcome) and self._no_record_no_allow:  # I9
            decision = denial(Reason.AUDIT_UNAVAILABLE, outcome.decision.policy_version)
            outcome, parts = self._encode(msgspec.structs.replace(outcome, decision=decision))
        if visit is not None:
            self._spending.conclude(visit, outcome.decision.reason)
        self._decided(outcome)
        return outcome.decision_id.encode().join(parts)

    def _kept(self, outcome: Outcome) -> bool:
        try:
            return self._offer(outcome)
        except Exception as fault:  # noqa: BLE001 - a trail that breaks has not kept the record (I9)
            self._report_fault(fault)
            return False

    def _fault(self, fault: Exception, version: str) -> Decision:
        self._report_fault(fault)
        return denial(Reason.INTERNAL_ERROR, version, type(fault).__name__)


def denial(reason: Reason, policy_version: str = "", detail: str = "", retry_after: int = 0) -> Decision:
    """Answer the decision to deny for `reason`."""
    return Decision(Effect.DENY, reason, policy_version, detail=detail, retry_after=retry_after)
