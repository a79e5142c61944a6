"""What a line of the audit trail holds: the schema, version 1 (docs/audit-record.schema.json is made from it).

A line is one JSON object; `event` says which. Absent fields have the default that the schema gives (mostly: empty). A
new field may appear within a version, so readers must ignore what they do not know; nothing is renamed or changes
meaning.

The fields answer PCI DSS 4.0.1 requirement 10.2.2 (who, what, when, outcome, from where, on which resource); the start
and the end of the trail and its gaps answer 10.2.1.6.
"""

from typing import Annotated, Any

import msgspec

VERSION = 1

Time = Annotated[
    str,
    msgspec.Meta(
        description="RFC 3339, UTC, with microseconds: `2026-01-02T03:04:05.000006Z`.",
        extra_json_schema={"format": "date-time"},
    ),
]


def _says(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A part of a record: empty fields are left out."""


class RuleRecord(_Part, frozen=True):
    """The rule that decided."""

    id: str
    ptype: str = ""
    text: str = ""


class Obligation(_Part, frozen=True):
    """What had to be done besides."""

    name: str
    value: str = ""


class CredentialRecord(_Part, frozen=True):
    """What proved an identity: never the thing itself."""

    kind: str
    fingerprint: str = ""
    issuer: str = ""
    not_after: Time = ""
    lifetime_seconds: Annotated[int, _says("From issue to expiry.")] = 0


class HopRecord(_Part, frozen=True):
    """One party of the delegation before the caller."""

    id: str
    kind: str = ""
    sources: Annotated[tuple[str, ...], _says("What tells of it: `grant`, `xfcc`, `transaction`.")] = ()


class TransactionRecord(_Part, frozen=True):
    """What the verified transaction token said; the token is never kept."""

    id: str
    issuer: str
    fingerprint: Annotated[str, _says("SHA-256 of the token's text.")]
    workload: Annotated[str, _says("Which workload asked for the token.")] = ""
    scope: str = ""


class SubjectRecord(_Part, frozen=True):
    """Who called, as resolved and verified."""

    id: str
    kind: str
    registered: Annotated[bool, _says("Whether the inventory knows the subject.")]
    trust_domain: str = ""
    sources: tuple[str, ...] = ()
    credential: CredentialRecord | None = None
    token: CredentialRecord | None = None
    hops: Annotated[tuple[str, ...], _says("Oldest first, ending with this subject.")] = ()
    chain: Annotated[
        tuple[HopRecord, ...],
        _says("Who acted for whom, from whom it started for, oldest first, to before the subject."),
    ] = ()
    transaction: TransactionRecord | None = None
    wit: Annotated[
        CredentialRecord | None, _says("The workload identity token; a proof for this call came with it.")
    ] = None
    owner: str = ""
    environment: str = ""


class AssertedPrincipal(_Part, frozen=True):
    """What the proxy said of the caller when no subject was resolved: nobody vouches for it."""

    value: str
    verified: bool


class SourceRecord(_Part, frozen=True):
    """Where the call came from: the proxy's socket peer."""

    address: str
    port: int = 0


class DestinationRecord(_Part, frozen=True):
    """Where the call went."""

    address: str = ""
    port: int = 0
    principal: str = ""
    sni: str = ""


class Parameter(_Part, frozen=True):
    """A query parameter; its value only where settings name it."""

    name: str
    value: str = ""


class ActionRecord(_Part, frozen=True):
    """What was asked for."""

    layer: str
    protocol: Annotated[str, _says("`http`, `grpc`, `websocket`, `tcp`, ...; once the request was understood.")] = ""
    http_version: Annotated[str, _says("As the proxy gives it: `HTTP/2`.")] = ""
    method: str = ""
    name: Annotated[str, _says("The operation, where the body or the catalogue names one.")] = ""
    kind: Annotated[str, _says("The protocol of the body that it was read from: `mcp`, `a2a`, ...")] = ""
    tool: Annotated[str, _says("The tool, skill or the like that the body names.")] = ""
    args: Annotated[tuple[Parameter, ...], _says("The arguments that settings name.")] = ()
    batch: Annotated[int, _says("How many actions the body asks for, where it is a batch; else 0.")] = 0
    batch_names: Annotated[tuple[str, ...], _says("What they are called; of many the first.")] = ()
    host: str = ""
    path: Annotated[str, _says("Canonical; absent when the call was refused before its path had one reading.")] = ""
    raw_path: Annotated[str, _says("As the caller wrote it, masked; only when `path` is absent.")] = ""
    raw_path_sha256: Annotated[str, _says("Of the request target as the caller wrote it, query included.")] = ""
    query: tuple[Parameter, ...] = ()
    headers: Annotated[dict[str, str], _says("Those that settings name.")] = {}
    size: Annotated[int, _says("Of the body, in bytes; -1: the proxy did not say.")] = -1
    body_partial: Annotated[bool, _says("The proxy cut the body.")] = False


class ResourceRecord(_Part, frozen=True):
    """What the resource catalogue says of the thing asked for."""

    type: str = ""
    id: str = ""
    sensitivity: str = ""
    environment: str = ""
    cardholder_data: bool = False


class TaskRecord(_Part, frozen=True):
    """The task that the call belongs to."""

    declared: Annotated[bool, _says("Only the caller says so; no grant proves it.")]
    id: str = ""
    purpose: str = ""


class GrantRecord(_Part, frozen=True):
    """The grant that the call presented, and that was accepted; its token is never kept."""

    id: str
    fingerprint: Annotated[str, _says("SHA-256 of the token's text.")]
    issuer: str
    origin: Annotated[str, _says("Whom the task started for.")]
    delegators: Annotated[tuple[str, ...], _says("Who handed it on, the nearest first.")] = ()
    parent: Annotated[str, _says("The grant that it was derived from.")] = ""
    uses: Annotated[int, _says("How many requests it may allow in all; 0: as many as come in time.")] = 0
    expires: Time = ""


class StateRecord(_Part, frozen=True):
    """How old the state was that the decision rests on."""

    policy_age_ms: Annotated[int, _says("Since the policy was last known to be the newest.")] = 0
    revocations_age_ms: Annotated[int, _says("Since the revocations were last known to be all.")] = 0


class PassingPart(_Part, frozen=True):
    """The fields of a `DecisionRecord` that differ from one call to the next, under the same names."""

    latency_us: int = 0
    request_id: str = ""
    stream_id: str = ""
    source: SourceRecord | None = None
    task: TaskRecord | None = None
    grant: GrantRecord | msgspec.Raw | None = None
    state: StateRecord | None = None


class TargetPart(_Part, frozen=True):
    """The fields of a `DecisionRecord` that tell where a call went and what it wanted, under the same names."""

    destination: DestinationRecord
    action: ActionRecord


class DecisionRecord(_Part, frozen=True, tag_field="event", tag="decision"):
    """One call and what was decided about it (I9)."""

    v: int
    time: Time
    decision_id: Annotated[str, _says("Also in the proxy's access log; the same twice: written twice after a fault.")]
    effect: str
    reason: str
    request_id: str = ""
    stream_id: str = ""
    detail: str = ""
    rule: RuleRecord | None = None
    obligations: tuple[Obligation, ...] = ()
    policy_version: str = ""
    cached: Annotated[bool, _says("An earlier decision, on the same grounds, was used again.")] = False
    latency_us: int = 0
    subject: SubjectRecord | None = None
    asserted_principal: AssertedPrincipal | None = None
    source: SourceRecord | None = None
    destination: DestinationRecord | None = None
    action: Annotated[ActionRecord | None, _says("Absent when the call could not be decoded.")] = None
    resource: ResourceRecord | None = None
    task: TaskRecord | None = None
    grant: GrantRecord | None = None
    state: Annotated[StateRecord | None, _says("Absent where no state is shared.")] = None
    attributes: Annotated[
        dict[str, str], _says("All that the rules saw, `sub.id` and so on; where a rule demands `log=full`.")
    ] = {}


class ControlRecord(DecisionRecord, frozen=True, tag="control"):
    """One call of the control plane, written before it is carried out: who asked for what, and whether they may."""

    about: Annotated[tuple[Parameter, ...], _says("What it is about, as policies see it in `r.obj`.")] = ()


class TrailStarted(_Part, frozen=True, tag_field="event", tag="trail_started"):
    """A process began to keep records."""

    v: int
    time: Time
    pid: int


class TrailStopped(_Part, frozen=True, tag_field="event", tag="trail_stopped"):
    """A process ended in order, every record of its own written before this one."""

    v: int
    time: Time
    pid: int


class TrailGap(_Part, frozen=True, tag_field="event", tag="trail_gap"):
    """Records could not be kept: how many, and why, between two moments."""

    v: int
    time: Time
    pid: int
    since: Time
    until: Time
    queue_full: int = 0
    sink_broken: int = 0


class ShadowDecision(_Part, frozen=True):
    """What one of two policies says."""

    effect: str
    reason: str
    detail: str = ""
    rule: RuleRecord | None = None
    obligations: tuple[Obligation, ...] = ()
    policy_version: str = ""


class ShadowDifference(_Part, frozen=True, tag_field="event", tag="shadow_difference"):
    """A call that a candidate policy would have decided in another way; it had no effect."""

    v: int
    time: Time
    decision_id: Annotated[str, _says("That of the call's own record.")]
    kind: Annotated[str, _says("`newly_allowed`, `newly_denied`, `other_obligations` or `error`.")]
    live: ShadowDecision
    candidate: ShadowDecision
    request_id: str = ""
    subject: Annotated[str, _says("Who called, as the candidate's run resolved it.")] = ""
    layer: str = ""
    method: str = ""
    host: str = ""
    path: str = ""


Record = DecisionRecord | ControlRecord | TrailStarted | TrailStopped | TrailGap | ShadowDifference


def json_schema() -> dict[str, Any]:
    """Answer the JSON Schema (2020-12) of one line."""
    (schema,), components = msgspec.json.schema_components([Record])
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"authz audit record, version {VERSION}",
        **schema,
        "$defs": components,
    }
    return msgspec.json.decode(msgspec.json.encode(document), type=dict[str, Any])  # defaults as JSON, not as tuples
