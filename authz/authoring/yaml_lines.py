"""Reads YAML strictly, and knows on which line everything stands.

What surprises people in YAML is left out: `no` and `on` are texts, a key that stands twice is an error, and so are
aliases and tags. Plain words are numbers and truth values only where JSON would read them so.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import yaml

from authz.errors import ConfigError

_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("map", "seq", "str", "null", "bool", "int", "float", "timestamp", "merge", "value")
)
"""Those that the parser gives to what has no tag."""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, bool | None] = {"": None, "null": None, "~": None, "true": True, "false": False}
_WHERE = re.compile(r"(?P<problem>.*) - at `(?P<path>.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_LAST_STEP = re.compile(r"(?:\.[^.\[\]]*|\[[^\]]*\])\Z")
_MAX_NUMBER_CHARS = 40

T = TypeVar("T")


class Document(msgspec.Struct, frozen=True):
    """A YAML document as plain values, with the line of each."""

    file: str
    value: Any
    lines: Mapping[str, int]
    """By path, as msgspec writes it: `$.cases[0].name`."""

    def line(self, path: str) -> int:
        """Answer where something stands, or what holds it."""
        while path not in self.lines and path != "$":
            shorter = _LAST_STEP.sub("", path)
            path = shorter if shorter != path else "$"
        return self.lines.get(path, 1)

    def refuse(self, path: str, problem: str) -> ConfigError:
        """Make the error for what stands at a path."""
        return ConfigError(f"{self.file}:{self.line(path)}: {problem}")

    def convert(self, kind: type[T]) -> T:
        """Answer the document as a value of this kind.

        Raises:
            ConfigError: with the line of what does not fit.
        """
        try:
            return msgspec.convert(self.value, kind)
        except msgspec.ValidationError as error:
            path, problem = explained(error, kind)
            raise self.refuse(path, problem) from None


def explained(error: msgspec.ValidationError, kind: type) -> tuple[str, str]:
    """Answer where a value does not fit its kind, and why, in an author's words."""
    told = _WHERE.fullmatch(str(error))
    path, problem = (told["path"], told["problem"]) if told else ("$", str(error))
    unknown = _UNKNOWN.fullmatch(problem)
    if unknown:
        close = difflib.get_close_matches(unknown[1], sorted({*_keys(kind)} - {unknown[1]}), n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        return f"{path}.{unknown[1]}", f"`{unknown[1]}` is no key here{hint}"
    key = path.removeprefix("$").lstrip(".")
    return path, f"{key}: {problem}" if key else problem


def _keys(kind: type) -> Iterator[str]:
    """Name the keys of a kind and of the kinds within it."""
    text = json.dumps(msgspec.json.schema_components([kind])[1], default=list)
    for part in json.loads(text).values():
        yield from part.get("properties", {})


def read_yaml(text: str, file: str) -> Document:
    """Read one YAML document.

    Raises:
        ConfigError: it is none, or holds what is not read here, with the line.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{file}{place}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file}: not YAML: nested too deep") from None
    lines: dict[str, int] = {}
    reader = _Reader(file, lines)
    try:
        value = None if root is None else reader.value(root, "$")
    except RecursionError:
        raise ConfigError(f"{file}: nested too deep") from None
    return Document(file, value, lines)


class _Reader:
    def __init__(self, file: str, lines: dict[str, int]) -> None:
        self._file = file
        self._lines = lines
        self._seen: set[int] = set()

    def value(self, node: yaml.Node, path: str) -> Any:
        if id(node) in self._seen:
            raise self._error(node, "aliases (`*name`) are not read here; `defaults` holds what cases share")
        self._seen.add(id(node))
        if node.tag not in _PLAIN_TAGS:
            raise self._error(node, f"tags such as {node.tag} are not read here")
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{place}]") for place, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key must be a text")
            name = str(key.value)
            if name in found:
                raise self._error(key, f"the key `{name}` stands twice")
            self._lines[f"{path}.{name}"] = key.start_mark.line + 1
            found[name] = self.value(item, f"{path}.{name}")
        return found

    def _scalar(self, node: yaml.Node) -> str | int | float | bool | None:
        text = str(node.value)
        if getattr(node, "style", None) is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if len(text) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(text):
            number: int | float = json.loads(text)
            return number
        return text

    def _error(self, node: yaml.Node, problem: str) -> ConfigError:
        mark = node.start_mark
        return ConfigError(f"{self._file}:{mark.line + 1}:{mark.column + 1}: {problem}")
