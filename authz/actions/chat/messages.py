"""The messages of a request to a model: whose they are, and what they are made of."""

from collections.abc import Iterable, Mapping
from typing import Final

from authz.actions.shape import a_list, an_object, label
from authz.actions.strict_json import refuse_lookalikes
from authz.model import Value

_MESSAGE: Final = frozenset({"role", "content", "type"})
_PART: Final = frozenset({"type"})


def in_order(names: Iterable[str]) -> tuple[Value, ...]:
    """Answer each name once, sorted."""
    return tuple(sorted(set(names)))


def role_of(message: Mapping[str, Value]) -> str:
    """Answer whose message it is; "" where it does not say, as what is no message but a call or its result."""
    refuse_lookalikes(message, _MESSAGE)
    return label(message, "role")


def content_kinds(content: Value) -> list[str]:
    """Answer of which kinds the parts of a message are, as the provider calls them; of a plain text "text"."""
    if content is None:
        return []
    if type(content) is str:
        return ["text"]
    parts = [an_object(each, "a part of a message") for each in a_list(content, "`content`")]
    for part in parts:
        refuse_lookalikes(part, _PART)
    return [label(part, "type") for part in parts]
