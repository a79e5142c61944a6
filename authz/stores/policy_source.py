"""What every source of policies gives: texts, with a fingerprint, and what to watch for the next ones."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec


class PolicyText(msgspec.Struct, frozen=True):
    """A model and its rules as they were read; names are as errors and records should show them."""

    model_file: str
    model: str
    policies: tuple[tuple[str, str], ...]
    """(name, text), in the order in which rules count."""
    inventory: tuple[str, bytes] | None = None
    """(name, content) of an inventory that came along; it takes the place of the configured file."""
    catalogue: tuple[str, bytes] | None = None
    """Likewise the resource catalogue."""
    revision: int = 0
    """The revision of the bundle that it came in; 0: in none."""
    expires: float = 0.0
    """When that bundle expires; 0: never."""

    @property
    def digest(self) -> bytes:
        """A hash of model and rules with their names: equal if and only if they are."""
        digest = hashlib.sha256()
        for part in self._parts():
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
        return digest.digest()

    def _parts(self) -> Iterator[str]:
        yield from (self.model_file, self.model)
        for policy in self.policies:
            yield from policy


class PolicySource(Protocol):
    """Where model and rules come from."""

    def read(self) -> PolicyText:
        """Answer what is there now.

        Raises:
            PolicyError: in a model or policy. ConfigError: anything else that makes it unusable.
        """

    def watched(self) -> list[Path]:
        """Name every file and directory whose change may change what `read` answers."""

    def accepted(self) -> None:
        """Be told that what `read` answered last is about to come into force.

        Raises:
            ConfigError: it may not, because that could not be remembered.
        """


class PolledSource(PolicySource, Protocol):
    """A source that lies elsewhere: `read` answers what `look` fetched last."""

    reached: bool
    """Whether what `read` answers was asked for, rather than kept from earlier."""

    @property
    def poll_seconds(self) -> float:
        """How often to look."""

    def look(self) -> bool:
        """Ask the other side, which may take a while; answer whether `read` answers something new since.

        Raises:
            AuthzError: it could not be had, or may not be used; `read` goes on answering the last good one.
        """
