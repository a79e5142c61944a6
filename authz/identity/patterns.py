"""Which SPIFFE IDs a line of configuration means: one exactly, or all below a prefix."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from authz.errors import Refusal
from authz.spiffe import SpiffeId, parse_spiffe_id, require_workload

_T = TypeVar("_T")


class SpiffePattern(msgspec.Struct, frozen=True, gc=False):
    """`spiffe://td/a/b` (that ID) or `spiffe://td/a/*` (every ID below it, at any depth, itself not)."""

    base: SpiffeId
    below: bool = False


def parse_spiffe_pattern(text: str) -> SpiffePattern:
    """The pattern that `text` spells. A prefix ends at a segment: `/ns/a/*` does not mean `/ns/ab/...`.

    Raises:
        ValueError: with what is wrong, in words for the author of the configuration.
    """
    base, star, rest = text.partition("/*")
    try:
        spiffe_id = parse_spiffe_id(base)
        if not star:
            require_workload(spiffe_id)
    except Refusal as refusal:
        raise ValueError(refusal.detail) from None
    if rest:
        raise ValueError("'/*' may stand at the end only")
    return SpiffePattern(spiffe_id, below=bool(star))


class PatternTable(Generic[_T]):
    """A value for each pattern; the exact one wins, then the longest prefix.

    Cost of `find`: one dictionary look-up for each path segment, whatever the number of patterns.
    """

    def __init__(self, entries: Iterable[tuple[SpiffePattern, _T]]) -> None:
        self._exact: dict[str, _T] = {}
        self._below: dict[str, _T] = {}
        for pattern, value in entries:
            (self._below if pattern.below else self._exact)[str(pattern.base)] = value

    def __len__(self) -> int:
        return len(self._exact) + len(self._below)

    def names(self) -> Iterator[str]:
        """The patterns, as they are written."""
        yield from self._exact
        for base in self._below:
            yield f"{base}/*"

    def find(self, spiffe_id: SpiffeId) -> _T | None:
        """The value of the pattern that fits best, or None."""
        text = str(spiffe_id)
        found = self._exact.get(text)
        prefix = text
        for _ in range(spiffe_id.path.count("/")):
            if found is not None or not self._below:
                break
            prefix = prefix.rpartition("/")[0]
            found = self._below.get(prefix)
        return found
