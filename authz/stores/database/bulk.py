"""Many rows in one statement: what makes a group of operations cost little more than one."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    any_,
    cast,
    literal_column,
    text,
    tuple_,
)
from sqlalchemy.engine import Dialect

from authz.stores.database.schema import Json

Rows = Sequence[Mapping[str, Any]]
"""Rows that all have the same columns, by name."""


def among(connection: Connection, column: Column[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Answer the condition that the column holds one of these texts: one parameter, however many they are."""
    wanted = sorted(set(values))
    if connection.dialect.name == "sqlite":
        each = text("SELECT value FROM json_each(:wanted)").columns(literal_column("value", Text))
        return column.in_(each.bindparams(wanted=msgspec.json.encode(wanted).decode()))
    return column == any_(cast(wanted, ARRAY(Text)))


def among_pairs(
    connection: Connection, columns: tuple[Column[str], Column[str]], pairs: Iterable[tuple[str, str]]
) -> ColumnElement[bool]:
    """Answer the condition that two columns hold one of these pairs."""
    wanted = sorted(set(pairs))
    names = (literal_column("a", Text), literal_column("b", Text))
    if connection.dialect.name == "sqlite":
        each = text("SELECT json_extract(value, '$[0]') AS a, json_extract(value, '$[1]') AS b FROM json_each(:wanted)")
        return tuple_(*columns).in_(each.columns(*names).bindparams(wanted=msgspec.json.encode(wanted).decode()))
    rows = text("SELECT a, b FROM unnest(CAST(:firsts AS text[]), CAST(:seconds AS text[])) AS given(a, b)")
    given = {"firsts": [first for first, _ in wanted], "seconds": [second for _, second in wanted]}
    return tuple_(*columns).in_(rows.columns(*names).bindparams(**given))


def insert_rows(connection: Connection, table: Table, rows: Rows) -> None:
    """Add rows."""
    if rows:
        names = tuple(rows[0])
        _execute(connection, _insert(table, names, connection.dialect), table, names, rows)


def update_rows(connection: Connection, table: Table, key: str, rows: Rows) -> None:
    """Give each row that `key` names the other values; of a key that is not unique, all its rows."""
    if rows:
        values = tuple(name for name in rows[0] if name != key)
        _execute(connection, _update(table, key, values, connection.dialect), table, (*values, key), rows)


def _execute(connection: Connection, statement: str, table: Table, names: Sequence[str], rows: Rows) -> None:
    texts = frozenset(name for name in names if isinstance(table.c[name].type, Json))
    written = [
        {name: msgspec.json.encode(row[name]).decode() if name in texts else row[name] for name in names}
        for row in rows
    ]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(statement, [tuple(row.values()) for row in written])
    else:
        connection.exec_driver_sql(statement, {"rows": msgspec.json.encode(written).decode()})


# SQLite runs a prepared statement for each row in no time. A round trip for each row to PostgreSQL takes longer than
# all else, so the rows go there as one JSON text. (Not to SQLite: it reads numbers in JSON less than exactly.)


@lru_cache(64)
def _insert(table: Table, names: tuple[str, ...], dialect: Dialect) -> str:
    columns = ", ".join(map(dialect.identifier_preparer.quote, names))
    if dialect.name == "sqlite":
        return f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - names of ours
    return f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {_rows(table, names, dialect)}"  # noqa: S608 - likewise


@lru_cache(64)
def _update(table: Table, key: str, names: tuple[str, ...], dialect: Dialect) -> str:
    quoted = [dialect.identifier_preparer.quote(name) for name in names]
    if dialect.name == "sqlite":
        given = ", ".join(f"{name} = ?" for name in quoted)
        return f"UPDATE {table.name} SET {given} WHERE {key} = ?"  # noqa: S608 - likewise
    given = ", ".join(f"{name} = given.{name}" for name in quoted)
    rows = _rows(table, (*names, key), dialect)
    return f"UPDATE {table.name} SET {given} FROM {rows} WHERE {table.name}.{key} = given.{key}"  # noqa: S608 - likewise


def _rows(table: Table, names: Sequence[str], dialect: Dialect) -> str:
    quote = dialect.identifier_preparer.quote
    columns = ", ".join(f"{quote(name)} {table.c[name].type.compile(dialect)}" for name in names)
    return f"json_to_recordset(CAST(%(rows)s AS json)) AS given({columns})"
