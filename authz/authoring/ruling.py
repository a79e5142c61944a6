"""What a policy says about a call, also where not all of the call is known."""

import itertools
from collections.abc import Mapping, Sequence

import msgspec

from authz.authoring.dry_run import Answer, DryRun, never
from authz.errors import AuthzError, Reason, Refusal
from authz.model import AccessRequest, Effect, Kind
from authz.policy.effect import combine
from authz.policy.engine import Verdict
from authz.policy.rule import CompiledRule


class Ruling(msgspec.Struct, frozen=True):
    """An effect, and why."""

    effect: str
    reason: str = ""
    """"": the effect is certain, the reason is not."""
    rule: str = ""
    """File and line; "": no rule decided."""
    obligations: tuple[tuple[str, str], ...] = ()

    def told(self, name: str = "") -> str:
        """Say it in words; `name`: what the rule is called."""
        verb = "allowed" if self.effect == Effect.ALLOW.value else "denied"
        demands = "; ".join(f"{each}={value}" for each, value in self.obligations)
        called = f"{name} ({self.rule})" if name and name != self.rule else self.rule
        by = f" by {called}" if self.rule else f" ({self.reason})" if self.reason else ""
        if self.reason == Reason.RULE_ERROR.value:
            by = f", for {called or 'a rule'} errs"
        return f"{verb}{by}{f', with {demands}' if demands else ''}"


class UncertainError(AuthzError):
    """What would be decided cannot be told; the message names what is missing."""


def ruling(answer: Answer) -> Ruling:
    """Answer what came of a request."""
    decision = answer.outcome.decision
    return Ruling(
        decision.effect.value,
        decision.reason.value,
        decision.rule.id if decision.rule else "",
        tuple(sorted(decision.obligations)),
    )


class NotRecordedError(KeyError):
    """An attribute that is not known was looked at; the argument names it. To the engine it is one that is absent."""


def rule_on(run: DryRun, request: AccessRequest) -> Ruling:
    """Decide a request of which some attributes may not be known: looking at one raises NotRecordedError.

    Raises:
        UncertainError: the decision rests on one of these.
    """
    try:
        values = run.values(request)
    except NotRecordedError as missing:
        raise UncertainError(_named(run, [str(missing.args[0])])) from None
    except Refusal as refusal:
        return Ruling(Effect.DENY.value, refusal.reason.value)
    verdict = _verdict(run, values)
    if verdict.error:
        reason = Reason.RULE_ERROR
    elif verdict.effect is Effect.ALLOW:
        reason = Reason.ALLOWED
    elif request.subject.kind is Kind.ANONYMOUS:
        reason = Reason.IDENTITY_MISSING
    else:
        reason = Reason.DENIED_BY_RULE if verdict.rule else Reason.NO_MATCHING_RULE
    return Ruling(
        verdict.effect.value,
        reason.value,
        verdict.rule.id if verdict.rule else "",
        tuple(sorted(verdict.obligations)),
    )


def _verdict(run: DryRun, values: Sequence[object]) -> Verdict:
    engine = run.engine
    if all(_known(values[engine.tokens.index(token)], path) for token, *path in _reads(run)):
        return engine.evaluate(values, never)
    looks = [(rule, _missing(rule, values)) for rule in engine.rules]
    missing = [name for _, name in looks if name]
    if not missing:
        # No rule looks at what is not known, so that the index may take it for absent.
        return engine.evaluate(values, never)
    if engine.combining.ordered:
        # What stands before the first rule that cannot be told decides, if it does.
        certain = list(itertools.takewhile(lambda look: not look[1], looks))
    else:
        certain = [look for look in looks if not look[1]]
    effect, rule, error, _ = combine(engine.combining, [each for each, _ in certain], values)
    if rule is not None and (effect is Effect.DENY or engine.combining.ordered):
        return Verdict(effect, rule.row.reference, () if error else rule.verdict.obligations, error)
    raise UncertainError(_named(run, missing))


def _reads(run: DryRun) -> list[list[str]]:
    return [read.split(".")[1:] for read in run.engine.reads]


def _known(value: object, path: Sequence[str]) -> bool:
    """Whether what a rule may look at is known whole."""
    try:
        for step in path:
            if not isinstance(value, Mapping) or step not in value:
                return True  # known to be absent
            value = value[step]
    except NotRecordedError:
        return False
    return not isinstance(value, Mapping)


def _missing(rule: CompiledRule, values: Sequence[object]) -> str:
    """Answer the attribute that a rule looks at and that is not known; "" when there is none."""
    try:
        rule.code(*values, rule.constants)
    except NotRecordedError as absent:
        return str(absent.args[0])
    except Exception:  # noqa: BLE001 - a rule that errs is one that can be told
        return ""
    return ""


def _named(run: DryRun, missing: Sequence[str]) -> str:
    """Name attributes as rules do, each once."""
    names: dict[str, None] = {}
    for name in missing:
        read = [each for each in sorted(run.engine.reads) if f"{each}.".startswith(f"r.{name}.")]
        names |= dict.fromkeys(read or [f"r.{name}"])
    return ", ".join(names)
