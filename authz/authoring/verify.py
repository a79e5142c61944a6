"""Runs test cases and says how each came out."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from authz.authoring.cases import Case, Expectation
from authz.authoring.dry_run import Answer, DryRun, check_overrides
from authz.authoring.reasoning import reasoning, tree
from authz.authoring.tree import drawn
from authz.errors import ConfigError, Refusal
from authz.model import RuleRef
from authz.policy.compile import CompiledEngine
from authz.policy.coverage import Coverage, Tally, Tracer

_NAME = "name"
_NEAR = 2


class CaseResult(msgspec.Struct, frozen=True):
    """How one case came out."""

    name: str
    file: str
    line: int
    mismatches: tuple[str, ...] = ()
    """Each as `effect: expected allow, got deny`."""
    why: str = ""
    """The reasoning behind a decision that was not expected."""

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.mismatches


class RuleNames:
    """The names that a policy's authors gave its rules."""

    def __init__(self, engine: CompiledEngine) -> None:
        columns = engine.source.model.policies[engine.sections.policy]
        place = columns.index(_NAME) if _NAME in columns else -1
        self._by_id = {rule.row.reference.id: rule.row.cells[place] if place >= 0 else "" for rule in engine.rules}

    def of(self, rule: RuleRef | None) -> str:
        """Answer how to call a rule: by its name, else by file and line."""
        return "no rule" if rule is None else self._by_id.get(rule.id) or rule.id

    def by_id(self, rule: str) -> str:
        """Answer the name of the rule that stands at file and line; "" when it has none."""
        return self._by_id.get(rule, "")

    def means(self, text: str, rule: RuleRef) -> bool:
        """Whether a text names this rule: its name, or its file and line; of the file the last parts are enough."""
        return text in (self._by_id.get(rule.id), rule.id) or rule.id.endswith(f"/{text}")

    def knows(self, text: str) -> bool:
        """Whether a text names any rule."""
        return any(text in (name, rule) or rule.endswith(f"/{text}") for rule, name in self._by_id.items())


class Verifier:
    """Runs cases against one policy."""

    def __init__(self, proved: DryRun, unproved: DryRun | None, *, traces: bool) -> None:
        """`unproved`: for the cases whose principals must be proved; both hold the same policy."""
        self._proved = proved
        self._unproved = unproved
        self._names = RuleNames(proved.engine)
        self._tracer = Tracer(proved.engine) if traces else None

    @property
    def tallies(self) -> Sequence[Tally]:
        """What was seen of each rule, where it was asked for."""
        return self._tracer.tallies if self._tracer else ()

    def fresh(self) -> "Verifier":
        """Answer one over the same policy that has seen nothing yet."""
        return Verifier(self._proved, self._unproved, traces=self._tracer is not None)

    def coverage(self, seen: Iterable[Sequence[Tally]]) -> Coverage:
        """Answer what several runs together saw of the rules."""
        tracer = Tracer(self._proved.engine)
        for tallies in seen:
            tracer.add(tallies)
        return tracer.coverage()

    def check(self, cases: Iterable[Case]) -> None:
        """Refuse cases that cannot pass, or whose passing would show nothing.

        Raises:
            ConfigError: naming each with its line.
        """
        problems = [f"{case.where}: {problem}" for case in cases for problem in self._problems(case)]
        if problems:
            raise ConfigError("\n".join(problems))

    def _problems(self, case: Case) -> Iterator[str]:
        overrides = check_overrides(case.attributes)
        if overrides:
            yield overrides
        rule = case.expect.rule
        if isinstance(rule, str) and not self._names.knows(rule):
            yield f"expect.rule: no rule is called `{rule}`, nor does one stand there"

    def run(self, case: Case) -> CaseResult:
        """Run one case."""
        run = self._proved if case.proved or self._unproved is None else self._unproved
        answer = run.ask(case.message, case.at, case.attributes)
        self._trace(run, answer)
        mismatches = tuple(self._mismatches(case.expect, answer))
        why = drawn(tree(reasoning(run, answer, _NEAR), brief=True)) if mismatches else ""
        return CaseResult(case.name, case.file, case.line, mismatches, why)

    def _trace(self, run: DryRun, answer: Answer) -> None:
        request = answer.outcome.request
        if self._tracer is None or request is None:
            return
        try:
            values = run.values(request)
        except Refusal:
            return
        self._tracer.see(values, run.verdict(request))

    def _mismatches(self, expect: Expectation, answer: Answer) -> Iterator[str]:
        decision = answer.outcome.decision
        if decision.effect.value != expect.effect:
            yield f"effect: expected {expect.effect}, got {decision.effect.value} ({decision.reason})"
        if not isinstance(expect.reason, msgspec.UnsetType) and decision.reason is not expect.reason:
            yield f"reason: expected {expect.reason}, got {decision.reason}"
        if not isinstance(expect.rule, msgspec.UnsetType) and not self._is_rule(expect.rule, decision.rule):
            at = f" ({decision.rule.id})" if decision.rule else ""
            yield f"rule: expected {expect.rule or 'no rule'}, got {self._names.of(decision.rule)}{at}"
        if not isinstance(expect.obligations, msgspec.UnsetType):
            wanted, got = tuple(sorted(expect.obligations.items())), tuple(sorted(decision.obligations))
            if wanted != got:
                yield f"obligations: expected {_demands(wanted)}, got {_demands(got)}"
        status = answer.response.denied_response.status.code
        if not isinstance(expect.status, msgspec.UnsetType) and status != expect.status:
            yield f"status: expected {expect.status}, got {status or 'none'}"

    def _is_rule(self, expected: str | None, rule: RuleRef | None) -> bool:
        if expected is None or rule is None:
            return expected is None and rule is None
        return self._names.means(expected, rule)


def _demands(obligations: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}={value}" for name, value in obligations) or "none"
