"""A second strict reader of JSON, slow and on the standard library's parser, to hold the fast one against."""

import json
import math
from decimal import Decimal

NONCHARACTERS = {*range(0xFDD0, 0xFDF0)} | {
    plane + low for plane in range(0, 0x110000, 0x10000) for low in (0xFFFE, 0xFFFF)
}


def strict(body: bytes) -> object:
    """Answer the value, or raise `ValueError`: RFC 8259, RFC 7493, no keys that differ in case alone, no U+0000."""
    text = body.decode("utf-8", "strict")
    if text.startswith("\ufeff"):
        raise ValueError("byte order mark")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except RecursionError:
        raise ValueError("too deep") from None
    _texts(value)
    return value


def _object(pairs):
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise ValueError("key twice")
    if "__proto__" in dict(pairs):
        raise ValueError("prototype")
    return dict(pairs)


def _constant(name):
    raise ValueError(name)


def _integer(literal):
    if len(literal) > 17 or abs(int(literal)) >= 2**53:
        raise ValueError("integer too large")
    return int(literal)


def _float(literal):
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError("too large")
    mantissa = literal.lower().partition("e")[0]
    if number == 0 and mantissa.strip("-0.") != "":
        raise ValueError("too small")
    if number != 0 and Decimal(literal).compare(Decimal(repr(number))) != 0:
        raise ValueError("too precise")
    return number


def _texts(value):
    if isinstance(value, str):
        value.encode("utf-8", "strict")
        if any(ord(c) in NONCHARACTERS or c == "\0" for c in value):
            raise ValueError("character")
    elif isinstance(value, list):
        for item in value:
            _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _texts(key)
            _texts(item)
