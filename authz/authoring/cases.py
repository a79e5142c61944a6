"""Test cases of a policy: what is asked, and what must be answered. Reference: docs/policy-testing.md."""

import itertools
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from authz.authoring.question import Question, build_request
from authz.authoring.yaml_lines import Document, explained, read_yaml
from authz.errors import ConfigError, Reason
from authz.stores.reading import UnreadableError, read_text

MAX_FILE_BYTES = 4 * 1024 * 1024
"""The largest file of cases that is read."""
MAX_CASES = 50_000
"""The most cases of one file, those of matrices counted one by one."""
_OF_A_CASE = ("at", "proved", "attributes")

Attributes = Mapping[Literal["sub", "obj", "act", "env"], Mapping[str, Any]]
Moment = float | str


class Expectation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must be answered; what is absent may be anything."""

    effect: Literal["allow", "deny"]
    """The decision."""
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    """The reason code (docs/reasons.md)."""
    rule: str | msgspec.UnsetType | None = msgspec.UNSET
    """The rule that decides: `file:line`, or what its column `name` holds; null: no rule does."""
    obligations: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """All obligations, by name."""
    status: int | msgspec.UnsetType = msgspec.UNSET
    """The HTTP status that the client of a denied request gets."""


class Defaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the cases of a file share; a case's own values go before."""

    request: Question = Question()
    """Parts of the request."""
    at: Moment | None = None
    """When the calls come in."""
    proved: bool = True
    """Whether a bare principal counts as proved."""
    attributes: Attributes = {}
    """Attributes as the policy is to see them."""
    expect: Literal["allow", "deny"] | Expectation | None = None
    """What must be answered."""


class CaseEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case, or with a matrix several."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    """What it shows, in a few words."""
    request: Question = Question()
    """The request, as `authz check` reads it."""
    at: Moment | None = None
    """When the call comes in: RFC 3339, or seconds since 1970; now when absent."""
    proved: bool = True
    """Whether a bare principal counts as proved; false asks as the server would, with certificate and all."""
    attributes: Attributes = {}
    """Attributes as the policy is to see them, whatever the request says: `{env: {hour: 3}}`."""
    matrix: dict[str, Annotated[list[Any], msgspec.Meta(min_length=1)]] = {}
    """Values to try in all combinations: of parts of the request (`method`, `headers.x-task-id`), of `at`, of
    `attributes.env.hour`."""
    expect: Literal["allow", "deny"] | Expectation | None = None
    """What must be answered."""


class CaseFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of test cases for a policy."""

    cases: list[CaseEntry]
    """The cases."""
    defaults: Defaults = Defaults()
    """What they share."""


class Case(msgspec.Struct, frozen=True):
    """One case, complete."""

    name: str
    file: str
    line: int
    message: bytes
    """The serialized CheckRequest."""
    at: float | None
    proved: bool
    attributes: Attributes
    expect: Expectation

    @property
    def where(self) -> str:
        """File and line, for editors."""
        return f"{self.file}:{self.line}"


def read_cases(path: Path, name: str) -> list[Case]:
    """Read one file of cases; `name` is what messages call it.

    Raises:
        ConfigError: it cannot be read or something in it is wrong, with the line.
    """
    try:
        text = read_text(path, MAX_FILE_BYTES)
    except UnreadableError as error:
        raise ConfigError(f"{name}: {error.problem}") from None
    return parse_cases(text, name, path)


def parse_cases(text: str, name: str, path: Path | None = None) -> list[Case]:
    """Read the text of a file of cases; `path`: where it lies, for the files that cases name.

    Raises:
        ConfigError: something in it is wrong, with the line.
    """
    document = read_yaml(text, name)
    document.convert(CaseFile)
    defaults = document.value.get("defaults") or {}
    found: list[Case] = []
    names: dict[str, int] = {}
    for place, raw in enumerate(document.value["cases"]):
        where = f"$.cases[{place}]"
        many = math.prod(len(values) for values in raw.get("matrix", {}).values())
        if len(found) + many > MAX_CASES:
            raise document.refuse(where, f"with these there are more than {MAX_CASES} cases")
        for case in _expanded(document, where, defaults, raw, path):
            if case.name in names:
                raise document.refuse(where, f"the name `{case.name}` stands in line {names[case.name]} already")
            names[case.name] = case.line
            found.append(case)
    if not found:
        raise document.refuse("$.cases", "there are no cases")
    return found


def _expanded(
    document: Document, where: str, defaults: Mapping[str, Any], raw: Mapping[str, Any], path: Path | None
) -> Iterator[Case]:
    """Make the cases of one entry: one, or one for each combination of its matrix."""
    merged = _merged(defaults, raw)
    matrix: dict[str, list[Any]] = merged.pop("matrix", {})
    for values in itertools.product(*matrix.values()):
        chosen = merged
        for key, value in zip(matrix, values, strict=True):
            chosen = _merged(chosen, _nested(key, value))
        try:
            entry = msgspec.convert(chosen, CaseEntry)
            suffix = ", ".join(f"{key}={value}" for key, value in zip(matrix, values, strict=True))
            yield Case(
                name=f"{entry.name} [{suffix}]" if suffix else entry.name,
                file=document.file,
                line=document.line(where),
                message=build_request(entry.request, path).SerializeToString(),
                at=_moment(entry.at),
                proved=entry.proved,
                attributes=entry.attributes,
                expect=_expectation(entry.expect),
            )
        except msgspec.ValidationError as error:
            part, problem = explained(error, CaseEntry)
            raise document.refuse(_written(document, where, part), problem) from None
        except ConfigError as error:
            raise document.refuse(where, str(error).removeprefix(f"{path}: ").removeprefix("stdin: ")) from None


def _written(document: Document, where: str, part: str) -> str:
    """Answer the path in the document of what stands at a path in a case: there, or in its matrix."""
    matrix = f"{where}.matrix"
    return where + part[1:] if where + part[1:] in document.lines or matrix not in document.lines else matrix


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, mapping by mapping."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _nested(key: str, value: object) -> dict[str, Any]:
    """Answer `{a: {b: value}}` for `a.b`, a part of the request unless it says that it is one of the case."""
    steps = key.split(".")
    if steps[0] not in _OF_A_CASE:
        # A header or context name may hold dots of its own.
        steps = ["request", *key.removeprefix("request.").split(".", 1)]
    for step in reversed(steps):
        value = {step: value}
    return value  # type: ignore[return-value]  # there is at least one step


def _moment(at: Moment | None) -> float | None:
    if not isinstance(at, str):
        return at
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise ConfigError(f"at: `{at}` is no time; write 2026-01-31T09:30:00Z or seconds since 1970") from None
    if moment.tzinfo is None:
        raise ConfigError(f"at: `{at}` does not say in which time zone; add Z for UTC")
    return moment.timestamp()


def _expectation(expect: str | Expectation | None) -> Expectation:
    if expect is None:
        raise ConfigError("a case without an expectation shows nothing: say `expect: allow` or `expect: deny`")
    if isinstance(expect, str):
        return msgspec.convert({"effect": expect}, Expectation)
    if expect.effect == "deny" and isinstance(expect.obligations, dict) and expect.obligations:
        raise ConfigError("expect.obligations: a denied request has no obligations")
    if expect.effect == "allow" and isinstance(expect.status, int):
        raise ConfigError("expect.status: only a denied request has a status of ours")
    return expect
