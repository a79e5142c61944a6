"""Requests that ask for several things at once, and requests that ask what could be asked for."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from authz.errors import Reason, Refusal
from authz.model import AccessRequest, Asked, Decision, Effect
from authz.policy.obligations import APPLY

DecideOne: TypeAlias = Callable[[AccessRequest], Decision]


def decide_batch(first: Decision, request: AccessRequest, decide_one: DecideOne) -> Decision:
    """Decide a batch whose first element was decided: the first denial denies all of it, and says which it was.

    The obligations of all elements hold. Mutations are the whole request's, so that all must demand the same of them.
    """
    decisions = [first]
    every = (request, *request.others)
    for each in request.others:
        if not decisions[-1].allowed:
            break
        decisions.append(decide_one(each))
    last, number = decisions[-1], len(decisions)
    where = f"element {number} of {len(every)}: {every[number - 1].act['name']}"
    if not last.allowed:
        return msgspec.structs.replace(last, detail=f"{where}: {last.detail}" if last.detail else where)
    demanded = dict.fromkeys(obligation for each in decisions for obligation in each.obligations)
    if len({frozenset(value for name, value in each.obligations if name == APPLY) for each in decisions}) > 1:
        return msgspec.structs.replace(
            first,
            effect=Effect.DENY,
            reason=Reason.OBLIGATION_UNKNOWN,
            obligations=(),
            detail="the elements of a batch demand different mutations of one request",
        )
    return msgspec.structs.replace(first, obligations=tuple(demanded))


def tell_offers(decision: Decision, request: AccessRequest, decide_one: DecideOne) -> Decision:
    """Answer an allow with what of the offers would be allowed; it promises nothing, every call is decided for itself.

    One whose rule errs counts: with what it will be called is not known here, and a rule about that must err.
    """
    offered = [
        name
        for name, each in request.offers
        if (found := decide_one(each)).allowed or found.reason in {Reason.RULE_ERROR, Reason.GRANT_REQUIRED}
    ]
    return msgspec.structs.replace(decision, offered=tuple(offered))


def refuse_counted(asked: Asked) -> None:
    """Refuse a batch under a grant whose uses are counted: one count would stand for several actions.

    Raises:
        Refusal: it is one.
    """
    if asked.batch:
        raise Refusal(Reason.GRANT_SCOPE, "a batch, under a grant whose uses are counted: send its elements apart")
