"""Settings from the environment: `AUTHZ__SERVER__LISTEN=...` sets `server.listen`."""

import re
from collections.abc import Mapping
from typing import Any

from authz.config.convert import Override
from authz.config.toml_lines import KeyPath

PREFIX = "AUTHZ__"
_SEPARATOR = "__"
_MAX_PARTS = 16
_NAME = re.compile(r"[A-Z0-9_]+")

KeyOf = dict[KeyPath, str]
"""The variable that sets a key."""


def overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> tuple[KeyOf, list[str]]:
    """Put `Override`s into the tree; answer the variable of each key so set, and what is wrong with variables."""
    variables, faults = KeyOf(), []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        parts = variable[len(PREFIX) :].split(_SEPARATOR)
        if not _NAME.fullmatch(variable) or not all(parts) or len(parts) > _MAX_PARTS:
            faults.append(
                f"{variable}: no setting has this name: {PREFIX}, then the key's parts in capitals, joined by __"
            )
        elif not _is_text(environ[variable]):
            faults.append(f"{variable}: not UTF-8")
        else:
            path = tuple(part.lower() for part in parts)
            fault = _put(tree, path, environ[variable])
            if fault:
                faults.append(f"{variable}: {fault}")
            else:
                variables[path] = variable
    return variables, faults


def _put(tree: dict[str, Any], path: tuple[str, ...], text: str) -> str:
    """Set a key of the tree; answer why that cannot be done, "" when it was."""
    for part in path[:-1]:
        inner = tree.setdefault(part, {})
        if isinstance(inner, Override):
            return f'another variable sets the whole of "{part}"'
        if not isinstance(inner, dict):
            return f'the file gives "{part}" a value that is no table'
        tree = inner
    tree[path[-1]] = Override(text)
    return ""


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
