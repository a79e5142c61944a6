"""Lints a model with its policies: everything that is wrong, or likely to be, with its place.

Loading stops at the first error, for a policy is accepted whole or not at all (I11); this goes on, so that an author
sees all there is in one run.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from authz.errors import PolicyError
from authz.policy import perm
from authz.policy.compile import CompiledEngine
from authz.policy.expr import Scope
from authz.policy.functions import Function
from authz.policy.lexer import ExpressionError
from authz.policy.lint.expression import Names, Problem, problems
from authz.policy.lint.finding import Finding
from authz.policy.lint.kinds import Vocabulary
from authz.policy.lint.patterns import Patterns
from authz.policy.lint.text import File, exempt
from authz.policy.lint.whole import Sensitive, Standing, whole
from authz.policy.located import Located
from authz.policy.perm import Entry, Model
from authz.policy.rows import Row, check, columns_of, read_line
from authz.policy.source import CompileSettings, Sections, Source
from authz.policy.tree import SubRule, walk

_REFUSED = frozenset(("syntax", "unknown-function", "request-controlled-pattern"))
"""Findings for which the engine refuses the expression too."""
_MAX_RETRIES = 100


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy is linted against."""

    functions: Mapping[str, Function]
    vocabulary: Vocabulary = MappingProxyType({})
    """The attributes of requests; a token that is not in it may be anything."""
    standing: Standing = Standing(MappingProxyType({}))
    """What the tokens of the model stand for."""
    sensitive: tuple[Sensitive, ...] = ()
    known_obligations: frozenset[str] = frozenset()
    settings: CompileSettings = CompileSettings()
    beside: Sections | None = None
    """Further sections that the server asks: those that say who may act for whom."""
    vocabulary_beside: Vocabulary = MappingProxyType({})
    """What the tokens of their request stand for."""


def lint(model: tuple[str, str], policies: Sequence[tuple[str, str]], ground: Ground) -> tuple[Finding, ...]:
    """Every finding in a model and its policies, given as (name, text), in order of file and line."""
    files = {name: File(name, text) for name, text in (model, *policies)}
    run = _Run(files, model[0], ground)
    found = [_placed(each, files) for each in run.findings(model[1], [name for name, _ in policies])]
    found = exempt(found, files.values())
    order = {name: place for place, name in enumerate(files)}
    found.sort(key=lambda finding: (order[finding.file], finding.line, finding.column, finding.code))
    return tuple(dict.fromkeys(found))


