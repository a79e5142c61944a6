"""Which decisions are meant by who follows them; every process of a host knows it, also one that takes no orders."""

from collections.abc import Callable
from functools import reduce

import msgspec

from authz.model import Effect, Outcome

MAX_CHARS = 1_024
"""The most that is shown of any text."""


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which decisions are meant; what is empty does not select."""

    effect: str = ""
    reasons: tuple[str, ...] = ()
    subject: str = ""
    """A trailing "*" stands for any ending."""
    path: str = ""
    """As `subject`."""
    most: int = 0
    """The most of each effect that each other process shows in a second, besides counting all; 0: as many as may wait
    for one who follows."""


def wanted(meant: Selection) -> Callable[[Outcome], bool]:
    """Answer what tells whether a decision is one of those that are meant.

    It is asked about every decision, for everybody who follows: what is not selected by costs nothing.
    """
    tests: list[Callable[[Outcome], bool]] = []
    if meant.effect:
        effect = Effect(meant.effect)
        tests.append(lambda outcome: outcome.decision.effect is effect)
    if meant.reasons:
        reasons = frozenset(meant.reasons)
        tests.append(lambda outcome: outcome.decision.reason._value_ in reasons)  # not `.value`: that is a call
    if meant.subject:
        fits_subject = _fits(meant.subject)
        tests.append(lambda outcome: fits_subject(outcome.subject.id if outcome.subject else ""))
    if meant.path:
        fits_path = _fits(meant.path)
        tests.append(lambda outcome: fits_path(outcome.asked.target.path if outcome.asked else ""))
    return reduce(_both, tests) if tests else lambda _: True


def _both(one: Callable[[Outcome], bool], other: Callable[[Outcome], bool]) -> Callable[[Outcome], bool]:
    return lambda outcome: one(outcome) and other(outcome)


def _fits(pattern: str) -> Callable[[str], bool]:
    if pattern.endswith("*"):
        beginning, end = pattern[:-1], len(pattern) - 1
        return lambda text: text[:end] == beginning  # cheaper than to call `startswith`
    return pattern.__eq__
