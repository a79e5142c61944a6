"""A PDP to try things on: the whole path of a request over one snapshot, with no record kept and at any time.

The only file of the tools that knows what a checker is made of.
"""

import difflib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.composition import Composition
from authz.decision.bind import Binder, BindSettings
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.catalogue import EMPTY_CATALOGUE
from authz.decision.check import Checker
from authz.decision.snapshot import Snapshot
from authz.errors import ConfigError, Refusal
from authz.grants.verifier import VerifiedGrant
from authz.identity.inventory import EMPTY_INVENTORY, UNREGISTERED
from authz.identity.subjects import SubjectFactory
from authz.model import (
    CURRENT,
    NOT_SHARED,
    AccessRequest,
    Asked,
    Attributes,
    CheckCall,
    Freshness,
    Kind,
    Outcome,
    Subject,
    Target,
)
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Verdict
from authz.spiffe import parse_spiffe_id

_NO_DEADLINE = 60.0
Overrides = Mapping[Literal["sub", "obj", "act", "env"], Mapping[str, Any]]


class Answer(msgspec.Struct, frozen=True):
    """What came of one request."""

    outcome: Outcome
    response: CheckResponse

    @property
    def reached_policy(self) -> bool:
        """Whether the rules were asked."""
        return self.outcome.request is not None


class DryRun:
    """One snapshot, asked as often as wanted."""

    def __init__(self, composition: Composition, monotonic: Callable[[], float] = lambda: 0.0) -> None:
        """Load what the composition names.

        `monotonic` measures the time that a decision takes; by default it stands still, for how slow this machine is
        must not decide a test.

        Raises:
            AuthzError: a file does not load.
        """
        self._now = time.time()
        self.composition = composition
        self.composition.read_keys_once()
        self.snapshot = self.composition.build_snapshot()
        engine = self.snapshot.engine
        if not isinstance(engine, CompiledEngine):
            raise ConfigError(f"the tools for authors know the compiled engine only, not {type(engine).__name__}")
        self.engine = engine
        self.current: Snapshot = self.snapshot
        """What the checker sees: the snapshot, or it with attributes overridden."""
        self._outcome: Outcome | None = None
        parts = replace(
            self.composition.parts(self, self, self, clock=lambda: self._now),
            monotonic=monotonic,
            # Every request is evaluated: what is decided again for another time or attribute must not be a memory.
            cache=DecisionCache(CacheSettings(max_allowed_entries=0, max_denied_entries=0), LocalEpoch()),
            report_fault=_ignore,
        )
        self._checker = Checker(parts)

    def ask(self, message: bytes, at: float | None = None, overrides: Overrides | None = None) -> Answer:
        """Decide one CheckRequest as of `at`; `overrides` replace attributes that the policy would see."""
        self.prepare(at, overrides)
        response = CheckResponse.FromString(self.check(message))
        if self._outcome is None:
            raise ConfigError("the checker told of no outcome")
        return Answer(self._outcome, response)

    def prepare(self, at: float | None, overrides: Overrides | None) -> None:
        """Have `check` decide as of `at`, with these attributes overridden."""
        self._now = time.time() if at is None else at
        self.current = self.snapshot
        if overrides:
            binder = _Overriding(self.snapshot.binder, overrides)
            self.current = replace(self.snapshot, binder=binder)
            if "id" in overrides.get("sub", {}):
                # Who calls is given, so nothing has to prove it.
                self.current = replace(self.current, resolver=_Given(overrides["sub"]))

    def check(self, message: bytes) -> bytes:
        """Decide one CheckRequest: what a server would do with it, and nothing else."""
        answer = self._checker.check(message, _NO_DEADLINE)
        # No use of a grant is counted; this is what would be answered while there is one left.
        return answer if isinstance(answer, bytes) else answer.conclude(answer.otherwise)

    def verdict(self, request: AccessRequest) -> Verdict:
        """Ask the rules alone."""
        return self.engine.evaluate(self.values(request), never)

    def values(self, request: AccessRequest) -> tuple[object, ...]:
        """Answer what the model's request tokens stand for in this request; rules then see its time."""
        self.snapshot.moment.now = request.env["time"]  # type: ignore[assignment]  # `bind` puts the float there
        return self.snapshot.read_tokens(request)

    @cached_property
    def mapping(self) -> Mapping[str, str]:
        """What request tokens stand for, where configuration says so."""
        return self.composition.config.attributes.request

    # The trail and the meter of a dry run: what was decided is handed back, nothing else.

    def offer(self, outcome: Outcome) -> bool:
        """Take the outcome for a record that is kept."""
        self._outcome = outcome
        return True

    def decided(self, outcome: Outcome) -> None:
        """Take the final outcome."""
        self._outcome = outcome