class _Run:
    """One run over one policy."""

    def __init__(self, files: Mapping[str, File], model_file: str, ground: Ground) -> None:
        self._files = files
        self._model_file = files[model_file]
        self._ground = ground
        self._limits = ground.settings.limits
        self._sections = Sections()

    def findings(self, model_text: str, policies: Sequence[str]) -> Iterator[Finding]:
        """Every finding, exempted or not, in no order."""
        try:
            model = perm.parse(model_text, self._model_file.name, self._limits)
            source = self._source(model, ())
            source.check(self._sections)
            source.combining(self._sections)
        except PolicyError as error:
            yield self._refused(error, "model-refused", "the rules are looked at once the model is in order")
            return
        faults: list[Finding] = []
        rows = list(self._rows(model, policies, faults))
        yield from faults
        yield from self._never_asked(rows, model)
        yield from self._beside(source, rows)
        scope = source.scope(self._sections)
        names = Names(scope.request, self._ground.vocabulary, self._ground.functions)
        entry = model.matchers[self._sections.matcher]
        matcher, told = self._matcher(entry, scope, names)
        yield from told
        if matcher is None:
            return
        good: list[Row] = []
        for row in rows:
            told = list(self._sub_rules(row, matcher, scope, names)) if row.ptype == self._sections.policy else []
            yield from told
            if not any(finding.code in _REFUSED for finding in told):
                good.append(row)
        patterns = Patterns(self._files, matcher, scope, self._ground.functions, self._limits)
        yield from self._engine(self._source(model, tuple(good)), patterns)

    def _source(self, model: Model, rows: tuple[Row, ...]) -> Source:
        ground = self._ground
        return Source(model, rows, ground.known_obligations, ground.settings, ground.functions, "")

    def _refused(self, error: PolicyError, code: str, advice: str = "") -> Finding:
        file = self._files.get(error.file, self._model_file)
        return Finding(code=code, file=file.name, line=error.line, message=error.problem, advice=advice)

    def _rows(self, model: Model, policies: Sequence[str], faults: list[Finding]) -> Iterator[Row]:
        """The rows that are in order; `faults` takes what is wrong with the others."""
        columns = columns_of(model)
        for name in policies:
            for number, raw in enumerate(self._files[name].lines, 1):
                try:
                    row = read_line(raw, name, number, self._limits)
                    if row is not None:
                        check(row, columns)
                except PolicyError as error:
                    faults.append(self._refused(error, "row-refused"))
                else:
                    if row is not None:
                        yield row

    def _beside(self, source: Source, rows: Sequence[Row]) -> Iterator[Finding]:
        """What is wrong with the expressions of the further sections; what else may be shows when they are compiled."""
        sections = self._ground.beside
        if sections is None:
            return
        try:
            source.check(sections)
        except PolicyError as error:
            yield self._refused(error, "model-refused")
            return
        scope = source.scope(sections)
        names = Names(scope.request, self._ground.vocabulary_beside, self._ground.functions)
        matcher, told = self._matcher(source.model.matchers[sections.matcher], scope, names)
        yield from told
        for row in rows:
            if matcher is not None and row.ptype == sections.policy:
                yield from self._sub_rules(row, matcher, scope, names)

    def _never_asked(self, rows: Sequence[Row], model: Model) -> Iterator[Finding]:
        """For each kind of rule that the server does not ask, its first rule."""
        first: dict[str, Row] = {}
        beside = self._ground.beside
        asked = {self._sections.policy, beside.policy if beside else ""}
        for row in rows:
            if row.ptype in model.policies and row.ptype not in asked:
                first.setdefault(row.ptype, row)
        for ptype, row in first.items():
            message = f"rules of {ptype} are never asked: the server decides by r, {self._sections.policy}, e and m"
            advice = f"write them as {self._sections.policy}"
            yield Finding(code="never-asked", file=row.file, line=row.line, message=message, advice=advice)

    def _matcher(self, entry: Entry, scope: Scope, names: Names) -> tuple[Located | None, list[Finding]]:
        """The matcher, unless the engine would refuse it, and what is wrong with it."""
        places = self._model_file.entry(entry)

        def placed(problem: Problem) -> Finding:
            line, column = places[min(problem.span[0], len(places)) - 1]
            last, end = places[min(problem.span[1], len(places)) - 1]
            return Finding(
                code=problem.code,
                file=self._model_file.name,
                line=line,
                column=column,
                end=end if last == line else column,
                message=f"in {entry.name}: {problem.message}",
                advice=problem.advice,
            )

        try:
            located = Located(entry.value, scope, self._limits, matcher=True)
        except ExpressionError as error:
            return None, [placed(_problem(error))]
        told = [placed(problem) for problem in problems(located, names)]
        fatal = any(problem.code in _REFUSED for problem in told) or located.unknown
        return None if fatal else located, told

    def _sub_rules(self, row: Row, matcher: Located, scope: Scope, names: Names) -> Iterator[Finding]:
        for field in dict.fromkeys(node.field for node in walk(matcher.tree) if isinstance(node, SubRule)):
            place = self._files[row.file].cell(row.line, scope.fields.index(field) + 1)
            if place is None:
                continue
            (start, _), text = place
            try:
                found = list(problems(Located(text, scope, self._limits, matcher=False), names))
            except ExpressionError as error:
                found = [_problem(error)]
            for problem in found:
                first, last = problem.span
                yield Finding(
                    code=problem.code,
                    file=row.file,
                    line=row.line,
                    column=start + first - 1,
                    end=start + last - 1,
                    message=problem.message,
                    advice=problem.advice,
                )

    def _engine(self, source: Source, patterns: Patterns) -> Iterator[Finding]:
        """What shows once the rules that can be are compiled."""
        for _ in range(_MAX_RETRIES):
            faults: list[PolicyError] = []
            try:
                engine = CompiledEngine(source, self._sections, fault=faults.append)
            except PolicyError as error:
                faults = [error]
                engine = None
            by_place = {(row.file, row.line): row for row in source.rows}
            told = [(fault, by_place.get((fault.file, fault.line))) for fault in faults]
            for fault, row in told:
                exact = list(patterns.refused(row)) if row is not None else []
                yield from exact or [self._refused(fault, "rule-refused")]
            if engine is not None:
                yield from whole(engine, self._ground.sensitive, self._ground.standing)
                for rule in engine.rules:
                    yield from patterns.remarkable(rule.row)
                return
            # A grant, or a priority, stands in the way of all others.
            bad = {row for _, row in told}
            kept = tuple(row for row in source.rows if row not in bad)
            if len(kept) == len(source.rows):
                return
            source = msgspec.structs.replace(source, rows=kept)


def _placed(finding: Finding, files: Mapping[str, File]) -> Finding:
    """The finding with the place of its whole line, where it names none within it."""
    if finding.column or not finding.line:
        return finding
    column, end = files[finding.file].whole(finding.line)
    return msgspec.structs.replace(finding, column=column, end=end)


def _problem(error: ExpressionError) -> Problem:
    column = max(error.column, 1)
    return Problem(error.code, (column, column), error.problem)
