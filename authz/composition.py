"""From configuration and the files that it names to the parts of a PDP."""

import asyncio
import dataclasses
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.budgets.ledger import Ledger
from authz.callers import CallerMaker
from authz.companions import NO_COMPANIONS, CompanionFiles, Companions
from authz.config.settings import Config
from authz.decision.approving import NO_APPROVALS, Approvals, Approving
from authz.decision.bind import Binder, token_values
from authz.decision.cache import DecisionCache, Epoch, LocalEpoch
from authz.decision.check import Checker, CheckerParts, Meter, SnapshotSource, Trail
from authz.decision.hops import at_issue, ruled
from authz.decision.key import KeyMaker, ResourceClasses
from authz.decision.named_by_body import ReadActions, reads_nothing
from authz.decision.observing import NOT_OBSERVED, Onlooker
from authz.decision.pending import Spend, nothing_counts
from authz.decision.snapshot import Snapshot
from authz.decision.spending import NOTHING_COSTS, Spending
from authz.decision.standing import NOTHING_REVOKED, Standing, bounds_of
from authz.errors import ConfigError
from authz.extauthz.canonical import Canonicaliser
from authz.extauthz.codec import ExtAuthzCodec
from authz.extauthz.response import Encoder
from authz.identity.replay import NOBODY_ELSE, Claims
from authz.identity.sharing import SharingTracker
from authz.identity.wimse import WIT_HEADER, WPT_HEADER
from authz.jose.jwk import KeySet
from authz.keys import CurrentKeys, Keys, key_sources, read_keys
from authz.loading import Policy, PolicyLoader
from authz.model import AccessRequest, Decision, Outcome
from authz.policy.analysis import Findings, idle
from authz.policy.compile import CompiledEngine
from authz.policy.explain import Explanation, explain
from authz.stores.holder import SnapshotHolder
from authz.stores.key_files import KeyStore
from authz.stores.policy_age import PolicyAge
from authz.stores.policy_source import PolicyText
from authz.stores.quiet import beside_decisions

_VERSION_CHARS = 16


