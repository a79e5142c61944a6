"""Casbin's patterns for keys (keyMatch to keyMatch5, keyGet to keyGet3), compiled once for each rule.

A pattern matches the whole key, and only what Casbin gives a meaning (`*` behind a slash, `:name`, `{name}`) is one;
every other character stands for itself, and of these three none stands for a line break. pycasbin pastes patterns into
regular expressions unescaped: there `.` matches any character, `|` makes an alternative of half the pattern, and a key
may end in a line break.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from authz.policy.regex import Found, PatternError, compile_regex, escape
from authz.policy.trie import REST, SEGMENT, Anything, Outline, outline

Parts: TypeAlias = "tuple[str | Anything, ...]"
Predicate: TypeAlias = "Callable[[str], bool]"

_Shape: TypeAlias = "tuple[str, int, int, tuple[tuple[int, str], ...], tuple[int, ...]]"
"""A literal start and its length; how many segments follow it, which of them are given, and which may be anything."""
_COLON = re.compile(r"(?<=/)(?P<rest>\*)|:(?P<name>[^/]+)")
_BRACES = re.compile(r"(?<=/)(?P<rest>\*)|\{(?P<name>[^/]+?)\}")
_GREEDY_BRACES = re.compile(r"(?<=/)(?P<rest>\*)|\{(?P<name>[^/]+)\}")


def key_match(pattern: str) -> Predicate:
    """keyMatch: the text before the first `*` and anything after it; without `*`, the same text."""
    start, star = _start(pattern)
    return partial(_starts, start) if star else partial(_equals, pattern)


def key_match2(pattern: str) -> Predicate:
    """keyMatch2: `/*` and anything, `:name` for a segment."""
    return _predicate(_colon_parts(pattern)[0])


def key_match3(pattern: str) -> Predicate:
    """keyMatch3: `/*` and anything, `{name}` for a segment."""
    return _predicate(_parts(pattern, _BRACES)[0])


def key_match4(pattern: str) -> Predicate:
    """keyMatch4: as keyMatch3, and a name that occurs twice stands for the same text."""
    parts, names = _parts(pattern, _GREEDY_BRACES)
    if len(set(names)) == len(names):
        return _predicate(parts)
    return partial(_same_names, _capturing(parts), tuple(names))


def key_match5(pattern: str) -> Predicate:
    """keyMatch5: as keyMatch3, on what stands before the first `?` of the key."""
    return partial(_before_query, _predicate(_parts(pattern, _GREEDY_BRACES)[0]))


def key_get(pattern: str) -> Callable[[str], str]:
    """keyGet: what the `*` stands for; "" when the key does not match."""
    start, star = _start(pattern)
    return partial(_remainder, start) if star else _nothing


def key_get2(pattern: str, name: str) -> Callable[[str], str]:
    """keyGet2: what `:name` stands for; "" when the key does not match or there is no such name."""
    return _captured(*_colon_parts(pattern), name, r"([^/\n]+)")


def key_get3(pattern: str, name: str) -> Callable[[str], str]:
    """keyGet3: what `{name}` stands for; "" when the key does not match or there is no such name."""
    return _captured(*_parts(pattern, _BRACES), name, r"([^/\n]+?)")


def key_match_outline(pattern: str) -> Outline:
    """The outline of a keyMatch pattern."""
    start, star = _start(pattern)
    *whole, last = start.split("/")
    return Outline((*[(segment, True) for segment in whole], (last, not star)), open=star)


def key_match2_outline(pattern: str) -> Outline:
    """The outline of a keyMatch2 pattern."""
    return outline(_colon_parts(pattern)[0])


def key_match3_outline(pattern: str) -> Outline:
    """The outline of a keyMatch3 pattern."""
    return outline(_parts(pattern, _BRACES)[0])


def key_match4_outline(pattern: str) -> Outline:
    """The outline of a keyMatch4 pattern."""
    return outline(_parts(pattern, _GREEDY_BRACES)[0])


def covers(function: str, outer: str, inner: str) -> bool:
    """Whether a pattern matches whatever another one of the same function does; False where that is not plain.

    Keys with a line break in them are left out of account.
    """
    if outer == inner:
        return True
    read = _READERS.get(function)
    if read is None:
        return False
    wide, narrow = read(outer), read(inner)
    match wide:
        case (only,) if only is REST:
            return True
        case (str(start), last) if last is REST:
            return isinstance(narrow[0], str) and narrow[0].startswith(start)
    return False


def _start(pattern: str) -> tuple[str, bool]:
    """The literal start of a keyMatch pattern, and whether anything may follow it."""
    start, star, behind = pattern.partition("*")
    if behind:
        # pycasbin overlooks it: /v1/*/public would cover all of /v1/.
        raise PatternError(f"what stands behind the * in the pattern {pattern!r} would be ignored")
    return start, bool(star)


def _colon_parts(pattern: str) -> tuple[Parts, list[str]]:
    return ((REST,), []) if pattern == "*" else _parts(pattern, _COLON)


def _parts(pattern: str, grammar: re.Pattern[str]) -> tuple[Parts, list[str]]:
    """The literal texts of a pattern and what stands between them, and the names in it."""
    parts: list[str | Anything] = []
    names: list[str] = []
    at = 0
    for found in grammar.finditer(pattern):
        if found.start() > at:
            parts.append(_literal(pattern[at : found.start()], pattern))
        if found["rest"]:
            parts.append(REST)
        else:
            parts.append(SEGMENT)
            names.append(found["name"])
        at = found.end()
    if at < len(pattern) or not parts:
        parts.append(_literal(pattern[at:], pattern))
    return tuple(parts), names


def _literal(text: str, pattern: str) -> str:
    if "*" in text:
        raise PatternError(
            f"a * in the pattern {pattern!r} stands for what follows a slash; here none stands before it"
        )
    return text


def _predicate(parts: Parts) -> Predicate:
    """The cheapest test that is exact."""
    match parts:
        case (str(text),):
            return partial(_equals, text)
        case (only,) if only is REST:
            return partial(_starts_line, "")
        case (str(start), last) if last is REST:
            return partial(_starts_line, start)
    tail = parts[-1] is REST
    segments = _whole_segments(parts[:-1] if tail else parts)
    literal = "".join(part for part in parts if isinstance(part, str))
    if segments is not None and not (tail and segments[-1] != "") and "\n" not in literal:
        first = segments.index(None)
        start = "".join(f"{segment}/" for segment in segments[:first])
        rest = segments[first : -1 if tail else None]
        fixed = tuple((place, text) for place, text in enumerate(rest) if text is not None)
        wild = tuple(place for place, text in enumerate(rest) if text is None)
        return partial(_segments_and_rest if tail else _segments, (start, len(start), len(rest), fixed, wild))
    source = "".join(_source(part, r"[^/\n]+") for part in parts)
    return partial(_regex_whole, compile_regex(source).fullmatch)


def _whole_segments(parts: Sequence[str | Anything]) -> list[str | None] | None:
    """The segments, None for one that may be anything; None when a wild part shares its segment."""
    segments: list[str | None] = [""]
    for part in parts:
        if isinstance(part, str):
            first, *others = part.split("/")
            if first and segments[-1] is None:
                return None
            if first:
                segments[-1] = first
            segments.extend(others)
        elif part is REST or segments[-1] != "":
            return None
        else:
            segments[-1] = None
    return segments


def _source(part: str | Anything, segment: str) -> str:
    if isinstance(part, str):
        return escape(part)
    return segment if part is SEGMENT else ".*"


def _capturing(parts: Parts) -> Callable[[str], Found | None]:
    return compile_regex("".join(_source(part, r"([^/\n]+)") for part in parts)).fullmatch


def _captured(parts: Parts, names: list[str], name: str, segment: str) -> Callable[[str], str]:
    if name not in names:
        return _nothing
    whole = compile_regex("".join(_source(part, segment) for part in parts)).fullmatch
    return partial(_group, whole, names.index(name) + 1)


def _star_parts(pattern: str) -> Parts:
    start, star = _start(pattern)
    return (start, REST) if star else (pattern,)


_READERS: Mapping[str, Callable[[str], Parts]] = {
    "keyMatch": _star_parts,
    "keyMatch2": lambda pattern: _colon_parts(pattern)[0],
    "keyMatch3": lambda pattern: _parts(pattern, _BRACES)[0],
    "keyMatch4": lambda pattern: _parts(pattern, _GREEDY_BRACES)[0],
    "keyMatch5": lambda pattern: _parts(pattern, _GREEDY_BRACES)[0],
}


# Each of these is bound to its pattern by `partial`. `str.x(key)` rather than `key.x()`: a key that is no text is an
# error of the rule, never a silent mismatch.


def _equals(text: str, key: str) -> bool:
    return str.__eq__(key, text)


def _starts(start: str, key: str) -> bool:
    return str.startswith(key, start)


def _starts_line(start: str, key: str) -> bool:
    return str.startswith(key, start) and "\n" not in key[len(start) :]


def _segments(shape: _Shape, key: str) -> bool:
    start, at, count, fixed, wild = shape
    if not str.startswith(key, start):
        return False
    parts = key[at:].split("/", count)
    return len(parts) == count and "\n" not in key and _fit(parts, fixed, wild)


def _segments_and_rest(shape: _Shape, key: str) -> bool:
    start, at, count, fixed, wild = shape
    if not str.startswith(key, start):
        return False
    parts = key[at:].split("/", count)
    return len(parts) > count and "\n" not in key and _fit(parts, fixed, wild)


def _fit(parts: list[str], fixed: tuple[tuple[int, str], ...], wild: tuple[int, ...]) -> bool:
    """Whether the fixed segments are as they must be, and the others not empty."""
    for place, text in fixed:
        if parts[place] != text:
            return False
    for place in wild:  # noqa: SIM110  # quicker than a generator
        if not parts[place]:
            return False
    return True


def _regex_whole(fullmatch: Callable[[str], object], key: str) -> bool:
    return fullmatch(_text(key)) is not None


def _before_query(predicate: Predicate, key: str) -> bool:
    return predicate(str.partition(key, "?")[0])


def _same_names(fullmatch: Callable[[str], Found | None], names: tuple[str, ...], key: str) -> bool:
    found = fullmatch(_text(key))
    if found is None:
        return False
    values: dict[str, str] = {}
    return all(values.setdefault(name, value) == value for name, value in zip(names, found.groups(), strict=True))


def _remainder(start: str, key: str) -> str:
    return key[len(start) :] if str.startswith(key, start) else ""


def _group(fullmatch: Callable[[str], Found | None], group: int, key: str) -> str:
    found = fullmatch(_text(key))
    return str(found.group(group)) if found is not None else ""


def _nothing(key: str) -> str:
    _text(key)
    return ""


def _text(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError("a pattern was tried on what is no text")
    return key
