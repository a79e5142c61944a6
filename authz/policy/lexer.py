"""Cuts the text of a matcher or sub-rule into tokens; what is inside quotes is never looked at again."""

import re
from collections.abc import Iterator

import msgspec

from authz.policy.tree import Constant

_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_DIGITS = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t]+)
    |(?P<text>r?{_QUOTED})
    |(?P<number>{_DIGITS})
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[<>!+\-*/%.,()\[\]])
    |(?P<comment>\#.*)""",
    re.VERBOSE,
)
LITERAL = re.compile(rf"((?:(?<![A-Za-z0-9_])r)?{_QUOTED}|(?<![A-Za-z0-9_.]){_DIGITS})")
"""Splits a text at its constants, but for those right behind a name or a dot."""
_WORDS = {"and": "&&", "or": "||", "not": "not", "in": "in"}
_CONSTANTS: dict[str, Constant] = {"True": True, "true": True, "False": False, "false": False, "None": None}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|([\\'\"abfnrtv])|([0-7N]))")
_SIMPLE = {"\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MAX_NUMBER_CHARS = 30


class Token(msgspec.Struct, frozen=True, gc=False):
    """One token: a sign or word ("&&", "(", "in"), a name, or a literal."""

    kind: str
    """The sign itself, or "name", "text", "number", "constant" or "end"."""
    value: Constant
    column: int
    """Where it starts, from 1."""

    @property
    def literal(self) -> bool:
        """Whether this is a text or a number: what may differ between sub-rules of one shape."""
        return self.kind in ("text", "number")


class ExpressionError(Exception):
    """An expression that is not one; `column` from 1 says where, 0: the whole of it. `code`: which sort of error."""

    def __init__(self, column: int, problem: str, code: str = "syntax") -> None:
        super().__init__(f"column {column}: {problem}" if column else problem)
        self.column = column
        self.problem = problem
        self.code = code


def tokens(text: str, *, comments: bool) -> list[Token]:
    """Cut `text` into tokens, an "end" last; where `comments` are allowed, `#` outside quotes ends the text.

    Raises:
        ExpressionError: Something is no token of the language.
    """
    return [*_tokens(text, comments=comments), Token("end", None, len(text) + 1)]


def pieces(text: str) -> list[str]:
    """The tokens of `text` as they are written, blanks left out; a comment is the last of them.

    Raises:
        ExpressionError: Something is no token of the language.
    """
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(at + 1, _unexpected(text[at]))
        if match.lastgroup != "space":
            found.append(match.group().rstrip() if match.lastgroup == "comment" else match.group())
        at = match.end()
    return found


def _tokens(text: str, *, comments: bool) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ExpressionError(at + 1, _unexpected(text[at]))
        column, at = at + 1, found.end()
        if found.lastgroup == "comment":
            if not comments:
                raise ExpressionError(column, "a comment cannot stand in a rule")
            return
        if found.lastgroup != "space":
            yield _token(found.lastgroup, found.group(), column)


def _token(kind: str | None, source: str, column: int) -> Token:
    if kind == "text":
        return Token("text", _unquoted(source, column), column)
    if kind == "number":
        return Token("number", _number(source, column), column)
    if kind == "sign":
        return Token(source, None, column)
    if source in _CONSTANTS:
        return Token("constant", _CONSTANTS[source], column)
    return Token(_WORDS[source], None, column) if source in _WORDS else Token("name", source, column)


def literal(source: str) -> str | int | float:
    """What a text or a number stands for, as it is written.

    Raises:
        ExpressionError: It is none; the column is that in `source`.
    """
    if source[-1] in "\"'":
        return source[1:-1] if source[0] != "r" and "\\" not in source else _unquoted(source, 1)
    return _number(source, 1)


def _unexpected(character: str) -> str:
    if character in "\"'":
        return "the text in quotes does not end"
    if character in "&|=":
        return f"{character!r} alone is no operator; write && || =="
    return f"{character!r} is not part of the expression language"


def _number(source: str, column: int) -> int | float:
    """The value of a decimal number."""
    if len(source) > _MAX_NUMBER_CHARS:
        raise ExpressionError(column, f"the number has more than {_MAX_NUMBER_CHARS} characters")
    if not source.isdigit():
        return float(source)
    if source[0] == "0" and source.strip("0"):
        raise ExpressionError(column, "a number cannot start with 0")
    return int(source)


def _unquoted(source: str, column: int) -> str:
    """The text that a quoted literal stands for, by Python's rules; a backslash before any other sign stays."""
    if source[0] == "r":
        return source[2:-1]
    inner = source[1:-1]
    return _ESCAPE.sub(lambda found: _unescaped(found, column), inner) if "\\" in inner else inner


def _unescaped(found: re.Match[str], column: int) -> str:
    code = found[1] or found[2]
    if found[4]:
        raise ExpressionError(column, f"the escape \\{found[4]} is not supported; write \\x or \\u")
    return chr(int(code, 16)) if code else _SIMPLE[found[3]]
