"""Deletes what is long over, a bounded number of rows at a time; what is in force is never touched."""

from collections.abc import Iterator

import msgspec
from sqlalchemy import ColumnElement, Table, delete, exists, func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from authz.stores.database.bulk import among
from authz.stores.database.dialect import WRITES, Database
from authz.stores.database.schema import (
    approval_uses,
    approval_votes,
    approvals,
    changes,
    grants,
    idempotency,
    marks,
    name_of,
    pending_changes,
    policy_revisions,
    replicas,
    revocations,
    sightings,
    signing_keys,
    spent,
    tasks,
    uses,
)
from authz.stores.database.seeing import IDENTITY
from authz.stores.database.settings import RetentionSettings
from authz.stores.database.work import Kind, Work, each

Counts = dict[str, int]
"""How many rows of each table were deleted."""


class Compact(msgspec.Struct, frozen=True):
    """One run of deleting."""

    settings: RetentionSettings


def compact_all(database: Database, settings: RetentionSettings, now: float) -> Counts:
    """Delete all that is long over, run by run, from outside of a server; answer how many rows of each table.

    Raises:
        StoreTrouble: the database cannot do it.
    """
    total: Counts = {}
    try:
        with database.engine.connect().execution_options(**{WRITES: True}) as connection:
            while True:
                with connection.begin():
                    database.dialect.take_locks(connection, COMPACT.locks(Compact(settings)))
                    counts = _run(Work(connection, now, 0), Compact(settings))
                total = {name: total.get(name, 0) + count for name, count in counts.items()}
                if max(counts.values()) < settings.rows_per_run:
                    return total
    except SQLAlchemyError as error:
        trouble = database.trouble(error)
        if trouble is None:
            raise
        raise trouble from None


def _run(work: Work, asked: Compact) -> Counts:
    limit = asked.settings.rows_per_run
    counts = _delete_grants(work, work.now - asked.settings.grants_seconds, limit)
    counts |= _delete_approvals(work, work.now - asked.settings.approvals_seconds, limit)
    for table, over, order in _over(work, asked.settings):
        keys = list(table.primary_key)
        some = select(*keys).where(over).order_by(order).limit(limit)
        ids = [tuple(row) for row in work.connection.execute(some)]
        if ids:
            work.connection.execute(delete(table).where(tuple_(*keys).in_(ids)))
        counts[name_of(table)] = len(ids)
    return counts


def _delete_grants(work: Work, before: float, limit: int) -> Counts:
    """Delete the grants that expired long ago; the uses of a grant first, which can be many more."""
    expired = select(grants.c.id).where(grants.c.expires_at < before).order_by(grants.c.expires_at).limit(limit)
    ids = list(work.connection.execute(expired).scalars())
    these = among(work.connection, uses.c.grant_id, ids)
    some = select(uses.c.grant_id, uses.c.decision_id).where(these).limit(limit)
    used = [tuple(row) for row in work.connection.execute(some)]
    if used:
        work.connection.execute(delete(uses).where(tuple_(uses.c.grant_id, uses.c.decision_id).in_(used)))
    unused = among(work.connection, grants.c.id, ids) & ~exists().where(uses.c.grant_id == grants.c.id)
    gone = work.connection.execute(delete(grants).where(unused)).rowcount if ids else 0
    return {name_of(uses): len(used), name_of(grants): gone}


def _delete_approvals(work: Work, before: float, limit: int) -> Counts:
    """Delete the requests for approval that were over long ago; first their uses and what was said."""
    over = select(approvals.c.id).where(approvals.c.expires_at < before, ended_before(before))
    ids = list(work.connection.execute(over.order_by(approvals.c.expires_at).limit(limit)).scalars())
    counts = {name_of(table): 0 for table in (approval_uses, approval_votes, approvals)}
    if not ids:
        return counts
    used = select(approval_uses.c.approval_id, approval_uses.c.decision_id)
    some = [
        tuple(row)
        for row in work.connection.execute(
            used.where(among(work.connection, approval_uses.c.approval_id, ids)).limit(limit)
        )
    ]
    if some:
        pair = tuple_(approval_uses.c.approval_id, approval_uses.c.decision_id)
        work.connection.execute(delete(approval_uses).where(pair.in_(some)))
    unused = ~exists().where(approval_uses.c.approval_id == approvals.c.id)
    free = select(approvals.c.id).where(among(work.connection, approvals.c.id, ids), unused)
    gone = list(work.connection.execute(free).scalars())
    counts[name_of(approval_uses)] = len(some)
    if gone:
        votes = delete(approval_votes).where(among(work.connection, approval_votes.c.approval_id, gone))
        counts[name_of(approval_votes)] = work.connection.execute(votes).rowcount
        theirs = delete(approvals).where(among(work.connection, approvals.c.id, gone))
        counts[name_of(approvals)] = work.connection.execute(theirs).rowcount
    return counts


def ended_before(before: float) -> ColumnElement[bool]:
    """The condition that a request that somebody or something ended was ended by then."""
    return approvals.c.ended_at.is_(None) | (approvals.c.ended_at < before)


def _over(work: Work, settings: RetentionSettings) -> Iterator[tuple[Table, ColumnElement[bool], ColumnElement[float]]]:
    now = work.now
    before = now - settings.grants_seconds
    empty = ~exists().where(grants.c.task_id == tasks.c.id)
    # A task that nobody completed is over once its last grant was deleted, if it is old enough itself.
    old = (tasks.c.ended_at < before) | (tasks.c.ended_at.is_(None) & (tasks.c.created_at < before))
    still = tasks.c.ends_at.is_(None) | (tasks.c.ends_at < before) | tasks.c.ended_at.is_not(None)
    yield tasks, empty & old & still, tasks.c.created_at
    gone = (revocations.c.expires_at < before) | (revocations.c.undone_at < before)
    yield revocations, gone, revocations.c.created_at
    yield idempotency, idempotency.c.expires_at < now, idempotency.c.expires_at
    yield signing_keys, signing_keys.c.expires_at < before, signing_keys.c.expires_at
    yield changes, changes.c.at < now - settings.changes_seconds, changes.c.seq
    seen = sightings.c
    watched = (seen.kind != IDENTITY) & (seen.last_seen < now - settings.sightings_seconds)
    known = (seen.kind == IDENTITY) & (seen.last_seen < now - settings.identities_seconds)
    yield sightings, watched | known, seen.last_seen
    yield pending_changes, pending_changes.c.expires_at < now, pending_changes.c.expires_at
    newest = select(func.max(policy_revisions.c.number)).scalar_subquery()
    stale = policy_revisions.c.number <= newest - settings.policies_revisions
    aged = policy_revisions.c.applied_at < now - settings.policies_seconds
    yield policy_revisions, stale & aged, policy_revisions.c.number
    yield spent, spent.c.until < now, spent.c.until
    yield marks, marks.c.until < now, marks.c.until
    yield replicas, replicas.c.last_seen < now - settings.replicas_seconds, replicas.c.last_seen


COMPACT: Kind[Compact, Counts] = Kind("compact", Counts, lambda _: ["compact"], each(_run))
