"""Idempotency keys: what an operation answered is kept, and given again to whoever repeats it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, select

from authz.stores.database.bulk import among_pairs, insert_rows
from authz.stores.database.errors import IdempotencyError, StoreRefusal
from authz.stores.database.records import Once
from authz.stores.database.schema import idempotency
from authz.stores.database.work import Kind, Work, unfit


class Answered(msgspec.Struct, frozen=True):
    """What was kept for a key."""

    digest: str
    operation: str
    answer: Any


def kept(work: Work, asked: Sequence[Once]) -> dict[tuple[str, str], Answered]:
    """Answer what is kept for these keys and has not expired."""
    if not asked:
        return {}
    columns = idempotency.c
    these = among_pairs(work.connection, (columns.scope, columns.key), [(once.scope, once.key) for once in asked])
    query = select(idempotency).where(these, columns.expires_at > work.now)
    return {
        (row["scope"], row["key"]): Answered(row["digest"], row["operation"], row["answer"])
        for row in work.connection.execute(query).mappings()
    }


def repeat(kind: Kind[Any, Any], once: Once, found: Answered) -> Any:
    """Answer what the first request got, or the refusal of one that is not the same."""
    if found.digest != once.digest or found.operation != kind.name:
        return IdempotencyError("this idempotency key was used for another request")
    return msgspec.convert(found.answer, kind.answer)


def keep(work: Work, answered: Sequence[tuple[Once, str, Any]], max_bytes: int) -> None:
    """Keep what operations answered.

    Raises:
        StoreRefusal: an answer cannot be kept.
    """
    rows = []
    for once, operation, answer in answered:
        if isinstance(answer, StoreRefusal):
            continue  # nothing was done: asking again may well succeed
        if refusal := unfit([once, answer], max_bytes):
            raise refusal
        values = {"scope": once.scope, "key": once.key, "digest": once.digest, "operation": operation}
        rows.append(values | {"answer": answer, "created_at": work.now, "expires_at": once.expires_at})
    if rows:
        columns = idempotency.c
        these = among_pairs(work.connection, (columns.scope, columns.key), [(row["scope"], row["key"]) for row in rows])
        work.connection.execute(delete(idempotency).where(these))
        insert_rows(work.connection, idempotency, rows)