class Composition:
    """Builds the parts of a PDP from configuration and the files that it names."""

    def __init__(
        self, config: Config, base: Path, *, trust_principal: bool = False, used: Claims = NOBODY_ELSE
    ) -> None:
        """`base`: where relative paths start. `trust_principal`: take a bare principal as proved (local checks only).

        `used`: knows which proofs other processes of this server have used.

        Raises:
            ConfigError: a section contradicts itself.
        """
        self.config = config
        self.base = base
        self._identity = (
            msgspec.structs.replace(config.identity, require_certificate=False) if trust_principal else config.identity
        )
        _check_headers(config)
        self._callers = CallerMaker(config, self._identity, used)
        self._canonicalise = Canonicaliser(config.request)  # what it remembers is true under every policy
        self.key_sources = key_sources(config, base)
        self.keys: CurrentKeys = {}
        """The keys in force; whoever watches the sources puts new ones here, then has the snapshot built anew."""
        self.own_grant_keys = KeySet()
        """Those that verify the grants issued here; whoever issues puts them here, then has the snapshot built anew."""
        self.encoder = Encoder(
            config.response, grant_header=config.grants.active_header, forward_grant=config.grants.forward
        )
        self.policies = PolicyLoader(config, base, self.encoder)
        self._companions = CompanionFiles(self._identity.inventory, config.catalogue, base)
        self._read_last: _Read | None = None
        self._asking: _Asking | None = None
        self._committed: _Read | None = None
        self.applied_policy: tuple[int, PolicyText] | None = None
        """The revision that was applied through the control plane; while there is one, it stands for the source's."""
        self.sharing = SharingTracker(config.identity.sharing)  # outlives every snapshot
        self.policy_age = PolicyAge(time.monotonic)  # told by whoever watches the source
        self.new_decision_id = _decision_ids()
        self.codec = ExtAuthzCodec(config.check_request, self.encoder)
        self.ledger = Ledger(config.budgets, config.tasks)
        """The accounts of this process."""
        self._read_actions = _action_reader(config)

    def build_snapshot(self) -> Snapshot:
        """Read every file and build the snapshot, or fail whole (I11).

        Raises:
            PolicyError: in a model or policy file. ConfigError: in any other.
        """
        with beside_decisions():
            text = self.policy_text()
            policy, companions = self.policies.load(text), self._companions.read(text)
            self._read_last = read = _Read(text.digest, text.revision, text.expires, policy, companions)
            return self._snapshot(self.policies.history.pinned or read.policy, read.companions)

    def build_to_serve(self) -> Snapshot:
        """As `build_snapshot`, for a server: what must be remembered of the source is, too.

        Raises:
            PolicyError: in a model or policy file. ConfigError: in any other.
        """
        snapshot = self.build_snapshot()
        if self.applied_policy is None:
            self.policies.source.accepted()
        return snapshot

    def commit(self) -> None:
        """Take what was built last for good: it is what `assemble` starts from, and the newest of the history."""
        read = self._read_last
        if read is not None:
            self._committed = read
            self.policies.history.add(read.digest, read.policy)

    @property
    def bundle(self) -> tuple[int, float]:
        """The revision of the bundle that was committed last, and when it expires; 0 where there is none."""
        return (self._committed.revision, self._committed.expires) if self._committed else (0, 0.0)

    def assemble(self) -> Snapshot:
        """Put the policy that should be in force together with the current keys and what was committed: no I/O.

        Raises:
            ConfigError: nothing was committed yet.
        """
        policy = self.policies.history.chosen
        companions = self._committed.companions if self._committed else NO_COMPANIONS
        snapshot = self._snapshot(policy, companions)
        self.policies.history.known_as(policy, snapshot.version)
        return snapshot

    def _snapshot(self, policy: Policy, companions: Companions) -> Snapshot:
        asking = self._asking
        if asking is None or asking.policy is not policy or asking.companions is not companions:
            asking = self._asking = self._asked_under(policy, companions)
        callers = self._callers.of(self.keys, self.own_grant_keys, companions.inventory)
        return Snapshot(
            version=self._version(policy.version, companions),
            loaded_at=time.time(),
            resolver=callers.resolver,
            canonicalise=self._canonicalise,
            binder=asking.binder,
            engine=policy.asked,
            read_tokens=policy.read_tokens,
            keys=asking.keys,
            moment=policy.moment,
            grants=callers.grants,
            chains=callers.chains,
            judges=policy.judges,
        )

    def _asked_under(self, policy: Policy, companions: Companions) -> "_Asking":
        binder = Binder(
            self.config.attributes,
            companions.catalogue,
            reads_query=policy.reads_query,
            classify=ResourceClasses(policy.basis),
            read=self._read_actions,
        )
        return _Asking(policy, companions, binder, KeyMaker(policy.basis, binder))

    def read_keys_once(self) -> None:
        """Read all keys for a single run, such as a check on the command line.

        Raises:
            ConfigError: a source cannot be used or reached.
        """
        failures: dict[str, str] = {}

        async def read() -> None:
            store = KeyStore[Keys](self.key_sources, self.config.keys, _ignore, failures.__setitem__)
            await read_keys(store, self.key_sources, failures)
            self.keys = store.current

        asyncio.run(read())
        if failures:
            raise ConfigError("\n".join(f"{name}: {problem}" for name, problem in failures.items()))

    def watched(self) -> Iterator[Path]:
        """Name every file and directory whose change may change the snapshot."""
        yield from self.policies.source.watched()
        yield from self._companions.watched()

    def decide_once(self, message: bytes, now: float) -> tuple[Outcome, CheckResponse]:
        """Decide one CheckRequest here, with no record kept: a dry run."""
        outcome, response = self.dry_run(SnapshotHolder(self.build_snapshot()), message, now)
        return outcome, CheckResponse.FromString(response)

    def dry_run(
        self, snapshots: SnapshotSource, message: bytes, now: float, standing: Standing = NOTHING_REVOKED
    ) -> tuple[Outcome, bytes]:
        """Decide one CheckRequest under a snapshot, with no record kept."""
        keeper = _Keeper()
        parts = self.parts(snapshots, keeper, keeper, standing=standing, clock=lambda: now)
        checker = Checker(dataclasses.replace(parts, sharing=Onlooker(self.sharing)))
        answer = checker.check(message, self.config.server.overload.max_deadline_seconds)
        # A dry run counts no use of a grant; it tells what would be answered while there is one left.
        response = answer if isinstance(answer, bytes) else answer.conclude(answer.otherwise)
        return keeper.outcome, response

    def explain(self, request: AccessRequest, decision: Decision) -> Explanation:
        """Answer which rules came near to this request, and what each lacked; of a hop that was denied, its own."""
        engine = self._load_engine()
        read_tokens = token_values(engine.tokens, self.config.attributes.request)

        def ask(request: AccessRequest) -> Decision:
            return ruled(engine.evaluate(read_tokens(request), lambda: False), request, "")

        return explain(engine, read_tokens(at_issue(decision, request, ask)), lambda: False)

    def idle_rules(self) -> Findings:
        """Answer the rules that change no decision: likely mistakes of their authors."""
        return idle(self._load_engine())

    def parts(  # noqa: PLR0913 - what a checker is made of
        self,
        snapshots: SnapshotSource,
        trail: Trail,
        meter: Meter,
        *,
        epoch: Epoch | None = None,
        standing: Standing = NOTHING_REVOKED,
        spend: Spend = nothing_counts,
        spending: Spending = NOTHING_COSTS,
        approvals: Approvals = NO_APPROVALS,
        clock: Callable[[], float] = time.time,
    ) -> CheckerParts:
        """What a checker is made of; without an `epoch`, one that never moves; without a store, nothing is revoked."""
        config = self.config.approvals
        return CheckerParts(
            snapshots=snapshots,
            codec=self.codec,
            trail=trail,
            meter=meter,
            clock=clock,
            monotonic=time.monotonic,
            new_id=self.new_decision_id,
            cache=DecisionCache(self.config.cache, epoch or LocalEpoch()),
            max_questions=self.config.cache.max_questions,
            report_fault=_report_fault,
            standing=standing,
            bounds=bounds_of(self.config.freshness),
            sharing=self.sharing if self.config.identity.sharing.enabled else NOT_OBSERVED,
            spend=spend,
            spending=spending,
            approving=Approving(approvals, config.bind_headers, config.default_ttl_seconds),
            no_record_no_allow=self.config.audit.on_failure == "deny",
        )

    def policy_text(self) -> PolicyText:
        """Answer the policy that is or would be in force.

        Raises:
            PolicyError: in a model or policy. ConfigError: in anything else.
        """
        return self.applied_policy[1] if self.applied_policy else self.policies.source.read()

    def _load_engine(self) -> CompiledEngine:
        return self.policies.engine(self.policy_text())

    def compile_policy(self, text: PolicyText, clock: Callable[[], float] = time.time) -> CompiledEngine:
        """Compile a policy as it would be for the data plane.

        Raises:
            PolicyError: something in it is wrong; it says where.
        """
        with beside_decisions():
            return self.policies.engine(text, clock)

    def _version(self, policy: str, companions: Companions) -> str:
        """Hash all that a decision rests on: rules, other files, and the settings that shape a request."""
        digest = hashlib.sha256(policy.encode())
        config = self.config
        for section in (
            self._identity,
            config.request,
            config.check_request,
            config.attributes,
            config.grants,
            config.delegation,
        ):
            digest.update(msgspec.json.encode(section))
        digest.update(msgspec.json.encode(config.actions))
        for each in companions.digests:
            digest.update(each)
        digest.update("\n".join(sorted(self.own_grant_keys.keys)).encode())
        for name, keys in sorted(self.keys.items()):
            digest.update(name.encode() + keys.digest)
        return digest.hexdigest()[:_VERSION_CHARS]


