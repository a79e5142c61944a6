"""Regular expressions with a bound on the time they take: RE2, linear in the text whatever the pattern.

Python's own engine backtracks: `(a+)+$` takes twice as long for every further character, so that one rule or one
request could hang every decision (I12). What RE2 lacks for this (look-around, back-references) is refused at load.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Protocol

import re2  # type: ignore[import-untyped]  # google-re2 ships no type information

from authz.policy.trie import REST, Outline, outline

_MAX_PROGRAM_BYTES = 1 << 20
_LITERAL = r"[A-Za-z0-9_/ :@=,~-]+"
_WHOLE = re.compile(rf"\^\(({_LITERAL}(?:\|{_LITERAL})*)\)\$|\^({_LITERAL})\$")
_START = re.compile(rf"\(?{_LITERAL}\)?(?:\|\(?{_LITERAL}\)?)*")
_META = re.compile(r"[\\.\[\]{}()*+?^$|]")


class Found(Protocol):
    """One match."""

    def group(self, group: int) -> str | None: ...
    def groups(self) -> tuple[str, ...]: ...


class Regex(Protocol):
    """A compiled pattern."""

    def match(self, text: str) -> Found | None: ...
    def fullmatch(self, text: str) -> Found | None: ...


class PatternError(ValueError):
    """A text that is no pattern."""


def compile_regex(pattern: str) -> Regex:
    """Compile a pattern; `match` starts at the start of the text, `fullmatch` also ends at its end.

    Raises:
        PatternError: It is no regular expression, or one that this engine cannot run in linear time.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_PROGRAM_BYTES
    try:
        compiled: Regex = re2.compile(pattern, options)
    except re2.error as error:
        problem = error.args[0] if error.args else b""
        said = problem.decode("utf-8", "replace") if isinstance(problem, bytes) else str(problem)
        raise PatternError(f"the pattern {pattern!r} is not supported: {said}") from None
    return compiled


def escape(text: str) -> str:
    """The pattern that matches exactly `text`."""
    return str(re2.escape(text))


def regex_match(pattern: str) -> Callable[[str], bool]:
    """regexMatch: the pattern matches at the start of the text (as in pycasbin; Go Casbin searches anywhere).

    Plain alternatives, the usual `(GET)|(POST)`, are compared without an engine.
    """
    if whole := _WHOLE.fullmatch(pattern):
        return partial(_is_one_of, frozenset((whole[1] or whole[2]).split("|")))
    if _START.fullmatch(pattern) and all(_balanced(part) for part in pattern.split("|")):
        return partial(_starts_with_one_of, tuple(part.strip("()") for part in pattern.split("|")))
    return partial(_matches, compile_regex(pattern).match)


def regex_outline(pattern: str) -> Outline:
    """The outline of a pattern: the plain text that it begins with."""
    plain = pattern.removeprefix("^")
    meta = _META.search(plain)
    if meta is None:
        return outline((plain, REST))
    if "|" in plain:
        return outline((REST,))
    # A quantifier makes the character before it optional.
    start = plain[: max(meta.start() - 1, 0)] if meta.group() in "*?{" else plain[: meta.start()]
    return outline((start, REST))


def _balanced(part: str) -> bool:
    return part.startswith("(") == part.endswith(")")


def _is_one_of(texts: frozenset[str], text: str) -> bool:
    return str.__str__(text) in texts


def _starts_with_one_of(starts: tuple[str, ...], text: str) -> bool:
    return str.startswith(text, starts)


def _matches(match: Callable[[str], object], text: str) -> bool:
    if not isinstance(text, str):
        raise TypeError("a pattern was tried on what is no text")
    return match(text) is not None
