"""What is revoked now: exact sets, so that asking costs the same for ten entries and for a million."""

import math
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Final, TypeAlias

from authz.errors import Reason
from authz.grants.changes import (
    CutOff,
    CutOffKind,
    DenyAllBut,
    EndCutOff,
    EndDenyAllBut,
    Restore,
    RevocationChange,
    RevocationKind,
    Revoke,
)
from authz.grants.grant import Grant
from authz.grants.lapsing import LapsingSet
from authz.model import Subject

MAX_BREAK_GLASS: Final = 16
"""Break-glass orders in force at once; each is asked at every request."""
_REMEMBERED = 8_192
"""Callers and grants whose digests are kept ready, each."""
_REASONS = {
    RevocationKind.GRANT: Reason.GRANT_REVOKED,
    RevocationKind.TASK: Reason.TASK_REVOKED,
    RevocationKind.COMPLETED_TASK: Reason.TASK_COMPLETED,
    RevocationKind.PRINCIPAL: Reason.PRINCIPAL_REVOKED,
    RevocationKind.CREDENTIAL: Reason.CREDENTIAL_REVOKED,
    RevocationKind.TRUST_DOMAIN: Reason.TRUST_DOMAIN_REVOKED,
}


Questions: TypeAlias = tuple[tuple[bytes, Reason], ...]
"""Every entry that would concern a caller or a grant, with the reason that it would be."""


