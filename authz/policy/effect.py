"""How the answers of single rules become one, apart from how a rule is evaluated.

Casbin's five effects, made strict by I1. Whatever the effect says:

- no rule allows: deny. So an empty policy denies, and so does `!some(where (p.eft == deny))` when nothing matched,
  where pycasbin allows.
- without priorities, one rule that denies beats all that allow; under `some(where (p.eft == allow))` too, where
  pycasbin overlooks it. The three effects without priorities then decide alike.
- a rule that errs denies, and is named. Without priorities it does so wherever it stands, before or behind a rule that
  allows: order and duplicates change nothing. (pycasbin raises, unless it stopped at an allow before the rule.)
- with priorities, the first rule that matches with allow or deny, or errs, decides.

Obligations are those of every rule that allows, so that they do not depend on the order either; with priorities, those
of the rule that decides.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Protocol, TypeAlias, TypeVar

from authz.errors import Refusal
from authz.model import Effect
from authz.policy.functions import RuleError

_ELIGIBLE = re.compile(r"\bp[0-9]*[._]eft\b")


class Combining(Enum):
    """The five effects, by the text that a model writes; any other text is refused, as in pycasbin."""

    ALLOW_OVERRIDE = "some(where (p.eft == allow))"
    DENY_OVERRIDE = "!some(where (p.eft == deny))"
    ALLOW_AND_DENY = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
    PRIORITY = "priority(p.eft) || deny"
    SUBJECT_PRIORITY = "subjectPriority(p.eft) || deny"

    @classmethod
    def of(cls, text: str) -> "Combining":
        """The effect that a model's text names; what stands behind `#` is a comment.

        Raises:
            ValueError: It is none of the five.
        """
        return cls(_ELIGIBLE.sub("p.eft", text.partition("#")[0].strip()))

    def __init__(self, text: str) -> None:
        self.ordered = not text.startswith(("some", "!some"))
        """Whether the order of the rules decides."""


class Rule(Protocol):
    """What combining needs to know of a rule."""

    @property
    def code(self) -> Callable[..., object]:
        """Called with the request's values and then `constants`: whether the rule matches."""

    @property
    def constants(self) -> object: ...

    @property
    def says(self) -> Effect | None:
        """What it says when it matches; None for one that is indeterminate: nothing."""


R = TypeVar("R", bound=Rule)
Outcome: TypeAlias = tuple[Effect, "R | None", str, Sequence["R"]]
"""The effect, the rule that decided, why that rule erred if it did, and every rule found to allow."""


def combine(
    combining: Combining,
    rules: Iterable[R],
    values: Sequence[object],
    enough: Callable[[], bool] | None = None,
) -> "Outcome[R]":
    """Evaluate `rules`, in order, as far as they can change the decision.

    `enough`, if given, is asked once, when a rule allows: whether none of the others could still change that.

    Raises:
        Refusal: From `rules`, when time is up.
    """
    ordered = combining.ordered
    allowing: list[R] = []
    rule: R | None = None
    try:
        for rule in rules:
            matches = rule.code(*values, rule.constants)
            if matches is False or (matches is not True and not _holds(matches)):
                continue
            says = rule.says
            if says is Effect.ALLOW:
                allowing.append(rule)
                if ordered or (enough is not None and len(allowing) == 1 and enough()):
                    break
            elif says is Effect.DENY:
                return Effect.DENY, rule, "", ()
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a rule does wrong, it denies (I1, I2)
        return Effect.DENY, rule, describe(error), ()
    if allowing:
        return Effect.ALLOW, allowing[0], "", allowing
    return Effect.DENY, None, "", ()


def _holds(value: object) -> bool:
    """Whether a matcher's value that is no truth value counts as one; Casbin takes numbers with a fraction as such."""
    if type(value) is bool:
        return value
    if type(value) is float and value == value:  # noqa: PLR0124  # NaN is neither true nor false
        return value != 0
    raise RuleError("the matcher yields a value that is neither true nor false")


def describe(error: Exception) -> str:
    """Why a rule erred, in an author's words; quotes names from the policy, never a value of the request (I10)."""
    match error:
        case RuleError():
            return str(error)
        case KeyError(args=(str(name),)):
            return f"the request has no attribute {name!r} there"
        case TypeError():
            return "a value of the request has a type that the rule cannot use"
        case ZeroDivisionError():
            return "division by zero"
        case UnicodeEncodeError():
            return "a text of the request is not valid Unicode"
        case _:
            return f"{type(error).__name__} while evaluating the rule"
