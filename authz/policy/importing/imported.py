"""What an import yields: the lines of a policy file, and what is not in them."""

import msgspec


class Left(msgspec.Struct, frozen=True):
    """Something to tell about a place in what was imported."""

    line: int
    column: int
    what: str
    """The rule or policy that it belongs to."""
    why: str


class Imported(msgspec.Struct, frozen=True):
    """The lines of a policy file, and what is not in it."""

    lines: tuple[str, ...]
    left_out: tuple[Left, ...] = ()
    """What could not be translated, and only allowed: without it, less is allowed."""
    missing_denials: tuple[Left, ...] = ()
    """What could not be translated, and denied: without it, more may be allowed."""
    notes: tuple[Left, ...] = ()
    """What an author should know, though nothing is missing."""
