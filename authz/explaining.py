"""Why a decision came out as it did, for those who ask the control plane: of a request they bring, or of one seen."""

import time

from authz.composition import Composition
from authz.config.settings import Config
from authz.control.decision_samples import SampleParts
from authz.control.feed import Feed
from authz.control.policies import PolicySource
from authz.control.sampling import Lately, Recent
from authz.decision.hops import at_issue, ruled
from authz.decision.snapshot import Snapshot
from authz.decision.standing import Standing
from authz.errors import AuthzError
from authz.model import AccessRequest, Decision, Outcome
from authz.policy.compile import CompiledEngine
from authz.policy.explain import Explanation, explain
from authz.stores.holder import SnapshotHolder


def policy_source(composition: Composition, holder: SnapshotHolder[Snapshot], standing: Standing) -> PolicySource:
    """Answer what can be done with the policy that configuration names."""

    def explained(message: bytes, most: int) -> tuple[str, Explanation]:
        outcome, _ = composition.dry_run(holder, message, time.time(), standing)
        if outcome.request is None:
            raise AuthzError(f"it is refused before policy is asked: {outcome.decision.reason}")
        return str(outcome.decision.reason), _explain(holder.current, outcome.decision, outcome.request, most)

    return PolicySource(
        current=lambda: holder.current,
        read=composition.policy_text,
        compile=composition.compile_policy,
        revision=lambda: composition.applied_policy[0] if composition.applied_policy else 0,
        explain=explained,
        clock=time.time,
    )


def samples_of(config: Config, holder: SnapshotHolder[Snapshot], decisions: Feed[Outcome]) -> SampleParts:
    """Answer what decisions are sampled and explained by; with a console, a few are kept all the time."""
    watch = config.control.watch

    def explained(outcome: Outcome, most: int) -> tuple[str, Explanation]:
        snapshot = holder.current
        request = outcome.request
        if request is None and outcome.call is not None and outcome.asked is not None and outcome.subject is not None:
            request = snapshot.binder.bind(outcome.call, outcome.asked, outcome.subject, outcome.time)
        if outcome.call is None and outcome.asked is not None:
            raise AuthzError("another process of this host decided it, and they do not tell each other the requests")
        if request is None:
            raise AuthzError(f"it was refused before policy was asked: {outcome.decision.reason}")
        return snapshot.version, _explain(snapshot, outcome.decision, request, most)

    kept = Lately(most=watch.recent_decisions, a_second=config.console.live_rows) if config.console.enabled else None
    return SampleParts(
        settings=config.control,
        feed=decisions,
        recent=Recent(watch.recent_decisions),
        lately=kept,
        explain=explained,
    )


def _explain(snapshot: Snapshot, decision: Decision, request: AccessRequest, most: int) -> Explanation:
    """Explain a request under the policy in force; of a chain, the hop by which it was denied."""
    engine = snapshot.engine
    if not isinstance(engine, CompiledEngine):
        raise AuthzError("a policy with contexts cannot be explained here; `authz policy explain` can")

    def ask(asked: AccessRequest) -> Decision:
        return ruled(engine.evaluate(snapshot.read_tokens(asked), lambda: False), asked, snapshot.version)

    values = snapshot.read_tokens(at_issue(decision, request, ask))
    return explain(engine, values, lambda: False, most)
