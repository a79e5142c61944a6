"""Names and URIs that a policy can tell apart as surely as the server does."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

NameRule: TypeAlias = Literal["ascii", "unicode"]

TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MAX_NAME_CHARS: Final = 128
_MARKS: Final = frozenset("_.-")
_MAX_URI_CHARS: Final = 2_048
# RFC 3986: scheme, then its characters; lower case where case says nothing, so that there is one spelling.
_URI: Final = re.compile(r"([a-z][a-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?")
_URI_CHARS: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-F]{2})*")
_ESCAPE: Final = re.compile(r"%([0-9A-F]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_AMBIGUOUS_ESCAPES: Final = frozenset("/\\%?#;\0\x7f") | {chr(code) for code in range(32)}


def ascii_name(name: str) -> str | None:
    """The name, when it is made of ASCII letters, digits, `_`, `-` and `.`; else None."""
    return name if TOOL_NAME.fullmatch(name) else None


def unicode_name(name: str) -> str | None:
    """The name, when it is normalised and made of letters and digits of one script; else None."""
    if not 0 < len(name) <= _MAX_NAME_CHARS or unicodedata.normalize("NFKC", name) != name:
        return None
    scripts = set()
    for char in name:
        if char in _MARKS or char in "0123456789":
            continue
        if unicodedata.category(char)[0] not in "LM":
            return None  # spaces, controls, invisible marks, digits of other scripts
        # The Unicode name begins with the script: "CYRILLIC SMALL LETTER A".
        scripts.add(unicodedata.name(char, "").partition(" ")[0])
    return name if len(scripts) <= 1 and "" not in scripts else None


NAME_RULES: Final[Mapping[str, Callable[[str], str | None]]] = {"ascii": ascii_name, "unicode": unicode_name}


def one_reading(uri: str) -> bool:
    """Whether a URI can be read in one way only (I6): no dot segments, no escapes of what need not or must not be."""
    found = _URI.fullmatch(uri) if len(uri) <= _MAX_URI_CHARS and _URI_CHARS.fullmatch(uri) else None
    if found is None:
        return False
    _, authority, path, _ = found.groups()
    if authority and (authority != authority.lower() or "@" in authority or "%" in authority):
        return False
    for escape in _ESCAPE.findall(uri):
        char = chr(int(escape, 16))
        if char in _UNRESERVED or char in _AMBIGUOUS_ESCAPES:
            return False
    segments = path.split("/")
    return not any(segment.partition(";")[0] in {".", ".."} for segment in segments) and "" not in segments[1:-1]
