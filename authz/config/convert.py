"""From what a file or variable says to typed sections, collecting every fault instead of stopping at the first."""

import difflib
import enum
import math
import re
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from authz.config.text import is_secret, literal
from authz.config.toml_lines import KeyPath
from authz.errors import AuthzError

_MAX_SHOWN_CHARS = 60
_MAX_SHOWN_INTEGER = 1 << 64
_INSIDE = re.compile(r"\[([0-9]+)\]|\.([A-Za-z0-9_]+)")


class Fault(NamedTuple):
    """One thing that is wrong: the key that it is about, and what to say."""

    key: KeyPath
    message: str


class Override(NamedTuple):
    """The text of an environment variable, read once it is known what is wanted."""

    text: str


class _Failed(enum.Enum):
    FAILED = enum.auto()


_FAILED = _Failed.FAILED


class Converter:
    """Converts values, adding what is wrong with them to `faults`; what it then answers is of no use."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults

    def convert(self, raw: Any, kind: Any, key: KeyPath) -> Any:
        """Answer the value as the type asks for it."""
        if isinstance(raw, Override):
            return self._override(raw, kind, key)
        limits, bare = _unwrapped(kind)
        if raw is None:  # JSON's null, from a variable
            return self._leaf(raw, kind, key)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self._struct(raw, bare, key)
        origin, arguments = get_origin(bare), get_args(bare)
        if origin in {dict, Mapping} and isinstance(raw, dict) and arguments[0] is str:
            return self._mapping(raw, arguments[1], limits, key)
        if origin in {list, tuple} and isinstance(raw, list) and _holds_section(arguments[0]):
            return self._sequence(raw, origin, arguments[0], limits, key)
        if origin is Literal:
            return self._choice(raw, {choice: choice for choice in arguments}, key)
        if isinstance(bare, type) and issubclass(bare, enum.Enum):
            return self._choice(raw, {member.value: member for member in bare}, key)
        return self._leaf(raw, kind, key)

    def _override(self, override: Override, kind: Any, key: KeyPath) -> Any:
        first: list[Fault] = []
        for value in _readings(override.text):
            faults: list[Fault] = []
            converted = Converter(faults).convert(value, kind, key)
            if not faults:
                return converted
            first = first or faults
        self._faults += first
        return _FAILED

    def _struct(self, raw: Any, kind: type[msgspec.Struct], key: KeyPath) -> Any:
        if not isinstance(raw, dict):
            return self._fault(key, f"expected a table; given {_shown(raw, key, kind)}")
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for name in raw:
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                hint = f'did you mean "{close[0]}"?' if close else "the keys here are " + (", ".join(fields) or "none")
                self._fault((*key, name), f"unknown key; {hint}")
        values = {}
        whole = True
        for name, field in fields.items():
            if name in raw:
                values[field.name] = self.convert(raw[name], field.type, (*key, name))
                whole = whole and values[field.name] is not _FAILED
            elif field.required:
                whole = self._fault((*key, name), "missing; it has no default") is not _FAILED
        return self._built(kind, values, key) if whole else _FAILED

    def _built(self, kind: type[msgspec.Struct], values: dict[str, Any], key: KeyPath) -> Any:
        try:
            struct = kind(**values)
        except (ValueError, TypeError, AuthzError) as error:  # from its __post_init__
            return self._fault(key, str(error))
        found = list(getattr(struct, "problems", tuple)())
        for about, message in found:
            self._fault((*key, *about.split(".")) if about else key, message)
        return _FAILED if found else struct

    def _mapping(self, raw: dict[str, Any], kind: Any, limits: tuple[Any, ...], key: KeyPath) -> Any:
        values = {name: self.convert(value, kind, (*key, name)) for name, value in raw.items()}
        fits = self._fits(dict.fromkeys(raw), dict[str, Any], limits, key)
        return values if fits and not any(value is _FAILED for value in values.values()) else _FAILED

    def _sequence(self, raw: list[Any], origin: type, kind: Any, limits: tuple[Any, ...], key: KeyPath) -> Any:
        values = [self.convert(value, kind, (*key, at)) for at, value in enumerate(raw)]
        fits = self._fits([None] * len(raw), list[Any], limits, key)
        return origin(values) if fits and not any(value is _FAILED for value in values) else _FAILED

    def _fits(self, shape: object, kind: Any, limits: tuple[Any, ...], key: KeyPath) -> bool:
        """Whether a container, its elements left out, keeps to the limits of its type."""
        try:
            msgspec.convert(shape, Annotated[(kind, *limits)] if limits else kind)
        except msgspec.ValidationError as error:
            self._fault(key, _worded(error)[0])
            return False
        return True

    def _choice(self, raw: Any, choices: dict[Any, Any], key: KeyPath) -> Any:
        for choice, value in choices.items():
            if type(choice) is type(raw) and choice == raw:
                return value
        hint = ""
        if isinstance(raw, str) and (close := difflib.get_close_matches(raw, map(str, choices), n=1)):
            hint = f'; did you mean "{close[0]}"?'
        expected = ", ".join(map(literal, choices))
        return self._fault(key, f"expected one of {expected}; given {_shown(raw, key, str)}{hint}")

    def _leaf(self, raw: Any, kind: Any, key: KeyPath) -> Any:
        inside: KeyPath = ()
        try:
            value = msgspec.convert(_settled(raw), kind)
            if _is_finite(value):
                return value
            message = "expected a finite number"
        except msgspec.ValidationError as error:
            message, inside = _worded(error)
        except RecursionError:
            message = "nested too deeply"
        return self._fault((*key, *inside), message if inside else f"{message}; given {_shown(raw, key, kind)}")

    def _fault(self, key: KeyPath, message: str) -> _Failed:
        self._faults.append(Fault(key, message))
        return _FAILED


def _readings(text: str) -> Iterator[Any]:
    """Yield what the text of a variable can stand for: a TOML or JSON value, and the text itself."""
    for read in (_toml_value, msgspec.json.decode):
        try:
            yield read(text)
        except (ValueError, RecursionError, msgspec.DecodeError):
            continue
        break
    yield text


def _toml_value(text: str) -> Any:
    table = tomllib.loads(f"value = {text}")
    if table.keys() != {"value"}:
        raise ValueError("more than one value")
    return table["value"]


def _settled(raw: Any) -> Any:
    """Answer the value with the overrides inside of it read by their form, for want of a type."""
    if isinstance(raw, Override):
        return next(_readings(raw.text))
    if isinstance(raw, dict):
        return {name: _settled(value) for name, value in raw.items()}
    return raw


def _unwrapped(kind: Any) -> tuple[tuple[Any, ...], Any]:
    """Answer the limits (`Meta`) of a type, and the type without them and without "or unset"."""
    limits: tuple[Any, ...] = ()
    while True:
        if get_origin(kind) is Annotated:
            kind, *found = get_args(kind)
            limits += tuple(found)
            continue
        members = [member for member in get_args(kind) if member is not type(None)]
        if get_origin(kind) in {Union, types.UnionType} and len(members) == 1:
            kind = members[0]
            continue
        return limits, kind


def _holds_section(kind: Any) -> bool:
    bare = _unwrapped(kind)[1]
    return isinstance(bare, type) and issubclass(bare, msgspec.Struct)


def _is_finite(value: Any) -> bool:
    """Whether there is no infinity or NaN in a value: neither is a limit (I12), and NaN is never out of a range."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(map(_is_finite, value))
    return True


def _worded(error: msgspec.ValidationError) -> tuple[str, KeyPath]:
    """Answer what a validation error says, in TOML's words, and where inside of the value."""
    message, _, where = str(error).replace("`object`", "`table`").partition(" - at `$")
    inside = tuple(int(part[1]) if part[1] else part[2] for part in _INSIDE.finditer(where))
    return message[:1].lower() + message[1:], inside


def _shown(raw: Any, key: KeyPath, kind: Any) -> str:
    """Answer what was given, as far as it may be shown (I10)."""
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "an array"
    if is_secret(next((part for part in reversed(key) if isinstance(part, str)), ""), kind):
        return "a value that is not shown"
    if isinstance(raw, int) and abs(raw) >= _MAX_SHOWN_INTEGER:
        return "a very large integer"
    text = "null" if raw is None else literal(raw)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "..."
