"""`authz policy bench`: how fast this policy decides on this machine."""

import platform
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from authz.authoring import case_files
from authz.authoring.cases import Case, Expectation
from authz.authoring.dry_run import DryRun
from authz.authoring.question import read_question_file
from authz.authoring.speed import Latency, Speed, measure
from authz.authoring.speed import load as measured_load
from authz.cli.options import config_option
from authz.cli.policy.trying import load
from authz.composition import Composition
from authz.errors import ConfigError

_SHOWN = 10


@click.command()
@click.argument("request_file", required=False, type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@config_option
@click.option("--cases", "-t", multiple=True, type=click.Path(exists=True, path_type=Path), help="Files of test cases.")
@click.option(
    "--seconds", type=click.FloatRange(0.01, 600), default=4.0, show_default=True, help="How long to measure."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench(
    request_file: Path | None, config_path: Path | None, cases: tuple[Path, ...], seconds: float, *, as_json: bool
) -> None:
    """Measure decisions one at a time: median, 90th and 99th percentile, and what loading costs.

    Asked are the test cases beside the policy (or --cases), or the one request of REQUEST_FILE. Nothing is cached.
    """
    config, base = load(config_path)
    if request_file is not None:
        message = read_question_file(request_file)
        asked = [Case("request", str(request_file), 1, message, None, True, {}, Expectation(effect="allow"))]
    else:
        files = case_files.named(cases) if cases else case_files.beside(config.policy, base)
        asked = case_files.read_all(files)
    if not asked:
        raise ConfigError(f"nothing to ask: {case_files.wanted()}, or name a request")
    speed = measure(
        measured_load(lambda: DryRun(Composition(config, base, trust_principal=True), time.monotonic)), asked, seconds
    )
    if as_json:
        told = {"machine": platform.machine(), "python": platform.python_version(), **msgspec.to_builtins(speed)}
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    else:
        click.echo("\n".join(_in_words(speed)))


def _in_words(speed: Speed) -> Iterator[str]:
    yield f"{speed.requests} requests, {speed.rules} rules, of which {speed.candidates_mean:.1f} are evaluated for one"
    yield ""
    yield f"{'microseconds':<16}{'median':>9}{'p90':>9}{'p99':>9}{'most':>11}{'decisions':>12}"
    if speed.engine is not None:
        yield _row("rules alone", speed.engine)
    yield _row("whole check", speed.check)
    yield ""
    yield f"loaded in {speed.load_seconds:.2f} s, memory grew by {speed.memory_bytes / 1e6:.1f} MB"
    always = speed.always_scanned
    if len(always) == speed.rules:
        yield "all rules are evaluated whatever is asked"
    elif always:
        rest = f" and {len(always) - _SHOWN} more" if len(always) > _SHOWN else ""
        yield f"evaluated whatever is asked: {', '.join(always[:_SHOWN])}{rest}"
    else:
        yield "every rule is left out by the index where it cannot match"


def _row(name: str, latency: Latency) -> str:
    numbers = f"{latency.median:>9.1f}{latency.p90:>9.1f}{latency.p99:>9.1f}{latency.most:>11.1f}"
    return f"{name:<16}{numbers}{latency.count:>12}"
