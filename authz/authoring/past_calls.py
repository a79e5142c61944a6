"""Calls out of an audit log, asked again.

A record leaves out what must not be kept, and what nobody asked it to keep. Such an attribute is marked as not
recorded; a decision that would have to look at it is not made. Nothing is guessed.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from authz.audit.redact import CUT, MASK
from authz.audit.schema import (
    ActionRecord,
    CredentialRecord,
    DecisionRecord,
    SubjectRecord,
    TrailGap,
    TrailStarted,
    TrailStopped,
)
from authz.authoring.dry_run import DryRun
from authz.authoring.ruling import NotRecordedError, Ruling, UncertainError
from authz.errors import Reason
from authz.identity.inventory import UNREGISTERED
from authz.model import ACTION_RESOURCE, NO_FACTS, AccessRequest, CheckCall, Credential, Hop, Kind, Subject

_MAX_LINE_BYTES = 4 * 1024 * 1024
_SHOWN_BROKEN = 100
_BY_POLICY: Final = frozenset(
    {
        Reason.ALLOWED,
        Reason.DENIED_BY_RULE,
        Reason.NO_MATCHING_RULE,
        Reason.RULE_ERROR,
        Reason.IDENTITY_MISSING,
    }
)
_CUT_LISTS_AT = 32
"""A record holds no more query parameters or hops than this; one that holds so many may have had more."""
_UNSURE = (MASK, CUT, "\\u", "\\U")
"""What marks a text that is not the one that was sent."""
_SPIFFE = "spiffe://"
_CATALOGUED = frozenset({"type", "id", "sensitivity", "environment", "cardholder_data", "labels"})
_OF_BODY = frozenset(ACTION_RESOURCE)
_RECORDED: Mapping[str, frozenset[str]] = {
    "sub": frozenset({"registered", "owner", "environment", "purpose", "clearance", "labels"})
    | {"id", "kind", "trust_domain", "path", "namespace", "service_account"}
    | {"sources", "credential", "claims", "hops", "chain", "depth", "origin"},
    "obj": frozenset({"host", "path", *_CATALOGUED, *_OF_BODY}),
    "act": frozenset({"method", "protocol", "name", "kind", "tool", "args", "query"}),
    "env": frozenset({"time", "hour", "weekday", "headers", "task", "body_partial", "size", "sni", "zone"})
    | {"source_address", "destination_address", "destination_port", "destination_principal"},
}
"""The attributes that can be had from a record, the inventory and the catalogue; any other is not recorded."""


class Partial(dict[str, Any]):
    """A mapping of which only some keys were recorded."""

    def __init__(self, known: Mapping[str, Any], name: str, *, lacks: frozenset[str] | None = None) -> None:
        """`lacks`: the keys that were not recorded; None: all that are not known."""
        super().__init__(known)
        self._name = name
        self._lacks = lacks

    def _check(self, key: object) -> None:
        unknown = key not in self.keys() if self._lacks is None else key in self._lacks
        if unknown:
            raise NotRecordedError(f"{self._name}.{key}")

    def __getitem__(self, key: str) -> Any:
        self._check(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._check(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Answer the value, or the default where it is known to be absent."""
        self._check(key)
        return super().get(key, default)

    def keys(self) -> Any:
        """Answer the keys that were recorded."""
        return dict.keys(self)

    def __eq__(self, other: object) -> bool:
        raise NotRecordedError(self._name)

    def __ne__(self, other: object) -> bool:
        raise NotRecordedError(self._name)

    __hash__ = None


class Lines(msgspec.Struct):
    """What was read of a log besides calls."""

    calls: int = 0
    other: int = 0
    """Starts, stops and gaps of the trail, and events of newer versions."""
    broken: int = 0
    """Lines that are no records, such as those that a fault cut short."""
    unreadable: list[str] = []
    """File and line of the first of them."""

    def broke(self, place: str) -> None:
        """Count a line that is no record."""
        self.broken += 1
        if len(self.unreadable) < _SHOWN_BROKEN:
            self.unreadable.append(place)


_DECODER = msgspec.json.Decoder(DecisionRecord | TrailStarted | TrailStopped | TrailGap)


