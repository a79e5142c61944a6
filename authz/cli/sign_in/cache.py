"""Where the token of a human who signed in is kept: one file that nobody else may read."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from authz.errors import ConfigError

_MAX_BYTES: Final = 32_768
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def default_file() -> Path:
    """The file that is used where none is named."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "authz" / "token"


def write_token(path: Path, token: str) -> None:
    """Keep a token, mode 0600, in place of the one before.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".token-", dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
        Path(name).replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def read_token(path: Path) -> str:
    """The token of a file.

    Raises:
        ConfigError: there is none, or others may read it.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise ConfigError(f"{path}: others may read this token: chmod 600 {path}, and sign in anew")
            content = file.read(_MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no token: sign in (authz login), or give --token-file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    try:
        return content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a token") from None
