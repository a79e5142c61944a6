"""One immutable set of everything that a decision rests on; a request sees exactly one, whole (I11)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from authz.decision.batch import decide_batch, tell_offers
from authz.decision.bind import Binder
from authz.decision.hops import Judge, ruled
from authz.decision.key import KeyMaker
from authz.grants.verifier import GRANTS_OFF, GrantVerifier, VerifiedGrant
from authz.identity.chains import NO_CHAINS, Chains
from authz.model import AccessRequest, CheckCall, Decision, Subject, Target
from authz.policy.engine import Engine


class Identify(Protocol):
    """Resolves who calls; `IdentityResolver` does."""

    def identify(self, call: CheckCall, now: float) -> Subject:
        """Answer the subject.

        Raises:
            Refusal: nobody could be proved.
        """


class Moment:
    """The time as of which the rules of a snapshot are asked, so that all that they see of one request agrees."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Answer seconds since the epoch."""
        return self.now


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Model, policies, inventory, catalogue, keys and settings, versioned together."""

    version: str
    """A hash of all their content: what the records call `policy_version`."""
    loaded_at: float
    resolver: Identify
    canonicalise: Callable[[CheckCall], Target]
    binder: Binder
    engine: Engine
    read_tokens: Callable[[AccessRequest], tuple[object, ...]]
    keys: KeyMaker
    """What its decisions rest on."""
    moment: Moment
    """The clock of its engine."""
    grants: GrantVerifier = GRANTS_OFF
    chains: Chains = NO_CHAINS
    judges: tuple[Judge, ...] = ()
    """What an allow must pass for whoever acted before the caller (I7)."""

    def acting(self, call: CheckCall, subject: Subject, now: float) -> tuple[Subject, VerifiedGrant | None]:
        """The caller joined with whoever acted before it, and the grant that it presents.

        Raises:
            Refusal: with one of the reasons of grants, tokens and chains.
        """
        presented = self.grants.verify(call, subject, now)
        if presented is None:
            return self.chains.join(call, subject, (), now), None
        grant = presented.grant
        return self.chains.join(call, subject, grant.delegators, now, grant.task.id), presented

    def decide(self, request: AccessRequest, out_of_time: Callable[[], bool]) -> Decision:
        """Ask the policy, for the caller and for whoever acted before; no rule, or a rule that errs, denies (I1).

        Of a batch everything must be allowed.

        Raises:
            Refusal: out of time.
        """
        decision = self._decide_one(request, out_of_time)
        if request.others:
            decision = decide_batch(decision, request, lambda each: self._decide_one(each, out_of_time))
        if request.offers and decision.allowed:
            decision = tell_offers(decision, request, lambda each: self._decide_one(each, out_of_time))
        return decision

    def _decide_one(self, request: AccessRequest, out_of_time: Callable[[], bool]) -> Decision:
        self.moment.now = request.env["time"]  # type: ignore[assignment]  # `bind` puts the float there

        def ask(request: AccessRequest) -> Decision:
            verdict = self.engine.evaluate(self.read_tokens(request), out_of_time)
            return ruled(verdict, request, self.version)

        decision = ask(request)
        for judge in self.judges:
            decision = judge(decision, request, ask, out_of_time)
        return decision
