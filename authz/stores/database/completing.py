"""Completing tasks: when a task ends, all its grants do."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import func, select

from authz.stores.database.bulk import among, update_rows
from authz.stores.database.errors import NotFoundError, StoreRefusal
from authz.stores.database.issuing import read_tasks, task_lock
from authz.stores.database.records import Task
from authz.stores.database.schema import grants, tasks
from authz.stores.database.work import Kind, Work


class Complete(msgspec.Struct, frozen=True):
    """A task to end, and who says so."""

    task_id: str
    by: str


def last_expiry(work: Work, task_ids: Sequence[str]) -> dict[str, float]:
    """Answer when the last grant of each task expires; a task without grants is not in it."""
    latest = select(grants.c.task_id, func.max(grants.c.expires_at)).where(
        among(work.connection, grants.c.task_id, task_ids)
    )
    rows = work.connection.execute(latest.group_by(grants.c.task_id))
    return {row[0]: row[1] for row in rows}


def _run(work: Work, asked: Sequence[Complete]) -> list[Task | StoreRefusal]:
    ids = [complete.task_id for complete in asked]
    known = read_tasks(work, ids)
    expiries = last_expiry(work, ids)
    ended: dict[str, Task] = {}
    results: list[Task | StoreRefusal] = []
    for complete in asked:
        task = known.get(complete.task_id)
        if task is None:
            results.append(NotFoundError(f"there is no task {complete.task_id}"))
            continue
        if task.state == "open":
            until = expiries.get(task.id)
            task = known[task.id] = ended[task.id] = msgspec.structs.replace(
                task, state="completed", ended_at=work.now, ended_by=complete.by, grants_expire_at=until
            )
            work.change("task_completed", task.id, until=until)
        results.append(task)
    _end(work, list(ended.values()))
    return results


def _end(work: Work, ended: Sequence[Task]) -> None:
    update_rows(
        work.connection,
        tasks,
        "id",
        [
            {
                "id": task.id,
                "state": task.state,
                "ended_at": task.ended_at,
                "ended_by": task.ended_by,
                "grants_expire_at": task.grants_expire_at,
            }
            for task in ended
        ],
    )
    active = select(grants.c.task_id, grants.c.id).where(
        among(work.connection, grants.c.task_id, [task.id for task in ended]), grants.c.state == "active"
    )
    by = {task.id: task.ended_by for task in ended}
    update_rows(
        work.connection,
        grants,
        "id",
        [
            {"id": grant_id, "state": "completed", "ended_at": work.now, "ended_by": by[task_id]}
            for task_id, grant_id in (work.connection.execute(active) if ended else ())
        ],
    )


COMPLETE: Kind[Complete, Task] = Kind("complete", Task, lambda complete: [task_lock(complete.task_id)], _run)
