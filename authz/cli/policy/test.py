"""`authz policy test`: does the policy decide as its authors say?"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from authz.authoring import case_files, reports
from authz.authoring.parallel import jobs_for, run_cases
from authz.authoring.schema import json_schema
from authz.authoring.verify import CaseResult, Verifier
from authz.authoring.watch import again_and_again
from authz.cli.options import config_option
from authz.cli.policy.trying import config_file, dry_run, load
from authz.composition import Composition
from authz.errors import ConfigError
from authz.policy.analysis import timed
from authz.policy.coverage import Coverage

_FAILED = 1
_WAIT_SECONDS = 0.3


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """What was asked for on the command line."""

    paths: tuple[Path, ...]
    config_path: Path | None
    jobs: int
    coverage: bool
    coverage_json: Path | None
    min_coverage: float | None
    junit: Path | None
    name: str
    as_json: bool

    @property
    def wants_coverage(self) -> bool:
        return self.coverage or self.coverage_json is not None or self.min_coverage is not None


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@config_option
@click.option("--jobs", "-j", type=click.IntRange(0, 256), default=0, help="Processes; 0: as many as are worth it.")
@click.option("--coverage", is_flag=True, help="Say which rules, and which ways of their conditions, were not tried.")
@click.option("--coverage-json", type=click.Path(dir_okay=False, path_type=Path), help="Write the coverage there.")
@click.option("--min-coverage", type=click.FloatRange(0, 100), help="Fail below so many percent of rules or ways.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the results there as JUnit XML.")
@click.option("--only", "name", default="", help="Run the cases whose name holds this text.")
@click.option("--watch", is_flag=True, help="Run again whenever the policy, what it reads, or the cases change.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of files of cases, and do nothing else.")
def test(  # noqa: PLR0913, PLR0917 - one parameter for each option
    paths: tuple[Path, ...],
    config_path: Path | None,
    jobs: int,
    coverage_json: Path | None,
    min_coverage: float | None,
    junit: Path | None,
    name: str,
    *,
    coverage: bool,
    watch: bool,
    as_json: bool,
    schema: bool,
) -> None:
    """Run test cases: all pass (exit 0), some do not or coverage is too low (1), they could not be run (2).

    PATHS are files of cases, or directories that hold some; without any, `*_test.yaml` and `tests/*.yaml` beside the
    policy files count. docs/policy-testing.md tells how to write them.
    """
    if schema:
        click.echo(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode())
        return
    wish = _Wish(
        paths=paths,
        config_path=config_path,
        jobs=jobs,
        coverage=coverage,
        coverage_json=coverage_json,
        min_coverage=min_coverage,
        junit=junit,
        name=name,
        as_json=as_json,
    )
    if watch:
        tell = click.echo
        again_and_again(
            lambda: _again(wish), lambda: _watched(wish), _wait, time.time, lambda text: tell(text, err=True)
        )
    elif not _run(wish):
        sys.exit(_FAILED)


def _wait() -> None:
    time.sleep(_WAIT_SECONDS)


def _again(wish: _Wish) -> None:
    click.echo(f"--- {time.strftime('%H:%M:%S')}")
    _run(wish)


def _watched(wish: _Wish) -> Iterator[Path]:
    """Name what a run depends on: configuration, policy, inventory, catalogue, cases and where new ones would lie."""
    config, base = load(wish.config_path)
    file = config_file(wish.config_path)
    if file is not None:
        yield file
    yield from Composition(config, base).watched()
    for path in _files(wish):
        yield path
        yield path.parent


def _files(wish: _Wish) -> list[Path]:
    config, base = load(wish.config_path)
    files = case_files.named(wish.paths) if wish.paths else case_files.beside(config.policy, base)
    if not files:
        raise ConfigError(f"there are no test cases beside the policy; {case_files.wanted()}")
    return files


def _run(wish: _Wish) -> bool:
    """Run everything once; answer whether all is well."""
    started = time.monotonic()
    config, base = load(wish.config_path)
    cases = [case for case in case_files.read_all(_files(wish)) if wish.name in case.name]
    if not cases:
        raise ConfigError(f"no case has a name with `{wish.name}` in it")
    proved = dry_run(config, base, trust_principal=True)
    strict = None if all(case.proved for case in cases) else dry_run(config, base, trust_principal=False)
    verifier = Verifier(proved, strict, traces=wish.wants_coverage)
    verifier.check(cases)
    if timed(proved.engine, proved.mapping) and any(case.at is None for case in cases):
        click.echo("warning: the policy depends on the time, and cases without `at` are decided as of now", err=True)
    results, seen = run_cases(verifier, cases, jobs_for(wish.jobs, len(cases), os.cpu_count() or 1))
    coverage = verifier.coverage(seen) if wish.wants_coverage else None
    return _told(wish, results, coverage, time.monotonic() - started)


def _told(wish: _Wish, results: list[CaseResult], coverage: Coverage | None, seconds: float) -> bool:
    """Report; answer whether all is well."""
    passed = all(result.passed for result in results)
    if wish.junit is not None:
        _write(wish.junit, reports.junit(results, seconds))
    if coverage is not None and wish.coverage_json is not None:
        _write(wish.coverage_json, _json(coverage_told(coverage)))
    if wish.as_json:
        told: dict[str, object] = {"passed": passed, "results": results}
        if coverage is not None:
            told["coverage"] = coverage_told(coverage)
        click.echo(_json(told).decode(), nl=False)
    else:
        for line in reports.failures(results):
            click.echo(line)
        if coverage is not None and wish.coverage:
            for line in reports.coverage_text(coverage):
                click.echo(line)
        click.echo(reports.summary(results, seconds))
    if coverage is not None and wish.min_coverage is not None and coverage.percent < wish.min_coverage:
        click.echo(f"coverage {coverage.percent:.1f} % is below {wish.min_coverage:g} %", err=True)
        return False
    return passed


def coverage_told(coverage: Coverage) -> dict[str, object]:
    """Answer the coverage for programs, the totals first."""
    return {
        "matched_percent": round(coverage.matched_percent, 2),
        "branch_percent": round(coverage.branch_percent, 2),
        "rules": coverage.rules,
    }


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None
