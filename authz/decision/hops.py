"""What a chain of delegation may do: what every hop of it may, and only where each may act for the one before it (I7).

The caller is decided first. What stands here can turn that allow into a denial, or add what must be done besides.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec

from authz.decision.subject_attributes import subject_attributes
from authz.errors import ConfigError, Reason
from authz.model import NOT_SHARED, AccessRequest, Attributes, Decision, Effect, Hop, Kind, Obligations
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Verdict
from authz.policy.obligations import BOUND, GRANT

PAIR: Final = ("delegator", "delegate")
"""The request tokens that stand for two neighbours of a chain, as `r.sub` does for a caller."""
_TOKENS: Final = (*PAIR, "obj", "act", "env")
_SAID: Final = frozenset({Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE})
"""What rules said; an error of theirs, or the want of a grant, stays what it is."""

Ask: TypeAlias = Callable[[AccessRequest], Decision]
OutOfTime: TypeAlias = Callable[[], bool]
Judge: TypeAlias = Callable[[Decision, AccessRequest, Ask, OutOfTime], Decision]


def ruled(verdict: Verdict, request: AccessRequest, version: str) -> Decision:
    """Answer the decision that a verdict comes to."""
    if verdict.error:
        effect, reason = Effect.DENY, Reason.RULE_ERROR
    elif verdict.effect is Effect.ALLOW and _lacks_grant(verdict.obligations, request):
        effect, reason = Effect.DENY, Reason.GRANT_REQUIRED
    elif verdict.effect is Effect.ALLOW:
        effect, reason = Effect.ALLOW, Reason.ALLOWED
    else:
        effect, reason = Effect.DENY, Reason.DENIED_BY_RULE if verdict.rule else Reason.NO_MATCHING_RULE
        if request.subject.kind is Kind.ANONYMOUS:
            reason = Reason.IDENTITY_MISSING  # what would have helped is an identity: 401, not 403
    return Decision(
        effect=effect,
        reason=reason,
        policy_version=version,
        rule=verdict.rule,
        obligations=verdict.obligations if effect is Effect.ALLOW else (),
        detail=verdict.error,
    )


def every_hop_allowed(decision: Decision, request: AccessRequest, ask: Ask, _: OutOfTime) -> Decision:
    """Pass an allow when the same action is allowed to each hop by itself, with what its rules demand besides."""
    chain = request.subject.chain
    for place, hop in enumerate(chain[:-1], 1):
        if not decision.allowed:
            break
        decision = _both(decision, ask(_as(hop, request)), Reason.HOP_DENIED, f"hop {place} of {len(chain)}, {hop.id}")
    return decision


def at_issue(decision: Decision, request: AccessRequest, ask: Ask) -> AccessRequest:
    """Answer the request that a decision came of: where a hop is denied, the one that it would make."""
    if decision.reason is Reason.HOP_DENIED:
        for hop in request.subject.chain[:-1]:
            asked = _as(hop, request)
            if not ask(asked).allowed:
                return asked
    return request


class PairJudge:
    """Asks who may act for whom: a policy of its own, for every two neighbours of a chain."""

    def __init__(self, engine: CompiledEngine) -> None:
        """Take the engine of the model's sections for delegation.

        Raises:
            ConfigError: its request has a token that stands for nothing here.
        """
        for token in engine.tokens:
            if token not in _TOKENS:
                raise ConfigError(
                    f"delegation.section: the request token `{token}` stands for nothing; use {', '.join(_TOKENS)}"
                )
        self._engine = engine

    def __call__(self, decision: Decision, request: AccessRequest, _: Ask, out_of_time: OutOfTime) -> Decision:
        """Pass an allow when each hop may act for the one before it."""
        chain = request.subject.chain
        if not decision.allowed or not chain:
            return decision
        known = [_seen(hop, request) for hop in chain]
        for place, (giver, taker) in enumerate(pairwise(known), 1):
            seen = {"delegator": giver, "delegate": taker, "obj": request.obj, "act": request.act, "env": request.env}
            verdict = self._engine.evaluate(tuple(seen[token] for token in self._engine.tokens), out_of_time)
            told = f"{chain[place].id} acting for {chain[place - 1].id}"
            answer = ruled(verdict, request, decision.policy_version)
            decision = _both(decision, answer, Reason.DELEGATION_DENIED, told)
            if not decision.allowed:
                break
        return decision


def _both(so_far: Decision, answer: Decision, reason: Reason, told: str) -> Decision:
    """The allow so far where the answer is one as well: both must hold, and all that both demand be done."""
    if answer.allowed:
        obligations = tuple(dict.fromkeys((*so_far.obligations, *answer.obligations)))
        return msgspec.structs.replace(so_far, obligations=obligations)
    detail = f"{told}: {answer.reason}" + (f": {answer.detail}" if answer.detail else "")
    reason = reason if answer.reason in _SAID else answer.reason
    return msgspec.structs.replace(answer, reason=reason, detail=detail)


def _as(hop: Hop, request: AccessRequest) -> AccessRequest:
    """The same request as if the hop made it: what it is asked for by itself, without any credential."""
    subject = hop.subject
    assert subject is not None  # noqa: S101 - the last hop alone, the caller, has none
    return msgspec.structs.replace(request, subject=subject, sub=_seen(hop, request))


def _seen(hop: Hop, request: AccessRequest) -> Attributes:
    if hop.subject is None:
        return request.sub
    now = request.env["time"]
    # Of an earlier hop it is not known whether its identity is shared now: what holds of the caller holds of all.
    sharing = {name: request.sub[name] for name in NOT_SHARED}
    return subject_attributes(hop.subject, sharing, now if isinstance(now, float) else 0.0)


def _lacks_grant(obligations: Obligations, request: AccessRequest) -> bool:
    """Whether a rule that allows does so with a grant only, and there is none of the kind that it asks for."""
    wanted = [value for name, value in obligations if name == GRANT]
    if not wanted:
        return False
    grant = request.env["grant"]
    if not isinstance(grant, Mapping) or grant["valid"] is not True:
        return True
    return BOUND in wanted and grant["bound"] is not True
