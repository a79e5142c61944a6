"""The function `via`: whether a chain of delegation went through somebody, before it came to the caller."""

from collections.abc import Callable, Sequence
from functools import partial

_BELOW = "/*"


def via(pattern: str) -> Callable[[object], bool]:
    """Whether one of those before the last is `pattern`: an ID, or all below a path, as `spiffe://td/ns/agents/*`.

    Raises:
        ValueError: It is empty, or has a `*` elsewhere.
    """
    below = pattern.endswith(_BELOW)
    text = pattern[:-1] if below else pattern
    if not text or "*" in text:
        raise ValueError(f"via takes an ID, or the beginning of one with {_BELOW} behind it, not {pattern!r}")
    return partial(_begins if below else _is, text)


def _is(text: str, chain: object) -> bool:
    return text in _before(chain)


def _begins(text: str, chain: object) -> bool:
    return any(isinstance(party, str) and party.startswith(text) for party in _before(chain))


def _before(chain: object) -> Sequence[object]:
    if not isinstance(chain, list | tuple):
        raise TypeError("via was asked about what is no chain")
    return chain[:-1]
