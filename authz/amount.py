"""Amounts, counted exactly: whole millionths, never binary fractions, so that nothing goes over by a rounding."""

import re
from decimal import Decimal
from math import inf
from typing import Final

UNITS: Final = 1_000_000
"""So many make one."""
MAX_AMOUNT: Final = 1_000_000_000_000
"""The largest amount that is counted."""
_MAX_DIGITS = 15
"""A decimal number of so many digits is what it was written as, although JSON readers make a binary fraction of it."""
_TEXT = re.compile(r"[0-9]{1,13}(?:\.[0-9]{1,6})?")


def units_of(value: object) -> int | None:
    """Answer a number of a request in millionths; None: it is no number that can be counted exactly.

    Not counted: what is negative, no number (a truth value or a text too), NaN, infinite, over `MAX_AMOUNT`, or of more
    digits than a JSON number can be trusted with.
    """
    kind = type(value)
    if kind is int:
        return value * UNITS if 0 <= value <= MAX_AMOUNT else None  # type: ignore[operator]  # its type was just looked at
    if kind is not float or not 0 <= value < inf:  # type: ignore[operator]  # likewise
        return None
    exact = Decimal(repr(value))
    if exact > MAX_AMOUNT or len(exact.normalize().as_tuple().digits) > _MAX_DIGITS:
        return None
    units = exact * UNITS
    return int(units) if units == units.to_integral_value() else None


def parse_amount(text: str) -> int:
    """Read an amount as settings and grants write it, "100" or "99.95", in millionths.

    Raises:
        ValueError: it is none, or over `MAX_AMOUNT`.
    """
    units = int(Decimal(text) * UNITS) if _TEXT.fullmatch(text) else -1
    if not 0 <= units <= MAX_AMOUNT * UNITS:
        raise ValueError(
            f"{text!r} is no amount: write digits, at most 6 of them after a point, up to {MAX_AMOUNT}, such as 99.95"
        )
    return units


def show_amount(units: int) -> str:
    """Write an amount for people."""
    whole, part = divmod(units, UNITS)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".") if part else str(whole)
