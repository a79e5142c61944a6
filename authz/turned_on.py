"""What only some configurations turn on: the one place that decides it, and that imports what it takes.

An import takes up to half a second of the event loop and tens of megabytes of every process. So what is off is never
imported, and what is on is imported whole by the functions here, which are called before the server is ready: nothing
is imported while it serves. Where something is off, each answers what stands for it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from authz.audit.sink import Sink
from authz.audit.trail import AuditTrail
from authz.budgets.ledger import Ledger
from authz.composition import Composition
from authz.config.settings import Config
from authz.data_plane_parts import DataPlaneParts
from authz.decision.approving import NO_APPROVALS, Approvals
from authz.decision.pending import Spend, nothing_counts
from authz.decision.spending import NOTHING_COSTS, Accounts, NoStore, Settles, Spending
from authz.decision.standing import NOTHING_REVOKED, FreshStanding, Standing, limits_of
from authz.keys import CurrentKeys
from authz.model import Freshness
from authz.policy.engine import Engine
from authz.telemetry.metrics import Metrics
from authz.transport.readiness import Readiness
from authz.worker.context import Worker

if TYPE_CHECKING:
    from authz.shadow.trail import ShadowTrail
    from authz.shared_budgets import SharedBudgets
    from authz.shared_state import SharedState

POLICY = "policy"
"""The readiness condition that holds while the policy is as young as configuration wants it."""
_POLICY_LOOK_SECONDS = 0.5


class TakesOrders(Protocol):
    """What a serving process has to do with the control plane."""

    def lead(self, leads: bool) -> None:  # noqa: FBT001 - a callback's
        """Take orders from now on, or leave that to another process."""

    async def started(self) -> None:
        """Return once orders are taken, where it is for this process to do so; or raise AuthzError."""


class NoOrders:
    """There is no control plane."""

    def lead(self, leads: bool) -> None:  # noqa: FBT001 - a callback's
        """Take no orders."""

    async def started(self) -> None:
        """There is nothing to wait for."""


def shared_by_host(
    config: Config, base: Path, worker: Worker, readiness: Readiness
) -> "AbstractAsyncContextManager[SharedState | None]":
    """Open the state that replicas share for the length of a block, if anything rests on it.

    Entering it raises AuthzError where it cannot be opened.
    """
    if not config.shares_state:
        return nullcontext()
    from authz.host_state import shared_by_host as opened  # noqa: PLC0415 - see above

    return opened(config, base, worker, readiness)


def exchanging(composition: Composition, shared: "SharedState | None") -> AbstractAsyncContextManager[None]:
    """Tell the other processes what identities were seen with, and hear it of them, where there is a store."""
    if shared is None or not composition.config.identity.sharing.enabled:
        return nullcontext()
    from authz.host_state import exchanging as exchanged  # noqa: PLC0415 - see above

    return exchanged(composition, shared)


def taking_orders(
    base: Path, shared: "SharedState | None", parts: "Callable[[SharedState], DataPlaneParts]"
) -> "AbstractAsyncContextManager[TakesOrders]":
    """Follow, and where this process leads take, orders, if configuration says that there are any.

    Entering it raises StoreError where the shared state cannot be read.
    """
    if shared is None or not shared.takes_orders:
        return nullcontext(NoOrders())
    from authz.orders import taking_orders as taken  # noqa: PLC0415 - see above

    return taken(base, parts(shared))


def shared_budgets(
    config: Config, shared: "SharedState | None", ledger: Ledger
) -> "AbstractAsyncContextManager[SharedBudgets | None]":
    """Share what is spent for the length of a block, where accounts are kept and there is a store.

    Entering it raises StoreError where what was spent cannot be read.
    """
    if shared is None or not config.keeps_accounts:
        return nullcontext()
    from authz.shared_budgets import shared_budgets as spent  # noqa: PLC0415 - see above

    return spent(config, shared, ledger)


def shadowing(  # noqa: PLR0913, PLR0917 - what it brings together
    config: Config,
    base: Path,
    follow_keys: Callable[[Callable[[CurrentKeys], None]], None],
    trail: AuditTrail,
    sink: Sink,
    metrics: Metrics,
) -> "AbstractAsyncContextManager[ShadowTrail | None]":
    """Have a candidate decide beside the live policy, where there is one; `follow_keys`: has it told the keys."""
    if config.shadow is None:
        return nullcontext()
    from authz.candidate import shadowing as shadowed  # noqa: PLC0415 - see above

    return shadowed(config, base, follow_keys, trail, sink, metrics)


def standing_of(shared: "SharedState | None", composition: Composition) -> Standing:
    """Answer who knows what may not go on, and how old that and the policy are."""
    age, freshness = composition.policy_age, composition.config.freshness
    if shared is None:
        if not freshness.max_policy_age_seconds and not freshness.classes:
            return NOTHING_REVOKED
        return FreshStanding(
            lambda: NOTHING_REVOKED,
            lambda: Freshness(policy=age.seconds),
            limits_of(freshness.max_policy_age_seconds, 0.0),
        )
    store = shared.store

    def policy_age() -> float:
        if composition.applied_policy is None:
            # That nothing was applied in place of the source is known as of the last contact.
            return max(age.seconds, store.staleness_seconds if shared.takes_orders else 0.0)
        return age.seconds if age.behind else store.staleness_seconds

    shared.policy_age = policy_age
    return shared.standing


async def watch_policy_age(composition: Composition, readiness: Readiness, standing: Standing) -> None:
    """Tell by readiness whether the policy is as young as it must be, until cancelled."""
    most = composition.config.freshness.max_policy_age_seconds
    while most:
        age = standing.freshness().policy
        if age <= most:
            readiness.hold(POLICY)
        else:
            readiness.fail(POLICY, "the policy in force is not known to be the newest for too long")
        await asyncio.sleep(_POLICY_LOOK_SECONDS)


def spend_of(shared: "SharedState | None") -> Spend:
    """Answer what counts the uses of grants."""
    return nothing_counts if shared is None else shared.spend


def spending_of(config: Config, ledger: Ledger, store: Settles | None = None) -> Spending:
    """Who keeps the accounts of this process; `store`: what counts for all processes, None: there is nothing."""
    if not config.keeps_accounts:
        return NOTHING_COSTS
    tracks = bool(config.budgets or config.tasks.track or config.tasks.breaker)
    return Accounts(ledger, time.time() - time.monotonic(), store or NoStore(), tracks=tracks)


def approvals_of(shared: "SharedState | None", engine: Callable[[], Engine]) -> Approvals:
    """Answer who knows what humans have said; `engine`: of the policy in force, to tell which rule asks for them."""
    if shared is None or shared.approvals is None:
        return NO_APPROVALS
    from authz.approval_state import AskingRules  # noqa: PLC0415 - see above

    shared.approvals.rule_of = AskingRules(engine).find
    return shared.approvals
