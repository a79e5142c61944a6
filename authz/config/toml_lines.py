"""Where in a TOML text each key stands, which the standard library's parser does not tell.

For messages only: the text has been parsed before, so this looks for structure, not for faults.
"""

import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""Keys from the root; the number of an element of an array of tables, counted from 0, stands between them."""

_MAX_DEPTH = 16
"""Deeper keys are not told apart: a dotted key may have half as many parts as the file has bytes."""
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = re.compile(rf"[ \t]*({_PART}(?:[ \t]*\.[ \t]*{_PART})*)[ \t]*")
_PARTS = re.compile(_PART)
_VALUE_TOKEN = re.compile(
    r"""
    \"{3}(?:[^\\]|\\.)*?\"{3,5}(?!\") | '{3}.*?'{3,5}(?!')     # strings of several lines
    | \"(?:[^\"\\\n]|\\.)*\" | '[^'\n]*'
    | \#[^\n]*
    | (?P<open>[\[{]) | (?P<close>[\]}])
    | (?P<end>\n)
    | [^\"'\#\[\]{}\n]+
    """,
    re.VERBOSE | re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Answer the line, from 1, of each table header and key. Keys inside of inline tables are not listed."""
    text = text.replace("\r\n", "\n")
    lines: dict[KeyPath, int] = {}
    tables: dict[KeyPath, int] = {}
    table: KeyPath = ()
    line, counted = 1, 0
    for start, parts, brackets in _statements(text):
        line += text.count("\n", counted, start)
        counted = start
        if brackets:
            table = _table(parts, tables, is_array=brackets == len("[["))
            lines.setdefault(table, line)
            path = table
        else:
            path = (*table, *parts)
        for depth in range(1, min(len(path), _MAX_DEPTH) + 1):
            lines.setdefault(path[:depth], line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, list[str], int]]:
    """Yield position, key and number of opening brackets of each statement (none: a key with a value)."""
    position = _end(_BLANK.match(text))
    while position < len(text):
        start = position
        brackets = len(text[position : position + 2]) - len(text[position : position + 2].lstrip("["))
        key = _KEY.match(text, position + brackets)
        if key is None:
            return
        yield start, [_unquoted(part) for part in _PARTS.findall(key[1])], brackets
        position = key.end() + brackets if brackets else _value_end(text, key.end() + len("="))
        position = _end(_BLANK.match(text, position))


def _value_end(text: str, position: int) -> int:
    depth = 0
    while position < len(text):
        token = _VALUE_TOKEN.match(text, position)
        if token is None:
            return len(text)
        position = token.end()
        depth += bool(token["open"]) - bool(token["close"])
        if token["end"] and not depth:
            break
    return position


def _table(parts: list[str], tables: dict[KeyPath, int], *, is_array: bool) -> KeyPath:
    """Answer the path of a header, with the number of the element that each array of tables on its way is at."""
    path: KeyPath = ()
    for part in parts[:-1]:
        path = (*path, part)
        if path in tables:
            path = (*path, tables[path])
    path = (*path, parts[-1])
    if is_array:
        tables[path] = tables.get(path, -1) + 1
        path = (*path, tables[path])
    return path


def _unquoted(part: str) -> str:
    if part[0] == "'":
        return part[1:-1]
    return str(tomllib.loads(f"key = {part}")["key"]) if part[0] == '"' else part


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0
