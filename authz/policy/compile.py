"""The policy engine: Casbin models and policies, compiled when they load and indexed, one immutable snapshot.

Semantics are Casbin's, strict where it is not (expr.py, patterns.py, effect.py, rows.py and perm.py say where and why);
reference.py is the specification that this must agree with.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from authz.errors import PolicyError, Reason, Refusal
from authz.model import Effect, Obligations, RuleRef
from authz.policy import obligations
from authz.policy.candidates import Candidates
from authz.policy.effect import combine, describe
from authz.policy.engine import Verdict
from authz.policy.expr import parse
from authz.policy.functions import UserFunction
from authz.policy.lexer import ExpressionError
from authz.policy.pace import no_pause, pausing
from authz.policy.regex import PatternError
from authz.policy.roles import RoleBasis, Roles
from authz.policy.rows import Row
from authz.policy.rule import CompiledRule
from authz.policy.source import CompileSettings, Sections, Source, read, registered
from authz.policy.specialise import Means, Templates, Variant
from authz.policy.sub_rules import SubRules
from authz.policy.tree import Attribute, Call, Literal, Slot, SubRule, walk

_EFFECT_COLUMN = "eft"
_EFFECTS = {"allow": Effect.ALLOW, "deny": Effect.DENY, "indeterminate": None}
_PACE = 256
"""So many rules are evaluated between two looks at the clock, or looked at between two pauses of a load."""
_MANY = 8
_NOTHING_ALLOWS = Verdict(Effect.DENY)


_SETTINGS = CompileSettings()
_SECTIONS = Sections()


class CompiledEngine:
    """One snapshot of model and rules, ready to be asked. Implements `authz.policy.engine.Engine`."""

    def __init__(
        self,
        source: Source,
        sections: Sections,
        pause: Callable[[], None] = no_pause,
        fault: Callable[[PolicyError], None] | None = None,
    ) -> None:
        """Compile; see `load`.

        `fault` is told of each rule that is refused, which is then left out: to look at the others, never to decide.
        """
        self._fault = fault
        self.pause = pause
        """To be called now and then by whoever looks through all rules while others decide."""
        self.source = source
        self.sections = sections
        model = source.model
        source.check(sections)
        self._tokens = model.requests[sections.request]
        self.combining = source.combining(sections)
        basis = RoleBasis(source.functions, source.settings.roles, source.settings.limits.max_role_depth)
        self.roles = {name: Roles(role, source.of_type(name), basis) for name, role in model.roles.items()}
        self.means = Means(self._tokens, model.policies[sections.policy], source.functions, self.roles)
        self.rules = tuple(self._compiled(pause))
        self.means.settle()
        for name, definition in self.roles.items():
            if definition.matching:
                definition.know(_roles_asked(self.rules, name))
        self._candidates = Candidates(self.rules, self._tokens, source.functions, self.roles, pause)
        self._find = self._candidates.find
        self._demanding = any(rule.obligations for rule in pausing(self.rules, pause, _PACE))
        self._only_errors_matter = not self._demanding and all(
            rule.says is not Effect.DENY for rule in pausing(self.rules, pause, _PACE)
        )

    @classmethod
    def load(  # noqa: PLR0913  # the composition root hands over each by name
        cls,
        model_text: str,
        model_file: str,
        policies: Iterable[tuple[str, str]],
        *,
        known_obligations: Iterable[str] = (),
        settings: CompileSettings = _SETTINGS,
        functions: Mapping[str, UserFunction] = MappingProxyType({}),
        clock: Callable[[], float] | None = None,
        sections: Sections = _SECTIONS,
        pause: Callable[[], None] = no_pause,
    ) -> "CompiledEngine":
        """Compile a model and its policy files, given as (name, text).

        `clock` gives seconds since the epoch for timeMatch; without one, a policy that needs it is refused. `pause` is
        called every 0.1 ms or so: a thread that loads beside one that decides can let that one go first.

        Raises:
            PolicyError: Something in a file is wrong; it says where.
            ConfigError: A setting is.
        """
        known, available = frozenset(known_obligations), registered(clock, functions)
        return cls(read(model_text, model_file, policies, known, settings, available, pause), sections, pause)

    def under(self, sections: Sections) -> "CompiledEngine":
        """The same snapshot asked under other definitions of its model.

        Raises:
            PolicyError: The model lacks one of them, or a rule does not fit them.
        """
        return CompiledEngine(self.source, sections, self.pause)

    @property
    def version(self) -> str:
        """A hash of the content: equal content, equal version."""
        return self.source.version

    @property
    def tokens(self) -> tuple[str, ...]:
        """The names of the request definition in force, in order."""
        return self._tokens

    @property
    def rule_count(self) -> int:
        """How many rules can decide."""
        return len(self.rules)

    @property
    def reads(self) -> frozenset[str]:
        """Every attribute of the request that evaluating can look at, such as `r.sub.kind`; `r.sub` is all of it."""
        trees = {variant.tree for variant in {rule.variant for rule in pausing(self.rules, self.pause, _PACE)}}
        attributes = {node for tree in trees for node in walk(tree) if isinstance(node, Attribute)}
        return frozenset(".".join((self.sections.request, read.token, *read.path)) for read in attributes)

    def candidates(self, values: Sequence[object]) -> Sequence[CompiledRule]:
        """The rules that are evaluated for a request, in order: all that could match it or err."""
        return self._find(values)

    @property
    def obligations(self) -> Iterator[tuple[RuleRef, tuple[str, str]]]:
        """Every obligation that a rule may demand, with the rule."""
        rules = pausing(self.rules, self.pause, _PACE)
        return ((rule.row.reference, demand) for rule in rules for demand in rule.obligations)

    def evaluate(self, values: Sequence[object], out_of_time: Callable[[], bool]) -> Verdict:
        """Decide one request; `values` answer `tokens` one to one.

        Cost: one probe of the request, one look-up, and the evaluation of the rules that are found.

        Raises:
            Refusal: DEADLINE_EXCEEDED, once `out_of_time()` says so.
        """
        if out_of_time():
            raise Refusal(Reason.DEADLINE_EXCEEDED)
        if len(values) != len(self._tokens):
            return Verdict(Effect.DENY, error=f"the request has {len(values)} values, not {len(self._tokens)}")
        try:
            rules = self._find(values)
            stoppable = self._only_errors_matter and len(rules) > _MANY
            enough = (lambda: self._candidates.cannot_fail(values)) if stoppable else None
            paced = _paced(rules, out_of_time) if len(rules) > _PACE else rules
            effect, rule, error, allowing = combine(self.combining, paced, values, enough)
        except Refusal:
            raise
        except Exception as failure:  # noqa: BLE001  # a fault of ours must deny, not raise (I2)
            return Verdict(Effect.DENY, error=describe(failure))
        if error:
            return Verdict(Effect.DENY, rule.row.reference if rule else None, error=error)
        if rule is None:
            return _NOTHING_ALLOWS
        if len(allowing) > 1 and self._demanding:
            return Verdict(effect, rule.row.reference, _united(allowing))
        return rule.verdict

    def _compiled(self, pause: Callable[[], None]) -> Iterator[CompiledRule]:
        source, sections = self.source, self.sections
        model, columns = source.model, source.model.policies[sections.policy]
        scope = source.scope(sections)
        entry = model.matchers[sections.matcher]
        try:
            matcher = parse(entry.value, scope, source.settings.limits)
            templates = Templates(matcher, SubRules(scope, source.settings.limits), self.means)
        except ExpressionError as error:
            raise model.refuse(entry.line, f"in {entry.name}: {error}") from None
        evaluated = {node.field for node in walk(matcher) if isinstance(node, SubRule)}
        effect = columns.index(_EFFECT_COLUMN) if _EFFECT_COLUMN in columns else -1
        demands = columns.index(obligations.COLUMN) if obligations.COLUMN in columns else -1
        for ordinal, row in enumerate(pausing(source.ordered(sections), pause)):
            try:
                says = _says(row, row.cells[effect]) if effect >= 0 else Effect.ALLOW
                demanded = self._obligations(row, demands) if demands >= 0 else ()
                if demanded and says is not Effect.ALLOW:
                    raise row.refuse("the obligations of a rule that does not allow would never be carried out")
                _refuse_quoted(row, columns, evaluated)
                rule = self._compile(row, ordinal, templates, says, demanded)
            except PolicyError as error:
                if self._fault is None:
                    raise
                self._fault(error)
            else:
                yield rule

    def _compile(
        self, row: Row, ordinal: int, templates: Templates, says: Effect | None, demanded: Obligations
    ) -> CompiledRule:
        try:
            template, lifted = templates.of(row.cells)
            variant = template.variant(row.cells, lifted)
            if variant is None:
                raise row.refuse("this rule can only fail: its own columns do not fit what is done with them")
            constants = variant.constants(row.cells, lifted)
        except ExpressionError as error:
            raise row.refuse(f"in a sub-rule: {error}") from None
        except PatternError as error:
            raise row.refuse(str(error)) from None
        except (ValueError, TypeError, ArithmeticError) as error:
            raise row.refuse(f"this rule can only fail: {error}") from None
        if self.means.shapes > self.source.settings.max_distinct_expressions:
            raise row.refuse(
                f"over {self.source.settings.max_distinct_expressions} rules differ in more than constants"
            )
        return CompiledRule(row, ordinal, variant, constants, says, demanded)

    def _obligations(self, row: Row, column: int) -> Obligations:
        try:
            return obligations.parse(row.cells[column], self.source.known_obligations)
        except ValueError as error:
            raise row.refuse(str(error)) from None


def _paced(rules: Sequence[CompiledRule], out_of_time: Callable[[], bool]) -> Iterator[CompiledRule]:
    """The rules, with a look at the clock now and then."""
    for start in range(0, len(rules), _PACE):
        if out_of_time():
            raise Refusal(Reason.DEADLINE_EXCEEDED)
        yield from rules[start : start + _PACE]


def _united(allowing: Sequence[CompiledRule]) -> Obligations:
    """The obligations of every rule that allows, each once."""
    return tuple(dict.fromkeys(obligation for rule in allowing for obligation in rule.obligations))


def _says(row: Row, cell: str) -> Effect | None:
    if cell not in _EFFECTS:
        # pycasbin passes over such a rule: a misspelt deny would deny nothing.
        raise row.refuse(f"the effect of a rule is allow, deny or indeterminate, not {cell!r}")
    return _EFFECTS[cell]


def _refuse_quoted(row: Row, columns: Sequence[str], evaluated: Collection[str]) -> None:
    """A text in quotes matches nothing, for they are part of it; Go Casbin reads rules as CSV and removes them."""
    if '"' not in "".join(row.cells):
        return
    for name, cell in zip(columns, row.cells, strict=True):
        if name not in evaluated and len(cell) > 1 and cell[0] == cell[-1] == '"':
            raise row.refuse(f"quotes are part of the value here; write {cell[1:-1]} without them")


def _roles_asked(rules: Iterable[CompiledRule], definition: str) -> set[str]:
    """The roles that rules ask about by a definition."""
    asked: set[str] = set()
    wanted: dict[Variant, list[Slot]] = {}
    for rule in rules:
        if rule.variant not in wanted:
            calls = [node for node in walk(rule.variant.tree) if isinstance(node, Call) and node.function == definition]
            asked.update(str(call.arguments[1].value) for call in calls if isinstance(call.arguments[1], Literal))
            wanted[rule.variant] = [role for call in calls if isinstance(role := call.arguments[1], Slot)]
        asked.update(str(rule.constants[slot.at]) for slot in wanted[rule.variant])
    return asked
