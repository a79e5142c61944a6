"""Reading configuration strictly: one TOML file and the environment, into one typed value, or all that is wrong.

A section is a `msgspec.Struct`. It may define `problems(self)`, yielding (key, message) for what its fields' types
cannot say; every section that could be read is asked, and what it says is reported with the rest.
"""

import re
import tomllib
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from authz.config.convert import Converter, Fault
from authz.config.environment import overlay
from authz.config.reference import reference
from authz.config.text import escaped, key_text, render
from authz.config.toml_lines import KeyPath, key_lines
from authz.errors import ConfigError

__all__ = ["MAX_FAULTS", "MAX_FILE_BYTES", "load", "reference", "render"]

MAX_FILE_BYTES = 1 << 20
"""Far above any sensible file."""
MAX_FAULTS = 100
"""Most faults told at once."""
_MAX_LINE_CHARS = 500
_SYNTAX_ERROR = re.compile(r"(?P<what>.*) \(at line (?P<line>[0-9]+), column (?P<column>[0-9]+)\)", re.DOTALL)

T = TypeVar("T", bound=msgspec.Struct)


def load(path: Path | None, kind: type[T], environ: Mapping[str, str]) -> T:
    """Answer the configuration that the file (None: there is none, so defaults) and the environment together give.

    `environ`: variables `AUTHZ__SECTION__KEY` override the file; others are not looked at.

    Raises:
        ConfigError: every fault found, one to a line, each with its place, key, and what to do.
    """
    text = "" if path is None else _read(path)
    tree = _parse(path, text)
    variables, told = overlay(tree, environ)
    faults: list[Fault] = []
    config = Converter(faults).convert(tree, kind, ())
    if faults or told:
        lines = key_lines(text)
        placed = sorted(((_place(fault.key, path, lines, variables), fault) for fault in faults), key=itemgetter(0))
        told = [_told(place, fault) for place, fault in placed] + told
        more = [f"... and {len(told) - MAX_FAULTS} more"] if len(told) > MAX_FAULTS else []
        raise ConfigError("\n".join([*map(_line, told[:MAX_FAULTS]), *more]))
    if not isinstance(config, kind):
        raise TypeError(f"{kind.__name__} was to be read, not {type(config).__name__}")
    return config


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(_line(f"{path}: cannot be read: {error.strerror or error}")) from error
    except ValueError as error:  # a NUL in the name
        raise ConfigError(_line(f"{path}: cannot be read: {error}")) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(_line(f"{path}: larger than {MAX_FILE_BYTES} bytes"))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(_line(f"{path}:{line}: not UTF-8")) from error


def _parse(path: Path | None, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(_line(f"{path}: nested too deeply")) from error
    except ValueError as error:  # TOMLDecodeError, or Python's own limit to the digits of a number
        where = _SYNTAX_ERROR.fullmatch(str(error))
        if where is None:
            raise ConfigError(_line(f"{path}: not TOML: {error}")) from error
        message = f"{path}:{where['line']}: not TOML: {where['what']} (column {where['column']})"
        raise ConfigError(_line(message)) from error


class _Place(NamedTuple):
    """Where a fault stands, in the order in which faults are told: those of the file first, from its top."""

    variable: str
    line: int
    name: str


def _place(key: KeyPath, path: Path | None, lines: Mapping[KeyPath, int], variables: Mapping[KeyPath, str]) -> _Place:
    """Answer where the key was set; for one that was not, the section that it belongs to."""
    prefixes = [key[:depth] for depth in range(len(key), 0, -1)]
    variable = next((variables[prefix] for prefix in prefixes if prefix in variables), "")
    if not variable and key not in lines:
        variable = next((name for at, name in variables.items() if key and at[: len(key)] == key), "")
    if variable or path is None:
        return _Place(variable, 0, variable or "configuration")
    line = next((lines[prefix] for prefix in prefixes if prefix in lines), 0)
    return _Place("", line, f"{path}:{line}" if line else str(path))


def _told(place: _Place, fault: Fault) -> str:
    return ": ".join(part for part in (place.name, key_text(fault.key), fault.message) if part)


def _line(text: str) -> str:
    shown = escaped(text)
    return shown if len(shown) <= _MAX_LINE_CHARS else shown[:_MAX_LINE_CHARS] + "..."
