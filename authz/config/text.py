"""Configuration as TOML text: what `authz config show` prints, with secrets masked (I10)."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, Literal, get_args, get_origin

import msgspec

from authz.config.docs import class_doc, field_docs

MASK = "[masked]"
_DOC_WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SECRET_NAME = re.compile(
    r"(?:.*_)?(?:password|passphrase|secret|token|credential|(?:api|private|secret|signing)_key)s?"
)

_SECRET_IN_TEXT = re.compile(
    r"""
    (?P<url>://)[^/\s]+(?=@)
    | (?P<query>[?&][^=&\s]*(?:password|passwd|pwd|secret|token|key)=)[^&\s]+
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY.*
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_NOT_PLAIN = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]')
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def is_secret(name: str, kind: Any) -> bool:
    """Whether a setting must not be shown: by its name, or marked `msgspec.Meta(extra={"secret": True})`.

    A choice between words that stand in the source is no secret, whatever its name.
    """
    if get_origin(kind) is Literal:
        return False
    marked = any(
        isinstance(part, msgspec.Meta) and (part.extra or {}).get("secret") is True for part in _annotations(kind)
    )
    return marked or _SECRET_NAME.fullmatch(name) is not None


def _annotations(kind: Any) -> Iterator[Any]:
    yield from getattr(kind, "__metadata__", ())
    for part in get_args(kind):
        yield from _annotations(part)


def render(config: msgspec.Struct, *, docs: bool = False) -> str:
    """Answer every effective setting as TOML; with `docs`, each under a comment that says what it means.

    Loading the text gives an equal configuration, but for what is masked. What is unset (None) stands in a comment.
    """
    return "\n".join(_table(config, (), docs=docs)).strip("\n") + "\n"


def literal(value: object) -> str:
    """Write one value, of a setting or a default, as TOML."""
    return _literal(msgspec.to_builtins(value, builtin_types=(datetime, date, time)))


def without_secrets(text: str) -> str:
    """Answer the text with what is a secret by its form masked: user and password of a URL, a private key."""
    return _SECRET_IN_TEXT.sub(lambda match: (match["url"] or match["query"] or "") + MASK, text)


def key_text(parts: tuple[str | int, ...]) -> str:
    """Write the path of a key: `identity.issuers[0]."odd key"`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else _quoted(part))
    return text


def _table(struct: msgspec.Struct, path: tuple[str, ...], *, docs: bool) -> Iterator[str]:
    fields = msgspec.structs.fields(struct)
    meanings = field_docs(type(struct)) if docs else {}
    tables = []
    for field in fields:
        value = getattr(struct, field.name)
        if value and _is_table(value) and _shown(field.name, value, field.type) is value:
            tables.append((field.encode_name, value))
            continue
        yield from _comment(meanings.get(field.name, ""))
        key = key_text((field.encode_name,))
        if value is None:
            yield f"# {key} is not set"
        else:
            yield f"{key} = {literal(_shown(field.name, value, field.type))}"
    for name, value in tables:
        yield from _section(value, (*path, name), docs=docs)


def _is_table(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(element, msgspec.Struct) for element in value)
    return isinstance(value, msgspec.Struct | Mapping)


def _section(value: Any, path: tuple[str, ...], *, docs: bool) -> Iterator[str]:
    header = key_text(path)
    if isinstance(value, msgspec.Struct):
        yield from ("", *_comment(class_doc(type(value)) if docs else ""), f"[{header}]")
        yield from _table(value, path, docs=docs)
    elif isinstance(value, list | tuple):
        for element in value:
            yield from ("", f"[[{header}]]")
            yield from _table(element, path, docs=docs)
    else:
        yield from ("", f"[{header}]")
        for name, element in value.items():
            if not _is_table(element) or not element:
                yield f"{key_text((name,))} = {literal(_shown(name, element))}"
        for name, element in value.items():
            if element and _is_table(element):
                yield from _section(element, (*path, name), docs=docs)


def _shown(name: str, value: Any, kind: Any = str) -> Any:
    """Answer the value, or the mask for it; flags, numbers and sections are no secrets whatever their name."""
    if not value or isinstance(value, bool | int | float | msgspec.Struct) or not is_secret(name, kind):
        return value
    parts = value.values() if isinstance(value, Mapping) else value
    return value if all(isinstance(part, msgspec.Struct) for part in parts) else MASK


def _comment(text: str) -> Iterator[str]:
    if text:
        yield ""
        for paragraph in text.split("\n\n"):
            yield from (f"# {line}" for line in textwrap.wrap(paragraph, _DOC_WIDTH, break_long_words=False))


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(without_secrets(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(element) for element in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{key_text((str(key),))} = {_literal(_shown(str(key), element))}" for key, element in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    return repr(value)


def escaped(text: str) -> str:
    """Answer a text of ours in one line: what could end or reorder it is written as an escape."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _quoted(text: str) -> str:
    return '"' + _NOT_PLAIN.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    return _SHORT_ESCAPES.get(match.group()) or f"\\u{ord(match.group()):04x}"
