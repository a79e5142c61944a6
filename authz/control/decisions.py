"""The service `Decisions`: what is decided, as it happens, and what would be."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from authz.audit.redact import masked
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.decision_samples import SampleParts, Samples, ask_selection
from authz.control.decision_shapes import selection, told
from authz.control.fields import Fields
from authz.control.method import Call, Method, Methods, Stream
from authz.control.selection import MAX_CHARS, wanted
from authz.control.v1 import decisions_pb2 as pb
from authz.model import Outcome


class Decisions:
    """Serves `authz.control.v1.Decisions`."""

    def __init__(
        self,
        samples: SampleParts,
        dry_run: Callable[[bytes], tuple[Outcome, bytes]],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        """`dry_run` decides a serialized CheckRequest and keeps no record of it.

        `settle` moves the epoch, and returns once every process of this host has followed.
        """
        self._samples = Samples(samples)
        self._settle = settle
        self._settings = samples.settings
        self._feed = samples.feed
        self._dry_run = dry_run

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            **self._samples.methods,
            "Tail": Stream(pb.TailRequest, self._ask_tail, self._tail),
            "Check": Method(pb.CheckRequest, self._ask_check, self._check),
            "ClearCache": Method(pb.ClearCacheRequest, self._ask_clear, self._clear),
        }

    async def _ask_tail(self, request: pb.TailRequest, _: Caller) -> Question:
        return ask_selection(request, self._settings)

    async def _tail(self, request: pb.TailRequest, _: Call) -> AsyncIterator[pb.TailResponse]:
        meant = selection(request)
        async with aclosing(self._feed.follow(wanted(meant), meant)) as events:  # type: ignore[type-var]
            async for outcome, skipped in events:
                yield pb.TailResponse(decision=told(outcome) if outcome is not None else None, skipped=skipped)

    async def _ask_check(self, request: pb.CheckRequest, _: Caller) -> Question:
        fields = Fields(self._settings.max_text_characters)
        fields.demand("check_request", len(request.check_request) > 0, "must not be empty")
        fields.settle()
        return Question("/decisions", {"type": "decision"})

    async def _check(self, request: pb.CheckRequest, _: Call) -> pb.CheckResponse:
        outcome, response = self._dry_run(request.check_request)
        detail = masked(outcome.decision.detail, MAX_CHARS)
        return pb.CheckResponse(decision=told(outcome), check_response=response, detail=detail)

    async def _ask_clear(self, _request: pb.ClearCacheRequest, _: Caller) -> Question:
        return Question("/decisions", {"type": "decision"})

    async def _clear(self, _request: pb.ClearCacheRequest, _: Call) -> pb.ClearCacheResponse:
        await self._settle()
        return pb.ClearCacheResponse()
