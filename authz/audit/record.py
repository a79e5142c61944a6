"""The record of one call, put in words.

It is done on the path of the request, because handing the parts to a thread costs more than wording them: what comes
again and again (subjects, rules, destinations, resources) is worded once and remembered as JSON. What is handed on to
the writer is bytes of bounded length, so that the queue's memory is bounded (I12).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from authz.audit.redact import is_plain_uuid, masked, plain
from authz.audit.schema import (
    VERSION,
    AssertedPrincipal,
    ControlRecord,
    DecisionRecord,
    Obligation,
    Parameter,
    PassingPart,
    Record,
    ResourceRecord,
    SourceRecord,
    StateRecord,
    TargetPart,
)
from authz.audit.settings import AuditSettings
from authz.audit.words import NAME_CHARS, REMEMBERED, Words, rfc3339, whole
from authz.errors import Reason
from authz.memo import Memo
from authz.model import (
    CURRENT,
    Asked,
    CheckCall,
    Decision,
    Freshness,
    Outcome,
    Subject,
    Value,
)
from authz.policy.obligations import LOG

_TARGET_CHARS = 1024
"""Longest texts, together, by which the wording of a destination is remembered."""
_AGAIN_CHARS = 4_096
"""Longest records that are remembered but for what every call has for itself (I12)."""
_PATH_CHARS = 512
"""Resources of longer paths are not remembered, nor kept alive by it: the binder makes them anew each time (I12)."""
_NO_SIZE = -1
_MAX_OBLIGATIONS = 32
_CONTROL = "control"
"""The layer of calls of the control plane."""
_CONTROL_ATTRIBUTES = (
    "holder",
    "subject",
    "delegator",
    "depth",
    "author",
    "action",
    "kind",
    "value",
    "actions",
    "locations",
    "resources",
    "ttl",
    "uses",
    "certificate",
    "human",
    "groups",
)
_OF_RULES = frozenset((Reason.ALLOWED, Reason.DENIED_BY_RULE, Reason.NO_MATCHING_RULE))
_OF_PROXIES = frozenset(("http", "tcp"))
_NO_RESOURCE = ResourceRecord()
_BEFORE_TIME = f'{{"event":"decision","v":{VERSION},"time":"'
_BEFORE_ID = '","decision_id":'
_MOST_DIGITS = 20
"""Of the number of a stream."""


class Recorder:
    """Makes records the way that settings ask for."""

    def __init__(self, settings: AuditSettings) -> None:
        self._words = Words(settings)
        self.headers = self._words.headers
        self._max_chars = settings.max_text_chars
        encode = msgspec.json.Encoder().encode
        self._json = encode
        self._rule = lru_cache(REMEMBERED)(lambda rule: msgspec.Raw(encode(self._words.rule(rule))))
        self._subjects: Memo[int, tuple[Subject, msgspec.Raw]] = Memo(REMEMBERED)
        self._grants: Memo[str, msgspec.Raw] = Memo(REMEMBERED)
        self._decisions: Memo[Decision, Decision] = Memo(REMEMBERED)
        self._reused: Memo[tuple[int, int, bool], tuple[Decision, Subject, str]] = Memo(REMEMBERED)
        self._again: Memo[tuple[int, int], tuple[Decision, Asked, str, str]] = Memo(REMEMBERED)
        self._targets: Memo[tuple[str | int, ...], str] = Memo(REMEMBERED)
        self._path = lru_cache(REMEMBERED)(lambda path: self._text(self._words.path(path)))
        self._source = lru_cache(REMEMBERED)(
            lambda address, port: self._text(SourceRecord(address=self._words.text(address), port=port))
        )
        self._resources: Memo[int, tuple[Mapping[str, Value], msgspec.Raw | None]] = Memo(REMEMBERED)

    def line(self, outcome: Outcome) -> bytes:
        """Write the record as one line of JSON, its newline included. Cost: a sixth of a check."""
        call, asked, subject = outcome.call, outcome.asked, outcome.subject
        if call is None or asked is None or subject is None or not subject.id or not _is_common(outcome):
            return self.encode(self._worded(outcome))
        latency, request_id, stream_id = round(outcome.latency_seconds * 1e6), call.request_id, call.stream_id
        if latency > 0 and is_plain_uuid(request_id) and _is_number(stream_id):
            ids = f'"latency_us":{latency},"request_id":"{request_id}","stream_id":"{stream_id}",'
        else:
            inner = self._inner(PassingPart(**self._ids(outcome, call)))
            ids = f"{inner}," if inner else ""
        before, after = self._around_ids(outcome, call, subject, asked)
        # One text, made into bytes at the end: of all ways to put pieces together the quickest.
        return (
            f"{_BEFORE_TIME}{rfc3339(outcome.time)}{_BEFORE_ID}{self._id(outcome.decision_id)}{before}{ids}{after}"
        ).encode()

    def _around_ids(self, outcome: Outcome, call: CheckCall, subject: Subject, asked: Asked) -> tuple[str, str]:
        """What stands before and after the fields that every call has for itself; where it comes again, as it was."""
        decision = outcome.decision
        # What is asked for being the same object, so is the subject, and the call the same but for its ids.
        again = outcome.recalled and outcome.cached and not self.headers
        known = self._again.get((id(decision), id(asked))) if again else None
        if known is not None:
            return known[2], known[3]
        before = f"{self._lasting(outcome, subject)}{self._about(asked)}"
        after = f"{self._own(call, asked)}{self._target(call, asked)}}}\n"
        if again and len(before) + len(after) <= _AGAIN_CHARS:
            # The two are kept with it, so that no others can take their places in memory.
            self._again.put((id(decision), id(asked)), (decision, asked, before, after))
        return before, after

    def _id(self, decision_id: str) -> str:
        if decision_id.isalnum() and decision_id.isascii() and len(decision_id) <= NAME_CHARS:
            return f'"{decision_id}"'
        return self._text(plain(decision_id, NAME_CHARS))

    def _lasting(self, outcome: Outcome, subject: Subject) -> str:
        """What every record of a decision has in common, as JSON between two commas."""
        # One that is used again is the same object each time; of those made afresh equal ones are taken for one.
        decision = outcome.decision if outcome.cached else self._decisions.same(outcome.decision)
        key = (id(decision), id(subject), outcome.cached)
        known = self._reused.get(key)
        if known is None:
            record = DecisionRecord(
                v=VERSION, time="", decision_id="", cached=outcome.cached, **self._decided(decision, subject, None)
            )
            made = self._text(record).removeprefix(f'{_BEFORE_TIME}{_BEFORE_ID}""').removesuffix("}")
            # The two are kept with it, so that no others can take their places in memory.
            known = (decision, subject, f"{made},")
            self._reused.put(key, known)
        return known[2]

    def _about(self, asked: Asked) -> str:
        """The field of the resource, as JSON before a comma."""
        worded = self._resource(asked.obj) if asked.obj else None
        return "" if worded is None else f'"resource":{bytes(worded).decode()},'

    def _own(self, call: CheckCall, asked: Asked) -> str:
        """What differs between most calls of different clients, as JSON: `_passing` but for the ids."""
        task, address = asked.task, call.source_address
        if len(address) <= NAME_CHARS:
            source = f'"source":{self._source(address, call.source_port)}'
        else:
            source = self._inner(PassingPart(source=self._source_record(call)))
        if not asked.grant_key and asked.fresh is CURRENT and not task.get("id") and not task.get("purpose"):
            return source
        rest = self._inner(PassingPart(task=self._words.task(task), **self._rested_on(asked)))
        return f"{source},{rest}" if rest else source

    def _target(self, call: CheckCall, asked: Asked) -> str:
        """Where the call went and what it wanted, as JSON after a comma, up to the record's end.

        All of it comes again and again but path, query and size: these are put in. What has more of its own, which is
        rare, is worded anew.
        """
        target = asked.target
        if self.headers or call.body_partial or not target.path or asked.batch or (asked.args and self._words.args):
            part = TargetPart(destination=self._words.destination(call), action=self._words.action(call, asked))
            return f",{self._inner(part)}"
        key = (
            call.destination_address,
            call.destination_port,
            call.destination_principal,
            call.sni,
            call.layer,
            call.protocol,
            asked.protocol,
            asked.name,
            asked.kind,
            asked.tool,
            target.method,
            target.host,
        )
        known = self._targets.get(key)
        if known is None:
            action = msgspec.structs.replace(self._words.action(call, asked), path="", query=(), size=_NO_SIZE)
            part = TargetPart(destination=self._words.destination(call), action=action)
            known = f',{self._inner(part).removesuffix("}")},"path":'
            if sum(len(part) for part in key if isinstance(part, str)) <= _TARGET_CHARS:
                self._targets.put(key, known)
        query = f',"query":{self._text(self._words.query(target.query))}' if target.query else ""
        size = f',"size":{call.size}' if call.size != _NO_SIZE else ""
        path = target.path
        worded = self._path(path) if len(path) <= NAME_CHARS else self._text(self._words.path(path))
        return f"{known}{worded}{query}{size}}}"

    def _text(self, value: object) -> str:
        return self._json(value).decode()

    def _inner(self, part: PassingPart | TargetPart) -> str:
        """The fields of a part without the braces around them."""
        return self._text(part)[1:-1]

    def bare_line(self, outcome: Outcome, fault: str) -> bytes:
        """Write the least that I9 asks for, of a call from which no record could be made."""
        decision = outcome.decision
        return self.encode(
            DecisionRecord(
                v=VERSION,
                time=rfc3339(outcome.time),
                decision_id=plain(outcome.decision_id, NAME_CHARS),
                effect=decision.effect.value,
                reason=decision.reason.value,
                detail=f"the rest of this record could not be written: {fault}",
            )
        )

    def encode(self, record: Record) -> bytes:
        """Write any record as one line."""
        return self._json(record) + b"\n"

    def _worded(self, outcome: Outcome) -> DecisionRecord:
        record = self._record(outcome)
        if outcome.call is not None and outcome.call.layer == _CONTROL:
            return self._control_record(record, outcome.asked)
        return record

    def _control_record(self, record: DecisionRecord, asked: Asked | None) -> ControlRecord:
        """Word what a call of the control plane is about: every attribute that says something."""
        about = [] if asked is None else [(name, asked.obj.get(name)) for name in _CONTROL_ATTRIBUTES]
        return ControlRecord(
            **{name: getattr(record, name) for name in record.__struct_fields__},
            about=tuple(Parameter(name, masked(_as_text(value), self._max_chars)) for name, value in about if value),
        )

    def _record(self, outcome: Outcome) -> DecisionRecord:
        decision, subject, call, asked = outcome.decision, outcome.subject, outcome.call, outcome.asked
        return DecisionRecord(
            v=VERSION,
            time=rfc3339(outcome.time),
            decision_id=plain(outcome.decision_id, NAME_CHARS),
            cached=outcome.cached,
            asserted_principal=AssertedPrincipal(value=masked(call.principal, self._max_chars), verified=False)
            if call and call.principal and not (subject and subject.id)
            else None,
            **self._decided(decision, subject, asked),
            **msgspec.structs.asdict(self._passing(outcome, call, asked)),
            destination=self._words.destination(call) if call else None,
            action=self._words.action(call, asked) if call else None,
            attributes=self._words.attributes(outcome.request) if outcome.request and _is_full(decision) else {},
        )

    def _decided(self, decision: Decision, subject: Subject | None, asked: Asked | None) -> dict[str, Any]:
        """The fields that do not differ from one call to the next."""
        size = self._max_chars
        return {
            "effect": decision.effect.value,
            "reason": decision.reason.value,
            "detail": masked(decision.detail, size) if decision.detail else "",
            "rule": self._rule(decision.rule) if decision.rule else None,
            "obligations": tuple(
                Obligation(name=plain(name, size), value=masked(value, size))
                for name, value in decision.obligations[:_MAX_OBLIGATIONS]
            ),
            "policy_version": plain(decision.policy_version, size),
            "subject": self._subject(subject) if subject else None,
            "resource": self._resource(asked.obj) if asked and asked.obj else None,
        }

    def _passing(self, outcome: Outcome, call: CheckCall | None, asked: Asked | None) -> PassingPart:
        """The fields that are each call's own."""
        return PassingPart(
            **self._ids(outcome, call),
            source=self._source_record(call) if call else None,
            task=self._words.task(asked.task) if asked else None,
            **(self._rested_on(asked) if asked else {}),
        )

    def _ids(self, outcome: Outcome, call: CheckCall | None) -> dict[str, Any]:
        """The fields in which all calls differ."""
        return {
            "latency_us": round(outcome.latency_seconds * 1e6),
            "request_id": masked(call.request_id, NAME_CHARS) if call else "",
            "stream_id": _stream_id(call.stream_id) if call else "",
        }

    def _source_record(self, call: CheckCall) -> SourceRecord:
        return SourceRecord(address=self._words.text(call.source_address), port=call.source_port)

    def _rested_on(self, asked: Asked) -> dict[str, Any]:
        """The fields that tell of the grant, and of how old the state was."""
        return {
            "grant": self._grant(asked.grant_key, asked.grant) if asked.grant_key else None,
            "state": _state(asked.fresh) if asked.fresh is not CURRENT else None,
        }

    def _subject(self, subject: Subject) -> msgspec.Raw:
        # By the object's place in memory (the entry keeps it there), since a subject's attributes make it unhashable.
        known = self._subjects.get(id(subject))
        if known is None:
            known = (subject, msgspec.Raw(self._json(self._words.subject(subject))))
            self._subjects.put(id(subject), known)
        return known[1]

    def _resource(self, resource: Mapping[str, Value]) -> msgspec.Raw | None:
        # By its place in memory, as a subject: the binder hands out the same object for the same resource.
        known = self._resources.get(id(resource))
        if known is None:
            worded = self._words.resource(resource)
            known = (resource, None if worded == _NO_RESOURCE else msgspec.Raw(self._json(worded)))
            if len(str(resource.get("path", ""))) <= _PATH_CHARS:
                self._resources.put(id(resource), known)
        return known[1]

    def _grant(self, fingerprint: str, grant: Mapping[str, Value]) -> msgspec.Raw:
        known = self._grants.get(fingerprint)
        if known is None:
            known = msgspec.Raw(self._json(self._words.grant(fingerprint, grant)))
            self._grants.put(fingerprint, known)
        return known


def _is_common(outcome: Outcome) -> bool:
    """Whether a call was decided by the rules, with nothing about it that is only its own, whoever asked for it."""
    call, decision = outcome.call, outcome.decision
    if outcome.cached:
        return True
    return (
        decision.reason in _OF_RULES and not decision.detail and call is not None and call.layer in _OF_PROXIES
    ) and not _is_full(decision)


def _is_full(decision: Decision) -> bool:
    """Whether a rule demands that all that it saw is recorded."""
    return any(name == LOG for name, _ in decision.obligations)


def _state(fresh: Freshness) -> StateRecord:
    return StateRecord(policy_age_ms=whole(fresh.policy * 1_000), revocations_age_ms=whole(fresh.revocations * 1_000))


def _stream_id(text: str) -> str:
    """The proxy's own number for the stream: digits, which the search for card numbers has no business with."""
    return text if _is_number(text) else masked(text, NAME_CHARS)


def _is_number(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS


def _as_text(value: Value) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
