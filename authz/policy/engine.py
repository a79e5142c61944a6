"""What the PDP asks of a policy engine; `casbin.py` is one."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from authz.model import Effect, Obligations, RuleRef


class Verdict(msgspec.Struct, frozen=True):
    """What the rules together say about one request."""

    effect: Effect
    rule: RuleRef | None = None
    """The rule that decided; None when none matched (which denies, I1)."""
    obligations: Obligations = ()
    error: str = ""
    """Why a rule could not be evaluated; the effect is then a denial (I1)."""


class Engine(Protocol):
    """One immutable set of model and rules, ready to be asked."""

    @property
    def version(self) -> str:
        """A hash of the content: equal content, equal version."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The names of the model's request definition, in order: `r = sub, obj, act` gives ("sub", "obj", "act")."""

    @property
    def rule_count(self) -> int:
        """How many policy rules it holds."""

    def evaluate(self, values: Sequence[object], out_of_time: Callable[[], bool]) -> Verdict:
        """Decide one request; `values` answer `tokens` one to one.

        Never raises for what a request or a rule contains: a rule that errs denies, with `error` (I1).

        Raises:
            Refusal: DEADLINE_EXCEEDED, once `out_of_time()` says so.
        """
