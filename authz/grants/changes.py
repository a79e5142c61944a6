"""What can be taken back, and the changes that do it: what a feed brings and the view applies.

Who ordered a change and why is kept by whoever stores it; here stands only what a decision needs. All are tagged, so
that they can be written as JSON and read back.
"""

from enum import Enum
from typing import TypeAlias

import msgspec

from authz.errors import Refusal
from authz.grants.grant import FINGERPRINT, FOREIGN_SUBJECT, GRANT_ID, TASK_ID
from authz.spiffe import TrustDomain, parse_spiffe_id


class RevocationKind(Enum):
    """What a revocation names."""

    GRANT = "grant"
    """A grant by its id, and every grant that was derived from it."""
    TASK = "task"
    """A task by its id: all its grants, however it went wrong."""
    COMPLETED_TASK = "completed_task"
    """The same for a task that ended as it should."""
    PRINCIPAL = "principal"
    """A caller or delegator by its id (SPIFFE ID, or "issuer#sub")."""
    CREDENTIAL = "credential"
    """A certificate (or token) by its SHA-256 fingerprint, lower-case hex."""
    TRUST_DOMAIN = "trust_domain"
    """All principals of a trust domain, by its name."""


class CutOffKind(Enum):
    """Whose credentials a cut-off means."""

    EVERYBODY = "everybody"
    PRINCIPAL = "principal"
    ISSUER = "issuer"
    """What one issuer issued: a grant's or token's `iss`, a certificate's issuer name (RFC 4514)."""


class Revoke(msgspec.Struct, frozen=True, tag="revoke"):
    """From now on what is named is refused, until `expires`; of two for the same the longer holds.

    Raises:
        ValueError: the value names nothing of its kind, so that the revocation would stop nobody.
    """

    kind: RevocationKind
    value: str
    expires: float = float("inf")
    """When it need no longer be known, because all that it could stop has ended."""

    def __post_init__(self) -> None:
        check_value(self.kind, self.value)


class Restore(msgspec.Struct, frozen=True, tag="restore"):
    """`Revoke` of the same is undone, however often it was given."""

    kind: RevocationKind
    value: str


class CutOff(msgspec.Struct, frozen=True, tag="cut_off"):
    """Grants, tokens and certificates issued before a moment are refused; of two the later moment holds, for longer."""

    kind: CutOffKind
    value: str
    """The principal or issuer; "" for everybody."""
    before: float
    expires: float = float("inf")


class EndCutOff(msgspec.Struct, frozen=True, tag="end_cut_off"):
    """`CutOff` for these is undone."""

    kind: CutOffKind
    value: str


class DenyAllBut(msgspec.Struct, frozen=True, tag="deny_all_but"):
    """Break glass: every caller is refused but those named, until a moment."""

    id: str
    who: str
    """Who ordered it."""
    why: str
    until: float
    excepted: tuple[str, ...] = ()
    """Ids of the principals that go on."""


class EndDenyAllBut(msgspec.Struct, frozen=True, tag="end_deny_all_but"):
    """That order is lifted before its time."""

    id: str


RevocationChange: TypeAlias = Revoke | Restore | CutOff | EndCutOff | DenyAllBut | EndDenyAllBut


def check_value(kind: RevocationKind, value: str) -> None:
    """Pass when something of this kind can have this name, in the one spelling that requests are asked by.

    Raises:
        ValueError: with what is wanted.
    """
    match kind:
        case RevocationKind.GRANT:
            fits, wanted = bool(GRANT_ID.fullmatch(value)), "a grant's id: 16 to 64 characters of base64url"
        case RevocationKind.TASK | RevocationKind.COMPLETED_TASK:
            fits, wanted = bool(TASK_ID.fullmatch(value)), "a task's id: 1 to 256 visible ASCII characters"
        case RevocationKind.CREDENTIAL:
            fits, wanted = bool(FINGERPRINT.fullmatch(value)), "a SHA-256 fingerprint in lower-case hex, without colons"
        case RevocationKind.PRINCIPAL:
            fits, wanted = _is_principal(value), 'a SPIFFE ID, or "issuer#sub"'
        case RevocationKind.TRUST_DOMAIN:
            fits, wanted = _is_trust_domain(value), "the name of a trust domain, without scheme"
    if not fits:
        raise ValueError(f"{kind.value}: {wanted} is wanted")


def _is_principal(value: str) -> bool:
    try:
        return bool(parse_spiffe_id(value))
    except Refusal:
        return FOREIGN_SUBJECT.fullmatch(value) is not None


def _is_trust_domain(value: str) -> bool:
    try:
        return bool(TrustDomain(value))
    except Refusal:
        return False
