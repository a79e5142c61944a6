"""Writes texts where a policy file can hold them, so that they are read back as they were."""

import re
from collections.abc import Iterable

MODEL = """[request_definition]
r = sub, obj, act, env
[policy_definition]
p = name, rule, path, method, eft, obligations
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = keyMatch(r.obj.path, p.path) && keyMatch(r.act.method, p.method) && eval(p.rule)
"""
"""What imported rules are written for: the model that ships."""

_PLAIN_COLUMN = re.compile(r"(?![\"#])[^\x00-\x1f\x7f,()\[\]]*")
_UNSAFE = frozenset("'\",()[]#")
_LAST_BYTE, _LAST_PLANE = 0xFF, 0xFFFF


class Untranslatable(Exception):
    """Something that cannot be said in a policy file of ours."""


def column(text: str) -> str:
    """The text as a column of its own.

    Raises:
        Untranslatable: A policy file would read it as something else.
    """
    if text != text.strip():
        raise Untranslatable(f"{text!r} begins or ends with a blank, which a column cannot")
    if not _PLAIN_COLUMN.fullmatch(text) or " #" in text:
        raise Untranslatable(f"{text!r} has a comma, bracket, quote, # or control character where a column cannot")
    return text


def literal(text: str) -> str:
    """The text in quotes, for an expression in a column; whatever could be taken for structure is escaped."""
    return f"'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if character not in _UNSAFE and (character == " " or (character.isprintable() and code <= _LAST_PLANE)):
        return character
    if code <= _LAST_BYTE:
        return f"\\x{code:02x}"
    if code <= _LAST_PLANE:
        return f"\\u{code:04x}"
    raise Untranslatable(f"the character U+{code:04X} cannot be written in an expression")


def either(parts: Iterable[str]) -> str:
    """An expression that holds if one of the parts does; False for none."""
    chosen = list(dict.fromkeys(parts))
    if len(chosen) == 1:
        return chosen[0]
    return f"({' || '.join(chosen)})" if chosen else "False"


def both(parts: Iterable[str]) -> str:
    """An expression that holds if all parts do; True for none."""
    return " && ".join(dict.fromkeys(parts)) or "True"


def negated(part: str) -> str:
    """An expression that holds if the part does not."""
    return f"!({part})"