class Revoked:
    """All that may not go on. Not for use by several threads; filled in one, it may be handed to another."""

    def __init__(self, margin_seconds: float, max_entries: int) -> None:
        """`margin_seconds`: how much longer an entry holds than it says, for credentials accepted past their end."""
        self._margin = margin_seconds
        self._max_entries = max_entries
        self._entries = LapsingSet()
        self._cutoffs: dict[tuple[CutOffKind, str], tuple[float, float]] = {}
        self._orders: dict[str, DenyAllBut] = {}
        self._overflowed = False

    def __len__(self) -> int:
        """How many entries are held, lapsed ones that were not swept yet included."""
        return len(self._entries) + len(self._cutoffs) + len(self._orders)

    def refusal(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:
        """Why this caller, with this grant, may not go on at `now`; None when nothing here forbids it.

        Not refused is not allowed. Every hop counts: whoever handed the task on, and every grant on the way.

        Cost: about 2 us, whatever the number of entries; nothing while there are none.
        """
        if self._overflowed:
            return Reason.STATE_STALE  # I2: what could not be kept may have named this caller
        if self._orders and self._is_shut_out(subject, now):
            return Reason.BREAK_GLASS
        return self.revocation(subject, grant, now)

    def revocation(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:
        """As `refusal`, but for what stops everybody: what of this caller and this grant themselves is revoked."""
        if self._entries:
            found = self._entries.first(_of_subject(subject), now) or (
                self._entries.first(_of_grant(grant), now) if grant is not None else None
            )
            if found is not None:
                return found
        if self._cutoffs and self._is_cut_off(subject, grant, now):
            return Reason.ISSUED_BEFORE_CUTOFF
        return None

    def take(self, change: RevocationChange) -> None:
        """Make a change; making it again changes nothing."""
        match change:
            case Revoke():
                self._entries.add(_digest(change.kind, change.value), change.expires + self._margin)
            case Restore():
                self._entries.discard(_digest(change.kind, change.value))
            case CutOff():
                place = (change.kind, change.value)
                before, until = self._cutoffs.get(place, (-math.inf, -math.inf))
                self._cutoffs[place] = (max(before, change.before), max(until, change.expires + self._margin))
            case EndCutOff():
                self._cutoffs.pop((change.kind, change.value), None)
            case DenyAllBut():
                self._orders[change.id] = change
            case EndDenyAllBut():
                self._orders.pop(change.id, None)
        if len(self) > self._max_entries or len(self._orders) > MAX_BREAK_GLASS:
            self._overflowed = True

    def sweep(self, now: float, limit: int) -> int:
        """Forget what has lapsed, having looked at about `limit` entries; answer at how many. Changes no answer."""
        for place in [place for place, (_, until) in self._cutoffs.items() if until < now]:
            del self._cutoffs[place]
        for order in [order for order in self._orders.values() if order.until + self._margin <= now]:
            del self._orders[order.id]
        return self._entries.sweep(now, limit)

    def _is_shut_out(self, subject: Subject, now: float) -> bool:
        return any(
            order.until + self._margin > now and (not subject.id or subject.id not in order.excepted)
            for order in self._orders.values()
        )

    def _is_cut_off(self, subject: Subject, grant: Grant | None, now: float) -> bool:
        issued: list[tuple[str, float]] = [
            (credential.issuer, credential.not_before)
            for credential in (subject.credential, subject.token, subject.wit)
            if credential is not None
        ]
        # Nothing tells when a hop's certificate was issued: it may have been before (I2).
        since = [(hop, -math.inf) for hop in subject.hops if hop != subject.id]
        transaction = subject.transaction
        if transaction is not None:
            issued.append((transaction.issuer, transaction.issued))
            since += [(party, transaction.issued) for party in (transaction.subject, transaction.workload)]
        if grant is not None:
            issued.append((grant.issuer, grant.issued_at))
            since += [(delegator, grant.issued_at) for delegator in grant.delegators]
        oldest = min((moment for _, moment in issued), default=math.inf)
        return (
            self._is_before(CutOffKind.EVERYBODY, "", oldest, now)
            or self._is_before(CutOffKind.PRINCIPAL, subject.id, oldest, now)
            or any(self._is_before(CutOffKind.PRINCIPAL, party, moment, now) for party, moment in since)
            or any(self._is_before(CutOffKind.ISSUER, issuer, moment, now) for issuer, moment in issued)
        )

    def _is_before(self, kind: CutOffKind, value: str, issued: float, now: float) -> bool:
        before, until = self._cutoffs.get((kind, value), (-math.inf, -math.inf))
        return issued < before and until >= now


def _of_subject(subject: Subject) -> Questions:
    credential, token, wit, transaction = subject.credential, subject.token, subject.wit, subject.transaction
    return _ask_subject(
        subject.id,
        subject.trust_domain,
        (
            credential.fingerprint if credential else "",
            token.fingerprint if token else "",
            wit.fingerprint if wit else "",
            transaction.fingerprint if transaction else "",
        ),
        transaction.task if transaction else "",
        (*subject.hops, *[hop.id for hop in subject.chain]),
    )


def _of_grant(grant: Grant) -> Questions:
    return _ask_grant(grant.id, grant.ancestors, grant.task.id, grant.delegators)


@lru_cache(_REMEMBERED)
def _ask_subject(
    principal: str, trust_domain: str, fingerprints: tuple[str, ...], task: str, parties: tuple[str, ...]
) -> Questions:
    before = dict.fromkeys(party for party in parties if party != principal)
    return (
        _question(RevocationKind.PRINCIPAL, principal),
        _question(RevocationKind.TRUST_DOMAIN, trust_domain),
        *(_question(RevocationKind.CREDENTIAL, one) for one in dict.fromkeys(fingerprints) if one),
        *(_task(task) if task else ()),
        *(question for party in before for question in _party(party)),
    )


@lru_cache(_REMEMBERED)
def _ask_grant(grant: str, ancestors: tuple[str, ...], task: str, delegators: tuple[str, ...]) -> Questions:
    return (
        *(_question(RevocationKind.GRANT, one) for one in (grant, *ancestors)),
        *_task(task),
        *(question for delegator in delegators for question in _party(delegator)),
    )


def _question(kind: RevocationKind, value: str) -> tuple[bytes, Reason]:
    return _digest(kind, value), _REASONS[kind]


def _task(task: str) -> Questions:
    return _question(RevocationKind.COMPLETED_TASK, task), _question(RevocationKind.TASK, task)


def _party(party: str) -> Iterator[tuple[bytes, Reason]]:
    yield _question(RevocationKind.PRINCIPAL, party)
    if party.startswith("spiffe://"):
        yield _question(RevocationKind.TRUST_DOMAIN, party.removeprefix("spiffe://").partition("/")[0])


def _digest(kind: RevocationKind, value: str) -> bytes:
    """What stands for an entry. The kind is part of it: a task's id is no grant's."""
    # 128 bits of a cryptographic hash: nobody finds two values with one digest, so that the set stays exact.
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16, person=kind.value.encode()).digest()
