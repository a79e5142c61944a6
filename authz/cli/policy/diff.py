"""`authz policy diff` and `authz policy replay`: which decisions change before a policy ships."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from authz.authoring import case_files
from authz.authoring.changes import in_words
from authz.authoring.compare import Comparer, Comparison
from authz.authoring.past_calls import Lines, read_log
from authz.authoring.samples import Space, samples
from authz.authoring.sides import Base, Side, opened
from authz.cli.options import base_of, config_option, read_config
from authz.cli.policy.trying import config_file, load
from authz.config.settings import Config
from authz.errors import ConfigError

_DIFFERS = 1
_AUDIT = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("old")
@click.argument("new")
@config_option
@click.option("--cases", "-t", multiple=True, type=click.Path(exists=True, path_type=Path), help="Files of test cases.")
@click.option(
    "--samples", "count", type=click.IntRange(0, 1_000_000), default=2000, show_default=True, help="Made-up requests."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which made-up requests.")
@click.option(
    "--audit", multiple=True, type=_AUDIT, help='An audit log whose calls are asked again; "-": standard input.'
)
@click.option("--no-cases", is_flag=True, help="Leave out the test cases beside the new policy.")
@click.option("--fail-on-gain", is_flag=True, help="Exit 1 only if something becomes allowed.")
@click.option("--all", "everything", is_flag=True, help="Show denials for another reason, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def diff(  # noqa: PLR0913, PLR0917 - one parameter for each option
    old: str,
    new: str,
    config_path: Path | None,
    cases: tuple[Path, ...],
    count: int,
    seed: int,
    audit: tuple[Path, ...],
    *,
    no_cases: bool,
    fail_on_gain: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Compare two policies: nothing differs (exit 0), something does (1), they could not be compared (2).

    OLD and NEW are each a configuration file, a directory with policy files (with an authz.toml, or for that of
    --config), one policy file, or any of these in a git revision: HEAD~1:policies. Both are asked the test cases beside
    the new policy (or --cases), requests made up of what the policies, inventory and catalogue mention, and the calls
    of audit logs.
    """
    base = _base(config_path)
    with opened(old, base, _load) as before, opened(new, base, _load) as after:
        comparer = Comparer(after, before, time.time())
        beside = [] if no_cases else case_files.beside(after.config.policy, after.base)
        for case in case_files.read_all(case_files.named(cases) if cases else beside):
            comparer.case(case)
        for sample in samples(Space((before, after)), count, seed) if count else ():
            comparer.sample(sample)
        told = _calls(comparer, audit)
        found = comparer.result(told.unreadable)
    _tell(found, everything=everything, as_json=as_json)
    sys.exit(_DIFFERS if (found.gains if fail_on_gain else found.differs) else 0)


@click.command()
@click.argument("audit_log", nargs=-1, required=True, type=_AUDIT)
@config_option
@click.option("--fail-on-gain", is_flag=True, help="Exit 1 only if something becomes allowed.")
@click.option("--all", "everything", is_flag=True, help="Show denials for another reason, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def replay(
    audit_log: tuple[Path, ...],
    config_path: Path | None,
    *,
    fail_on_gain: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Decide recorded calls again: all as on record (exit 0), some not (1), they could not be decided (2).

    Calls whose decision rests on what the record does not hold are not compared; the missing attribute is named.
    """
    config, base = load(config_path)
    side = Side(str(config_file(config_path) or "."), config, base, "")
    comparer = Comparer(side, None, time.time())
    told = _calls(comparer, audit_log)
    found = comparer.result(told.unreadable)
    _tell(found, everything=everything, as_json=as_json)
    sys.exit(_DIFFERS if (found.gains if fail_on_gain else found.differs) else 0)


def _base(config_path: Path | None) -> Base:
    file = config_file(config_path)
    return load(file) if file is not None else None


def _load(path: Path) -> tuple[Config, Path]:
    return read_config(path), base_of(path)


def _calls(comparer: Comparer, logs: Iterable[Path]) -> Lines:
    told = Lines()
    for path in logs:
        with _reading(path) as file:
            for place, record in read_log(file, "-" if str(path) == "-" else case_files.shown(path), told):
                comparer.call(place, record)
    return told


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


def _tell(found: Comparison, *, everything: bool, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    shown = [group for group in found.changes if everything or group.kind.counts]
    for line in in_words(shown):
        click.echo(line)
    if found.uncertain:
        click.echo(f"not comparable: {sum(each.count for each in found.uncertain)} calls")
        for each in found.uncertain:
            click.echo(f"  {each.count} x {each.missing}, such as {each.examples[0]}")
        click.echo()
    for place in found.unreadable:
        click.echo(f"warning: {place}: not a record", err=True)
    asked = ", ".join(f"{count} {origin}s" for origin, count in found.asked.items()) or "nothing"
    changed = sum(group.count for group in found.changes if group.kind.counts)
    click.echo(f"{changed or 'no'} decisions change, of {asked}")
