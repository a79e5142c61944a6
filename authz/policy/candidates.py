"""Which rules must be evaluated for a request, so that the decision is the one that evaluating all would give.

A rule may be left out when a key of it does not fit, and nothing that is evaluated before that key's conjunct could
fail. The first the index knows. The second holds while the guards of the conjuncts up to the last key hold, and those
are checked for each request, all of them in one pass over the request.

When a guard fails, every rule that needs it must be evaluated, unless a key that stands before the conjunct in question
does not fit: evaluation then stops there. So for each guard there is an index of its own, of the rules that need it, by
those earlier keys only. That is exact: take a rule some of whose guards fail, and the first conjunct that needs one of
those. All before it is sound, so a key before it that does not fit makes the rule false; and that guard's index looks
at these keys only. Where several guards fail, the union of their indexes is taken, which can only add rules. A file of
an index whose look-up itself needs a failed guard is passed over, for its rules are in that guard's index too.

This holds under every effect, so that an error is never skipped: not under one that a deny decides, where a rule that
errs could have denied, nor under allow-override, where a rule that errs denies as well.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from authz.policy import index
from authz.policy.columns import Column, Constants
from authz.policy.emit import probe_code
from authz.policy.functions import Function
from authz.policy.guards import CHECKS, MISSING, Guard, needs
from authz.policy.index import Family, Layout, build, merged
from authz.policy.keys import Arm, Dimension, Key, arms, conjuncts, equality
from authz.policy.pace import no_pause, pausing
from authz.policy.roles import Roles
from authz.policy.rule import CompiledRule
from authz.policy.specialise import Variant
from authz.policy.tree import Attribute

_PACE = 256
_FEW = 8
"""So many rules are evaluated sooner than a request is probed."""


class Facts:
    """What is known of an expression before any request: by which keys it is found, what could make it fail."""

    def __init__(self, variant: Variant, functions: Mapping[str, Function], unsure: Sequence[str]) -> None:
        self.variant = variant
        self.rules: list[CompiledRule] = []
        self.columns: dict[Key, Column] = {}
        """The constants of `rules` by the keys that were asked for."""
        self._parts = parts = conjuncts(variant.tree)
        guards = [needs(part, functions, unsure) for part in parts]
        sound = next((place for place, needed in enumerate(guards) if needed is None), len(parts))
        self.sure = sound == len(parts)
        """Whether it cannot fail while all `guards` hold."""
        self.guards = frozenset(guard for needed in guards for guard in needed or ())
        self.arms = arms(parts[:sound], functions)
        places = [key.place for arm in self.arms for key in arm]
        last = max(places, default=-1) if self.arms else sound - 1
        self.first: dict[Guard, int] = {}
        """For each guard that leaving out the rule depends on, the first conjunct that needs it."""
        if all(self.arms):
            for place in reversed(range(last + 1)):
                self.first.update(dict.fromkeys(guards[place] or (), place))
        self.before = {guard: arms(parts[:place], functions) for guard, place in self.first.items()}
        """For each guard the arms that the conjuncts before that one give: unless one fits, it is never reached."""

    def proves(self, key: Key) -> bool:
        """Whether the key is all that its conjunct says."""
        return equality(self._parts[key.place]) == key.dimension

    def filed(self, ways: Sequence[Arm], constants: Constants) -> list[index.Arm]:
        """The ways to find its rules, with the constants by which they are found."""
        for key in {key for way in ways for key in way} - self.columns.keys():
            self.columns[key] = constants.column(self.rules, key)
        return [index.Arm([key.dimension for key in way], [self.columns[key] for key in way]) for way in ways]

    @property
    def read(self) -> set[Attribute]:
        """What of a request the look-ups of its rules read."""
        every = [*self.arms, *(arm for ways in self.before.values() for arm in ways)]
        return {attribute for arm in every for key in arm for attribute in key.dimension.attributes}


class Candidates:
    """Finds the rules to evaluate; immutable once built."""

    def __init__(
        self,
        rules: Sequence[CompiledRule],
        tokens: Sequence[str],
        functions: Mapping[str, Function],
        roles: Mapping[str, Roles],
        pause: Callable[[], None] = no_pause,
    ) -> None:
        unsure = [name for name, definition in roles.items() if not definition.sure]
        self._rules = rules
        facts = {variant: Facts(variant, functions, unsure) for variant in {rule.variant for rule in rules}}
        for rule in pausing(rules, pause, _PACE):
            facts[rule.variant].rules.append(rule)
        self._guards = sorted({guard for known in facts.values() for guard in known.first}, key=repr)
        read = {attribute for known in facts.values() for attribute in known.read}
        paths = sorted(read | {guard.attribute for guard in self._guards}, key=repr)
        places = {attribute: place for place, attribute in enumerate(paths)}
        checks = [(places[guard.attribute], CHECKS[guard.kind]) for guard in self._guards]
        self._probe = probe_code(paths, checks, tokens, MISSING)
        constants = Constants(functions, pause)
        reach = {name: definition.reach for name, definition in roles.items()}
        layout = Layout(places, reach, constants.outlines, pause)
        known = list(facts.values())
        main = [Family(each.rules, each.filed(each.arms, constants), partial(_narrower, each)) for each in known]
        self._main = build(main, layout)
        self._suspects = [build(_suspects(guard, known, constants), layout) for guard in self._guards]
        self._cannot_fail = _failure_probe(known, tokens)

    def find(self, values: Sequence[object]) -> Sequence[CompiledRule]:
        """The rules to evaluate, in order."""
        if len(self._rules) <= _FEW:
            return self._rules
        failed, probed = self._probe(*values)
        if not failed:
            found = self._main.find(probed)
            return found[0] if len(found) == 1 else merged(found)
        guards = frozenset(guard for bit, guard in enumerate(self._guards) if failed >> bit & 1)
        found = self._main.find(probed, guards)
        for bit, suspects in enumerate(self._suspects):
            if failed >> bit & 1:
                found += suspects.find(probed, guards)
        return merged(found)

    def cannot_fail(self, values: Sequence[object]) -> bool:
        """Whether no rule at all can fail for this request."""
        return self._cannot_fail(values)


def _suspects(guard: Guard, facts: Iterable[Facts], constants: Constants) -> list[Family[CompiledRule]]:
    """The rules that need `guard`, by the keys before the conjunct that needs it first; whole, for they may fail."""
    return [
        Family(known.rules, known.filed(known.before[guard], constants)) for known in facts if guard in known.before
    ]


def _failure_probe(facts: Sequence[Facts], tokens: Sequence[str]) -> Callable[[Sequence[object]], bool]:
    """Whether no rule can fail for a request: whether every guard of every conjunct holds."""
    if not all(known.sure for known in facts):
        return lambda _: False
    guards = sorted({guard for known in facts for guard in known.guards}, key=repr)
    paths = sorted({guard.attribute for guard in guards}, key=repr)
    checks = [(paths.index(guard.attribute), CHECKS[guard.kind]) for guard in guards]
    probe = probe_code(paths, checks, tokens, MISSING)
    return lambda values: not probe(*values)[0]


def _narrower(known: Facts, established: frozenset[Dimension]) -> Callable[[CompiledRule], CompiledRule]:
    """Rules without the comparisons that the look-up has made already.

    Only what was looked up is left out: of two comparisons of one attribute, the index uses the first.
    """
    used: dict[Dimension, Key] = {}
    for key in known.arms[0]:
        used.setdefault(key.dimension, key)
    places = [key.place for key in used.values() if key.dimension in established and known.proves(key)]
    code = known.variant.without(places)
    return lambda rule: rule.with_code(code)
