"""What is known of each workload beyond its credential: whose it is, what for, and how far it is trusted."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from authz.errors import ConfigError
from authz.identity.patterns import PatternTable, SpiffePattern, parse_spiffe_pattern
from authz.model import Attributes, Kind
from authz.spiffe import SpiffeId

_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=256)]


class InventorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the inventory is, and how large it may be."""

    file: str = ""
    """A TOML or JSON file with a table `workloads`; "": there is none, and every workload counts as not registered."""
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=268_435_456)] = 16_777_216
    """The largest inventory file that is read, in bytes."""
    max_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000
    """The most workloads that it may list."""


class InventoryEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One workload, or all below a prefix."""

    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """The team or person that answers for it."""
    environment: _Text = ""
    """Where it runs, as policies name it: "production", "staging", ..."""
    purpose: _Text = ""
    """What it is for."""
    clearance: Annotated[int, msgspec.Meta(ge=0, le=1_000)] | _Text = 0
    """How sensitive the data may be that it handles: a number where policies compare, or a name where they match."""
    kind: Literal["workload", "agent"] | None = None
    """What sort of principal it is; absent: as the setting `agents` says. No machine is registered as a human (I8)."""
    labels: Annotated[dict[_Text, _Text], msgspec.Meta(max_length=64)] = {}
    """Further facts for policies."""
    expected_instances: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """How many instances run under this identity, each with a certificate of its own; 0: not stated."""
    max_addresses: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """From how many addresses they call at a time; 0: as many as there are instances."""
    max_task_owners: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """For how many owners of tasks they work at a time; 0: not stated."""

    @property
    def attributes(self) -> Attributes:
        """What policies see, always with the same names."""
        return {
            "registered": True,
            "owner": self.owner,
            "environment": self.environment,
            "purpose": self.purpose,
            "clearance": self.clearance,
            "labels": self.labels,
            "expected_instances": self.expected_instances,
            "max_addresses": self.max_addresses,
            "max_task_owners": self.max_task_owners,
        }


UNREGISTERED: Final[Attributes] = {**InventoryEntry(owner="-").attributes, "registered": False, "owner": ""}
"""What policies see of who is not in the inventory: the same names, lowest clearance, nothing known."""


class Registration(msgspec.Struct, frozen=True):
    """What the inventory holds for an identity."""

    kind: Kind | None
    attributes: Attributes


class Inventory:
    """An immutable table of registrations: the exact ID first, then the longest prefix."""

    def __init__(self, entries: Mapping[SpiffePattern, Registration]) -> None:
        self._table = PatternTable(entries.items())

    def __len__(self) -> int:
        return len(self._table)

    def names(self) -> Iterator[str]:
        """The identities and prefixes that it names."""
        return self._table.names()

    def find(self, spiffe_id: SpiffeId) -> Registration | None:
        """What is registered for this identity, or None."""
        return self._table.find(spiffe_id)


EMPTY_INVENTORY: Final = Inventory({})


def parse_inventory(document: Mapping[str, object], file: str, settings: InventorySettings) -> Inventory:
    """The inventory in a parsed TOML or JSON document: `workloads` maps a SPIFFE ID, or `spiffe://.../*`, to its entry.

    Raises:
        ConfigError: naming `file`, entry and field.
    """
    for name in document:
        if name != "workloads":
            raise ConfigError(f"{file}: unknown table '{name}'{_suggest(name, ['workloads'])}")
    workloads = document.get("workloads")
    if not isinstance(workloads, Mapping):
        raise ConfigError(f"{file}: a table 'workloads' is needed")
    if len(workloads) > settings.max_entries:
        raise ConfigError(f"{file}: more than max_entries ({settings.max_entries}) workloads")
    entries: dict[SpiffePattern, Registration] = {}
    for text, fields in workloads.items():
        where = f"{file}: workloads.{text!r}"
        try:
            pattern = parse_spiffe_pattern(text)
        except ValueError as error:
            raise ConfigError(f"{where}: not a SPIFFE ID or prefix pattern: {error}") from None
        entry = _entry(fields, where)
        entries[pattern] = Registration(Kind(entry.kind) if entry.kind else None, entry.attributes)
    return Inventory(entries)


def _entry(fields: object, where: str) -> InventoryEntry:
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{where}: a table is needed")
    known = InventoryEntry.__struct_fields__
    for name in fields:
        if name not in known:
            raise ConfigError(f"{where}: unknown field '{name}'{_suggest(str(name), known)}")
    try:
        return msgspec.convert(fields, InventoryEntry)
    except msgspec.ValidationError as error:
        # "Expected `str`, got `int` - at `$.owner`"
        problem, _, field = str(error).rpartition(" - at `$.")
        raise ConfigError(
            f"{where}: field '{field.rstrip('`')}': {problem}" if problem else f"{where}: {error}"
        ) from None


def _suggest(name: str, known: "list[str] | tuple[str, ...]") -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(known)}"
