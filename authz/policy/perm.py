"""Reads a model file: Casbin's PERM sections into one frozen value.

The grammar is Casbin's: sections in brackets, `name = value`, a line that starts with `#` or `;` is a comment, a
trailing backslash continues a line, a blank or comment line ends what was continued. Where pycasbin silently goes on
with what the author cannot have meant, this refuses, with file and line: an unknown section or entry, a second
definition of the same entry, a gap (p3 without p2), a comment behind a definition of r, p or g (pycasbin makes it part
of the last name), a name that is no identifier.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from authz.errors import PolicyError
from authz.policy.limits import PolicyLimits

_SECTIONS = {
    "request_definition": "r",
    "policy_definition": "p",
    "role_definition": "g",
    "policy_effect": "e",
    "matchers": "m",
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ROLE = re.compile(r"_\s*,\s*_(?P<domain>\s*,\s*_)?(?:\s*,\s*\(\s*(?P<parameters>_(?:\s*,\s*_)*)\s*\))?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One `name = value` of a model, and where it stands."""

    name: str
    value: str
    line: int


class RoleDefinition(msgspec.Struct, frozen=True, gc=False):
    """What the rows of one kind of role grant look like: `g = _, _, _, (_, _)`."""

    name: str
    domains: bool
    """Whether the third column names the domain in which the grant holds."""
    parameters: int
    """How many columns follow that are handed to the condition of a conditional grant; 0: unconditional."""

    @property
    def columns(self) -> int:
        """How many columns a row has."""
        return 2 + self.domains + self.parameters


class Model(msgspec.Struct, frozen=True):
    """A model, parsed: what requests, rules and grants look like, and the text of effects and matchers."""

    file: str
    requests: Mapping[str, tuple[str, ...]]
    """r, r2, ...: the names of the request's values."""
    policies: Mapping[str, tuple[str, ...]]
    """p, p2, ...: the names of a rule's columns."""
    roles: Mapping[str, RoleDefinition]
    effects: Mapping[str, Entry]
    matchers: Mapping[str, Entry]

    def refuse(self, line: int, problem: str) -> PolicyError:
        """The error for a problem at a line of this model."""
        return PolicyError(self.file, line, problem)


def parse(text: str, file: str, limits: PolicyLimits) -> Model:
    """Read a model.

    Raises:
        PolicyError: It is not a model, with the line that is at fault.
    """
    found: dict[str, dict[str, Entry]] = {kind: {} for kind in _SECTIONS.values()}
    for kind, entry in _entries(text, file, limits):
        if entry.name in found[kind]:
            raise PolicyError(file, entry.line, f"{entry.name} is defined a second time")
        found[kind][entry.name] = entry
    for section, kind in _SECTIONS.items():
        if not found[kind] and kind != "g":
            raise PolicyError(file, 0, f"the section [{section}] is missing or empty")
        _refuse_gaps(found[kind], kind, file)
    return Model(
        file=file,
        requests=MappingProxyType({n: _names(e, file) for n, e in found["r"].items()}),
        policies=MappingProxyType({n: _names(e, file) for n, e in found["p"].items()}),
        roles=MappingProxyType({n: _role(e, file) for n, e in found["g"].items()}),
        effects=MappingProxyType(found["e"]),
        matchers=MappingProxyType(found["m"]),
    )


def _entries(text: str, file: str, limits: PolicyLimits) -> Iterator[tuple[str, Entry]]:
    """The entries in order, each with the letter of its section."""
    kind = ""
    for line, content in _joined(text, file, limits):
        if content.startswith("[") and content.endswith("]"):
            if content[1:-1] not in _SECTIONS:
                raise PolicyError(file, line, f"unknown section {content}; sections are [{'], ['.join(_SECTIONS)}]")
            kind = _SECTIONS[content[1:-1]]
            continue
        name, equals, value = content.partition("=")
        name, value = name.strip(), value.strip()
        if not equals:
            raise PolicyError(file, line, "expected `name = value`")
        if not kind:
            raise PolicyError(file, line, f"{name} stands before the first section")
        if not re.fullmatch(rf"{kind}(?:[2-9]|[1-9][0-9])?", name):
            raise PolicyError(file, line, f"{name!r} has no meaning here; expected {kind}, {kind}2, {kind}3, ...")
        if not value:
            raise PolicyError(file, line, f"{name} is empty")
        yield kind, Entry(name, value, line)


def _joined(text: str, file: str, limits: PolicyLimits) -> Iterator[tuple[int, str]]:
    """Lines with continuations joined, each with the number of its first line; comments and blanks left out."""
    pending, start = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        if len(raw) > limits.max_line_chars:
            raise PolicyError(file, number, f"the line is longer than {limits.max_line_chars} characters")
        line = raw.strip()
        if _CONTROL.search(line):
            raise PolicyError(file, number, "the line contains a control character")
        blank = not line or line[0] in "#;"
        section = not blank and line[0] == "[" and line[-1] == "]"
        if (blank or section) and pending:
            yield start, pending.strip()
            pending = ""
        if blank:
            continue
        if section:
            yield number, line
            continue
        start = start if pending else number
        if line[-1] == "\\":
            pending += line[:-1].strip() + " "
            continue
        yield start, (pending + line).strip()
        pending = ""
    if pending.strip():
        yield start, pending.strip()


def _refuse_gaps(entries: Mapping[str, Entry], kind: str, file: str) -> None:
    """Refuse p3 without p2: pycasbin stops reading at the gap, and the rules behind it would not exist."""
    expected = [kind, *(f"{kind}{n}" for n in range(2, 100))][: len(entries)]
    for entry in entries.values():
        if entry.name not in expected:
            missing = next(name for name in expected if name not in entries)
            raise PolicyError(file, entry.line, f"{entry.name} is defined but {missing} is not")


def _names(entry: Entry, file: str) -> tuple[str, ...]:
    """The names in a definition of requests or rules."""
    names = tuple(name.strip() for name in entry.value.split(","))
    for name in names:
        if "#" in name:
            raise PolicyError(file, entry.line, f"a comment behind {entry.name}: it needs a line of its own")
        if not _NAME.fullmatch(name):
            raise PolicyError(file, entry.line, f"{name!r} in {entry.name} is not a name of letters, digits and _")
        if names.count(name) > 1:
            raise PolicyError(file, entry.line, f"{name!r} occurs twice in {entry.name}")
    return names


def _role(entry: Entry, file: str) -> RoleDefinition:
    """The shape that a definition of role grants gives."""
    form = _ROLE.fullmatch(entry.value)
    if not form:
        advice = "expected `_, _`, or `_, _, _` with a domain, each with `, (_, _)` behind it for a conditional grant"
        raise PolicyError(file, entry.line, f"{entry.name} is not a definition of role grants; {advice}")
    parameters = form["parameters"].count("_") if form["parameters"] else 0
    return RoleDefinition(entry.name, form["domain"] is not None, parameters)
