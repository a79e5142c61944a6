"""Looking things up, and listing them page by page: newest first, at most so many at a time."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Select, Table, select, tuple_

from authz.approvals.approval import Approval, State
from authz.stores.database.errors import ConflictError, NotFoundError
from authz.stores.database.records import (
    BreakGlass,
    GrantRecord,
    GrantState,
    PolicyRevision,
    Replica,
    Revocation,
    RevocationKind,
    SigningKey,
    Task,
    TaskState,
)
from authz.stores.database.schema import (
    approvals,
    break_glass,
    grants,
    policy_revisions,
    replicas,
    revocations,
    signing_keys,
    tasks,
)
from authz.stores.database.work import read

T = TypeVar("T", bound=msgspec.Struct)

MAX_PAGE = 1_000
"""Most that one page holds."""


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """One page."""

    items: tuple[T, ...]
    next_page: str
    """Asks for the page after this one; empty: there is none."""


class Page(msgspec.Struct, frozen=True):
    """Which page is asked for: the one that `next_page` of the last one named, and how many at most."""

    place: str = ""
    size: int = 100


class GrantFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which grants; what is empty does not matter."""

    holder: str = ""
    task_id: str = ""
    issued_to: str = ""
    state: GrantState | None = None
    expires_after: float | None = None


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks; what is empty does not matter."""

    owner: str = ""
    state: TaskState | None = None


class RevocationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which revocations; what is empty does not matter."""

    kind: RevocationKind | None = None
    value: str = ""
    author: str = ""
    in_force_at: float | None = None
    """Only those in force at this moment; None: those that are over too."""


class ApprovalFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests for approval; what is empty does not matter."""

    state: State | None = None
    principal: str = ""
    task_id: str = ""
    group: str = ""
    """That this group decides."""


def one(connection: Connection, kind: type[T], table: Table, key: str | int) -> T:
    """Answer the record with this id.

    Raises:
        NotFoundError: there is none.
    """
    [column] = table.primary_key
    row = connection.execute(select(table).where(column == key)).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no {table.name.removesuffix('s').replace('_', ' ')} {key}")
    return read(kind, row)


def list_grants(connection: Connection, wanted: GrantFilter, page: Page) -> Listed[GrantRecord]:
    """Answer grants, the last issued first."""
    columns = grants.c
    query = _equal(select(grants), grants, wanted, ("holder", "task_id", "issued_to", "state"))
    if wanted.expires_after is not None:
        query = query.where(columns.expires_at > wanted.expires_after)
    return _page(connection, GrantRecord, query, (columns.issued_at, columns.id), page)


def list_tasks(connection: Connection, wanted: TaskFilter, page: Page) -> Listed[Task]:
    """Answer tasks, the last opened first."""
    query = _equal(select(tasks), tasks, wanted, ("owner", "state"))
    return _page(connection, Task, query, (tasks.c.created_at, tasks.c.id), page)


def list_revocations(connection: Connection, wanted: RevocationFilter, page: Page) -> Listed[Revocation]:
    """Answer revocations, the last made first."""
    columns = revocations.c
    query = _equal(select(revocations), revocations, wanted, ("kind", "value", "author"))
    if wanted.in_force_at is not None:
        current = columns.expires_at.is_(None) | (columns.expires_at > wanted.in_force_at)
        query = query.where(columns.undone_at.is_(None), current)
    return _page(connection, Revocation, query, (columns.created_at, columns.id), page)


def list_approvals(connection: Connection, wanted: ApprovalFilter, page: Page, now: float) -> Listed[Approval]:
    """Answer requests for approval, the last opened first."""
    columns = approvals.c
    query = _equal(select(approvals), approvals, wanted, ("principal", "task_id"))
    if wanted.group:
        query = query.where(columns.groups.contains(f",{wanted.group},", autoescape=True))
    if wanted.state is not None:
        query = query.where(in_state(wanted.state, now))
    return _page(connection, Approval, query, (columns.opened_at, columns.id), page, narrow=columns.id)


def in_state(state: State, now: float) -> ColumnElement[bool]:
    """Answer the condition that a request is in a state; to have expired is a matter of the time alone."""
    columns = approvals.c
    if state == "expired":
        return columns.state.in_(("open", "approved")) & (columns.expires_at <= now)
    if state in {"open", "approved"}:
        return (columns.state == state) & (columns.expires_at > now)
    return columns.state == state


def list_policies(connection: Connection, page: Page) -> Listed[PolicyRevision]:
    """Answer policy revisions, the newest first."""
    columns = policy_revisions.c
    return _page(connection, PolicyRevision, select(policy_revisions), (columns.applied_at, columns.number), page)


def list_break_glass(connection: Connection, page: Page) -> Listed[BreakGlass]:
    """Answer each time that break-glass was used, the last first."""
    columns = break_glass.c
    return _page(connection, BreakGlass, select(break_glass), (columns.started_at, columns.id), page)


def list_keys(connection: Connection, now: float) -> Sequence[SigningKey]:
    """Answer the signing keys that are not over, the oldest first."""
    query = select(signing_keys).where(signing_keys.c.expires_at > now)
    rows = connection.execute(query.order_by(signing_keys.c.not_before, signing_keys.c.kid)).mappings()
    return [read(SigningKey, row) for row in rows]


def list_replicas(connection: Connection) -> Sequence[Replica]:
    """Answer every replica that has reported itself lately."""
    rows = connection.execute(select(replicas).order_by(replicas.c.host, replicas.c.id)).mappings()
    return [read(Replica, row) for row in rows]


def _equal(query: Select[Any], table: Table, wanted: msgspec.Struct, names: Sequence[str]) -> Select[Any]:
    for name in names:
        value = getattr(wanted, name)
        if value:
            query = query.where(table.c[name] == value)
    return query


def _page(  # noqa: PLR0913, PLR0917 - a page of anything
    connection: Connection,
    kind: type[T],
    query: Select[Any],
    order: Sequence[ColumnElement[Any]],
    asked: Page,
    narrow: Column[Any] | None = None,
) -> Listed[T]:
    """Answer the rows after the place that the page names: rows that come meanwhile shift nothing.

    `narrow`: the key, where rows are wide: thousands of keys are sorted in the time of a few rows.
    """
    size = max(1, min(asked.size, MAX_PAGE))
    if asked.place:
        query = query.where(tuple_(*order) < tuple_(*_place(asked.place)))
    ordered = query.order_by(*(column.desc() for column in order)).limit(size + 1)
    if narrow is not None:
        keys = ordered.with_only_columns(narrow)
        ordered = select(narrow.table).where(narrow.in_(keys)).order_by(*(column.desc() for column in order))
    rows = connection.execute(ordered).mappings().all()
    more = rows[size - 1] if len(rows) > size else None
    names = [str(column.key) for column in order]
    return Listed(
        tuple(read(kind, row) for row in rows[:size]),
        msgspec.json.encode([more[name] for name in names]).hex() if more else "",
    )


def _place(page: str) -> tuple[float, str | int]:
    try:
        return msgspec.json.decode(bytes.fromhex(page), type=tuple[float, str | int])
    except (ValueError, msgspec.DecodeError):
        raise ConflictError("this page does not come from a list of ours") from None
