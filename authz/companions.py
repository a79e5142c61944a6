"""What a snapshot is made of besides policy and keys: the inventory and the catalogue."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from authz.decision.catalogue import EMPTY_CATALOGUE, Catalogue, CatalogueSettings, parse_catalogue
from authz.identity.inventory import EMPTY_INVENTORY, Inventory, InventorySettings, parse_inventory
from authz.stores.document_files import parse_document
from authz.stores.policy_source import PolicyText
from authz.stores.reading import decode_text, read_bytes


@dataclass(frozen=True, slots=True)
class Companions:
    """Both of them, with the hashes of what they were read from."""

    inventory: Inventory
    catalogue: Catalogue
    digests: tuple[bytes, ...]


_Content: TypeAlias = tuple[str, bytes]
"""The name of a file, and what it holds."""

NO_COMPANIONS = Companions(EMPTY_INVENTORY, EMPTY_CATALOGUE, ())


class CompanionFiles:
    """Reads those that configuration names, where a policy brings none of its own."""

    def __init__(self, inventory: InventorySettings, catalogue: CatalogueSettings, base: Path) -> None:
        """`base`: where relative paths start."""
        self._inventory = inventory
        self._catalogue = catalogue
        self._base = base
        self._last: tuple[tuple[_Content | None, ...], Companions] | None = None
        """What was read last: each one's name and hash, and what it came to."""

    def read(self, text: PolicyText) -> Companions:
        """Read them: those that came with the policy, else the configured files.

        Raises:
            ConfigError: one cannot be read, or is wrong.
        """
        inventory = text.inventory or self._file(self._inventory)
        catalogue = text.catalogue or self._file(self._catalogue)
        # A policy often changes alone. What is read from the same bytes is the same, and what rests on it can stay.
        source = tuple(each and (each[0], hashlib.sha256(each[1]).digest()) for each in (inventory, catalogue))
        if self._last is None or self._last[0] != source:
            digests = tuple(each[1] for each in source if each)
            self._last = source, self._parsed(inventory, catalogue, digests)
        return self._last[1]

    def _parsed(self, inventory: _Content | None, catalogue: _Content | None, digests: tuple[bytes, ...]) -> Companions:
        return Companions(
            parse_inventory(_document(*inventory), inventory[0], self._inventory) if inventory else EMPTY_INVENTORY,
            parse_catalogue(_document(*catalogue), catalogue[0], self._catalogue) if catalogue else EMPTY_CATALOGUE,
            digests,
        )

    def watched(self) -> Iterator[Path]:
        """Name the configured files."""
        yield from (self._base / each.file for each in (self._inventory, self._catalogue) if each.file)

    def _file(self, settings: InventorySettings | CatalogueSettings) -> _Content | None:
        if not settings.file:
            return None
        return settings.file, read_bytes(self._base / settings.file, settings.max_file_bytes)


def _document(name: str, content: bytes) -> Mapping[str, object]:
    return parse_document(decode_text(content, Path(name)), Path(name))
