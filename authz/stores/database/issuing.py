"""Issuing grants: each belongs to a task that is open, and one that was exchanged for another lasts no longer (I7)."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import select

from authz.stores.database.bulk import among
from authz.stores.database.errors import ConflictError, EndedError, NotFoundError, StoreRefusal
from authz.stores.database.records import GrantRecord, Task
from authz.stores.database.schema import grants, tasks
from authz.stores.database.work import Kind, Work, read


class Issue(msgspec.Struct, frozen=True):
    """A grant to record, and the task to open for it unless it is there."""

    grant: GrantRecord
    task: Task | None = None


def read_grants(work: Work, ids: Iterable[str]) -> dict[str, GrantRecord]:
    """Answer those of the grants that there are."""
    rows = work.connection.execute(select(grants).where(among(work.connection, grants.c.id, ids))).mappings()
    return {row["id"]: read(GrantRecord, row) for row in rows}


def read_tasks(work: Work, ids: Iterable[str]) -> dict[str, Task]:
    """Answer those of the tasks that there are."""
    rows = work.connection.execute(select(tasks).where(among(work.connection, tasks.c.id, ids))).mappings()
    return {row["id"]: read(Task, row) for row in rows}


def _run(work: Work, asked: Sequence[Issue]) -> list[GrantRecord | StoreRefusal]:
    known = read_grants(work, [each for issue in asked for each in (issue.grant.id, *issue.grant.ancestors[:1])])
    open_tasks = read_tasks(work, [issue.grant.task_id for issue in asked])
    new_tasks: list[Task] = []
    new_grants: list[GrantRecord] = []
    results: list[GrantRecord | StoreRefusal] = []
    for issue in asked:
        grant = issue.grant
        before = known.get(grant.id)
        refusal = _already(before, grant) if before else _refusal(work, issue, open_tasks, known)
        if refusal is None and before is None:
            if grant.task_id not in open_tasks and issue.task is not None:
                open_tasks[grant.task_id] = issue.task
                new_tasks.append(issue.task)
            known[grant.id] = grant
            new_grants.append(grant)
            work.change("grant_issued", grant.id, task=grant.task_id, holder=grant.holder, expires=grant.expires_at)
        results.append(refusal or before or grant)
    work.insert(tasks, new_tasks)
    work.insert(grants, new_grants)
    return results


def _already(before: GrantRecord, grant: GrantRecord) -> StoreRefusal | None:
    """The same once more is no fault: whoever asks did not hear our answer."""
    came_to = {name: getattr(before, name) for name in ("state", "used", "ended_at", "ended_by", "revocation_id")}
    if msgspec.structs.replace(grant, **came_to) == before:
        return None
    return ConflictError(f"grant {grant.id} is there already, and is another")


def _refusal(
    work: Work, issue: Issue, open_tasks: dict[str, Task], known: dict[str, GrantRecord]
) -> StoreRefusal | None:
    grant, task = issue.grant, open_tasks.get(issue.grant.task_id)
    if task is None:
        if issue.task is None:
            return NotFoundError(f"there is no task {grant.task_id}")
        if issue.task.id != grant.task_id or issue.task.state != "open":
            return ConflictError(
                f"the task given is not the one that the grant belongs to, {grant.task_id}, or not open"
            )
        task = issue.task
    elif issue.task is not None and issue.task.owner != task.owner:
        return ConflictError(f"task {task.id} belongs to somebody else")
    if task.state != "open":
        return EndedError(f"task {task.id} is {task.state}")
    if task.ends_at is not None and grant.expires_at > task.ends_at:
        return EndedError(f"the grant would last longer than its task {task.id}")
    if grant.state != "active" or grant.used:
        return ConflictError("a grant is issued active and unused")
    if grant.ancestors and (refusal := _refusal_of_parent(work, grant, known.get(grant.ancestors[0]))):
        return refusal
    return work.unfit(grant) or (work.unfit(issue.task) if issue.task else None)


def _refusal_of_parent(work: Work, grant: GrantRecord, parent: GrantRecord | None) -> StoreRefusal | None:
    if parent is None:
        return NotFoundError(f"there is no grant {grant.ancestors[0]} to exchange")
    if parent.state != "active" or parent.expires_at <= work.now:
        return EndedError(f"grant {parent.id} is {'expired' if parent.state == 'active' else parent.state}")
    # One lock, on the task, so covers whatever ends a grant together with those that descend from it.
    if parent.task_id != grant.task_id:
        return ConflictError(f"a grant exchanged for {parent.id} belongs to the same task, {parent.task_id}")
    if grant.ancestors != (parent.id, *parent.ancestors):
        return ConflictError(f"a grant exchanged for {parent.id} has it and its ancestors as its own")
    if grant.expires_at > parent.expires_at:
        return EndedError(f"the grant would last longer than {parent.id}, for which it is exchanged")
    return None


def task_lock(task_id: str) -> str:
    """Answer the key under which a task and all its grants are begun and ended."""
    return f"task:{task_id}"


ISSUE: Kind[Issue, GrantRecord] = Kind("issue", GrantRecord, lambda issue: [task_lock(issue.grant.task_id)], _run)
