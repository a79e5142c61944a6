"""What the operations of one transaction share: the connection, the moment, and the changes that they announce."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, Table, update

from authz.stores.database.bulk import insert_rows
from authz.stores.database.errors import StoreRefusal, TooLargeError, UnfitError
from authz.stores.database.records import Change, ChangeKind, Once
from authz.stores.database.schema import changes, counters

P = TypeVar("P")
R = TypeVar("R")
_S = TypeVar("_S", bound=msgspec.Struct)

_NUL = b"\\u0000"
"""As JSON writes it; an escaped backslash before it only makes us refuse what could be kept."""


class Work:
    """One transaction under way."""

    def __init__(self, connection: Connection, now: float, max_record_bytes: int) -> None:
        self.connection = connection
        self.now = now
        self._max_record_bytes = max_record_bytes
        self._changes: list[tuple[ChangeKind, str, dict[str, Any]]] = []

    def change(self, kind: ChangeKind, about: str, **data: Any) -> None:
        """Have a change announced with this transaction."""
        self._changes.append((kind, about, data))

    def attempt(self, act: Callable[[], R], keep: Callable[[R], bool]) -> R:
        """Do something, and take it back, with the changes that it announced, if it raises or is not to be kept."""
        announced = len(self._changes)
        savepoint = self.connection.begin_nested()
        kept = False
        try:
            answer = act()
            kept = keep(answer)
        finally:
            if kept:
                savepoint.commit()
            else:
                savepoint.rollback()
                del self._changes[announced:]
        return answer

    def insert(self, table: Table, records: Sequence[msgspec.Struct]) -> None:
        """Add rows."""
        insert_rows(self.connection, table, [msgspec.structs.asdict(record) for record in records])

    def number_changes(self) -> list[Change]:
        """Give the changes their numbers and add them. Only the commit may follow: see `counters` in schema.py."""
        if not self._changes:
            return []
        grown = update(counters).where(counters.c.name == "changes").values(value=counters.c.value + len(self._changes))
        last = int(self.connection.execute(grown.returning(counters.c.value)).scalar_one())
        first = last - len(self._changes) + 1
        numbered = [
            Change(seq=seq, at=self.now, kind=kind, about=about, data=data)
            for seq, (kind, about, data) in enumerate(self._changes, first)
        ]
        self.insert(changes, numbered)
        return numbered

    def unfit(self, record: msgspec.Struct, max_bytes: int = 0) -> StoreRefusal | None:
        """Answer why a record cannot be stored: it is too large (I12), or holds what PostgreSQL cannot keep."""
        return unfit(record, *((max_bytes, "max_policy_bytes") if max_bytes else (self._max_record_bytes,)))


def unfit(record: Any, max_bytes: int, setting: str = "max_record_bytes") -> StoreRefusal | None:
    """Answer why something cannot be stored."""
    written = msgspec.json.encode(record)
    if len(written) > max_bytes:
        return TooLargeError(f"{len(written)} bytes are more than store.{setting} ({max_bytes})")
    if _NUL in written:
        return UnfitError("a NUL character cannot be stored")
    return None


class Kind(Generic[P, R]):
    """A kind of operation: what it locks, and how many of it are done together.

    `run` answers one result for each payload, in order. A refusal is an answer like any other, given before that
    payload has changed anything; what it raises undoes the whole transaction.
    """

    __slots__ = ("answer", "locks", "name", "run")

    def __init__(
        self,
        name: str,
        answer: Any,
        locks: Callable[[P], Sequence[str]],
        run: Callable[[Work, Sequence[P]], Sequence[R | StoreRefusal]],
    ) -> None:
        """`answer`: the type of its results, to read one back that was kept for an idempotency key."""
        self.name = name
        self.answer = answer
        self.locks = locks
        self.run = run


class Do(Protocol):
    """Has the one that writes do an operation, as `Store` does."""

    async def __call__(self, kind: Kind[P, R], payload: P, once: Once | None) -> R:
        """Answer what came of it, or raise StoreError."""


class Read(Protocol):
    """Reads in one transaction of one moment, as `Store` does."""

    async def __call__(self, query: Callable[[Connection], R]) -> R:
        """Answer what the query does, or raise StoreError."""


def each(single: Callable[[Work, P], R]) -> Callable[[Work, Sequence[P]], Sequence[R | StoreRefusal]]:
    """Do one after the other what nobody does often. `single` raises a refusal before it has changed anything."""

    def run(work: Work, payloads: Sequence[P]) -> list[R | StoreRefusal]:
        results: list[R | StoreRefusal] = []
        for payload in payloads:
            try:
                results.append(single(work, payload))
            except StoreRefusal as refusal:
                results.append(refusal)
        return results

    return run


def read(kind: type[_S], row: RowMapping) -> _S:
    """Answer the record of a row."""
    return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind)
