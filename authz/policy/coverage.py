"""Which rules, and which ways through each rule's conditions, a set of requests has tried.

A rule counts as tried when it matched some request and failed to match another. Each of its conditions counts twice:
once for holding, once for failing. Conditions are evaluated as the engine does, in order and up to the first that does
not hold, so that what stands behind a condition that never held counts as never reached.
"""

from collections.abc import Iterator, Sequence

import msgspec

from authz.model import RuleRef
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Verdict
from authz.policy.keys import conjuncts
from authz.policy.render import render
from authz.policy.rule import CompiledRule
from authz.policy.tree import Literal, Node, Slot, Test

_ALL = "*"
"""The pattern that every text matches: such a condition has no other way to come out."""


class Tally(msgspec.Struct):
    """How often one rule's parts came out which way; adds up over several runs."""

    matched: int = 0
    unmatched: int = 0
    decided: int = 0
    """How often it is the rule that the decision names."""
    erred: int = 0
    held: list[int] = []
    """For each condition, how often it held."""
    failed: list[int] = []

    def add(self, other: "Tally") -> None:
        """Count what another run saw as well."""
        self.matched += other.matched
        self.unmatched += other.unmatched
        self.decided += other.decided
        self.erred += other.erred
        self.held = [mine + theirs for mine, theirs in zip(self.held, other.held, strict=True)]
        self.failed = [mine + theirs for mine, theirs in zip(self.failed, other.failed, strict=True)]


class Branch(msgspec.Struct, frozen=True):
    """One condition of a rule, and how often it held and failed."""

    text: str
    held: int
    failed: int

    @property
    def missing(self) -> tuple[str, ...]:
        """The ways that no request took."""
        ways = (("held", self.held), ("failed", self.failed))
        return tuple(name for name, count in ways if not count)


class RuleCoverage(msgspec.Struct, frozen=True):
    """What was tried of one rule."""

    rule: RuleRef
    matched: int
    unmatched: int
    decided: int
    erred: int
    branches: tuple[Branch, ...]
    """Its conditions, those left out that can come out one way only."""


class Coverage(msgspec.Struct, frozen=True):
    """What was tried of a policy, in order of file and line."""

    rules: tuple[RuleCoverage, ...]

    @property
    def matched_percent(self) -> float:
        """How many of the rules matched a request."""
        return _percent(sum(bool(rule.matched) for rule in self.rules), len(self.rules))

    @property
    def branch_percent(self) -> float:
        """How many of the ways that conditions can come out were seen."""
        branches = [branch for rule in self.rules for branch in rule.branches]
        return _percent(sum(2 - len(branch.missing) for branch in branches), 2 * len(branches))

    @property
    def percent(self) -> float:
        """The lower of the two."""
        return min(self.matched_percent, self.branch_percent)


class Tracer:
    """Counts for one engine; every rule is looked at for every request."""

    def __init__(self, engine: CompiledEngine) -> None:
        self._engine = engine
        code = engine.means.code
        parts = {rule.variant: conjuncts(rule.variant.tree) for rule in engine.rules}
        codes = {variant: tuple(code(part) for part in found) for variant, found in parts.items()}
        self._parts = [parts[rule.variant] for rule in engine.rules]
        self._codes = [codes[rule.variant] for rule in engine.rules]
        self.tallies = [Tally(held=[0] * len(found), failed=[0] * len(found)) for found in self._parts]

    def see(self, values: Sequence[object], verdict: Verdict) -> None:
        """Count one request and what was decided about it."""
        for rule, codes, tally in zip(self._engine.rules, self._codes, self.tallies, strict=True):
            if verdict.rule is not None and rule.row.line == verdict.rule.line and rule.row.file == verdict.rule.file:
                tally.decided += 1
            _try(rule, codes, values, tally)

    def add(self, tallies: Sequence[Tally]) -> None:
        """Count what another tracer of the same engine saw."""
        for mine, theirs in zip(self.tallies, tallies, strict=True):
            mine.add(theirs)

    def coverage(self) -> Coverage:
        """Answer what was tried so far."""
        section = self._engine.sections.request
        found = [
            RuleCoverage(
                rule=rule.row.reference,
                matched=tally.matched,
                unmatched=tally.unmatched,
                decided=tally.decided,
                erred=tally.erred,
                branches=tuple(_branches(rule, parts, tally, section)),
            )
            for rule, parts, tally in zip(self._engine.rules, self._parts, self.tallies, strict=True)
        ]
        return Coverage(tuple(sorted(found, key=lambda each: (each.rule.file, each.rule.line))))


def _try(rule: CompiledRule, codes: Sequence[object], values: Sequence[object], tally: Tally) -> None:
    for place, code in enumerate(codes):
        try:
            holds = code(*values, rule.constants)  # type: ignore[operator]  # compiled conditions
        except Exception:  # noqa: BLE001  # whatever it is, the rule erred
            tally.erred += 1
            return
        if not holds:
            tally.failed[place] += 1
            tally.unmatched += 1
            return
        tally.held[place] += 1
    tally.matched += 1


def _branches(rule: CompiledRule, parts: Sequence[Node], tally: Tally, section: str) -> Iterator[Branch]:
    for part, held, failed in zip(parts, tally.held, tally.failed, strict=True):
        if not _settled(rule, part):
            yield Branch(render(part, rule.constants, section), held, failed)


def _settled(rule: CompiledRule, part: Node) -> bool:
    """Whether a condition can come out one way only."""
    if isinstance(part, Literal):
        return True
    if isinstance(part, Test) and part.function == "keyMatch" and isinstance(part.constants[0], Slot):
        return rule.constants[part.constants[0].at] == _ALL
    return False


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0
