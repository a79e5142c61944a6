"""`authz config show` and `authz config validate`."""

from pathlib import Path

import click

from authz.cli.options import base_of, config_option, read_config
from authz.composition import Composition
from authz.config.file import render


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
def validate(config_path: Path | None) -> None:
    """Check the configuration and every file that it names: policies, inventory, catalogue, keys."""
    composition = Composition(read_config(config_path), base_of(config_path))
    composition.read_keys_once()
    snapshot = composition.build_snapshot()
    for finding in composition.idle_rules().found:
        because = f" ({finding.because.id})" if finding.because else ""
        click.echo(f"warning: {finding.rule.id}: this rule changes no decision: {finding.why.value}{because}", err=True)
    click.echo(f"ok: {snapshot.engine.rule_count} rules, version {snapshot.version}")
