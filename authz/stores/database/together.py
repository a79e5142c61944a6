"""Looking up single records, those that are asked for at about the same time in one query.

What a query costs in Python is many times what one more record in it does, and under load many callers ask at once.
"""

import asyncio
from typing import Generic, TypeVar

import msgspec
from sqlalchemy import Connection, Table, select

from authz.stores.database.bulk import among
from authz.stores.database.errors import NotFoundError
from authz.stores.database.reader import Reader
from authz.stores.database.work import read

T = TypeVar("T", bound=msgspec.Struct)

_MOST = 256
"""Records of one query."""


class Together(Generic[T]):
    """Answers records of one table by their ids. For the event loop's thread alone."""

    def __init__(self, reader: Reader, table: Table, kind: type[T]) -> None:
        self._reader = reader
        self._table = table
        self._kind = kind
        self._waiting: dict[str, asyncio.Future[T | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: str) -> T:
        """Answer the record with this id as it is at some moment from now on.

        Raises:
            NotFoundError: there is none. StoreTrouble: it could not be read in time.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
        found = await asyncio.shield(waiting)  # others may wait for it, too
        if found is None:
            raise NotFoundError(f"there is no {self._table.name.removesuffix('s').replace('_', ' ')} {key}")
        return found

    async def _read(self) -> None:
        try:
            while self._waiting:
                # Who comes while a query is under way waits for the next: this one may not see what they know of.
                asked = {key: self._waiting.pop(key) for key in list(self._waiting)[:_MOST]}
                await self._answer(asked)
        finally:
            self._reading = None

    async def _answer(self, asked: "dict[str, asyncio.Future[T | None]]") -> None:
        try:
            found = await self._reader.read(lambda connection: self._records(connection, list(asked)))
        except BaseException as error:
            for waiting in asked.values():
                if isinstance(error, Exception):
                    waiting.set_exception(error)
                    waiting.exception()  # looked at, in case that all who waited have gone
                else:
                    waiting.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for key, waiting in asked.items():
                waiting.set_result(found.get(key))

    def _records(self, connection: Connection, keys: list[str]) -> dict[str, T]:
        [column] = self._table.primary_key
        rows = connection.execute(select(self._table).where(among(connection, column, keys))).mappings()
        return {row[column.name]: read(self._kind, row) for row in rows}
