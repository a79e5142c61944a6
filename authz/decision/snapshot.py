"""One immutable set of everything that a decision rests on; a request sees exactly one, whole (I11)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from authz.decision.bind import Binder
from authz.errors import Reason
from authz.model import AccessRequest, CheckCall, Decision, Effect, Kind, Subject, Target
from authz.policy.engine import Engine


class Identify(Protocol):
    """Resolves who calls; `IdentityResolver` does."""

    def identify(self, call: CheckCall, now: float) -> Subject:
        """Answer the subject.

        Raises:
            Refusal: nobody could be proved.
        """


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

    def decide(self, request: AccessRequest, out_of_time: Callable[[], bool]) -> Decision:
        """Ask the policy; no rule, or a rule that errs, denies (I1).

        Raises:
            Refusal: out of time.
        """
        verdict = self.engine.evaluate(self.read_tokens(request), out_of_time)
        if verdict.error:
            effect, reason = Effect.DENY, Reason.RULE_ERROR
        elif verdict.effect is Effect.ALLOW:
            effect, reason = Effect.ALLOW, Reason.ALLOWED
        else:
            effect, reason = Effect.DENY, Reason.DENIED_BY_RULE if verdict.rule else Reason.NO_MATCHING_RULE
            if request.subject.kind is Kind.ANONYMOUS:
                reason = Reason.IDENTITY_MISSING  # what would have helped is an identity: 401, not 403
        return Decision(
            effect=effect,
            reason=reason,
            policy_version=self.version,
            rule=verdict.rule,
            obligations=verdict.obligations if effect is Effect.ALLOW else (),
            detail=verdict.error,
        )
