"""Revoking, and undoing it: what a revocation covers at once is marked, so that lists show it."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, or_, select, update

from authz.stores.database.bulk import among
from authz.stores.database.completing import last_expiry
from authz.stores.database.errors import ConflictError, NotFoundError
from authz.stores.database.issuing import read_grants, read_tasks, task_lock
from authz.stores.database.records import GrantRecord, Revocation, Task
from authz.stores.database.schema import grants, revocations, tasks
from authz.stores.database.work import Kind, Work, each, read


class Revoke(msgspec.Struct, frozen=True):
    """A revocation to record; `task_id`: of the task that it concerns, if it concerns one."""

    revocation: Revocation
    task_id: str = ""


class Undo(msgspec.Struct, frozen=True):
    """A revocation to take back."""

    revocation_id: str
    by: str
    reason: str
    task_id: str = ""


_UNDOING = ("undone_at", "undone_by", "undo_reason")


def task_concerned(connection: Connection, revocation_id: str, kind: str, value: str) -> str:
    """Answer the task whose grants a revocation touches, by its id or by what it is about; "": none that is known."""
    if not kind:
        row = connection.execute(select(revocations).where(revocations.c.id == revocation_id)).mappings().first()
        kind, value = (row["kind"], row["value"]) if row else ("", "")
    if kind == "task":
        return value
    if kind != "grant":
        return ""
    return connection.execute(select(grants.c.task_id).where(grants.c.id == value)).scalar() or ""


def _revoke(work: Work, asked: Revoke) -> Revocation:
    revocation = asked.revocation
    before = _read_revocation(work, revocation.id)
    if before is not None:
        came_to = {name: getattr(before, name) for name in ("created_at", "expires_at", *_UNDOING)}
        if msgspec.structs.replace(revocation, **came_to) == before:
            return before
        raise ConflictError(f"revocation {revocation.id} is there already, and is another")
    if (revocation.kind == "issued_before") != bool(revocation.cut_off and revocation.before is not None):
        raise ConflictError("a moment, and whose credentials are meant, belong to issued_before, and to nothing else")
    if refusal := work.unfit(revocation):
        raise refusal
    if revocation.kind == "grant" and (grant := read_grants(work, [revocation.value]).get(revocation.value)):
        revocation = msgspec.structs.replace(revocation, expires_at=grant.expires_at)
        _mark(work, revocation, _descendants(_of_task(work, grant.task_id), frozenset({grant.id})))
    if revocation.kind == "task" and (task := read_tasks(work, [revocation.value]).get(revocation.value)):
        until = last_expiry(work, [task.id]).get(task.id)
        revocation = msgspec.structs.replace(revocation, expires_at=until if until is not None else work.now)
        _mark_task(work, revocation, task, until)
    work.insert(revocations, [revocation])
    work.change("revoked", revocation.id, revocation=msgspec.to_builtins(revocation))
    return revocation


def _mark_task(work: Work, revocation: Revocation, task: Task, until: float | None) -> None:
    if task.state == "open":
        end = {"state": "revoked", "ended_at": work.now, "ended_by": revocation.author}
        values = end | {"grants_expire_at": until, "revocation_id": revocation.id}
        work.connection.execute(update(tasks).where(tasks.c.id == task.id).values(values))
        work.change("task_revoked", task.id, until=until)
    _mark(work, revocation, _of_task(work, task.id))


def _mark(work: Work, revocation: Revocation, found: Sequence[GrantRecord]) -> None:
    active = [grant for grant in found if grant.state == "active"]
    if not active:
        return
    values = {"state": "revoked", "ended_at": work.now, "ended_by": revocation.author, "revocation_id": revocation.id}
    these = among(work.connection, grants.c.id, [grant.id for grant in active])
    work.connection.execute(update(grants).where(these).values(values))
    for grant in active:
        work.change("grant_ended", grant.id, until=grant.expires_at)


def _undo(work: Work, asked: Undo) -> Revocation:
    revocation = _read_revocation(work, asked.revocation_id)
    if revocation is None:
        raise NotFoundError(f"there is no revocation {asked.revocation_id}")
    if revocation.undone_at is not None:
        return revocation
    undone = {"undone_at": work.now, "undone_by": asked.by, "undo_reason": asked.reason}
    revocation = msgspec.structs.replace(revocation, **undone)
    if refusal := work.unfit(revocation):
        raise refusal
    work.connection.execute(update(revocations).where(revocations.c.id == revocation.id).values(undone))
    work.change("revocation_undone", revocation.id, revocation=msgspec.to_builtins(revocation))
    for other in _same(work, revocation):
        work.change("revoked", other.id, revocation=msgspec.to_builtins(other))  # still in force: told once more
    if asked.task_id:
        _restore(work, revocation, asked.task_id)
    return revocation


def _restore(work: Work, undone: Revocation, task_id: str) -> None:
    """Bring back what only this revocation had ended; what another one covers stays as it is."""
    task = read_tasks(work, [task_id]).get(task_id)
    found = _of_task(work, task_id)
    if task is None:
        return
    others = _others(work, task_id, [grant.id for grant in found])
    if task.revocation_id == undone.id:
        cover = next((each for each in others if each.kind == "task"), None)
        restored = {"state": "open", "ended_at": None, "ended_by": "", "grants_expire_at": None, "revocation_id": ""}
        values = {"revocation_id": cover.id} if cover else restored
        work.connection.execute(update(tasks).where(tasks.c.id == task_id).values(values))
        task = msgspec.structs.replace(task, **values)
        if not cover:
            work.change("task_restored", task_id)
    covered = {
        grant.id: each.id
        for each in others
        if each.kind == "grant"
        for grant in _descendants(found, frozenset({each.value}))
    }
    for grant in found:
        if grant.revocation_id == undone.id:
            _restore_grant(work, grant, task, covered.get(grant.id, ""))


def _restore_grant(work: Work, grant: GrantRecord, task: Task, cover: str) -> None:
    values: dict[str, object]
    if task.state == "revoked" or cover:
        values = {"revocation_id": cover or task.revocation_id}
    elif task.state == "completed":
        values = {"state": "completed", "ended_at": task.ended_at, "ended_by": task.ended_by, "revocation_id": ""}
    else:
        values = {"state": "active", "ended_at": None, "ended_by": "", "revocation_id": ""}
        work.change("grant_restored", grant.id)
    work.connection.execute(update(grants).where(grants.c.id == grant.id).values(values))


def _read_revocation(work: Work, revocation_id: str) -> Revocation | None:
    row = work.connection.execute(select(revocations).where(revocations.c.id == revocation_id)).mappings().first()
    return read(Revocation, row) if row else None


def _same(work: Work, undone: Revocation) -> list[Revocation]:
    """Answer other revocations in force of the same."""
    columns = revocations.c
    same = (columns.kind == undone.kind) & (columns.value == undone.value) & (columns.cut_off == undone.cut_off)
    query = select(revocations).where(same, columns.undone_at.is_(None))
    found = [read(Revocation, row) for row in work.connection.execute(query).mappings()]
    return [other for other in found if other.in_force(work.now)]


def _of_task(work: Work, task_id: str) -> list[GrantRecord]:
    rows = work.connection.execute(select(grants).where(grants.c.task_id == task_id)).mappings()
    return [read(GrantRecord, row) for row in rows]


def _others(work: Work, task_id: str, grant_ids: Sequence[str]) -> list[Revocation]:
    """Answer the revocations in force of this task and these grants."""
    of_task = (revocations.c.kind == "task") & (revocations.c.value == task_id)
    of_grants = (revocations.c.kind == "grant") & among(work.connection, revocations.c.value, grant_ids)
    query = select(revocations).where(or_(of_task, of_grants), revocations.c.undone_at.is_(None))
    return [read(Revocation, row) for row in work.connection.execute(query).mappings()]


def _descendants(found: Sequence[GrantRecord], roots: frozenset[str]) -> list[GrantRecord]:
    """Answer the grants that are among the roots or derived from one that is."""
    return [grant for grant in found if grant.id in roots or not roots.isdisjoint(grant.ancestors)]


def _locks(asked: Revoke | Undo) -> list[str]:
    about = asked.revocation.id if isinstance(asked, Revoke) else asked.revocation_id
    return [f"revocation:{about}", *([task_lock(asked.task_id)] if asked.task_id else [])]


REVOKE: Kind[Revoke, Revocation] = Kind("revoke", Revocation, _locks, each(_revoke))
UNDO: Kind[Undo, Revocation] = Kind("undo", Revocation, _locks, each(_undo))
