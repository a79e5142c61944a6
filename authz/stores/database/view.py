"""Reading everything that a replica must know to refuse what is over, at one moment."""

from collections.abc import Callable, Iterator

from sqlalchemy import Connection, select

from authz.stores.database.changes import read_head
from authz.stores.database.records import EXPIRY_MARGIN_SECONDS, CompletedTask, Revocation, UsedUpGrant, View
from authz.stores.database.schema import grants, revocations, tasks
from authz.stores.database.switches import break_glass_in_force, policy_number
from authz.stores.database.work import read

_AT_ONCE = 1_000


Over = Revocation | CompletedTask | UsedUpGrant
Begin = Callable[[], Callable[[Over], None]]
"""Called when reading begins, and again when it has to begin anew; its answer is given the records one by one."""


def read_view(connection: Connection, now: float, begin: Begin | None = None) -> View:
    """Answer the view; the transaction must read one moment. `begin`: its answer is given the records instead."""
    store_id, seq = read_head(connection)
    each = begin() if begin is not None else None
    if each is not None:
        for found in (_revocations, _tasks, _used_up):
            for record in found(connection, now):
                each(record)
    return View(
        store_id=store_id,
        seq=seq,
        revocations=() if each else tuple(_revocations(connection, now)),
        completed=() if each else tuple(_tasks(connection, now)),
        used_up=() if each else tuple(_used_up(connection, now)),
        break_glass=break_glass_in_force(connection, now),
        policy_revision=policy_number(connection),
    )


def _revocations(connection: Connection, now: float) -> Iterator[Revocation]:
    columns = revocations.c
    current = columns.expires_at.is_(None) | (columns.expires_at > now - EXPIRY_MARGIN_SECONDS)
    query = select(revocations).where(columns.undone_at.is_(None), current)
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(query).mappings():
        yield read(Revocation, row)


def _tasks(connection: Connection, now: float) -> Iterator[CompletedTask]:
    columns = tasks.c
    over = (columns.state == "completed") & (columns.grants_expire_at > now - EXPIRY_MARGIN_SECONDS)
    query = select(columns.id, columns.grants_expire_at).where(over)
    for task_id, until in connection.execution_options(yield_per=_AT_ONCE).execute(query):
        yield CompletedTask(id=task_id, until=until)


def _used_up(connection: Connection, now: float) -> Iterator[UsedUpGrant]:
    columns = grants.c
    spent = (columns.max_uses > 0) & (columns.used >= columns.max_uses)
    query = select(columns.id, columns.expires_at).where(columns.expires_at > now - EXPIRY_MARGIN_SECONDS, spent)
    for grant_id, until in connection.execution_options(yield_per=_AT_ONCE).execute(query):
        yield UsedUpGrant(id=grant_id, until=until)
