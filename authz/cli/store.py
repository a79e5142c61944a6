"""`authz store`: look after the shared state."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from authz.cli.options import base_of, config_option, read_config
from authz.config.settings import Config
from authz.stores.database.checking import Condition
from authz.stores.database.checking import check as check_store
from authz.stores.database.connect import connect, prepare
from authz.stores.database.dialect import Database
from authz.stores.database.portable import Summary, back_up
from authz.stores.database.portable import restore as restore_store
from authz.stores.database.retention import compact_all

_UNSOUND = 1
_json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def store() -> None:
    """Look after the state that replicas share: grants, revocations, keys, policy history."""


@store.command()
@config_option
@_json_option
def check(config_path: Path | None, *, as_json: bool) -> None:
    """Check that the store is sound (exit 0), or tell what is wrong (1). Nothing is changed."""
    with _database(config_path, create=False) as (_, database):
        condition = check_store(database)
    click.echo(msgspec.json.encode(condition).decode() if as_json else _told(condition))
    sys.exit(_UNSOUND if condition.problems else 0)


@store.command()
@config_option
@click.argument("file", type=click.Path(path_type=Path))
@_json_option
def backup(config_path: Path | None, file: Path, *, as_json: bool) -> None:
    """Write all that the store holds to a new FILE, while servers go on using it."""
    with _database(config_path, create=False) as (_, database):
        summary = back_up(database, file, time.time())
    _show(summary, "written to", file, as_json=as_json)


@store.command()
@config_option
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--cut-off", "issuer", default="", help="Refuse grants of this issuer that were issued before now.")
@_json_option
def restore(config_path: Path | None, file: Path, issuer: str, *, as_json: bool) -> None:
    """Fill an empty store from a backup, of this or the other kind of database.

    Revocations and completions after the backup are not in it. With --cut-off, grants issued until now by that issuer
    are refused, whatever became of them; without it, nothing but their expiry ends what was revoked since.
    """
    with _database(config_path) as (config, database):
        prepare(database, config.store)
        summary = restore_store(database, file, time.time(), issuer)
    if not issuer:
        click.echo(
            "warning: grants revoked or completed after the backup are in force again until they expire", err=True
        )
    _show(summary, "restored from", file, as_json=as_json)


@store.command()
@config_option
@_json_option
def compact(config_path: Path | None, *, as_json: bool) -> None:
    """Delete what is over for longer than [store.retention] keeps it; servers do so by themselves too."""
    with _database(config_path) as (config, database):
        prepare(database, config.store)
        counts = compact_all(database, config.store.retention, time.time())
    click.echo(msgspec.json.encode(counts).decode() if as_json else _counted("deleted", counts))


@contextlib.contextmanager
def _database(config_path: Path | None, *, create: bool = True) -> Iterator[tuple[Config, Database]]:
    config = read_config(config_path)
    database = connect(config.store, base_of(config_path), create=create)
    try:
        yield config, database
    finally:
        database.close()


def _show(summary: Summary, done: str, file: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(summary).decode())
    else:
        click.echo(
            f"{_counted('rows', summary.rows)}\n{done} {file}, as of change {summary.seq}, sha256 {summary.sha256}"
        )


def _told(condition: Condition) -> str:
    lines = [f"{condition.name}: schema {condition.schema_version}, store {condition.store_id}, change {condition.seq}"]
    lines += [_counted("rows", condition.rows)] if condition.rows else []
    lines += [f"problem: {problem}" for problem in condition.problems] or ["ok"]
    return "\n".join(lines)


def _counted(what: str, counts: dict[str, int]) -> str:
    width = max(map(len, counts), default=0)
    return "\n".join(f"{name:<{width}}  {count:>10} {what}" for name, count in counts.items())
