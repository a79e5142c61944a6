"""Why a request was decided as it was: the rules that came near, and what each lacked.

For authors and operators, not for callers: what is shown are values of the request.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum

import msgspec

from authz.errors import Reason, Refusal
from authz.model import Effect, RuleRef
from authz.policy.compile import CompiledEngine
from authz.policy.effect import describe
from authz.policy.engine import Verdict
from authz.policy.keys import conjuncts
from authz.policy.render import attribute_text, render
from authz.policy.rule import CompiledRule
from authz.policy.tree import Attribute, Node, walk

_MAX_VALUE_CHARS = 80
_PACE = 256


class State(Enum):
    """How one condition of a rule came out."""

    HOLDS = "holds"
    FAILS = "fails"
    ERRS = "errs"


class Condition(msgspec.Struct, frozen=True):
    """One conjunct of a rule, with the values of the request that it looked at."""

    text: str
    state: State
    seen: tuple[tuple[str, str], ...]
    """Attributes and their values, as text, cut where they are long."""
    error: str = ""


class Near(msgspec.Struct, frozen=True):
    """A rule, and how much of it held; the first condition that does not hold is what it lacked."""

    rule: RuleRef
    says: Effect | None
    conditions: tuple[Condition, ...]

    @property
    def lacking(self) -> Condition | None:
        """The first condition that does not hold; None when the rule matches."""
        return next((condition for condition in self.conditions if condition.state is not State.HOLDS), None)


class Explanation(msgspec.Struct, frozen=True):
    """A verdict and the rules nearest to it, the nearest first."""

    verdict: Verdict
    near: tuple[Near, ...]


def explain(
    engine: CompiledEngine, values: Sequence[object], out_of_time: Callable[[], bool], most: int = 5
) -> Explanation:
    """Decide a request, and find the rules that match or come nearest to it; every rule is looked at.

    Raises:
        Refusal: DEADLINE_EXCEEDED, once `out_of_time()` says so.
    """
    verdict = engine.evaluate(values, out_of_time)
    if len(values) != len(engine.tokens):
        return Explanation(verdict, ())
    nearest: list[tuple[float, int, CompiledRule]] = []
    for rule in engine.rules:
        if not rule.ordinal % _PACE and out_of_time():
            raise Refusal(Reason.DEADLINE_EXCEEDED)
        states = [_state(engine, rule, part, values)[0] for part in conjuncts(rule.variant.tree)]
        lacking = states.count(State.FAILS) + states.count(State.ERRS)
        nearest.append((lacking / len(states), rule.ordinal, rule))
    nearest.sort(key=lambda entry: entry[:2])
    return Explanation(verdict, tuple(_near(engine, rule, values) for _, _, rule in nearest[:most]))


def _near(engine: CompiledEngine, rule: CompiledRule, values: Sequence[object]) -> Near:
    conditions = tuple(_condition(engine, rule, part, values) for part in conjuncts(rule.variant.tree))
    return Near(rule.row.reference, rule.says, conditions)


def _condition(engine: CompiledEngine, rule: CompiledRule, part: Node, values: Sequence[object]) -> Condition:
    state, error = _state(engine, rule, part, values)
    section = engine.sections.request
    return Condition(render(part, rule.constants, section), state, tuple(_seen(engine, part, values)), error)


def _state(engine: CompiledEngine, rule: CompiledRule, part: Node, values: Sequence[object]) -> tuple[State, str]:
    try:
        return (State.HOLDS if engine.means.code(part)(*values, rule.constants) else State.FAILS), ""
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the author wants to know
        return State.ERRS, describe(error)


def _seen(engine: CompiledEngine, part: Node, values: Sequence[object]) -> Iterator[tuple[str, str]]:
    """The attributes that a condition looks at, each once, with what stands there."""
    for attribute in dict.fromkeys(node for node in walk(part) if isinstance(node, Attribute)):
        yield attribute_text(attribute, engine.sections.request), _shown(engine, attribute, values)


def _shown(engine: CompiledEngine, attribute: Attribute, values: Sequence[object]) -> str:
    value = values[engine.tokens.index(attribute.token)]
    for step in attribute.path:
        try:
            value = value[step]  # type: ignore[index]  # what cannot be looked into is shown as absent
        except (KeyError, TypeError, IndexError):
            return "(absent)"
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}..."
