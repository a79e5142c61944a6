"""What `authz policy diff` compares: a configuration, a policy directory or file, or one of these in a git revision."""

import contextlib
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from authz.authoring.dry_run import DryRun
from authz.composition import Composition
from authz.config.settings import Config
from authz.errors import AuthzError, ConfigError

_CONFIG = "authz.toml"
_MODEL = "model.conf"
_GIT_SECONDS = 60
_MAX_ARCHIVE_BYTES = 256 * 1024 * 1024

Loader = Callable[[Path], tuple[Config, Path]]
"""Reads a configuration file: the configuration, and where its relative paths start."""
Base = tuple[Config, Path] | None
"""The configuration for policies that come without one, and where its relative paths start."""


class Side:
    """One of the two policies."""

    def __init__(self, spec: str, config: Config, base: Path, hide: str) -> None:
        """`hide`: the directory that names of files are shown without.

        Raises:
            AuthzError: something does not load.
        """
        self.spec = spec
        self.config = config
        self.base = base
        self._hide = hide
        self.run = DryRun(Composition(config, base, trust_principal=True))

    def shown(self, text: str) -> str:
        """Answer a text without the directory that its file names begin with."""
        return text.replace(self._hide, "")


@contextlib.contextmanager
def opened(spec: str, base: Base, load: Loader) -> Iterator[Side]:
    """Load one side; files of a git revision lie in a temporary directory meanwhile.

    Raises:
        ConfigError: there is nothing of that name. AuthzError: it does not load.
    """
    path = Path(spec)
    revision, colon, inside = spec.partition(":")
    if path.exists() or not colon:
        yield _side(spec, path, base, load)
        return
    with tempfile.TemporaryDirectory(prefix="authz-diff-") as directory:
        found = _from_git(revision, inside, Path(directory))
        try:
            side = _side(spec, found, base, load)
        except AuthzError as error:
            raise ConfigError(f"{spec}: {str(error).replace(directory + '/', '')}") from None
        yield side


def _side(spec: str, path: Path, base: Base, load: Loader) -> Side:
    if path.is_dir() and (path / _CONFIG).is_file():
        path /= _CONFIG
    if path.suffix == ".toml" and path.is_file():
        config, start = load(path)
        return Side(spec, config, start, "")
    if not path.exists():
        raise ConfigError(f"{spec}: there is no such file or directory")
    if base is None:
        raise ConfigError(f"{spec}: holds no {_CONFIG}; name with --config the configuration that the policy is for")
    config, start = base
    directory = (path if path.is_dir() else path.parent).resolve()
    policy = replace(config.policy, policies=(str(path.resolve()),))
    if (directory / _MODEL).is_file():
        policy = replace(policy, model=str(directory / _MODEL))
    return Side(spec, replace(config, policy=policy), start, f"{directory}/")


def _from_git(revision: str, inside: str, directory: Path) -> Path:
    """Write what a revision holds at a path, files beside it included; answer where the path is now."""
    named = inside if inside.startswith("/") else f"./{inside}"
    path = Path(inside)
    kind = _git("cat-file", "-t", f"{revision}:{named}").decode().strip()
    tree = named if kind == "tree" else f"./{path.parent}"
    data = _git("archive", "--format=tar", _git("rev-parse", "--verify", f"{revision}:{tree}").decode().strip())
    if len(data) > _MAX_ARCHIVE_BYTES:
        raise ConfigError(f"{revision}:{inside}: larger than {_MAX_ARCHIVE_BYTES} bytes")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(directory, filter="data")
    return directory if kind == "tree" else directory / path.name


def _git(*arguments: str) -> bytes:
    if any(argument.startswith("-") for argument in arguments[-1:]):
        raise ConfigError(f"{arguments[-1]}: not a revision")
    try:
        run = subprocess.run(  # noqa: S603 - no shell; what could be taken for an option is refused above
            ["git", *arguments],  # noqa: S607 - git as the author runs it
            capture_output=True,
            check=False,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"git {arguments[0]}: {error}") from None
    if run.returncode:
        problem = run.stderr.decode(errors="replace").strip()
        raise ConfigError(f"{arguments[-1]}: neither a file nor a directory, and git says: {problem}")
    return run.stdout
