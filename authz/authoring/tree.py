"""Draws nested lines as a tree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """A line, and what belongs under it."""

    text: str
    below: "Sequence[Item]" = ()


def drawn(item: Item) -> str:
    """Answer the tree as text."""
    return "\n".join([item.text, *_below(item.below, "")])


def _below(items: Sequence[Item], indent: str) -> Iterator[str]:
    for place, item in enumerate(items):
        last = place == len(items) - 1
        yield f"{indent}{'└─' if last else '├─'} {item.text}"
        yield from _below(item.below, f"{indent}{'   ' if last else '│  '}")
