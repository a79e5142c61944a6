"""The record of one call, put in words: off the path of the request, from what was captured on it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from urllib.parse import unquote_plus

import msgspec

from authz.audit.capture import CAPTURED_CHARS, CallFacts, Capture
from authz.audit.redact import masked, masked_path, name_is_secret, plain
from authz.audit.schema import (
    VERSION,
    ActionRecord,
    AssertedPrincipal,
    CredentialRecord,
    DecisionRecord,
    DestinationRecord,
    Obligation,
    Parameter,
    Record,
    ResourceRecord,
    RuleRecord,
    SourceRecord,
    SubjectRecord,
    TaskRecord,
)
from authz.audit.settings import AuditSettings
from authz.model import Credential, RuleRef, Subject, Value

_REMEMBERED = 1024
"""Most subjects, rules and short texts whose wording is kept: they come again and again, and are half of the work."""
_NAME_CHARS = 256
"""Longest request id, and longest text that is remembered."""
_MAX_PARAMETERS = 32
_MAX_OBLIGATIONS = 32
_MAX_HOPS = 32
_NO_RESOURCE = ResourceRecord()


class Recorder:
    """Makes records the way that settings ask for."""

    def __init__(self, settings: AuditSettings) -> None:
        self._max_chars = settings.max_text_chars
        self._rule_text = settings.rule_text
        # Asked again here, although settings are validated: no way of constructing them may record a credential (I10).
        self.headers = tuple(name for name in settings.headers if not name_is_secret(name))
        self._query_values = frozenset(name for name in settings.query_values if not name_is_secret(name))
        self._encoder = msgspec.json.Encoder()
        self._known_text = lru_cache(_REMEMBERED)(partial(masked, max_chars=self._max_chars))
        self._rule = lru_cache(_REMEMBERED)(self._word_rule)
        self._subjects: dict[int, tuple[Subject, SubjectRecord]] = {}

    def line(self, capture: Capture) -> bytes:
        """Write the record as one line of JSON, its newline included."""
        return self.encode(self._record(capture))

    def bare_line(self, capture: Capture, fault: str) -> bytes:
        """Write the least that I9 asks for, of a capture from which no record could be made."""
        decision = capture.decision
        return self.encode(
            DecisionRecord(
                v=VERSION,
                time=rfc3339(capture.time),
                decision_id=plain(capture.decision_id, _NAME_CHARS),
                effect=decision.effect.value,
                reason=decision.reason.value,
                detail=f"the rest of this record could not be written: {fault}",
            )
        )

    def encode(self, record: Record) -> bytes:
        """Write any record as one line."""
        return self._encoder.encode(record) + b"\n"

    def _record(self, capture: Capture) -> DecisionRecord:
        decision, subject, call, size = capture.decision, capture.subject, capture.call, self._max_chars
        return DecisionRecord(
            v=VERSION,
            time=rfc3339(capture.time),
            decision_id=plain(capture.decision_id, _NAME_CHARS),
            effect=decision.effect.value,
            reason=decision.reason.value,
            request_id=masked(call.request_id, _NAME_CHARS) if call else "",
            stream_id=masked(call.stream_id, _NAME_CHARS) if call else "",
            detail=masked(decision.detail, size),
            rule=self._rule(decision.rule) if decision.rule else None,
            obligations=tuple(
                Obligation(name=plain(name, size), value=masked(value, size))
                for name, value in decision.obligations[:_MAX_OBLIGATIONS]
            ),
            policy_version=plain(decision.policy_version, size),
            latency_us=round(capture.latency_seconds * 1e6),
            subject=self._subject(subject) if subject else None,
            asserted_principal=AssertedPrincipal(value=masked(call.principal, size), verified=False)
            if call and call.principal and not (subject and subject.id)
            else None,
            source=SourceRecord(address=self._text(call.source_address), port=call.source_port) if call else None,
            destination=self._destination(call) if call else None,
            action=self._action(call, capture) if call else None,
            resource=self._resource(capture.resource) if capture.resource else None,
            task=self._task(capture.task) if isinstance(capture.task, Mapping) else None,
        )

    def _destination(self, call: CallFacts) -> DestinationRecord:
        return DestinationRecord(
            address=self._text(call.destination_address),
            port=call.destination_port,
            principal=self._text(call.destination_principal),
            sni=self._text(call.sni),
        )

    def _word_rule(self, rule: RuleRef) -> RuleRecord:
        size = self._max_chars
        return RuleRecord(
            id=plain(rule.id, size),
            ptype=plain(rule.ptype, size),
            text=plain(rule.text, size) if self._rule_text else "",
        )

    def _subject(self, subject: Subject) -> SubjectRecord:
        # By identity of the object (kept alive by the entry), since a subject's attributes make it unhashable.
        known = self._subjects.get(id(subject))
        if known is None:
            if len(self._subjects) >= _REMEMBERED:
                self._subjects.clear()
            known = self._subjects[id(subject)] = (subject, self._word_subject(subject))
        return known[1]

    def _word_subject(self, subject: Subject) -> SubjectRecord:
        size, attributes = self._max_chars, subject.attributes
        return SubjectRecord(
            id=plain(subject.id, size),
            kind=subject.kind.value,
            registered=attributes.get("registered", bool(attributes)) is True,
            trust_domain=plain(subject.trust_domain, size),
            sources=tuple(plain(source, size) for source in subject.sources),
            credential=self._credential(subject.credential),
            token=self._credential(subject.token),
            hops=tuple(plain(hop, size) for hop in subject.hops[-_MAX_HOPS:]),
            owner=self._text(attributes.get("owner")),
            environment=self._text(attributes.get("environment")),
        )

    def _credential(self, credential: Credential | None) -> CredentialRecord | None:
        if credential is None:
            return None
        return CredentialRecord(
            kind=plain(credential.kind, _NAME_CHARS),
            fingerprint=plain(credential.fingerprint, _NAME_CHARS),
            issuer=plain(credential.issuer, self._max_chars),
            not_after=rfc3339(credential.not_after),
            lifetime_seconds=_whole(credential.lifetime),
        )

    def _action(self, call: CallFacts, capture: Capture) -> ActionRecord:
        target, size = capture.target, self._max_chars
        raw_path, _, raw_query = call.path.partition("?")
        return ActionRecord(
            layer=plain(call.layer, _NAME_CHARS),
            protocol=self._text(capture.action_protocol),
            http_version=plain(call.protocol, _NAME_CHARS),
            method=self._text(target.method if target else call.method),
            name=self._text(capture.action_name),
            # A host that was refused may have brought a user and password along.
            host=self._text(target.host if target else call.host.rpartition("@")[2]),
            path=masked_path(target.path, size) if target else "",
            raw_path="" if target else masked_path(raw_path, size),
            raw_path_sha256=call.path_sha256,
            query=self._query((target.query if target else raw_query)[:CAPTURED_CHARS]),
            headers={
                name: masked(value, size) for name, value in zip(self.headers, call.headers, strict=True) if value
            },
            size=call.size,
            body_partial=call.body_partial,
        )

    def _query(self, query: str) -> tuple[Parameter, ...]:
        if not query:
            return ()
        parameters = []
        for part in query.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
            name, _, value = part.partition("=")
            name = unquote_plus(name)
            shown = masked(unquote_plus(value), self._max_chars) if name in self._query_values else ""
            parameters.append(Parameter(name=self._text(name), value=shown))
        return tuple(parameters)

    def _resource(self, resource: Mapping[str, Value]) -> ResourceRecord | None:
        resource_id = resource.get("id")
        record = ResourceRecord(
            type=self._text(resource.get("type")),
            id=masked_path(resource_id, self._max_chars) if isinstance(resource_id, str) else "",
            sensitivity=self._text(resource.get("sensitivity")),
            environment=self._text(resource.get("environment")),
            cardholder_data=resource.get("cardholder_data") is True,
        )
        return None if record == _NO_RESOURCE else record

    def _task(self, task: Mapping[str, Value]) -> TaskRecord | None:
        task_id, purpose = self._text(task.get("id")), self._text(task.get("purpose"))
        if not task_id and not purpose:
            return None
        return TaskRecord(id=task_id, purpose=purpose, declared=task.get("declared") is not False)

    def _text(self, value: Value) -> str:
        """Word a text that is likely to come again; what is no text is left out."""
        if not isinstance(value, str):
            return ""
        return self._known_text(value) if len(value) <= _NAME_CHARS else masked(value, self._max_chars)


def rfc3339(seconds: float) -> str:
    """Write a time (seconds since the epoch) in UTC with microseconds; "" for one that the calendar does not hold."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    except (ValueError, OverflowError, OSError):
        return ""


def _whole(seconds: float) -> int:
    """Round to whole seconds; 0 for what has no end."""
    try:
        return round(seconds)
    except (ValueError, OverflowError):
        return 0
