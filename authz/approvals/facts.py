"""What a human is shown of a request: bounded, with secrets masked before anything is kept (I10, I12)."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

MAX_ARGUMENTS: Final = 64
MAX_VALUE_CHARS: Final = 256
MAX_NAME_CHARS: Final = 128
_MAX_DEPTH: Final = 16
_MAX_VISITED: Final = 10_000
_AMOUNT_WORDS: Final = frozenset(
    {"amount", "balance", "count", "currency", "fee", "limit", "price", "qty", "quantity", "sum", "total", "value"}
)
_WORD_BREAK: Final = re.compile(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])")
MASK: Final = "[masked]"

Mask = Callable[[str, int], str]
"""Answers a text without secrets and control characters, cut to so many characters."""


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """One named value."""

    name: str
    value: str


class Beyond(msgspec.Struct, frozen=True, array_like=True):
    """A limit that the call would exceed."""

    limit_of: str
    """What has it: "budget payments", "task limit calls"."""
    limit: str
    used: str
    """When the request was opened."""
    asked: str

    def __str__(self) -> str:
        return f"{self.limit_of}, {self.used} of {self.limit} used, and this adds {self.asked}"


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that is kept for the card. All texts are fit to be shown."""

    method: str = ""
    host: str = ""
    path: str = ""
    query: tuple[Shown, ...] = ()
    arguments: tuple[Shown, ...] = ()
    left_out: int = 0
    """How many more arguments there are."""
    cut: bool = False
    """Whether a value was cut."""
    arguments_sha256: str = ""
    body_bytes: int = 0
    resource_type: str = ""
    resource_id: str = ""
    sensitivity: str = ""
    environment: str = ""
    cardholder_data: bool = False
    principal_kind: str = ""
    chain: tuple[str, ...] = ()
    task_purpose: str = ""
    task_declared: bool = True
    source_address: str = ""
    rule: str = ""
    rule_text: str = ""
    policy_version: str = ""
    beyond: tuple[Beyond, ...] = ()

    @property
    def amounts(self) -> tuple[Shown, ...]:
        """The arguments whose names speak of an amount."""
        return tuple(each for each in self.arguments if speaks_of_amount(each.name))

    def within(self, max_bytes: int) -> "Facts":
        """The same with arguments left out, the last first, until it takes no more than so many bytes as JSON."""
        facts = self
        while facts.arguments and len(msgspec.json.encode(facts)) > max_bytes:
            keep = facts.arguments[: len(facts.arguments) // 2]
            facts = msgspec.structs.replace(
                facts, arguments=keep, left_out=facts.left_out + len(facts.arguments) - len(keep)
            )
        return facts


def speaks_of_amount(name: str) -> bool:
    """Whether a name such as "transfer.totalAmount" speaks of an amount."""
    return not _AMOUNT_WORDS.isdisjoint(word.lower() for word in _WORD_BREAK.split(name))


class Shower:
    """Makes values fit to be shown."""

    def __init__(self, mask: Mask, is_secret: Callable[[str], bool], masked_names: Sequence[str]) -> None:
        """`masked_names`: of arguments that are masked whatever they hold."""
        self.text = mask
        self._is_secret = is_secret
        self._masked_names = frozenset(name.casefold() for name in masked_names)

    def shown(self, name: str, value: object) -> tuple[Shown, bool]:
        """One value by its name, and whether it was cut."""
        name = self.text(name, MAX_NAME_CHARS)
        if self.secret(name):
            return Shown(name, MASK), False
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return Shown(name, self.text(text, MAX_VALUE_CHARS)), len(text) > MAX_VALUE_CHARS

    def secret(self, name: str) -> bool:
        """Whether any part of a dotted name speaks of a secret, or is one that configuration masks."""
        parts = re.split(r"[.\[\]]+", name)
        return any(self._is_secret(part) or part.casefold() in self._masked_names for part in parts if part)

    def arguments(self, arguments: Mapping[str, Any]) -> tuple[tuple[Shown, ...], int, bool]:
        """Arguments flattened to dotted names, as many as there is room for; how many more, and whether any was cut."""
        found: list[Shown] = []
        more, cut = 0, False
        for number, (name, value) in enumerate(_leaves(arguments, "", 0)):
            if number >= _MAX_VISITED:
                return tuple(found), more + 1, True
            if len(found) >= MAX_ARGUMENTS:
                more += 1
                continue
            one, was_cut = self.shown(name, value)
            found.append(one)
            cut |= was_cut
        return tuple(found), more, cut


def _leaves(value: object, name: str, depth: int) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value and depth < _MAX_DEPTH:
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, list | tuple) and value and depth < _MAX_DEPTH:
        for at, each in enumerate(value):
            yield from _leaves(each, f"{name}[{at}]", depth + 1)
    else:
        yield name, value