@dataclass(frozen=True, slots=True)
class _Read:
    """What one build read."""

    digest: bytes
    revision: int
    expires: float
    policy: Policy
    companions: Companions


@dataclass(frozen=True, slots=True)
class _Asking:
    """What remembers resources, and what it rests on: new keys leave it as it is."""

    policy: Policy
    companions: Companions
    binder: Binder
    keys: KeyMaker


def _action_reader(config: Config) -> ReadActions:
    """What reads actions from bodies; where no route asks for it, what reads none."""
    settings = config.actions
    if not settings.enabled:
        return reads_nothing
    # Imported where it is on alone: see turned_on.py.
    from authz.actions.mcp.envoy import NAMESPACES  # noqa: PLC0415
    from authz.actions.reader import ActionReader  # noqa: PLC0415
    from authz.stores.decoder_plugins import make_decoders  # noqa: PLC0415

    known = config.check_request.metadata_namespaces
    for name, server in settings.mcp.items():
        if server.source != "body" and not any(namespace in known for namespace in NAMESPACES):
            raise ConfigError(
                f"actions.mcp.{name}.source: {server.source!r} needs {NAMESPACES[0]!r} in "
                "check_request.metadata_namespaces"
            )
    return ActionReader(settings, make_decoders(settings))


class _Keeper:
    """The trail and meter of a dry run: keeps the one outcome in memory."""

    outcome: Outcome

    def offer(self, outcome: Outcome) -> bool:
        self.outcome = outcome
        return True

    def decided(self, outcome: Outcome) -> None:
        self.outcome = outcome


def _check_headers(config: Config) -> None:
    """Pass when every token has a header of its own."""
    named = {
        "identity.tokens.header": config.identity.tokens.header,
        "grants.header": config.grants.active_header,
        "delegation.transaction_tokens.header": config.delegation.transaction_tokens.active_header,
    }
    if config.identity.wimse.enabled:
        named |= {"identity.wimse": WIT_HEADER, "identity.wimse proofs": WPT_HEADER}
    seen: dict[str, str] = {}
    for setting, header in named.items():
        if header and header in seen:
            raise ConfigError(f"{setting}: {header!r} is {seen[header]}, too; each needs its own")
        seen[header] = setting


def _decision_ids() -> Callable[[], str]:
    """Ids that sort by time: 48 bits of milliseconds, 80 random ones. They name decisions and are no secret."""
    source = random.Random(random.SystemRandom().getrandbits(256))  # noqa: S311 - not for secrets
    clock, draw = time.time_ns, source.getrandbits
    return lambda: f"{clock() // 1_000_000 << 80 | draw(80):032x}"


def _ignore(_: CurrentKeys) -> None:
    """What changed is read from the store."""


def _report_fault(fault: Exception) -> None:
    structlog.get_logger("authz.decision").error("a fault became a denial", exc_info=fault)
