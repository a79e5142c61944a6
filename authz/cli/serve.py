"""`authz serve`."""

from pathlib import Path

import click

from authz.cli.options import base_of, config_option, read_config
from authz.supervisor.run import run


@click.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Serve Envoy until SIGTERM or Ctrl-C; SIGHUP reloads policies and reopens the audit file."""
    run(read_config(config_path), base_of(config_path))
