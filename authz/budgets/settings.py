"""Budgets, and what is remembered of tasks, as configuration says it."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from authz.amount import parse_amount
from authz.resource_pattern import check_host, parse_path
from authz.task_limits import ARGUMENT, MAX_RESOURCES

Per = Literal["principal", "task", "tool", "tenant"]
_NAME = r"\A[a-z][a-z0-9_-]{0,63}\Z"
# As in the scope of a grant: a whole name, or all that begin alike up to a separator.
_BEGINNING = re.compile(r"\*|[!-)+-~]{1,512}|(?:[!-)+-~]{0,511}[:/.])\*")


class BudgetMatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls a budget counts: those that fit every part; an empty part fits all."""

    principals: tuple[str, ...] = ()
    """Ids as `r.sub.id`: whole, or all that begin so, as `spiffe://demo.internal/ns/agents/*`."""
    actions: tuple[str, ...] = ()
    """Names as `r.act.name`: whole, or all that begin so, as `mcp:tools/call:*`."""
    tools: tuple[str, ...] = ()
    """Tools as `r.act.tool`, likewise."""
    hosts: tuple[str, ...] = ()
    """Hosts: `accounts.demo.internal`, `*.demo.internal`."""
    paths: tuple[str, ...] = ()
    """Paths: `/v1/accounts/{id}`, `/v1/accounts/*`."""
    sensitivities: tuple[str, ...] = ()
    """Values of `r.obj.sensitivity`."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        for key in ("principals", "actions", "tools"):
            for name in getattr(self, key):
                if _BEGINNING.fullmatch(name) is None:
                    yield key, f"{name!r} is neither a name, nor a beginning up to ':', '/' or '.' with '*' after it"
        for key, check in (("hosts", check_host), ("paths", parse_path)):
            for pattern in getattr(self, key):
                try:
                    check(pattern)
                except ValueError as error:
                    yield key, f"{pattern!r}: {error}"


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One budget: of what, for whom, how much in which time. Every budget that fits a call counts it."""

    name: Annotated[str, Meta(pattern=_NAME)]
    """What records and metrics call it; no two are called alike."""
    count: Literal["calls", "resources", "sum", "retries"] = "calls"
    """What is counted of allowed calls: `calls`; `resources`, distinct ones; `sum`, an argument added up. Or of denied
    ones: `retries` of the same action on the same resource, after which it is not even asked any more."""
    per: tuple[Per, ...] = ("principal",)
    """For whom it is counted: each `principal`, `task`, `tool` (the action's name where it has none), `tenant`, or each
    combination of them; empty: for all together."""
    match: BudgetMatch = BudgetMatch()
    """Which calls it counts."""
    argument: Annotated[str, Meta(max_length=520)] = ""
    """Of a `sum`: the argument's path below `r.act.args`, such as `amount`."""
    limit: int | str
    """How much there may be in the time; of a `sum` an amount, as text where it has a fraction: `"99.95"`."""
    window_seconds: Annotated[float, Meta(ge=1, le=2_678_400)]
    """The time that slides along."""
    slots: Annotated[int, Meta(ge=1, le=100)] = 20
    """Parts into which the time is divided for counting. Never more than `limit` is let through in any such time; what
    was spent is given back at most one part later than it could be."""
    exact: bool = False
    """Whether it is counted in the shared store before each answer, so that not one too many gets through however many
    processes and hosts there are; costs a write to the store for each call that it counts. Else each process counts by
    itself and they tell one another every `tasks.share_seconds`."""
    approval: Annotated[str, Meta(pattern=r"\A([a-z][a-z0-9_-]{0,63})?\Z")] = ""
    """A call that does not fit waits for the word of this group of `approvals.groups`: for exactly that call, once. It
    is counted beyond the limit when it passes. "": it is denied, as elements of a batch always are."""

    @property
    def units(self) -> int:
        """The limit as it is counted: a `sum` in millionths."""
        return parse_amount(str(self.limit)) if self.count == "sum" else int(self.limit)

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        try:
            units = self.units
        except ValueError as error:
            yield "limit", str(error) if self.count == "sum" else "must be a whole number"
        else:
            if units < (0 if self.count == "sum" else 1) or (isinstance(self.limit, str) and self.count != "sum"):
                yield "limit", "must be a whole number of at least 1"
            elif self.count == "resources" and units > MAX_RESOURCES:
                yield "limit", f"at most {MAX_RESOURCES}: each distinct resource is remembered"
        if (self.count == "sum") != bool(self.argument):
            yield "argument", "of a sum, and of nothing else: which argument is added up"
        elif self.argument and ARGUMENT.fullmatch(self.argument) is None:
            yield "argument", "a path below r.act.args, such as amount or order.total"
        if len(set(self.per)) != len(self.per):
            yield "per", "each at most once"
        if self.exact and self.count == "retries":
            yield "exact", "not for retries: what is denied does not wait for the store"
        if self.approval and self.count == "retries":
            yield "approval", "not for retries: what is denied again and again is not for a human to look at"


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a task that misbehaves is suspended."""

    denials: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    """So many denied calls of one task within the time suspend it. What we could not decide (503) is not counted."""
    window_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    """The time."""
    suspend_seconds: Annotated[float, Meta(ge=1, le=2_678_400)] = 300.0
    """How long it is suspended, unless an operator lifts that before (`authz task resume`)."""


class TaskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is remembered of tasks, and how processes tell one another what was spent."""

    track: bool = False
    """Whether what each task did is remembered, for rules that read `r.env.task.seen` and the like. It is anyway where
    there are budgets, a breaker, or grants."""
    limit_approval: Annotated[str, Meta(pattern=r"\A([a-z][a-z0-9_-]{0,63})?\Z")] = ""
    """A call that would exceed a limit of its grant's task waits for the word of this group of `approvals.groups`: for
    exactly that call, once. It is counted beyond the limit when it passes. "": it is denied."""
    sensitivities: tuple[str, ...] = ("public", "internal", "confidential", "restricted")
    """Values of a resource's `sensitivity`, the least sensitive first; one that is not listed counts as the most
    sensitive of all."""
    breaker: BreakerSettings | None = None
    """When a task that misbehaves is suspended; unset: never."""
    tenant: Annotated[
        str, Meta(pattern=r"\Asub\.(trust_domain|namespace|owner|environment|labels\.[A-Za-z0-9_-]{1,64})\Z")
    ] = "sub.trust_domain"
    """What names the tenant of a caller: `sub.trust_domain`, `sub.namespace`, or of the inventory `sub.owner`,
    `sub.environment` or `sub.labels.<name>`. Those without are one tenant."""
    share_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    """How often a process tells the shared store what it counted, and learns what the others did."""
    max_tracked: Annotated[int, Meta(ge=100, le=10_000_000)] = 200_000
    """The most tasks, and the most counters, that are kept for what is proved: identities, tasks of grants, tenants."""
    max_claimed: Annotated[int, Meta(ge=100, le=10_000_000)] = 50_000
    """As much again for what callers only claim: tasks without a grant, names of tools. When either is full, what is
    new is refused, and nothing that counts is forgotten for it."""
    max_declared: Annotated[int, Meta(ge=1, le=100_000)] = 64
    """The most tasks without a grant that one identity can have at once; all further ones count as one together."""
    max_tools: Annotated[int, Meta(ge=1, le=10_000)] = 256
    """The most tools that are remembered of a task; further ones count as used for the first time each time."""
    forget_seconds: Annotated[float, Meta(ge=60, le=31_622_400)] = 86_400.0
    """How long after its last call, and after its last grant ended, a task is remembered. One that goes on later begins
    anew; at least `grants.max_lifetime_seconds`."""
