"""Readers that accept exactly one spelling of a text: base64url, JSON.

A text that two parsers could read in two ways is how a check and its consumer come to disagree. All raise ValueError
with a fixed message that quotes nothing of the input (I10).
"""

import base64
import json
from typing import NoReturn, cast

from authz.model import Value

MAX_JSON_DEPTH = 32
"""Nested arrays and objects in a token or key set; honest ones have about five."""
MAX_JSON_NUMBER = 2**63 - 1
"""Of either sign; larger integers do not survive other JSON readers unchanged."""


def decode_base64url(text: str) -> bytes:
    """The bytes that unpadded base64url spells, in its canonical spelling only (RFC 7515 section 2)."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The library skips foreign characters, padding and unused bits; writing it again shows all of them.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii"):
        raise ValueError("not unpadded base64url in its one spelling")
    return data


def decode_json_object(data: bytes) -> dict[str, Value]:
    """The object that a JSON text holds, when every reader would read the same.

    Refused are repeated names (some readers take the first, some the last), NaN and infinities, numbers beyond 64
    bits, lone surrogates, depth over `MAX_JSON_DEPTH`, and anything but one object.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except json.JSONDecodeError:
        # Its own message is free of the text, but the exception keeps the whole document as an attribute.
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error class for all that a text can do wrong
    _check(value, MAX_JSON_DEPTH)
    return cast("dict[str, Value]", value)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("repeated name in a JSON object")
    return result


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _check(value: object, depth: int) -> None:
    # What the decoder makes is of these types exactly, and asking for them costs half of what `isinstance` does.
    if type(value) is str:
        if not value.isascii():
            value.encode("utf-8")  # UnicodeEncodeError, a ValueError, for a lone surrogate
    elif type(value) is int or type(value) is float:
        if not abs(value) <= MAX_JSON_NUMBER:
            raise ValueError("number out of range")
    elif type(value) is dict or type(value) is list:
        if depth == 0:
            raise ValueError("JSON nested too deeply")
        for item in (*value, *value.values()) if type(value) is dict else value:
            _check(item, depth - 1)


# Made once: `json.loads` makes one for each text that it is given a hook for.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
