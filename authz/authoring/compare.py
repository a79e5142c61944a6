"""Asks two policies the same, or one policy what was decided before, and collects what differs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from authz.audit.redact import plain
from authz.audit.schema import DecisionRecord
from authz.authoring.cases import Case
from authz.authoring.changes import Change, Group, Grouping, kind_of
from authz.authoring.dry_run import Answer, DryRun, check_overrides
from authz.authoring.past_calls import asked_again, recorded
from authz.authoring.ruling import Ruling, UncertainError, rule_on, ruling
from authz.authoring.samples import Sample
from authz.authoring.sides import Side
from authz.authoring.verify import RuleNames
from authz.errors import ConfigError, Refusal
from authz.model import Effect

_EXAMPLES = 3
_SHOWN_CHARS = 1024


class Uncertain(msgspec.Struct, frozen=True):
    """Calls that could not be compared, for one want."""

    count: int
    missing: str
    """The attributes that the policy reads and the record does not hold, or why else."""
    examples: tuple[str, ...]


class Comparison(msgspec.Struct, frozen=True):
    """What came of comparing."""

    asked: Mapping[str, int]
    """How many requests, by where they came from: `case`, `sample`, `call`."""
    changes: tuple[Group, ...]
    uncertain: tuple[Uncertain, ...]
    unreadable: tuple[str, ...] = ()
    """Lines of logs that are no records."""

    @property
    def gains(self) -> bool:
        """Whether anything becomes allowed."""
        return any(group.kind == "now allowed" for group in self.changes)

    @property
    def differs(self) -> bool:
        """Whether anybody can do anything else than before."""
        return any(group.kind.counts for group in self.changes)


class Comparer:
    """Collects, for an old policy (or what it decided, on record) and a new one."""

    def __init__(self, new: Side, old: Side | None, now: float) -> None:
        """`old`: None where calls are compared with what is on record. `now`: when cases without a time come in."""
        self._new, self._old, self._now = new, old, now
        self._new_names = RuleNames(new.run.engine)
        self._old_names = RuleNames(old.run.engine) if old else None
        self._changes = Grouping()
        self._uncertain: dict[str, Uncertain] = {}
        self._asked: Counter[str] = Counter()

    def result(self, unreadable: Iterable[str] = ()) -> Comparison:
        """Answer what was found."""
        uncertain = sorted(self._uncertain.values(), key=lambda each: -each.count)
        return Comparison(dict(self._asked), tuple(self._changes.groups), tuple(uncertain), tuple(unreadable))

    def case(self, case: Case) -> None:
        """Ask both sides a test case."""
        problem = check_overrides(case.attributes)
        if problem:
            raise ConfigError(f"{case.where}: {problem}")
        at = self._now if case.at is None else case.at
        self._both("case", f"{case.where} ({case.name})", case.message, at, case.attributes)

    def sample(self, sample: Sample) -> None:
        """Ask both sides a made-up request."""
        self._both("sample", sample.told, sample.message, sample.at, sample.overrides)

    def call(self, place: str, record: DecisionRecord) -> None:
        """Ask about a past call: both sides, or the new one and the record."""
        self._asked["call"] += 1
        try:
            was = recorded(record)
            now = _again(self._new.run, record)
            before = was if self._old is None else _again(self._old.run, record)
        except UncertainError as missing:
            self._give_up(plain(str(missing), _SHOWN_CHARS), place)
            return
        action, resource = record.action, record.resource
        what = _what(action.method, resource.type if resource else "", action.path) if action else ""
        subject = record.subject.id if record.subject else ""
        where = f"{place}: {action.method} {action.host}{action.path} at {record.time}" if action else place
        self._note(subject, what, before, now, where)

    def _give_up(self, missing: str, place: str) -> None:
        before = self._uncertain.get(missing, Uncertain(0, missing, ()))
        self._uncertain[missing] = Uncertain(before.count + 1, missing, (*before.examples, place)[:_EXAMPLES])

    def _both(self, origin: str, example: str, message: bytes, at: float, overrides: Mapping[Any, Any]) -> None:
        if self._old is None:
            raise ConfigError("there is no old policy to ask")
        self._asked[origin] += 1
        before = self._old.run.ask(message, at, overrides)
        now = self._new.run.ask(message, at, overrides)
        who, what = _named(now if now.reached_policy else before)
        self._note(who, what, ruling(before), ruling(now), example)

    def _note(self, who: str, what: str, before: Ruling, now: Ruling, example: str) -> None:
        kind = kind_of(before, now)
        if kind is not None:
            old = before.told(self._old_names.by_id(before.rule) if self._old_names else "")
            new = now.told(self._new_names.by_id(now.rule))
            old = self._old.shown(old) if self._old else old
            texts = (who or "anonymous", what, old, self._new.shown(new), example)
            # A log may hold anything; what a terminal would obey is not repeated.
            self._changes.add(Change(kind, *(plain(text, _SHOWN_CHARS) for text in texts)))


def _again(run: DryRun, record: DecisionRecord) -> Ruling:
    try:
        request = asked_again(run, record)
    except Refusal as refusal:
        return Ruling(Effect.DENY.value, refusal.reason.value)
    return rule_on(run, request)


def _named(answer: Answer) -> tuple[str, str]:
    """Answer who called and what for, as far as it is known."""
    outcome = answer.outcome
    who = outcome.subject.id if outcome.subject else outcome.call.principal if outcome.call else ""
    if outcome.request is None:
        return who, _what(outcome.call.method, "", outcome.call.path) if outcome.call else ""
    obj = outcome.request.obj
    return who, _what(str(outcome.request.act["method"]), str(obj["type"]), str(obj["path"]))


def _what(method: str, kind: str, path: str) -> str:
    """Answer what is asked for: a sort of thing where the catalogue knows one, else the path."""
    return f"{method} {kind or path}"
