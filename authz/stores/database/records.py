"""What is stored, as frozen values: one for a row of each table. Times are seconds since the epoch."""

from typing import Any, Literal

import msgspec

TaskState = Literal["open", "completed", "revoked"]
GrantState = Literal["active", "completed", "revoked"]
RevocationKind = Literal["grant", "task", "principal", "credential", "trust_domain", "issued_before"]
CutOffKind = Literal["", "everybody", "principal", "issuer"]
ChangeKind = Literal[
    "grant_issued",
    "grant_ended",
    "grant_restored",
    "grant_used_up",
    "task_completed",
    "task_revoked",
    "task_restored",
    "revoked",
    "revocation_undone",
    "break_glass_started",
    "break_glass_ended",
    "key_added",
    "key_retired",
    "policy_applied",
    "task_marked",
    "task_unmarked",
    "approval_opened",
    "approval_voted",
    "approval_approved",
    "approval_rejected",
    "approval_withdrawn",
    "approval_used",
]

EXPIRY_MARGIN_SECONDS = 300.0
"""For so long after a grant's expiry a view still tells that it had ended: a verifier's clock may be behind."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of delegated work."""

    id: str
    owner: str
    """Who opened it; nobody else's grants are added to it."""
    purpose: str
    state: TaskState = "open"
    created_at: float
    ends_at: float | None = None
    """When it is over at the latest: no grant of it lasts longer."""
    ended_at: float | None = None
    ended_by: str = ""
    grants_expire_at: float | None = None
    """Once it has ended: when the last of its grants expires, after which nobody need remember it."""
    revocation_id: str = ""
    """The revocation that ended it."""


class GrantRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as it was issued, and what became of it. The token itself is not kept."""

    id: str
    task_id: str
    issuer: str
    audience: str
    holder: str
    issued_to: str = ""
    """Who asked for it."""
    issued_at: float
    not_before: float
    expires_at: float
    max_uses: int = 0
    """0: any number."""
    used: int = 0
    delegators: tuple[str, ...] = ()
    """Who handed the task on, the nearest first."""
    ancestors: tuple[str, ...] = ()
    """The grants that this one was derived from, the nearest first: what ends one of them ends it too."""
    scope: tuple[dict[str, Any], ...] = ()
    """`authorization_details` (RFC 9396)."""
    limits: dict[str, Any] = {}
    """What its task may spend in all."""
    certificate: str = ""
    """SHA-256 (hex) of the certificate that it is bound to (RFC 8705); empty: to the holder's identity alone."""
    state: GrantState = "active"
    ended_at: float | None = None
    ended_by: str = ""
    revocation_id: str = ""


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not be accepted any more."""

    id: str
    kind: RevocationKind
    value: str
    """A grant's id, a task's, a principal's, a credential's fingerprint (SHA-256, hex), or a trust domain; of
    `issued_before` the principal or issuer, empty for everybody."""
    cut_off: CutOffKind = ""
    """Of `issued_before`: whose credentials are meant."""
    before: float | None = None
    """Of `issued_before`: the moment."""
    reason: str
    author: str
    created_at: float
    expires_at: float | None = None
    """When it ends by itself; None: never. Of a known grant or task: when what it revokes expires."""
    undone_at: float | None = None
    undone_by: str = ""
    undo_reason: str = ""

    def in_force(self, now: float) -> bool:
        """Whether it holds."""
        return self.undone_at is None and (self.expires_at is None or self.expires_at > now)


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True):
    """The emergency switch: while it is on, all is denied but what `allow` names."""

    id: str
    author: str
    reason: str
    allow: tuple[str, ...] = ()
    started_at: float
    until: float
    ended_at: float | None = None
    ended_by: str = ""

    def in_force(self, now: float) -> bool:
        """Whether it is on."""
        return self.ended_at is None and self.until > now


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """The public half of a key that signs grants."""

    kid: str
    replica_id: str
    """Who holds the private half."""
    jwk: dict[str, Any]
    created_at: float
    not_before: float
    """Grants are signed with it from then on; published before, so that every verifier has it in time."""
    retired_at: float | None = None
    """Grants are signed with it until then."""
    expires_at: float
    """Grants signed with it are accepted until then."""


class PolicyRevision(msgspec.Struct, frozen=True, kw_only=True):
    """Policies that were put in force at one moment."""

    number: int
    """From 1, without gaps; the highest is in force."""
    hash: str
    content: dict[str, str]
    """The text of each file, by its name."""
    author: str
    approver: str = ""
    reason: str = ""
    applied_at: float
    restores: int | None = None
    """For a rollback: the revision whose content this is."""


class WaitingChange(msgspec.Struct, frozen=True, kw_only=True):
    """An order that waits for a second person."""

    id: str
    action: str
    author: str
    group: str
    """Whose word it waits for."""
    summary: str
    caller: dict[str, str]
    """How the author came, so that who they are is found out anew; never anything that would let somebody in."""
    request: str
    """The message, in base64."""
    decision_id: str
    created_at: float
    expires_at: float


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One serving process, as it last reported itself."""

    id: str
    host: str
    version: str
    started_at: float
    last_seen: float
    applied_seq: int
    """The last change that it has taken up."""
    policy_version: str
    staleness_seconds: float | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the shared state. Numbers have no gaps and become visible in order."""

    seq: int
    at: float
    kind: ChangeKind
    about: str
    """The id of what changed."""
    data: dict[str, Any] = {}
    """What a replica needs to take it up without asking: see docs/store.md."""


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """Makes an operation happen once: repeating it with the same key answers what the first one answered."""

    scope: str
    """Whose key it is: keys of different callers never meet."""
    key: str
    digest: str
    """A digest of the whole request: the same key with another one is refused."""
    expires_at: float


class CompletedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is over while grants of it have not expired."""

    id: str
    until: float


class UsedUpGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that was used as often as it may be, before it expires."""

    id: str
    until: float


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All that a replica must know to refuse what is over, at one moment; changes after `seq` come on top of it."""

    store_id: str
    seq: int
    revocations: tuple[Revocation, ...]
    """In force. Grants derived from a revoked one are not told one by one: they name it among their ancestors."""
    completed: tuple[CompletedTask, ...]
    used_up: tuple[UsedUpGrant, ...]
    break_glass: BreakGlass | None
    policy_revision: int
