"""What is kept of one call until its record is written, picked on the path of the request.

Only references to immutable values are taken, and texts of bounded length; nothing holds on to a body, to headers or to
the attributes of an action, so that the queue's memory is bounded (I12).
"""

import hashlib
from collections.abc import Mapping

import msgspec

from authz.model import CheckCall, Decision, Outcome, Subject, Target, Value

CAPTURED_CHARS = 8192
"""Longest text that waits in the queue: the largest that settings can ask to be recorded."""


class CallFacts(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a `CheckCall`."""

    layer: str
    request_id: str
    stream_id: str
    protocol: str
    method: str
    host: str
    path: str
    path_sha256: str
    principal: str
    source_address: str
    source_port: int
    destination_address: str
    destination_port: int
    destination_principal: str
    sni: str
    size: int
    body_partial: bool
    headers: tuple[str, ...]


class Capture(msgspec.Struct, frozen=True, gc=False):
    """What one record is made of."""

    decision: Decision
    decision_id: str
    time: float
    latency_seconds: float
    subject: Subject | None
    call: CallFacts | None
    target: Target | None = None
    resource: Mapping[str, Value] = {}
    action_name: Value = None
    action_protocol: Value = None
    task: Value = None


def capture(outcome: Outcome, headers: tuple[str, ...]) -> Capture:
    """Pick what the record needs; `headers` names those wanted. Cost: about 1 us; a refused path is hashed besides."""
    call, request = outcome.call, outcome.request
    facts = None if call is None else _facts(call, headers, refused=request is None)
    if request is None:
        return Capture(
            outcome.decision, outcome.decision_id, outcome.time, outcome.latency_seconds, outcome.subject, facts
        )
    return Capture(
        outcome.decision,
        outcome.decision_id,
        outcome.time,
        outcome.latency_seconds,
        request.subject,
        facts,
        request.target,
        request.obj,
        request.act.get("name"),
        request.act.get("protocol"),
        request.env.get("task"),
    )


def _facts(call: CheckCall, headers: tuple[str, ...], *, refused: bool) -> CallFacts:
    path, values = call.path, call.headers
    return CallFacts(
        call.layer,
        values.get("x-request-id", "")[:CAPTURED_CHARS],
        call.stream_id[:CAPTURED_CHARS],
        call.protocol,
        call.method[:CAPTURED_CHARS],
        call.host[:CAPTURED_CHARS],
        path[:CAPTURED_CHARS],
        hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest() if refused and path else "",
        call.principal[:CAPTURED_CHARS],
        call.source_address,
        call.source_port,
        call.destination_address,
        call.destination_port,
        call.destination_principal[:CAPTURED_CHARS],
        call.sni[:CAPTURED_CHARS],
        call.size,
        call.body_partial,
        tuple(values.get(name, "")[:CAPTURED_CHARS] for name in headers) if headers else (),
    )