def never() -> bool:
    """There is all the time in the world."""
    return False


def _ignore(fault: Exception) -> None:
    """A fault shows as the reason `internal_error`."""


class _Overriding(Binder):
    """A binder some of whose attributes are given."""

    def __init__(self, binder: Binder, overrides: Overrides) -> None:
        self._binder = binder
        self._overrides = overrides

    def name(
        self,
        call: CheckCall,
        target: Target,
        presented: VerifiedGrant | None = None,
        fresh: Freshness = CURRENT,
        sharing: Attributes = NOT_SHARED,
    ) -> Asked:
        """Name what is asked for, as it is."""
        return self._binder.name(call, target, presented, fresh, sharing)

    def bind(self, call: CheckCall, asked: Asked, subject: Subject, now: float) -> AccessRequest:
        """Answer the access request, overridden."""
        return overridden(self._binder.bind(call, asked, subject, now), self._overrides)


class _Given:
    """Answers the caller that a case names."""

    def __init__(self, sub: Mapping[str, Any]) -> None:
        try:
            spiffe_id = parse_spiffe_id(str(sub["id"]))
        except Refusal:
            self._subject = Subject(id=str(sub["id"]), kind=Kind.WORKLOAD, attributes=UNREGISTERED)
        else:
            self._subject = SubjectFactory((), EMPTY_INVENTORY).workload(spiffe_id, "case", None)

    def identify(self, call: CheckCall, now: float) -> Subject:  # noqa: ARG002 - whatever is asked, and whenever
        """Answer the caller."""
        return self._subject


def overridden(request: AccessRequest, overrides: Overrides) -> AccessRequest:
    """Answer the request with the given attributes in place of its own."""
    changed: dict[str, Any] = {root: _laid_over(getattr(request, root), over) for root, over in overrides.items()}
    sub = overrides.get("sub", {})
    if "id" in sub or "kind" in sub:
        given = {"id": changed["sub"]["id"], "kind": Kind(changed["sub"]["kind"])}
        changed["subject"] = msgspec.structs.replace(request.subject, **given)
    changed["others"] = tuple(overridden(each, overrides) for each in request.others)
    changed["offers"] = tuple((name, overridden(each, overrides)) for name, each in request.offers)
    return msgspec.structs.replace(request, **changed)


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _laid_over(below, value) if both and below is not None else value
    return merged


def check_overrides(overrides: Overrides) -> str:
    """Answer what is wrong with attributes that are to be overridden; "" when nothing is.

    One that no request has would make a case pass that production fails.
    """
    for root, over in overrides.items():
        known = getattr(_EMPTY, root)
        for name in over:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
                return f"attributes.{root}.{name}: there is no attribute r.{root}.{name}; {hint}"
    kind = overrides.get("sub", {}).get("kind", "workload")
    kinds = [known.value for known in Kind]
    return "" if kind in kinds else f"attributes.sub.kind: {kind!r} is none of {', '.join(kinds)}"


_NOTHING = Binder(BindSettings(), EMPTY_CATALOGUE)
_EMPTY = _NOTHING.bind(CheckCall("http"), _NOTHING.name(CheckCall("http"), Target()), Subject(), 0.0)
"""A request of which nothing is known: it has every attribute that there is."""
