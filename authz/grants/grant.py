"""A grant: who may do what, for which task, until when."""

import re
from typing import Final

import msgspec

from authz.errors import Refusal
from authz.grants.scope import Scope
from authz.spiffe import parse_spiffe_id, require_workload
from authz.task_limits import NO_LIMITS, TaskLimits

MAX_TASK_CHARS: Final = 256
"""Task ids and purposes, each."""
MAX_DELEGATORS: Final = 16
"""Hops before the holder that any grant may have; configuration says how many are accepted."""
UNLIMITED: Final = 0
"""The number of `uses` of a grant that is not counted."""
MAX_USES: Final = 1_000_000

GRANT_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
FOREIGN_SUBJECT: Final = re.compile(r"[!-~]{1,2048}#[!-~](?:[ -~]{0,253}[!-~])?")
"""How the subject of somebody else's token is written: "issuer#sub"; "#" is in no SPIFFE ID."""
TASK_ID: Final = re.compile(r"[!-~]{1,256}")


class Task(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """The unit of delegated work that a grant is for.

    Raises:
        ValueError: no id, one with blanks, or a purpose that does not print.
    """

    id: str
    purpose: str = ""
    limits: TaskLimits = NO_LIMITS
    """What may be spent on it from its beginning to its end: counted by the task, whichever of its grants is used."""

    def __post_init__(self) -> None:
        if TASK_ID.fullmatch(self.id) is None:
            raise ValueError(f"a task's id is 1 to {MAX_TASK_CHARS} visible ASCII characters")
        if len(self.purpose) > MAX_TASK_CHARS or not self.purpose.isprintable():
            raise ValueError(f"a task's purpose is at most {MAX_TASK_CHARS} printable characters")


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A permission for one holder and one task. Times are whole seconds since the epoch, as in a token.

    Says nothing of whether it is signed, in time, or still in force.

    Raises:
        ValueError: it could mean nothing, or two things.
    """

    id: str
    """`jti`: 16 to 64 characters of base64url that nobody can guess."""
    issuer: str
    audience: str
    holder: str
    """The SPIFFE ID of the one workload that may present it."""
    task: Task
    scope: Scope
    issued_at: int
    not_before: int
    expires: int
    uses: int = UNLIMITED
    """How many requests it may allow in all; 0: as many as come before it ends."""
    certificate: str = ""
    """SHA-256 (lower-case hex) of the holder's certificate when it is bound to that one (RFC 8705); "" when not."""
    delegators: tuple[str, ...] = ()
    """Who handed the task on, the nearest first; the last is whom it all started for. Empty: the holder itself.
    SPIFFE IDs; the last may also be the subject of a foreign token, as "issuer#sub"."""
    ancestors: tuple[str, ...] = ()
    """Ids of the grants that this one was derived from, the nearest first: to revoke one of them revokes it too."""

    def __post_init__(self) -> None:
        if any(GRANT_ID.fullmatch(one) is None for one in (self.id, *self.ancestors)):
            raise ValueError("a grant's id is 16 to 64 characters of base64url")
        if not self.issuer or not self.audience:
            raise ValueError("a grant has an issuer and an audience")
        if not 0 <= self.issued_at <= self.not_before < self.expires:
            raise ValueError("a grant is issued, then begins, then ends")
        if not 0 <= self.uses <= MAX_USES:
            raise ValueError(f"'uses' is 0 (unlimited) to {MAX_USES}")
        if self.certificate and FINGERPRINT.fullmatch(self.certificate) is None:
            raise ValueError("a certificate's fingerprint is SHA-256 in lower-case hex")
        self._check_parties()

    def _check_parties(self) -> None:
        parties, ids = (self.holder, *self.delegators), (self.id, *self.ancestors)
        if max(len(self.delegators), len(self.ancestors)) > MAX_DELEGATORS:
            raise ValueError(f"at most {MAX_DELEGATORS} hops")
        if len(set(parties)) != len(parties) or len(set(ids)) != len(ids):
            raise ValueError("a party or a grant stands twice in the chain")
        for place, party in enumerate(parties):
            if place and place == len(self.delegators) and FOREIGN_SUBJECT.fullmatch(party):
                continue
            try:
                require_workload(parse_spiffe_id(party))
            except Refusal as refusal:
                raise ValueError(f"{'delegator' if place else 'holder'}: {refusal.detail}") from None

    @property
    def origin(self) -> str:
        """Whom it all started for: the last delegator, else the holder."""
        return self.delegators[-1] if self.delegators else self.holder
