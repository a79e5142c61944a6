"""Reads a TOML or JSON file, such as the inventory or the resource catalogue, into plain values."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from authz.errors import ConfigError
from authz.stores.reading import read_text


def read_document(path: Path, max_bytes: int) -> Mapping[str, object]:
    """The table that a file holds; its name ends in `.toml` or `.json`.

    Raises:
        ConfigError: it cannot be read, or is not a table in that form, with the line.
    """
    return parse_document(read_text(path, max_bytes), path)


def parse_document(text: str, path: Path) -> Mapping[str, object]:
    """The table in a text; the name that it goes by ends in `.toml` or `.json`.

    Raises:
        ConfigError: it is not a table in that form, with the line.
    """
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from None
    if path.suffix == ".json":
        return _json(text, path)
    raise ConfigError(f"{path}: the name of the file must end in .toml or .json")


def _json(text: str, path: Path) -> Mapping[str, object]:
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: readers differ in which one they take."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
