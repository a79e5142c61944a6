"""The parts of a record, each put in words: what is recorded of a subject, a rule, an action, a resource."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from urllib.parse import unquote_plus

import msgspec

from authz.audit.redact import MASK, masked, masked_path, name_is_secret, plain
from authz.audit.schema import (
    ActionRecord,
    CredentialRecord,
    DestinationRecord,
    GrantRecord,
    HopRecord,
    Parameter,
    ResourceRecord,
    RuleRecord,
    SubjectRecord,
    TaskRecord,
    TransactionRecord,
)
from authz.audit.settings import AuditSettings
from authz.model import AccessRequest, Asked, CheckCall, Credential, Hop, RuleRef, Subject, Transaction, Value

REMEMBERED = 4096
"""Most short texts and paths, each, whose wording is kept."""
NAME_CHARS = 256
"""Longest name (a protocol, a request id), and longest text that is remembered."""
_QUERY_CHARS = 8192
_MAX_PARAMETERS = 32
_MAX_HOPS = 32
_MAX_BATCH = 32
_MAX_ATTRIBUTES = 256
_OURS = frozenset({"sub.credential", "env.grant"})
"""Attributes that are called like a secret and hold what is said of one: its kind, its fingerprint, its times."""


class Words:
    """Words parts the way that settings ask for: masked, in one line, bounded."""

    def __init__(self, settings: AuditSettings) -> None:
        self._max_chars = settings.max_text_chars
        self._rule_text = settings.rule_text
        # Asked again here, although settings are validated: no way of constructing them may record a credential (I10).
        self.headers = tuple(name for name in settings.headers if not name_is_secret(name))
        self._query_values = frozenset(name for name in settings.query_values if not name_is_secret(name))
        self.args = tuple(name for name in settings.args if not name_is_secret(name))
        self._known_text = lru_cache(REMEMBERED)(partial(masked, max_chars=self._max_chars))
        self._known_path = lru_cache(REMEMBERED)(partial(masked_path, max_chars=self._max_chars))

    def destination(self, call: CheckCall) -> DestinationRecord:
        return DestinationRecord(
            address=self.text(call.destination_address),
            port=call.destination_port,
            principal=self.text(call.destination_principal),
            sni=self.text(call.sni),
        )

    def rule(self, rule: RuleRef) -> RuleRecord:
        size = self._max_chars
        return RuleRecord(
            id=plain(rule.id, size),
            ptype=plain(rule.ptype, size),
            text=plain(rule.text, size) if self._rule_text else "",
        )

    def subject(self, subject: Subject) -> SubjectRecord:
        size, attributes = self._max_chars, subject.attributes
        return SubjectRecord(
            id=plain(subject.id, size),
            kind=subject.kind.value,
            registered=attributes.get("registered", bool(attributes)) is True,
            trust_domain=plain(subject.trust_domain, size),
            sources=tuple(plain(source, size) for source in subject.sources),
            credential=self.credential(subject.credential),
            token=self.credential(subject.token),
            hops=tuple(plain(hop, size) for hop in subject.hops[-_MAX_HOPS:]),
            chain=tuple(self.hop(hop) for hop in subject.chain[:-1][-_MAX_HOPS:]),
            transaction=self.transaction(subject.transaction),
            wit=self.credential(subject.wit),
            owner=self.text(attributes.get("owner")),
            environment=self.text(attributes.get("environment")),
        )

    def hop(self, hop: Hop) -> HopRecord:
        return HopRecord(
            id=masked(hop.id, self._max_chars),
            kind=hop.subject.kind.value if hop.subject else "",
            sources=tuple(plain(source, NAME_CHARS) for source in hop.sources),
        )

    def transaction(self, found: Transaction | None) -> TransactionRecord | None:
        if found is None:
            return None
        return TransactionRecord(
            id=masked(found.id, NAME_CHARS),
            issuer=plain(found.issuer, self._max_chars),
            fingerprint=found.fingerprint,
            workload=plain(found.workload, self._max_chars),
            scope=masked(found.scope, self._max_chars),
        )

    def credential(self, credential: Credential | None) -> CredentialRecord | None:
        if credential is None:
            return None
        return CredentialRecord(
            kind=plain(credential.kind, NAME_CHARS),
            fingerprint=plain(credential.fingerprint, NAME_CHARS),
            issuer=plain(credential.issuer, self._max_chars),
            not_after=rfc3339(credential.not_after),
            lifetime_seconds=whole(credential.lifetime),
        )

    def action(self, call: CheckCall, asked: Asked | None) -> ActionRecord:
        target, headers = asked.target if asked else None, call.headers
        return ActionRecord(
            layer=plain(call.layer, NAME_CHARS),
            protocol=plain(asked.protocol, NAME_CHARS) if asked else "",
            http_version=plain(call.protocol, NAME_CHARS),
            method=self.text(target.method if target else call.method),
            name=self.text(asked.name) if asked else "",
            kind=self.text(asked.kind) if asked else "",
            tool=self.text(asked.tool) if asked else "",
            args=self.arguments(asked.args) if asked and asked.args and self.args else (),
            batch=len(asked.batch) + 1 if asked and asked.batch else 0,
            batch_names=tuple(self.text(each.name) for each in asked.every[:_MAX_BATCH])
            if asked and asked.batch
            else (),
            # A host that was refused may have brought a user and password along.
            host=self.text(target.host if target else call.host.rpartition("@")[2]),
            path=self.path(target.path) if target else "",
            raw_path="" if target else self.path(call.path.partition("?")[0]),
            raw_path_sha256="" if target else _sha256(call.path),
            query=self.query(target.query if target else call.path.partition("?")[2]),
            headers={name: masked(headers[name], self._max_chars) for name in self.headers if headers.get(name)}
            if self.headers
            else {},
            size=call.size,
            body_partial=call.body_partial,
        )

    def query(self, query: str) -> tuple[Parameter, ...]:
        if not query:
            return ()
        parameters = []
        for part in query[:_QUERY_CHARS].split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
            name, _, value = part.partition("=")
            name = unquote_plus(name)
            shown = masked(unquote_plus(value), self._max_chars) if name in self._query_values else ""
            parameters.append(Parameter(name=self.text(name), value=shown))
        return tuple(parameters)

    def arguments(self, args: Mapping[str, Value]) -> tuple[Parameter, ...]:
        """Word the arguments that settings name: of what is no plain value, only that it was there.

        What is inside of it has names of its own, of which no setting says that they may be recorded (I10).
        """
        found = [(name, args[name]) for name in self.args if name in args]
        return tuple(
            Parameter(
                name=self.text(name),
                value="" if isinstance(value, Mapping | list | tuple) else masked(_as_text(value), self._max_chars),
            )
            for name, value in found
        )

    def resource(self, resource: Mapping[str, Value]) -> ResourceRecord:
        resource_id = resource.get("id")
        return ResourceRecord(
            type=self.text(resource.get("type")),
            id=masked_path(resource_id, self._max_chars) if isinstance(resource_id, str) else "",
            sensitivity=self.text(resource.get("sensitivity")),
            environment=self.text(resource.get("environment")),
            cardholder_data=resource.get("cardholder_data") is True,
        )

    def task(self, task: Mapping[str, Value]) -> TaskRecord | None:
        task_id, purpose = self.text(task.get("id")), self.text(task.get("purpose"))
        if not task_id and not purpose:
            return None
        return TaskRecord(id=task_id, purpose=purpose, declared=task.get("declared") is not False)

    def grant(self, fingerprint: str, grant: Mapping[str, Value]) -> GrantRecord:
        size, delegators, uses, expires = self._max_chars, grant["delegators"], grant["uses"], grant["expires"]
        return GrantRecord(
            id=plain(str(grant["id"]), size),
            fingerprint=fingerprint,
            issuer=plain(str(grant["issuer"]), size),
            origin=plain(str(grant["origin"]), size),
            delegators=tuple(plain(str(one), size) for one in delegators) if isinstance(delegators, tuple) else (),
            parent=plain(str(grant["parent"]), size),
            uses=uses if isinstance(uses, int) else 0,
            expires=rfc3339(expires) if isinstance(expires, int) else "",
        )

    def attributes(self, request: AccessRequest) -> dict[str, str]:
        """All that the rules saw, by dotted names; what may be a credential by its name, or is inside one, is masked.

        Bodies nest as their senders like, so that a name is looked at at every depth, in arrays too (I10).
        """
        found: dict[str, str] = {}
        todo: list[tuple[str, bool, Value]] = [
            ("env", False, request.env), ("act", False, request.act), ("obj", False, request.obj),
            ("sub", False, request.sub),
        ]  # fmt: skip
        for number, each in enumerate(request.others, 2):  # found first: the rest is the same for all
            todo += [(f"batch.{number}.act", False, each.act), (f"batch.{number}.obj", False, each.obj)]
        while todo and len(found) < _MAX_ATTRIBUTES:
            name, secret, value = todo.pop()
            if secret:
                found[masked(name, NAME_CHARS)] = MASK
            elif isinstance(value, Mapping):
                parts = [(_below(name, key), key, value[key]) for key in sorted(value, reverse=True)]
                todo.extend((at, name_is_secret(key) and at not in _OURS, part) for at, key, part in parts)
            elif isinstance(value, list | tuple) and any(isinstance(each, Mapping | list | tuple) for each in value):
                shown = list(enumerate(value[:_MAX_ATTRIBUTES]))
                todo.extend((_below(name, str(at)), False, part) for at, part in reversed(shown))
            else:
                found[masked(name, NAME_CHARS)] = masked(_as_text(value), self._max_chars)
        return found

    def text(self, value: Value) -> str:
        """Word a text that is likely to come again; what is no text is left out."""
        if not value or not isinstance(value, str):
            return ""
        return self._known_text(value) if len(value) <= NAME_CHARS else masked(value, self._max_chars)

    def path(self, path: str) -> str:
        return self._known_path(path) if len(path) <= NAME_CHARS else masked_path(path, self._max_chars)


def _below(name: str, key: str) -> str:
    return f"{name}.{key}"[:NAME_CHARS]


def _sha256(path: str) -> str:
    return hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest() if path else ""


def rfc3339(seconds: float) -> str:
    """Write a time (seconds since the epoch) in UTC with microseconds; "" for one that the calendar does not hold."""
    try:
        micros = round(seconds * 1_000_000)
        return f"{_second(micros // 1_000_000)}.{micros % 1_000_000:06d}Z"
    except (ValueError, OverflowError, OSError):
        return ""


@lru_cache(64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def whole(seconds: float) -> int:
    """Round to whole seconds; 0 for what has no end."""
    try:
        return round(seconds)
    except (ValueError, OverflowError):
        return 0


def _as_text(value: Value) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
