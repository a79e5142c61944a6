"""How the commands of `authz policy` find the configuration, and what they try policies on."""

from pathlib import Path

from authz.authoring.dry_run import DryRun
from authz.cli.options import base_of, read_config
from authz.composition import Composition
from authz.config.settings import Config

_HERE = Path("authz.toml")


def config_file(path: Path | None) -> Path | None:
    """Answer the configuration file: the one that was named, else `authz.toml` if it is here."""
    return path or (_HERE if _HERE.is_file() else None)


def dry_run(config: Config, base: Path, *, trust_principal: bool) -> DryRun:
    """Load everything that the configuration names, ready to be tried.

    Raises:
        AuthzError: something does not load.
    """
    return DryRun(Composition(config, base, trust_principal=trust_principal))


def load(path: Path | None) -> tuple[Config, Path]:
    """Answer the configuration, and where its relative paths start.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    file = config_file(path)
    return read_config(file), base_of(file)
