"""The part of the service `Decisions` for those who look on: how many there are, some of them, and why."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from authz.audit.redact import masked
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.decision_shapes import selection, told
from authz.control.faults import not_found
from authz.control.feed import Feed
from authz.control.fields import Fields
from authz.control.method import Call, Method, Methods, Stream
from authz.control.near_rules import tell_near
from authz.control.sampling import Counts, Lately, Recent, Sampler
from authz.control.selection import Selection, wanted
from authz.control.settings import ControlSettings
from authz.control.v1 import decisions_pb2 as pb
from authz.errors import AuthzError, Reason
from authz.model import Outcome
from authz.policy.explain import Explanation

_MAX_SHOWN = 200
_EFFECTS = ("", "allow", "deny")
_MAX_CHARS = 1_024
_NEAR_RULES = 5
_REASONS = frozenset(reason.value for reason in Reason)


class SampleParts(msgspec.Struct, frozen=True, kw_only=True):
    """What samples are taken from."""

    settings: ControlSettings
    feed: Feed[Outcome]
    recent: Recent
    lately: Lately | None
    """Knows a few decisions of the last seconds; None: it is not kept."""
    explain: Callable[[Outcome, int], tuple[str, Explanation]]
    """Answers the version of the policy in force, and what it says of a decision's request; raises AuthzError where
    policy was not asked."""
    tick_seconds: float = 1.0


class Samples:
    """Serves `Sample` and `Describe`."""

    def __init__(self, parts: SampleParts) -> None:
        self._parts = parts
        if parts.lately is not None:
            parts.feed.join_host(parts.lately, Selection(most=parts.lately.a_second))

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "Sample": Stream(pb.SampleRequest, self._ask_sample, self._sample),
            "Describe": Method(pb.DescribeRequest, self._ask_describe, self._describe),
        }

    async def _ask_sample(self, request: pb.SampleRequest, _: Caller) -> Question:
        return ask_selection(request, self._parts.settings)

    async def _sample(self, request: pb.SampleRequest, _: Call) -> AsyncIterator[pb.SampleResponse]:
        parts = self._parts
        most = min(max(0, request.most), _MAX_SHOWN)
        selects = request.effect or request.reasons or request.subject or request.path
        meant = selection(request, max(1, most))
        wants = wanted(meant)
        if request.once and parts.lately is not None:
            yield self._told(Counts(), parts.lately.newest(wants, most), 0.0)
            return
        sampler = Sampler(wants if selects else None, most)
        loop = asyncio.get_running_loop()
        parts.feed.join_host(sampler, meant)
        try:
            began = loop.time()
            while True:
                await asyncio.sleep(parts.tick_seconds)
                now = loop.time()
                counts, outcomes = sampler.take()
                yield self._told(counts, outcomes, now - began)
                if request.once:
                    return
                began = now
        finally:
            parts.feed.leave(sampler)

    def _told(self, counts: Counts, outcomes: Sequence[Outcome], span: float) -> pb.SampleResponse:
        self._parts.recent.keep(reversed(outcomes))
        response = pb.SampleResponse(
            allowed=counts.allowed,
            denied=counts.denied,
            reasons=counts.reasons,
            decisions=[told(outcome) for outcome in outcomes],
        )
        response.span.FromNanoseconds(int(span * 1e9))
        return response

    async def _ask_describe(self, request: pb.DescribeRequest, _: Caller) -> Question:
        fields = Fields(self._parts.settings.max_text_characters)
        fields.identifier("decision_id", request.decision_id)
        fields.settle()
        return Question("/decisions", {"type": "decision", "id": request.decision_id})

    async def _describe(self, request: pb.DescribeRequest, _: Call) -> pb.DescribeResponse:
        outcome = self._parts.recent.find(request.decision_id)
        if outcome is None:
            raise not_found(
                "decision", f"{request.decision_id} among those that were shown lately; see the audit trail"
            )
        decision = outcome.decision
        response = pb.DescribeResponse(
            decision=told(outcome),
            cached=outcome.cached,
            detail=masked(decision.detail, _MAX_CHARS),
            obligations=[masked(f"{name}={value}", _MAX_CHARS) for name, value in decision.obligations],
        )
        try:
            version, found = self._parts.explain(outcome, _NEAR_RULES)
        except AuthzError as error:
            response.unexplained = masked(str(error), _MAX_CHARS)
        else:
            response.policy_changed = version != decision.policy_version
            tell_near(found, response.near)
        return response


def ask_selection(request: pb.TailRequest | pb.SampleRequest, settings: ControlSettings) -> Question:
    """Answer what policy is asked about a selection of decisions.

    Raises:
        ControlError: the selection is not one.
    """
    fields = Fields(settings.max_text_characters)
    fields.demand("effect", request.effect in _EFFECTS, 'expected "allow", "deny" or nothing')
    for reason in request.reasons:
        fields.demand("reasons", reason in _REASONS, f"{reason[:64]!r} is not a reason; see docs/reasons.md")
    fields.text("subject", request.subject)
    fields.text("path", request.path)
    fields.settle()
    return Question("/decisions", {"type": "decision", "value": request.subject})
