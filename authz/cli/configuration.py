"""`authz config show` and `authz config validate`."""

from pathlib import Path

import click

from authz.candidate import candidate_composition
from authz.cli.options import base_of, config_option, read_config
from authz.composition import Composition
from authz.config.file import render
from authz.control_plane import check_control
from authz.errors import ConfigError
from authz.stores.user_functions import time_function


@click.group()
def config() -> None:
    """Look at the configuration, or check it."""


@config.command()
@config_option
@click.option("--docs", is_flag=True, help="With the meaning of each setting as a comment.")
def show(config_path: Path | None, *, docs: bool) -> None:
    """Print every setting in force: file, environment and defaults together, as TOML."""
    click.echo(render(read_config(config_path), docs=docs), nl=False)


@config.command()
@config_option
@click.option(
    "--time-functions", is_flag=True, help="Call policy.functions with their examples, and hold them to time."
)
def validate(config_path: Path | None, *, time_functions: bool) -> None:
    """Check the configuration and every file that it names: policies (all of them), inventory, catalogue, keys."""
    composition = Composition(read_config(config_path), base_of(config_path))
    composition.read_keys_once()
    snapshot = composition.build_snapshot()
    for finding in composition.idle_rules().found:
        because = f" ({finding.because.id})" if finding.because else ""
        click.echo(f"warning: {finding.rule.id}: this rule changes no decision: {finding.why.value}{because}", err=True)
    charter = check_control(composition.config, composition.base)
    if composition.config.shadow is not None:
        _check_candidate(composition)
    if time_functions:
        _time_functions(composition)
    click.echo(f"ok: {snapshot.engine.rule_count} rules, version {snapshot.version}")
    if charter is not None:
        click.echo(f"ok: {charter.engine.rule_count} rules for the control plane")


def _time_functions(composition: Composition) -> None:
    """Refuse a function that takes longer than it may, or gives no answer of its type.

    Raises:
        ConfigError: there is one.
    """
    settings, loaded = composition.config.policy.functions, composition.policies.functions
    timings = [time_function(name, settings[name], function) for name, function in loaded.items()]
    wrong = [timing.problem for timing in timings if timing.problem]
    if wrong:
        raise ConfigError("\n".join(wrong))
    for timing in timings:
        click.echo(f"{timing.name}: {timing.microseconds:.1f} microseconds (allowed: {timing.allowed:g})")


def _check_candidate(composition: Composition) -> None:
    """Build the candidate of shadow mode as a server would.

    Raises:
        AuthzError: it does not load.
    """
    candidate = candidate_composition(composition.config, composition.base)
    candidate.keys = composition.keys
    snapshot = candidate.build_snapshot()
    click.echo(f"candidate: {snapshot.engine.rule_count} rules, version {snapshot.version}")
