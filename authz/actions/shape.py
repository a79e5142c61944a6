"""Members of a JSON object, each of the type that its protocol gives it; anything else is refused as malformed."""

from collections.abc import Mapping
from typing import Final, NoReturn

from authz.errors import Reason, Refusal
from authz.model import Value

_MAX_LABEL_CHARS: Final = 256


def an_object(value: Value, what: str) -> Mapping[str, Value]:
    """Answer the value, which must be an object."""
    if type(value) is not dict:
        malformed(f"{what} is no object")
    return value


def a_list(value: Value, what: str) -> list[Value]:
    """Answer the value, which must be an array."""
    if type(value) is not list:
        malformed(f"{what} is no array")
    return value


def objects(owner: Mapping[str, Value], name: str) -> list[Mapping[str, Value]]:
    """Answer the objects of an array that may be absent or null."""
    value = owner.get(name)
    return [] if value is None else [an_object(each, f"an element of `{name}`") for each in a_list(value, f"`{name}`")]


def label(owner: Mapping[str, Value], name: str) -> str:
    """Answer a short printable text; "" where it is absent or null."""
    value = owner.get(name)
    if value is None:
        return ""
    if type(value) is not str or not 0 < len(value) <= _MAX_LABEL_CHARS or not value.isprintable():
        malformed(f"`{name}` is no short printable text")
    return value


def whole(owner: Mapping[str, Value], name: str) -> int | None:
    """Answer a whole number; None where it is absent or null."""
    value = owner.get(name)
    if value is not None and type(value) is not int:
        malformed(f"`{name}` is no whole number")
    return value


def flag(owner: Mapping[str, Value], name: str) -> bool:
    """Answer true or false; false where it is absent or null."""
    value = owner.get(name)
    if value is not None and type(value) is not bool:
        malformed(f"`{name}` is neither true nor false")
    return value is True


def malformed(problem: str) -> NoReturn:
    """Refuse a body that is not of its protocol's shape."""
    raise Refusal(Reason.BODY_MALFORMED, problem)


def unknown(problem: str) -> NoReturn:
    """Refuse a body that asks for what the protocol, as we know it, does not have."""
    raise Refusal(Reason.BODY_UNKNOWN, problem)


def mismatch(problem: str) -> NoReturn:
    """Refuse a request whose parts contradict each other."""
    raise Refusal(Reason.BODY_MISMATCH, problem)


def ambiguous(problem: str) -> NoReturn:
    """Refuse what could be read in two ways."""
    raise Refusal(Reason.BODY_AMBIGUOUS, problem)
