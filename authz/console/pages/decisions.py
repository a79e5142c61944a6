"""Decisions as they are made, and one of them explained."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from starlette.responses import Response, StreamingResponse

from authz.console.guard import Receive, Scope, Send
from authz.console.shown import runs
from authz.console.visit import Visit
from authz.control.faults import Code, ControlError
from authz.control.v1 import decisions_pb2 as pb
from authz.errors import Reason

REASONS: Final = tuple(reason.value for reason in Reason)
_BRIEF: Final = 120


class Live:
    """The live view; counts how many are open."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        """How many each human has."""

    async def page(self, visit: Visit) -> Response:
        """The table, with what was decided lately; the script adds what comes."""
        request = selection(visit)
        request.once = True
        lately = pb.SampleResponse()
        async with aclosing(visit.room.services.follow("Decisions", "Sample", request, visit.caller)) as answers:  # type: ignore[type-var]
            async for answer in answers:
                if isinstance(answer, pb.SampleResponse):
                    lately = answer
        return await visit.page(
            "decisions.html",
            title="Decisions",
            lately=lately,
            selected=request,
            reasons=REASONS,
            query=visit.request.url.query,
        )

    async def stream(self, visit: Visit) -> Response:
        """Server-sent events: one a second, with exact numbers and some decisions."""
        settings, who = visit.room.settings, visit.session.person.id
        if self._open.total() >= settings.max_live_streams or self._open[who] >= settings.max_live_streams_per_user:
            raise ControlError(Code.UNAVAILABLE, "TOO_MANY_STREAMS", "too many live views are open")
        return _Counted(
            self._open,
            who,
            self._events(visit, selection(visit)),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _events(self, visit: Visit, request: pb.SampleRequest) -> AsyncIterator[str]:
        room = visit.room
        end = room.clock() + room.settings.live_seconds
        try:
            yield "retry: 5000\n\n"
            async with aclosing(room.services.follow("Decisions", "Sample", request, visit.caller)) as answers:  # type: ignore[type-var]
                async for answer in answers:
                    if room.clock() > end or not room.sessions.holds(visit.session):
                        break
                    if isinstance(answer, pb.SampleResponse):
                        yield f"data: {msgspec.json.encode(told(answer)).decode()}\n\n"
            yield "event: over\ndata: 0\n\n"
        except ControlError as error:
            yield f"event: refused\ndata: {error.reason}\n\n"


class _Counted(StreamingResponse):
    """A stream that counts from when it was promised until it has ended, also if it never began."""

    def __init__(self, open_streams: Counter[str], who: str, events: AsyncIterator[str], **options: Any) -> None:
        super().__init__(events, **options)
        self._streams = open_streams
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams[self._who] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams[self._who] -= 1
            self._streams += Counter()  # in place: who has none is forgotten


def selection(visit: Visit) -> pb.SampleRequest:
    """Answer which decisions the page's address means."""
    reason = visit.asked("reason")
    return pb.SampleRequest(
        effect=visit.asked("effect"),
        reasons=[reason] if reason else [],
        subject=visit.asked("subject").strip(),
        path=visit.asked("path").strip(),
        most=visit.room.settings.live_rows,
    )


def told(answer: pb.SampleResponse) -> dict[str, object]:
    """Answer what the script shows: text in pieces, never markup."""
    return {
        "allowed": answer.allowed,
        "denied": answer.denied,
        "reasons": dict(answer.reasons),
        "seconds": answer.span.ToTimedelta().total_seconds(),
        "rows": [_row(decision) for decision in answer.decisions],
    }


def _row(decision: pb.Decision) -> dict[str, object]:
    def cell(text: str) -> list[tuple[str, str]]:
        return [(run.text, run.kind) for run in runs(text, _BRIEF)]

    return {
        "id": decision.id,
        "at": decision.at.ToDatetime().strftime("%H:%M:%S"),
        "effect": decision.effect,
        "cells": [
            cell(decision.reason),
            cell(decision.subject),
            cell(decision.method),
            cell(decision.host + decision.path),
            cell(decision.rule),
        ],
    }


async def explained(visit: Visit) -> Response:
    """One decision, and the rules that came near."""
    request = pb.DescribeRequest(decision_id=visit.request.path_params["id"])
    found = await visit.call("Decisions", "Describe", request, pb.DescribeResponse)
    return await visit.page("decision.html", title="One decision", found=found, decision=found.decision)
