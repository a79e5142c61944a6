"""What an approval is good for: exactly one question, told by a digest of all that makes it that question."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz.approvals.demand import Demand

_decode = json.JSONDecoder().raw_decode
_DOMAIN: Final = b"authz-approval-1\n"


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that must be the same when the call is tried again."""

    principal: str
    """Who calls."""
    chain: tuple[str, ...]
    """Every party from the first to the caller."""
    grant_id: str
    task: tuple[str, str, bool]
    """Its id, its purpose, and whether both are only declared."""
    action: str
    method: str
    host: str
    port: int
    path: str
    query: str
    resource: Mapping[str, Any]
    """`r.obj`: a resource that is catalogued otherwise meanwhile is not what the human was shown."""
    headers: tuple[tuple[str, str], ...]
    """Those that say how the body is to be read, and those that configuration adds."""
    transaction: Mapping[str, Any] = {}
    """What the transaction token says that it is about."""
    arguments: str
    """The digest of what it is done with; see `arguments_digest`."""
    policy: str
    """The hash of model and rules."""
    rule: str
    """Which rule decided, by file and line."""
    demand: Demand
    beyond: tuple[tuple[str, str], ...] = ()
    """The limits that it may exceed: what has each, and how high it is. Not how much was used: that goes on."""


def arguments_digest(body: bytes, arguments: Mapping[str, Any]) -> str:
    """SHA-256, lower-case hex, of the body to the byte; of the arguments where there is no body.

    Raises:
        ValueError: the arguments cannot be written as JSON.
    """
    if body:
        return hashlib.sha256(b"body\n" + body).hexdigest()
    return hashlib.sha256(b"arguments\n" + _written(arguments)).hexdigest()


def without_id(body: bytes) -> bytes:
    """A JSON-RPC request to the byte but for the value of its `id`, which is another at every attempt.

    It only tells answers apart (JSON-RPC 2.0 section 4). What is not such a request stays as it is.
    """
    try:
        text = body.decode()
        at, places = _blank(text, 0), []
        if text[at] != "{":
            return body
        while text[at] in "{,":
            name, at = _decode(text, _blank(text, at + 1))
            at = _blank(text, at)
            if text[at] != ":" or not isinstance(name, str):
                return body
            start = _blank(text, at + 1)
            value, end = _decode(text, start)
            if name == "id" and isinstance(value, str | int):
                places.append((start, end))
            at = _blank(text, end)
        if text[at] != "}" or len(places) != 1:
            return body
    except (ValueError, IndexError, RecursionError):
        return body
    [(start, end)] = places
    return (text[:start] + "null" + text[end:]).encode()


def _blank(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def binding_digest(binding: Binding) -> str:
    """SHA-256 in lower-case hex: equal for equal questions only, as every part is written with its name and length.

    Raises:
        ValueError: a part cannot be written as JSON.
    """
    return hashlib.sha256(_DOMAIN + _written(binding)).hexdigest()


def _written(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, order="deterministic")
    except (TypeError, UnicodeEncodeError, OverflowError) as error:
        raise ValueError(f"not to be written as JSON: {type(error).__name__}") from None
