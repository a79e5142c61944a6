"""Reads YAML with the place of every value, strictly: no aliases, no key twice, no deep nesting."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from authz.policy.importing.writing import Untranslatable

_MAX_DEPTH = 30
_NULL = "tag:yaml.org,2002:null"
_TEXTS = frozenset(("tag:yaml.org,2002:str", "tag:yaml.org,2002:int"))


class DocumentError(Exception):
    """A text that is no YAML that this reads; the message says where."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A value of a document, and where it stands."""

    value: "str | list[Spot] | dict[str, Spot] | None"
    line: int
    column: int
    text: bool = True
    """For a single value, whether it is a text or number, and no truth value, date or the like."""

    def refuse(self, problem: str) -> "Misplaced":
        """The error for something here that cannot be translated."""
        return Misplaced(self.line, self.column, problem)

    @property
    def mapping(self) -> "dict[str, Spot]":
        """The members.

        Raises:
            Misplaced: It is no mapping.
        """
        if not isinstance(self.value, dict):
            raise self.refuse("a mapping is expected here")
        return self.value

    @property
    def items(self) -> "list[Spot]":
        """The items of a list that is not empty.

        Raises:
            Misplaced: It is no list, or empty.
        """
        if not isinstance(self.value, list) or not self.value:
            raise self.refuse("a list of at least one is expected here")
        return self.value

    @property
    def word(self) -> str:
        """The single value.

        Raises:
            Misplaced: It is none, or empty.
        """
        if not isinstance(self.value, str) or not self.value or not self.text:
            raise self.refuse("a text is expected here, and not an empty one")
        return self.value


class Misplaced(Untranslatable):
    """Something that cannot be translated, and where it stands."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.column = column


def documents(text: str) -> Iterator[Spot]:
    """The documents of a YAML stream that are not empty.

    Raises:
        DocumentError: It is no YAML, or uses what is not read here.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise DocumentError("aliases (*name) are not read; write the values out")
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            spot = _spot(node, _MAX_DEPTH)
            if spot.value is not None:
                yield spot
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DocumentError(f"{where}not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise DocumentError("nested too deeply") from None


def _spot(node: yaml.Node, depth: int) -> Spot:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if not depth:
        raise DocumentError(f"line {line}: nested more than {_MAX_DEPTH} deep")
    if isinstance(node, yaml.ScalarNode):
        return Spot(None if node.tag == _NULL else str(node.value), line, column, node.tag in _TEXTS)
    if isinstance(node, yaml.SequenceNode):
        return Spot([_spot(item, depth - 1) for item in node.value], line, column)
    members: dict[str, Spot] = {}
    for key, value in node.value:
        name = str(key.value)
        if not isinstance(key, yaml.ScalarNode) or name in members:
            where = f"line {key.start_mark.line + 1}, column {key.start_mark.column + 1}"
            raise DocumentError(f"{where}: a key that is no text, or stands twice")
        members[name] = _spot(value, depth - 1)
    return Spot(members, line, column)
