"""Options that several commands share."""

import os
from pathlib import Path

import click

from authz.config.file import load
from authz.config.settings import Config

config_option = click.option(
    "--config",
    "-c",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="AUTHZ_CONFIG",
    help="The configuration file (TOML); also AUTHZ_CONFIG.",
)


def read_config(path: Path | None) -> Config:
    """Answer the configuration from the file and the environment.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    return load(path, Config, os.environ).rooted(base_of(path))


def base_of(path: Path | None) -> Path:
    """Answer where relative paths in the configuration start: at its file, else here."""
    return path.resolve().parent if path else Path.cwd()
