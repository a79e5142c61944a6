"""The resource catalogue: which resource a host and a path name, and how sensitive it is.

Of the entries that match a request, the most specific one alone describes the resource, wherever it stands in the
file: by host first (exact, then the longest suffix, then `*`), then by path (the most literal segments, then the
longest, then without `*`, then literal before `{name}` from the left), then one that lists methods before one that does
not. A slash at the end of a path makes no other resource of it.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, TypeAlias

import msgspec

from authz.errors import ConfigError
from authz.model import Attributes, Value
from authz.resource_pattern import PathPattern, check_host, host_patterns, parse_path, path_segments

_Word: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A(?:[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)?\Z")]
_Method: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A(?:[A-Z][A-Z0-9_-]{0,31}|connect)\Z")]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=256)]


class CatalogueSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the resource catalogue is, and how large it may be."""

    file: str = ""
    """A TOML or JSON file with an array `resources`; "": there is none, and no resource has a type or sensitivity."""
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=268_435_456)] = 16_777_216
    """The largest catalogue file that is read, in bytes."""
    max_resources: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000
    """The most entries that it may list."""


class ResourceEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One resource, or all that a pattern means."""

    host: Annotated[str, msgspec.Meta(max_length=255)]
    """`accounts.demo.internal`, `*.demo.internal` for all names below it, or `*`."""
    path: Annotated[str, msgspec.Meta(max_length=1_024)]
    """`/v1/accounts/{id}` or `/v1/accounts/:id`, `/v1/accounts/*` for `/v1/accounts` and all below it, `tcp:5432` for
    connections."""
    methods: Annotated[tuple[_Method, ...], msgspec.Meta(max_length=64)] = ()
    """The methods that it means, `connect` for connections; none: all."""
    type: _Word = ""
    """What sort of resource it is: "account", "payment", ..."""
    sensitivity: _Word = ""
    """How sensitive its data is, in the words of its owner: "public", "internal", "confidential", ..."""
    environment: _Word = ""
    """Where it runs: "prod", "staging", ..."""
    cardholder_data: bool = False
    """Whether it holds cardholder data (PCI DSS)."""
    labels: Annotated[dict[_Text, _Text], msgspec.Meta(max_length=64)] = {}
    """Further facts for policies."""

    @property
    def attributes(self) -> Attributes:
        """What policies see, always with the same names; the id is filled in for each request."""
        return {
            "type": self.type,
            "id": "",
            "sensitivity": self.sensitivity,
            "environment": self.environment,
            "cardholder_data": self.cardholder_data,
            "labels": self.labels,
        }


class _Resource(msgspec.Struct, frozen=True):
    where: str
    pattern: PathPattern
    methods: frozenset[str]
    attributes: Attributes
    rank: tuple[object, ...]
    """Smaller is more specific."""


class _Node:
    """The resources of one host whose paths begin alike."""

    __slots__ = ("any_one", "below", "ending", "literal")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.any_one: _Node | None = None
        self.ending: list[_Resource] = []
        self.below: list[_Resource] = []

    def add(self, resource: _Resource) -> None:
        """Put a resource where its path leads.

        Raises:
            ValueError: another one means the same requests.
        """
        node = self
        for segment in resource.pattern.segments:
            node = node._child(segment)
        beside = node.below if resource.pattern.open_ended else node.ending
        for other in beside:
            if resource.methods & other.methods or not (resource.methods or other.methods):
                raise ValueError(f"means the same requests as {other.where}")
        beside.append(resource)

    def matching(self, segments: Sequence[str], at: int = 0) -> Iterator[_Resource]:
        """Every resource whose path means these segments; at most as deep as the longest pattern."""
        yield from self.below
        if at == len(segments):
            yield from self.ending
            return
        segment = segments[at]
        literal = self.literal.get(segment)
        if literal is not None:
            yield from literal.matching(segments, at + 1)
        if self.any_one is not None and segment:
            yield from self.any_one.matching(segments, at + 1)

    def _child(self, segment: str | None) -> "_Node":
        if segment is None:
            self.any_one = self.any_one or _Node()
            return self.any_one
        return self.literal.setdefault(segment, _Node())


class Catalogue:
    """An immutable table of resources, indexed by host and path segments."""

    def __init__(self, resources: Sequence[tuple[str, _Resource]]) -> None:
        """Index them; `parse_catalogue` makes them.

        Raises:
            ConfigError: two entries mean the same requests.
        """
        self._size = len(resources)
        self._hosts: dict[str, _Node] = {}
        for host, resource in resources:
            try:
                self._hosts.setdefault(host, _Node()).add(resource)
            except ValueError as error:
                raise ConfigError(f"{resource.where}: {error}") from None

    def __len__(self) -> int:
        return self._size

    def describe(self, host: str, path: str, method: str) -> Mapping[str, Value]:
        """What is known of a resource: type, id, sensitivity, environment, cardholder_data, labels.

        `host` and `path` are canonical (I6); a connection's path is `tcp:<port>`. What no entry means is "", False and
        {}. The answer is shared: do not change it.

        Cost: one dictionary look-up for each label of the host and each segment of the path, where `{name}` segments
        do not multiply the ways.
        """
        segments = path_segments(path)
        for pattern in host_patterns(host):
            node = self._hosts.get(pattern)
            if node is None:
                continue
            found = [
                resource for resource in node.matching(segments) if not resource.methods or method in resource.methods
            ]
            if found:
                return _description(min(found, key=_rank), segments)
        return _UNKNOWN


_UNKNOWN: Attributes = ResourceEntry(host="*", path="/").attributes
EMPTY_CATALOGUE = Catalogue(())


def parse_catalogue(document: Mapping[str, object], file: str, settings: CatalogueSettings) -> Catalogue:
    """The catalogue in a parsed TOML or JSON document: an array `resources` of tables.

    Raises:
        ConfigError: naming `file`, entry (from 1) and field.
    """
    return Catalogue([_resource(entry, where) for where, entry in parse_entries(document, file, settings)])


def parse_entries(
    document: Mapping[str, object], file: str, settings: CatalogueSettings
) -> Iterator[tuple[str, ResourceEntry]]:
    """The entries of a catalogue in order, each with the name that messages give it.

    Raises:
        ConfigError: naming `file`, entry (from 1) and field.
    """
    for name in document:
        if name != "resources":
            raise ConfigError(f"{file}: unknown table '{name}'{_suggest(name, ('resources',))}")
    tables = document.get("resources")
    if not isinstance(tables, list):
        raise ConfigError(f"{file}: an array of tables [[resources]] is needed")
    if len(tables) > settings.max_resources:
        raise ConfigError(f"{file}: more than max_resources ({settings.max_resources}) resources")
    for number, table in enumerate(tables, 1):
        where = f"{file}: resource {number}"
        yield where, _entry(table, where)


def _entry(table: object, where: str) -> ResourceEntry:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: a table is needed")
    known = ResourceEntry.__struct_fields__
    for name in table:
        if name not in known:
            raise ConfigError(f"{where}: unknown field '{name}'{_suggest(str(name), known)}")
    try:
        return msgspec.convert(table, ResourceEntry)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_in_words(str(error))}") from None


def _resource(entry: ResourceEntry, where: str) -> tuple[str, _Resource]:
    try:
        host, pattern = check_host(entry.host), parse_path(entry.path)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    rank = (pattern.rank, not entry.methods)
    return host, _Resource(where, pattern, frozenset(entry.methods), entry.attributes, rank)


def _rank(resource: _Resource) -> tuple[object, ...]:
    return resource.rank


def _description(resource: _Resource, segments: Sequence[str]) -> Attributes:
    position = resource.pattern.id_position
    return {**resource.attributes, "id": segments[position]} if position >= 0 else resource.attributes


def _in_words(problem: str) -> str:
    """The problem that msgspec found, the field first, and what a regular expression wants in words."""
    said, _, field = problem.rpartition(" - at `$.")
    if not said:
        return problem
    field = field.removesuffix("`")
    if "regex" in said:
        said = "a word of lower-case letters, digits, dots, hyphens and underscores is wanted"
        if field.startswith("methods"):
            said = "a method is written in capitals, such as GET; of connections it is connect"
    return f"{field}: {said}"


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(known)}"
