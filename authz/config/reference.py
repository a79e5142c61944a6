"""The reference of all settings as Markdown (docs/configuration.md), made from their types and docstrings."""

import enum
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from authz.config.docs import class_doc, field_docs
from authz.config.text import literal

_HEAD = """\
# Configuration reference

<!-- Made from the settings' own types and docstrings. Do not edit. -->

One TOML file; every setting has the default given here, so that an empty file is a valid one unless a setting says
"required". An environment variable overrides a setting: `AUTHZ__` and the path of the key in capitals, joined by `__`
(`server.listen` is `AUTHZ__SERVER__LISTEN`); its value is a TOML or JSON value, or else plain text. A key or variable
that is not known is an error.
"""
_NAMES: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "`true` or `false`",
    type(None): "unset",
    Any: "any value",
}
_BOUNDS = (("gt", "more than {}"), ("ge", "at least {}"), ("lt", "less than {}"), ("le", "at most {}"))
_SIZES = (("min_length", "at least {} long"), ("max_length", "at most {} long"))


def reference(kind: type[msgspec.Struct]) -> str:
    """Answer the whole reference of a configuration, section after section, in the order of the classes."""
    return "\n".join([_HEAD, *_section(kind, "")]).rstrip("\n") + "\n"


def _section(kind: type[msgspec.Struct], path: str) -> Iterator[str]:
    meanings = field_docs(kind)
    rows, sections = [], []
    for field in msgspec.structs.fields(kind):
        inner = _inner_section(field.type)
        if inner is not None:
            sections.append((inner[0], f"{path}.{field.encode_name}{inner[1]}".lstrip(".")))
        else:
            meaning = _cell(meanings.get(field.name, ""))
            rows.append(f"| `{field.encode_name}` | {_cell(type_text(field.type))} | {_default(field)} | {meaning} |")
    if path:
        yield from (f"## `{path}`", "")
        if about := class_doc(kind):
            yield from (about, "")
    if rows:
        yield from ("| setting | type | default | meaning |", "| --- | --- | --- | --- |", *rows, "")
    for section, where in sections:
        yield from _section(section, where)


def _inner_section(kind: Any) -> tuple[type[msgspec.Struct], str] | None:
    """Answer the Struct that a setting is, or holds several of, and how its path goes on; None for a plain value."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind, ""
    if origin is Annotated:
        return _inner_section(arguments[0])
    if origin in {Union, types.UnionType}:
        return next((inner for inner in map(_inner_section, arguments) if inner), None)
    if origin in {list, tuple} and (inner := _inner_section(arguments[0])):
        return inner[0], "[]" + inner[1]
    if origin in {dict, Mapping} and (inner := _inner_section(arguments[1])):
        return inner[0], ".<name>" + inner[1]
    return None


def type_text(kind: Any) -> str:
    """Answer in words what a setting takes."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = [limit for part in arguments[1:] if isinstance(part, msgspec.Meta) for limit in _limits(part)]
        return ", ".join([type_text(arguments[0]), *limits])
    if origin is Literal:
        return " or ".join(f"`{literal(value)}`" for value in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(type_text(argument) for argument in arguments)
    if origin in {list, tuple, set, frozenset}:
        return f"list of {type_text(arguments[0])}"
    if origin in {dict, Mapping}:
        return f"table of {type_text(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(f"`{literal(member.value)}`" for member in kind)
    return _NAMES.get(kind) or str(getattr(kind, "__name__", kind))


def _limits(meta: msgspec.Meta) -> Iterator[str]:
    for names in (_BOUNDS, _SIZES):
        for name, words in names:
            limit = getattr(meta, name)
            if limit is not None:
                yield words.format(limit)
    if meta.pattern is not None:
        yield f"matching `{meta.pattern}`"


def _default(field: msgspec.structs.FieldInfo) -> str:
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if default is msgspec.NODEFAULT:
        return "required"
    return "unset" if default is None else f"`{_cell(literal(default))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
