"""What a JSON body says, where every parser reads the same; what two parsers could read differently is refused.

The upstream parses the same bytes with a parser that we do not know. RFC 8259 leaves to it what a repeated key, a lone
surrogate or a number beyond a double means; I-JSON (RFC 7493) forbids exactly these, and so does this reader. Beyond
I-JSON it refuses keys of one object that differ in case alone (Go's `encoding/json` takes either for the same field),
the key `__proto__` (JavaScript may give the object another prototype) and U+0000 in text (C strings end there).

Numbers: `1` is an int, `1.0` and `1e0` are floats; they compare equal here as everywhere. An integer must lie within
+-(2^53 - 1). A number with fraction or exponent must be, as a decimal, the shortest that names its double: what
JavaScript, Go, Python and Rust write. So one who reads decimals sees the same number as one who reads doubles.

How it is fast: msgspec parses (C, refuses every syntax error), and what it does not tell is asked of the bytes as a
whole. A repeated key leaves no trace in a parsed value, so colons are counted: the body has one for each key and those
within text; the value, encoded again, has as many only if no key was lost. The value so counted is that of the body in
one case, where keys in two cases are one. What could upset this (escaped colons) and numbers of many digits or with an
exponent take a second, slow reading, member by member.

Measured on 2 kB: a `tools/call` of one long text 22 us, one of 34 objects and arrays with a float in most 30 to 50 us,
the slow reading 110 us. The standard library's parser with an `object_pairs_hook` for repeated keys and nothing else
takes 10 and 29 us; with hooks for the numbers and a pass over texts it is the slow reading.
"""

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Annotated, Any, NoReturn

import msgspec

from authz.errors import Reason, Refusal
from authz.model import Value

_LARGEST = 2**53 - 1
_LONGEST_INTEGER = len("-9007199254740991")
# Escapes of U+0000, the colon, and noncharacters (or their low surrogates); UTF-8 of noncharacters, and some other.
_ODD_ESCAPES = re.compile(rb"\\u(?:0000|003a|fd[de]|fff|dff)", re.IGNORECASE)
_ODD_BYTES = (b"\xef\xb7", b"\xbf\xbe", b"\xbf\xbf")
_PROTOTYPE = "__proto__"
_MAYBE_PROTOTYPE = _PROTOTYPE.encode()
_NONCHARACTERS = frozenset(range(0xFDD0, 0xFDF0)).union(*({p - 2, p - 1} for p in range(0x10000, 0x120000, 0x10000)))
# Digits and points become "0", the letter of an exponent "e": a number of fewer than 16 is exact as a double.
_NUMBER_MARKS = bytes(0x30 if c in b"0123456789." else 0x65 if c in b"eE" else 0x20 for c in range(256))
_ALL_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(c for c in range(256) if c not in b"[]{}")
_LONG_NUMBER = b"0" * 16
_EXPONENT = b"0e"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class JsonLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on a JSON body; one beyond any of them is refused as too large."""

    max_depth: Annotated[int, msgspec.Meta(ge=0, le=100)] = 32
    """How deep objects and arrays may nest; a scalar alone has depth 0."""
    max_values: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """Most members of all objects and elements of all arrays together."""
    max_string_chars: Annotated[int, msgspec.Meta(ge=1, le=10_485_760)] = 262_144
    """Longest text, keys included, in characters."""


def read_json(body: bytes, limits: JsonLimits) -> Value:
    """Answer the one value that the body means to every parser; raises `Refusal` where there is no such value.

    Objects are dicts, arrays lists. How long the body may be is for the caller to say.
    Source: RFC 8259, RFC 7493 section 2.
    """
    if not body:
        raise Refusal(Reason.BODY_MISSING, "the body is empty")
    value = _parse(body)
    # Brackets, commas and digits within texts count as well at first: mostly there are few enough even so.
    opened = body.count(b"{") + body.count(b"[")
    if opened + body.count(b",") > limits.max_values or len(body) > limits.max_string_chars:
        _check_sizes([value], limits)
    exact = _numbers_are_short(body)
    if not exact or opened > limits.max_depth:
        frame = _without_texts(body)
        exact = _numbers_are_short(frame)
        _check_depth(frame, limits)
    folded = _folded(body, value)
    if (
        not exact
        or _MAYBE_PROTOTYPE in folded
        or (b"\\u" in body and _ODD_ESCAPES.search(body))
        or (not body.isascii() and any(odd in body for odd in _ODD_BYTES))
    ):
        _read_slowly(body)
    elif _encode(_decode(folded)).count(b":") != body.count(b":"):
        _repeated_key()
    return value


def refuse_lookalikes(obj: Mapping[str, Value], known: frozenset[str]) -> None:
    """Refuse an object with a key that is one of `known` but for its case: some parsers take it for that field."""
    others = obj.keys() - known
    if others and not {key.casefold() for key in others}.isdisjoint({name.casefold() for name in known}):
        _ambiguous("a key is that of a known field but for its case")


def _parse(body: bytes) -> Value:
    try:
        value: Value = _decode(body)
    except RecursionError:
        raise Refusal(Reason.BODY_TOO_LARGE, "the body nests too deep to be read") from None
    except UnicodeDecodeError:
        raise Refusal(Reason.BODY_MALFORMED, "the body is not UTF-8") from None
    except msgspec.ValidationError:
        _ambiguous("an integer is beyond 2^53, where not every parser reads it exactly")
    except msgspec.MsgspecError as error:
        raise Refusal(Reason.BODY_MALFORMED, f"the body is not JSON: {error}") from None
    return value


def _folded(body: bytes, value: Value) -> bytes:
    """Answer the body with all letters in one case, those behind escapes too."""
    if body.isascii() and b"\\u" not in body:
        return body.lower()
    return _encode(value).decode().casefold().encode()


def _without_texts(body: bytes) -> bytes:
    """Answer what stands outside of the quotes of a body that is JSON: brackets, commas, numbers, names."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])


