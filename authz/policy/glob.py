"""globMatch: shell patterns as Go Casbin documents them (the doublestar package).

`*` and `?` and `[...]` never match "/", `**` as a whole segment stands for any number of segments, `{a,b}` for one of
its alternatives, a backslash takes away a meaning. A pattern matches the whole text. (pycasbin's function lets `a*b`
match "axc".)

Source: github.com/bmatcuk/doublestar, "Patterns", which util.GlobMatch of Go Casbin calls.
"""

from collections.abc import Callable
from itertools import pairwise

from authz.policy.regex import PatternError, compile_regex, escape
from authz.policy.trie import Outline

_MAX_ALTERNATIVES = 64
_META = frozenset("*?[{\\")
_LAST = 0x10FFFF
_SLASH = ord("/")


def glob_match(pattern: str) -> Callable[[str], bool]:
    """The test for `pattern`.

    Raises:
        PatternError: A class or alternative is not closed, or there are more than 64 combinations of alternatives.
    """
    whole = compile_regex("|".join(_source(plain) for plain in _alternatives(pattern))).fullmatch

    def match(text: str) -> bool:
        if not isinstance(text, str):
            raise TypeError("a pattern was tried on what is no text")
        return whole(text) is not None

    return match


def glob_outline(pattern: str) -> Outline:
    """The outline of a pattern, up to its first alternative or escape."""
    segments: list[tuple[str, bool]] = []
    for segment in pattern.split("/"):
        start = segment[: next((place for place, sign in enumerate(segment) if sign in _META), len(segment))]
        if segment == "**" or "{" in segment or "\\" in segment or "[" in segment:
            if segment == "**" and segments:
                # `a/**` matches "a" too.
                start = segments.pop()[0]
            return Outline((*segments, (start, False)), open=True)
        segments.append((start, start == segment))
    return Outline(tuple(segments))


def _alternatives(pattern: str) -> list[str]:
    """The patterns without braces that a pattern with `{a,b}` stands for."""
    plain: list[str] = []
    todo = [pattern]
    while todo:
        current = todo.pop(0)
        opening = _find(current, "{", 0)
        if opening < 0:
            plain.append(current)
            continue
        closing, commas = _closing(current, opening)
        edges = [opening, *commas, closing]
        for left, right in pairwise(edges):
            todo.append(current[:opening] + current[left + 1 : right] + current[closing + 1 :])
        if len(plain) + len(todo) > _MAX_ALTERNATIVES:
            raise PatternError(f"the pattern {pattern!r} has more than {_MAX_ALTERNATIVES} alternatives")
    return plain


def _find(text: str, sign: str, at: int) -> int:
    """Where `sign` first stands unescaped, from `at`; -1: nowhere."""
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == sign:
            return at
        at += 1
    return -1


def _closing(text: str, opening: int) -> tuple[int, list[int]]:
    """The brace that closes the one at `opening`, and the commas directly between them."""
    depth, at = 0, opening
    commas: list[int] = []
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            at += 1
        elif sign == "{":
            depth += 1
        elif sign == "}":
            depth -= 1
            if not depth:
                return at, commas
        elif sign == "," and depth == 1:
            commas.append(at)
        at += 1
    raise PatternError(f"the alternatives in the pattern {text!r} are not closed")


def _source(pattern: str) -> str:
    """The regular expression of a pattern without alternatives."""
    source, at = "", 0
    while at < len(pattern):
        sign = pattern[at]
        if pattern.startswith("/**", at) and pattern[at + 3 :] in ("", "/"):
            # At the end, `/**` also matches nothing: `a/**` covers "a" itself.
            return source + ("(?:/(?s:.*))?" if len(pattern) == at + 3 else "(?:/(?:[^/]*/)*)?")
        if pattern.startswith("**", at) and (at == 0 or pattern[at - 1] == "/"):
            if at + 2 == len(pattern):
                return source + "(?s:.*)"
            if pattern[at + 2] == "/":
                source, at = source + "(?:[^/]*/)*", at + 3
                continue
        if sign == "[":
            part, at = _class(pattern, at + 1)
        elif sign == "\\":
            if at + 1 == len(pattern):
                raise PatternError(f"the pattern {pattern!r} ends in a backslash")
            part, at = escape(pattern[at + 1]), at + 2
        else:
            part, at = {"*": "[^/]*", "?": "[^/]"}.get(sign) or escape(sign), at + 1
        source += part
    return source


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The regular expression of the class whose inside starts at `at`, and where the pattern goes on."""
    negated = pattern[at : at + 1] in ("!", "^")
    at += negated
    ranges: list[tuple[int, int]] = []
    while pattern[at : at + 1] != "]":
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("]", ""):
            high, at = _member(pattern, at + 1)
        ranges.append((low, high))
    if not ranges:
        raise PatternError(f"a class in the pattern {pattern!r} is empty")
    return _ranges(ranges, negated=negated), at + 1


def _member(pattern: str, at: int) -> tuple[int, int]:
    at += pattern[at : at + 1] == "\\"
    if at >= len(pattern):
        raise PatternError(f"a class in the pattern {pattern!r} is not closed")
    return ord(pattern[at]), at + 1


def _ranges(ranges: list[tuple[int, int]], *, negated: bool) -> str:
    """A class of RE2 for the ranges, "/" taken out."""
    if negated:
        return f"[^{_listed([*ranges, (_SLASH, _SLASH)])}]"
    kept = [
        part
        for low, high in ranges
        for part in (
            [(low, min(high, _SLASH - 1)), (max(low, _SLASH + 1), high)] if low <= _SLASH <= high else [(low, high)]
        )
    ]
    return f"[{_listed(kept)}]" if _listed(kept) else rf"[^\x{{0}}-\x{{{_LAST:x}}}]"


def _listed(ranges: list[tuple[int, int]]) -> str:
    return "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in ranges if low <= high)
