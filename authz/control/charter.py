"""The control plane's own policy: who may call which method on what (I1).

It is a policy of the same engine in the same language, and never the data plane's: a rule `*, *` for traffic gives no
power here, and whoever may change that policy cannot thereby raise themselves.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from authz.control.caller import Caller
from authz.control.faults import ControlError
from authz.decision.bind import Binder, BindSettings, token_values
from authz.decision.catalogue import EMPTY_CATALOGUE
from authz.errors import PolicyError, Reason
from authz.model import AccessRequest, Asked, Attributes, CheckCall, Decision, Effect, Target
from authz.policy.compile import CompiledEngine
from authz.policy.source import CompileSettings
from authz.stores.policy_files import PolicyFiles, PolicySettings

SECOND_PERSON: Final = "second_person"
"""The obligation: another human, of the group that it names, confirms."""
CONTROL: Final = "control:"
"""What the name of every action begins with."""

_BINDER: Final = Binder(BindSettings(), EMPTY_CATALOGUE, reads_query=False)
_THING: Final[Attributes] = {
    "type": "",
    "id": "",
    "holder": "",
    "task": {"id": "", "purpose": ""},
    "subject": "",
    "delegator": "",
    "chain": (),
    "depth": 0,
    "origin": "",
    "audience": "",
    "certificate": "",
    "actions": (),
    "locations": (),
    "resources": (),
    "ttl": 0.0,
    "uses": 0,
    "limits": {"calls": 0, "resources": 0, "sums": {}},
    "kind": "",
    "value": "",
    "author": "",
    "action": "",
    "human": "",
    "groups": (),
}
"""What every method's `r.obj` has: what does not apply is empty, so that a rule over it does not err."""


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against a call whatever policy says (I8); told only to whom policy would let."""

    reason: Reason
    why: str
    """For the record and the one who asks; a stable code before it, or such a code alone."""
    error: ControlError | None = None
    """What the one who asks is told instead; None: that it is denied, with the reason and why."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a call asks for, as a policy sees it."""

    path: str
    """What it is about: "/grants/spiffe://td/ns/agents/sa/planner", "/revocations/principal/...", "/policies"."""
    about: Attributes
    """Further attributes of `r.obj`; each has a name of `_THING`."""
    objection: Objection | None = None
    note: str = ""
    """What the record says of it besides, such as who confirmed it."""

    @property
    def summary(self) -> str:
        """A line for people who are to confirm it."""
        told = (f"{name}={value}" for name, value in self.about.items() if value not in {"", (), 0} and name != "task")
        return " ".join((self.path, *map(str, told)))


@dataclass(frozen=True, slots=True)
class Charter:
    """One version of the policy, ready to be asked."""

    version: str
    engine: CompiledEngine
    read_tokens: Callable[[AccessRequest], tuple[object, ...]]

    def ask(self, caller: Caller, action: str, question: Question, now: float) -> tuple[Asked, AccessRequest, Decision]:
        """Decide one call; what no rule allows, or a rule that errs, denies (I1)."""
        asked, request = _bind(caller, action, question, now)
        verdict = self.engine.evaluate(self.read_tokens(request), lambda: False)
        if verdict.error:
            effect, reason = Effect.DENY, Reason.RULE_ERROR
        elif verdict.effect is Effect.ALLOW:
            effect, reason = Effect.ALLOW, Reason.ALLOWED
        else:
            effect, reason = Effect.DENY, Reason.DENIED_BY_RULE if verdict.rule else Reason.NO_MATCHING_RULE
        return (
            asked,
            request,
            Decision(
                effect=effect,
                reason=reason,
                policy_version=self.version,
                rule=verdict.rule,
                obligations=verdict.obligations if effect is Effect.ALLOW else (),
                detail=verdict.error,
            ),
        )


class CharterFiles:
    """Builds charters out of the configured files."""

    def __init__(self, settings: PolicySettings, base: Path, groups: Iterable[str]) -> None:
        """`groups`: those that operators are in; a rule that wants a second person of another could never be met."""
        self._settings = settings
        self._files = PolicyFiles(settings, base)
        self._groups = frozenset(groups)

    def build(self) -> Charter:
        """Read and compile.

        Raises:
            PolicyError: something in a file is wrong; it says where. ConfigError: the model is not one for here.
        """
        text = self._files.read()
        engine = CompiledEngine.load(
            text.model,
            text.model_file,
            text.policies,
            known_obligations=frozenset({SECOND_PERSON}),
            settings=CompileSettings(limits=self._settings.limits),
            clock=time.time,
        )
        for rule, (_, group) in engine.obligations:
            if group not in self._groups:
                raise PolicyError(rule.file, rule.line, f"{SECOND_PERSON}={group}: no operator is in that group")
        return Charter(engine.version, engine, token_values(engine.tokens, {}))

    def watched(self) -> list[Path]:
        """Name every path whose change may change the charter."""
        return self._files.watched()


def _bind(caller: Caller, action: str, question: Question, now: float) -> tuple[Asked, AccessRequest]:
    call, target = CheckCall(layer="http"), Target(method=action, path=question.path)
    named = _BINDER.name(call, target)
    obj = {**named.obj, **_THING, **question.about, "path": question.path}
    asked = msgspec.structs.replace(named, obj=obj, protocol="control", name=action)
    bound = _BINDER.bind(call, asked, caller.subject, now)
    service, _, method = action.removeprefix(CONTROL).partition(".")
    return asked, msgspec.structs.replace(
        bound,
        sub={**bound.sub, "operator": caller.operator, "groups": caller.groups},
        act={**bound.act, "method": action, "protocol": "control", "name": action, "service": service, "verb": method},
        env={**bound.env, "transport": caller.transport},
    )