def read_log(lines: Iterable[bytes], file: str, told: Lines) -> Iterator[tuple[str, DecisionRecord]]:
    """Answer the calls of a log, each with file and line; `told` counts the rest."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(line) > _MAX_LINE_BYTES:
            told.broke(f"{file}:{number}")
            continue
        try:
            record = _DECODER.decode(line)
        except msgspec.ValidationError as error:
            if "Invalid value" in str(error) and "event" in str(error):
                told.other += 1
            else:
                told.broke(f"{file}:{number}")
            continue
        except msgspec.DecodeError:
            told.broke(f"{file}:{number}")
            continue
        if isinstance(record, DecisionRecord):
            told.calls += 1
            yield f"{file}:{number}", record
        else:
            told.other += 1


def recorded(record: DecisionRecord) -> Ruling:
    """Answer what was decided at the time.

    Raises:
        UncertainError: the policy did not decide it.
    """
    if record.reason not in _BY_POLICY or record.subject is None or record.action is None:
        raise UncertainError(f"the policy was not asked ({record.reason})")
    return Ruling(
        effect=record.effect,
        reason=record.reason,
        rule=record.rule.id if record.rule else "",
        obligations=tuple(sorted((demand.name, demand.value) for demand in record.obligations)),
    )


def asked_again(run: DryRun, record: DecisionRecord) -> AccessRequest:
    """Answer the question that a record was the answer to, what is not recorded marked so.

    Raises:
        UncertainError: who called, or what was asked, cannot be told.
        Refusal: the call would be refused today before the policy is asked.
    """
    action, subject_record = record.action, record.subject
    if action is None or subject_record is None:
        raise UncertainError(f"the policy was not asked ({record.reason})")
    if action.batch:
        raise UncertainError("a batch, of which only the names are recorded")
    now = _seconds(record.time)
    subject = _subject(run, subject_record, now)
    lost = {name for name, text in (("path", action.path), ("host", action.host)) if _unsure(text)}
    destination, source, task = record.destination, record.source, record.task
    settings = run.composition.config.attributes
    call = CheckCall(
        layer=action.layer,
        source_address=source.address if source else "",
        source_port=source.port if source else 0,
        destination_address=destination.address if destination else "",
        destination_port=destination.port if destination else 0,
        destination_principal=destination.principal if destination else "",
        sni=destination.sni if destination else "",
        method=action.method,
        path="/" if "path" in lost else action.path,
        host="host" if "host" in lost else action.host,
        protocol=action.http_version,
        headers={settings.task_id_header: task.id, settings.task_purpose_header: task.purpose} if task else {},
        raw_headers=True,
        body_partial=action.body_partial,
        size=action.size,
    )
    binder = run.snapshot.binder.without_bodies()  # no record holds one
    request = binder.bind(call, binder.name(call, run.snapshot.canonicalise(call)), subject, now)
    act = {
        **request.act,
        "protocol": action.protocol,
        "name": action.name,
        "kind": action.kind,
        "tool": action.tool,
        "args": _args(action),
        "query": _query(record),
    }
    lacks = {
        "sub": frozenset(_unsure_of(subject_record)),
        "obj": frozenset(lost | (_CATALOGUED if lost else set()) | (_OF_BODY if action.kind else frozenset())),
        "act": frozenset(name for name, text in (("name", action.name), ("tool", action.tool)) if _unsure(text)),
        "env": frozenset(_unsure_env(record)),
    }
    asked_task = Partial(request.env["task"], "env.task", lacks=frozenset(NO_FACTS))  # type: ignore[arg-type]  # a map
    env = {**request.env, "headers": _headers(record), "task": asked_task}
    parts = {"sub": request.sub, "obj": request.obj, "act": act, "env": env}
    marked = {root: _marked(root, attributes, lacks[root]) for root, attributes in parts.items()}
    return msgspec.structs.replace(request, **marked)


def _marked(root: str, attributes: Mapping[str, Any], lacks: frozenset[str]) -> Partial:
    return Partial(attributes, root, lacks=lacks | (frozenset(attributes) - _RECORDED[root]))


def _subject(run: DryRun, record: SubjectRecord, now: float) -> Subject:
    """Answer the caller: who it was is as recorded, what is known of it as of today."""
    if _unsure(record.id):
        raise UncertainError("r.sub.id")
    proofs = {
        "sources": record.sources,
        "credential": _credential(record.credential),
        "token": _credential(record.token),
        "hops": record.hops,
        "chain": (*(Hop(hop.id, hop.sources) for hop in record.chain), Hop(record.id)) if record.chain else (),
    }
    if not record.id or record.id.startswith(_SPIFFE):
        known = run.snapshot.resolver.identify(CheckCall("http", principal=record.id), now)
        return msgspec.structs.replace(known, **proofs)
    return Subject(id=record.id, kind=Kind(record.kind), attributes=UNREGISTERED, **proofs)  # type: ignore[arg-type]  # by name, each of its type


def _credential(record: CredentialRecord | None) -> Credential | None:
    if record is None:
        return None
    end = _seconds(record.not_after) if record.not_after else float("inf")
    return Credential(record.kind, record.fingerprint, end - record.lifetime_seconds, end, record.issuer)


def _unsure_of(record: SubjectRecord) -> Iterator[str]:
    credential = record.credential or record.token
    if credential is not None and (not credential.not_after or _unsure(credential.fingerprint)):
        yield "credential"
    if record.token is not None:
        yield "claims"
    if len(record.hops) >= _CUT_LISTS_AT:
        yield "hops"


def _unsure_env(record: DecisionRecord) -> Iterator[str]:
    destination, task = record.destination, record.task
    if destination is not None:
        texts = (("destination_principal", destination.principal), ("sni", destination.sni))
        yield from (name for name, text in texts if _unsure(text))
    if task is not None and (_unsure(task.id) or _unsure(task.purpose)):
        yield "task"


def _query(record: DecisionRecord) -> Mapping[str, Any]:
    parameters = record.action.query if record.action else ()
    if not parameters:
        return {}
    # An empty value is one that was not recorded, or was empty: the record does not tell.
    known = {each.name: each.value for each in parameters if each.value and not _unsure(each.value)}
    names = [each.name for each in parameters]
    whole = len(names) < _CUT_LISTS_AT and len(set(names)) == len(names) and not any(map(_unsure, names))
    return Partial(known, "act.query", lacks=frozenset(names) - known.keys() if whole else None)


def _args(action: ActionRecord) -> Mapping[str, Any]:
    """Answer the arguments: only some values are recorded, and those as text."""
    return Partial({}, "act.args") if action.kind else {}


def _headers(record: DecisionRecord) -> Partial:
    """Answer the headers whose values were recorded; one that is not there may not have been sent, or not recorded."""
    headers = record.action.headers if record.action else {}
    return Partial({name: value for name, value in headers.items() if not _unsure(value)}, "env.headers")


def _unsure(text: str) -> bool:
    return any(mark in text for mark in _UNSURE)


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        raise UncertainError("a time that cannot be read") from None
