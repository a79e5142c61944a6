"""Which model and policy files a tool works on: those of the configuration, or those that are named."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from authz.cli.options import base_of, config_option, read_config
from authz.config.settings import Config
from authz.errors import ConfigError
from authz.stores.policy_files import PolicyFiles, PolicySettings
from authz.stores.policy_source import PolicyText

F = TypeVar("F", bound=Callable[..., object])


class Given(msgspec.Struct, frozen=True):
    """The policy that a tool works on."""

    text: PolicyText
    settings: PolicySettings
    base: Path
    """Where the configuration's relative paths start."""
    config: Config | None
    """None when model and policies were named without one."""
    as_configured: bool = False
    """Whether model and policies are those of the configuration."""


def policy_options(command: F) -> F:
    """The options by which every tool is told what to work on; `given` takes their values."""
    files = click.argument("files", nargs=-1, type=click.Path(exists=True))
    model = click.option(
        "--model",
        type=click.Path(exists=True, dir_okay=False),
        help="The model file; without it, the one of the configuration.",
    )
    return files(config_option(model(command)))


def given(config_path: Path | None, model: str | None, files: tuple[str, ...]) -> Given:
    """Read the policy that the options mean.

    Raises:
        click.UsageError: they do not say which.
        PolicyError: a file cannot be read. ConfigError: the configuration cannot.
    """
    if config_path is None:
        if model is None or not files:
            raise click.UsageError("say which policy: --config FILE, or --model FILE and the policy files")
        settings, base, config = PolicySettings(model=model, policies=files), Path.cwd(), None
    else:
        config = read_config(config_path)
        settings, base = config.policy, base_of(config_path)
        if model is not None:
            settings = msgspec.structs.replace(settings, model=str(Path(model).resolve()))
        if files:
            settings = msgspec.structs.replace(settings, policies=tuple(str(Path(name).resolve()) for name in files))
    as_configured = config is not None and settings is config.policy
    return Given(PolicyFiles(settings, base).read(), settings, base, config, as_configured)


def standard_input(most: int) -> str:
    """The text on standard input, `most` bytes of it.

    Raises:
        ConfigError: It is longer, or not UTF-8.
    """
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise ConfigError(f"standard input: larger than {most} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError("standard input: not UTF-8") from None