def _numbers_are_short(body: bytes) -> bool:
    """Answer whether no number can be inexact."""
    marks = body.translate(_NUMBER_MARKS)
    return _LONG_NUMBER not in marks and _EXPONENT not in marks


def _check_depth(frame: bytes, limits: JsonLimits) -> None:
    brackets = frame.translate(_ALL_SQUARE, _NO_BRACKETS)
    for _ in range(limits.max_depth):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")  # the innermost of each branch, and no other
    if brackets:
        _too_large("values nest deeper", "max_depth")


def _check_sizes(level: list[Any], limits: JsonLimits) -> None:
    """Hold texts and the number of values to the limits: level by level, so that no depth upsets it."""
    count = 0
    while level:
        texts = [item for item in level if type(item) is str]
        if texts and max(map(len, texts)) > limits.max_string_chars:
            _too_large("a text is longer", "max_string_chars")
        objects = [item for item in level if type(item) is dict]
        lists = [item for item in level if type(item) is list]
        count += sum(map(len, objects)) + sum(map(len, lists))
        if count > limits.max_values:
            _too_large("there are more values", "max_values")
        level = [*chain.from_iterable(lists), *chain.from_iterable(objects)]
        level += chain.from_iterable(each.values() for each in objects)


def _read_slowly(body: bytes) -> None:
    """Refuse what is ambiguous, member by member. The body is JSON, and no deeper than the limits allow."""
    _check_text(json.loads(body, object_pairs_hook=_object, parse_int=exact_integer, parse_float=exact_double))


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key.casefold() for key, _ in members}) != len(members):
        _repeated_key()
    read = dict(members)
    if _PROTOTYPE in read:
        _ambiguous("a key `__proto__`, which JavaScript may take for the object's prototype")
    return read


def exact_integer(literal: str) -> int:
    """Answer the number that a literal stands for to every reader; raises `Refusal` where there is none."""
    if len(literal) > _LONGEST_INTEGER or not -_LARGEST <= int(literal) <= _LARGEST:
        _ambiguous("an integer is beyond 2^53, where not every parser reads it exactly")
    return int(literal)


def exact_double(literal: str) -> float:
    """Answer the double that a literal stands for; raises `Refusal` where that is another number than it says."""
    number = float(literal)
    if not math.isfinite(number):
        _ambiguous("a number is beyond the range of a double")
    try:
        same = Decimal(literal) == Decimal(repr(number))
    except InvalidOperation:
        same = False
    if not same:
        _ambiguous("a number is more precise than a double")
    return number


def _check_text(value: Any) -> None:
    if type(value) is str:
        if "\0" in value:
            _ambiguous("a text holds U+0000, where some parsers end it")
        if not value.isascii() and not _NONCHARACTERS.isdisjoint(map(ord, value)):
            raise Refusal(Reason.BODY_MALFORMED, "a text holds a noncharacter, which I-JSON forbids (RFC 7493, 2.1)")
    elif type(value) is dict:
        for item in (*value, *value.values()):
            _check_text(item)
    elif type(value) is list:
        for item in value:
            _check_text(item)


def _repeated_key() -> NoReturn:
    _ambiguous("an object has the same key twice, or in two cases")


def _ambiguous(problem: str) -> NoReturn:
    raise Refusal(Reason.BODY_AMBIGUOUS, problem)


def _too_large(problem: str, setting: str) -> NoReturn:
    raise Refusal(Reason.BODY_TOO_LARGE, f"{problem} than `{setting}` allows")
