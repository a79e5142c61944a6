"""What an allow changes on its way to the upstream and back: named sets of header and query mutations.

Which API fields they become, and what old and new Envoys make of those, is told in docs/envoy.md.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from authz.errors import ConfigError
from authz.model import AccessRequest

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2, lower case as HTTP/2 demands
_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_-]+)*)\}")
# Rewriting these after the decision would change what was decided upon; hop-by-hop ones belong to the proxy.
_NEVER_MUTATED = frozenset({"host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "keep-alive"})
_UNSAFE = re.compile(r"[^\x21-\x24\x26-\x7e]")
_HEADER_FIELDS = (
    "set_request_headers",
    "append_request_headers",
    "add_request_headers",
    "remove_request_headers",
    "set_response_headers",
    "append_response_headers",
)
_TEMPLATE_FIELDS = (*(f for f in _HEADER_FIELDS if not f.startswith("remove")), "set_query_parameters")
_ROOTS = ("sub", "obj", "act", "env", "decision")

Render = Callable[[Mapping[str, object]], str]
"""Fills a template from the attributes of one request."""


class MutationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named set of mutations; values may hold `{sub.id}`-like placeholders."""

    set_request_headers: dict[str, str] = {}
    """Headers that the upstream gets, in place of what the client sent."""
    append_request_headers: dict[str, str] = {}
    """Headers added beside those of the same name that the client sent."""
    add_request_headers: dict[str, str] = {}
    """Headers added only if the client sent none of that name."""
    remove_request_headers: tuple[str, ...] = ()
    """Headers that the upstream does not get."""
    set_response_headers: dict[str, str] = {}
    """Headers that the client gets, in place of what the upstream sent."""
    append_response_headers: dict[str, str] = {}
    """Headers that the client gets beside those of the same name from the upstream."""
    set_query_parameters: dict[str, str] = {}
    """Query parameters that the upstream gets, in place of what the client sent."""
    remove_query_parameters: tuple[str, ...] = ()
    """Query parameters that the upstream does not get."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        for field in _HEADER_FIELDS:
            for name in getattr(self, field):
                if not _NAME.fullmatch(name):
                    yield field, f"`{name}` is not a header name in lower case"
                elif name in _NEVER_MUTATED:
                    yield field, f"`{name}` may not be changed by an authorization decision"
        both = {*self.set_request_headers, *self.append_request_headers, *self.add_request_headers}
        for name in sorted(both & set(self.remove_request_headers)):
            yield "remove_request_headers", f"`{name}` is also set: Envoy removes last, so it would never arrive"
        for name in sorted(set(self.set_query_parameters) & set(self.remove_query_parameters)):
            yield "remove_query_parameters", f"`{name}` is also set"
        for field in _TEMPLATE_FIELDS:
            for name, template in getattr(self, field).items():
                wrong = [path for path in _PLACEHOLDER.findall(template) if path.partition(".")[0] not in _ROOTS]
                yield from (
                    (f"{field}.{name}", f"`{{{p}}}` does not start with one of {', '.join(_ROOTS)}") for p in wrong
                )


class Mutations:
    """A set of mutations compiled at load time: names fixed, values ready to be filled."""

    def __init__(self, *settings: MutationSettings) -> None:
        """Merge the sets; a later one wins over an earlier one of the same name.

        Raises:
            ConfigError: if a set has problems.
        """
        for one in settings:
            for key, problem in one.problems():
                raise ConfigError(f"{key}: {problem}")
        self.set_request = _templates(s.set_request_headers for s in settings)
        self.append_request = _templates(s.append_request_headers for s in settings)
        self.add_request = _templates(s.add_request_headers for s in settings)
        self.set_response = _templates(s.set_response_headers for s in settings)
        self.append_response = _templates(s.append_response_headers for s in settings)
        self.set_query = _templates(s.set_query_parameters for s in settings)
        written = {name for name, _ in (*self.set_request, *self.append_request, *self.add_request)}
        self.remove_request = tuple(sorted({n for s in settings for n in s.remove_request_headers} - written))
        self.remove_query = tuple(sorted({n for s in settings for n in s.remove_query_parameters}))
        self.templates = (
            *self.set_request,
            *self.append_request,
            *self.add_request,
            *self.set_response,
            *self.append_response,
            *self.set_query,
        )
        """All that is filled, in the order in which it is written."""
        self.rewrites_query = bool(self.set_query or self.remove_query)
        texts = [text for one in settings for field in _TEMPLATE_FIELDS for text in getattr(one, field).values()]
        self.reads = frozenset(
            path for text in texts for path in _PLACEHOLDER.findall(text) if not path.startswith("decision.")
        )
        """The attributes that its values are filled from, such as `obj.id`."""


def values_of(request: AccessRequest, decision_id: str, policy_version: str) -> Mapping[str, object]:
    """What templates are filled from."""
    decision = {"id": decision_id, "policy_version": policy_version}
    return {"sub": request.sub, "obj": request.obj, "act": request.act, "env": request.env, "decision": decision}


def _templates(sets: Iterable[Mapping[str, str]]) -> tuple[tuple[str, Render], ...]:
    merged: dict[str, str] = {}
    for one in sets:
        merged |= one
    return tuple((name, _template(text)) for name, text in merged.items())


def _template(text: str) -> Render:
    parts = _PLACEHOLDER.split(text)  # literal, path, literal, path, ..., literal
    literals, paths = parts[::2], [path.split(".") for path in parts[1::2]]

    def render(values: Mapping[str, object]) -> str:
        filled = [literals[0]]
        for path, literal in zip(paths, literals[1:], strict=True):
            filled += (escape(_look_up(values, path)), literal)
        return "".join(filled)

    return render


def _look_up(values: Mapping[str, object], path: list[str]) -> str:
    found: object = values
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return ""
        found = found[name]
    if isinstance(found, str):
        return found
    # Sorted: proxies write the fields of a map in any order, and equal requests are to be told the same.
    return "" if found is None else msgspec.json.encode(found, order="sorted").decode()


def escape(value: str) -> str:
    """Make any attribute fit for a header: what could end or split a value is percent-encoded (RFC 3986)."""
    if value.isascii() and value.isprintable() and " " not in value and "%" not in value:
        return value
    return _UNSAFE.sub(lambda char: "".join(f"%{octet:02X}" for octet in char.group().encode()), value)
