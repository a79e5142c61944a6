"""From the source of policies that configuration names to compiled policies, the last few of which are kept."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from authz.config.settings import Config
from authz.decision.bind import reads_attribute, token_values
from authz.decision.contexts import ContextEngine, Reader, check_mapping, engines_of, mapping_for
from authz.decision.hops import PAIR, Judge, PairJudge, every_hop_allowed
from authz.decision.key import Basis, basis_of
from authz.decision.snapshot import Moment
from authz.errors import ConfigError, PolicyError
from authz.extauthz.response import Encoder
from authz.model import NO_FACTS
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Engine
from authz.policy.obligations import APPLY, APPROVAL, APPROVAL_OPTIONS, GRANT, LOG, MAX_AGE
from authz.policy.pace import no_pause
from authz.policy.source import CompileSettings, Sections
from authz.stores.bundle_source import BundleSource
from authz.stores.database_source import DatabaseSource
from authz.stores.history import SnapshotHistory
from authz.stores.policy_files import PolicyFiles, PolicySettings
from authz.stores.policy_source import PolicySource, PolicyText, PolledSource
from authz.stores.quiet import beside_decisions
from authz.stores.retire import retire
from authz.stores.user_functions import load_functions

KNOWN_OBLIGATIONS = frozenset({APPLY, APPROVAL, *APPROVAL_OPTIONS, GRANT, LOG, MAX_AGE})


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as a snapshot asks it."""

    engine: CompiledEngine
    """Under the model's sections without a number: for the tools."""
    asked: Engine
    """What decides: `engine`, or the choice among several contexts."""
    read_tokens: Reader
    reads_query: bool
    basis: Basis
    """What its decisions rest on."""
    moment: Moment
    """The clock of its engine."""
    judges: tuple[Judge, ...] = ()
    """What an allow must pass for whoever acted before the caller."""

    @property
    def version(self) -> str:
        """A hash of model and rules."""
        return self.engine.version

    @property
    def rule_count(self) -> int:
        """How many rules can decide."""
        return self.asked.rule_count


def make_source(settings: PolicySettings, base: Path) -> PolicySource:
    """Answer the source that settings name.

    Raises:
        ConfigError: it cannot be used.
    """
    if settings.bundle is not None:
        return BundleSource(settings.bundle, base)
    if settings.database is not None:
        return DatabaseSource(
            settings.database,
            base,
            model=settings.model,
            max_file_bytes=settings.max_file_bytes,
            limits=settings.limits,
        )
    return PolicyFiles(settings, base)


def polled(source: PolicySource) -> PolledSource | None:
    """Answer the source again if it must be asked for changes."""
    return source if isinstance(source, BundleSource | DatabaseSource) and source.polled else None


class PolicyLoader:
    """Loads policies from one source and keeps the last few. `load` and `trim` are for one thread at a time."""

    def __init__(self, config: Config, base: Path, encoder: Encoder) -> None:
        """`encoder`: knows what the obligation `apply` may name, and what answers show.

        Raises:
            ConfigError: a function or the source cannot be used.
        """
        self._config = config
        self._encoder = encoder
        self.functions = load_functions(config.policy.functions)
        """The functions that configuration registers, by name."""
        self.source = make_source(config.policy, base)
        self.history: SnapshotHistory[Policy] = SnapshotHistory(config.policy.history)
        self.pause: Callable[[], None] = no_pause
        """Called every 0.1 ms or so of loading, once there are requests that would have to wait."""

    def load(self, text: PolicyText) -> Policy:
        """Compile a text, unless a policy that is kept was made of it.

        Raises:
            PolicyError: in a model or policy. ConfigError: in anything else.
        """
        known = self.history.find(text.digest)
        if known is not None:
            return known
        moment = Moment()
        return self._policy(self.engine(text, moment), moment)

    def trim(self, spent: list[object]) -> None:
        """Free `spent`, which is emptied, and the policies beyond the history's bounds; off the event loop."""
        apart: list[list[object]] = [[policy] for policy in self.history.trim()]
        for each in (spent, *apart):
            with beside_decisions():
                retire(each, self.pause)

    def engine(self, text: PolicyText | None = None, clock: Callable[[], float] = time.time) -> CompiledEngine:
        """Compile a text, or what the source holds now; `clock` is the one that rules ask.

        Raises:
            PolicyError: in a model or policy. ConfigError: in anything else.
        """
        text = text or self.source.read()
        engine = CompiledEngine.load(
            text.model,
            text.model_file,
            text.policies,
            known_obligations=KNOWN_OBLIGATIONS,
            settings=CompileSettings(limits=self._config.policy.limits),
            functions=self.functions,
            clock=clock,
            pause=self.pause,
        )
        self._check_obligations(engine)
        return engine

    def _policy(self, engine: CompiledEngine, moment: Moment) -> Policy:
        mapping = self._config.attributes.request
        contexts = self._config.policy.contexts
        asked: CompiledEngine | ContextEngine = engine
        engines: tuple[CompiledEngine, ...] = (engine,)
        shown: Iterable[str] = self._encoder.reads
        if contexts is None:
            read_tokens = token_values(engine.tokens, mapping)
        else:
            chosen = engines_of(contexts, engine)
            check_mapping(chosen, mapping)
            for other in chosen.values():
                self._check_obligations(other)
            readers = {n: token_values(e.tokens, mapping_for(e.tokens, mapping)) for n, e in chosen.items()}
            asked = chooser = ContextEngine(contexts, chosen, readers)
            read_tokens = chooser.read
            # The attribute that chooses is part of what a decision rests on (I3).
            engines, shown = tuple(chosen.values()), (*shown, contexts.attribute)
        judges, pairs = self._judges(engine)
        # So is what the rules about delegation read (I3): of neighbours only what the caller, by its chain, stands for.
        stands_for = {**mapping, **dict.fromkeys(PAIR, "sub")} if pairs else mapping
        reads = asked.reads.union(*(pair.reads for pair in pairs))
        basis = basis_of((*engines, *pairs), stands_for, shown)
        self._check_facts(basis)
        reads_query = reads_attribute(reads, stands_for, "act.query")
        return Policy(engine, asked, read_tokens, reads_query, basis, moment, judges)

    def _check_facts(self, basis: Basis) -> None:
        """Refuse rules about what tasks did where that is not remembered: they would be decided as if nobody did."""
        named = sorted(path[1] for path in basis.env if path[0] == "task" and path[1:2] and path[1] in NO_FACTS)
        if named and not self._config.keeps_accounts:
            raise ConfigError(
                f"a rule reads r.env.task.{named[0]}, and what tasks do is not remembered: set tasks.track = true"
            )

    def _judges(self, engine: CompiledEngine) -> tuple[tuple[Judge, ...], tuple[CompiledEngine, ...]]:
        """What is asked for whoever acted before a caller, and the engine of the rules about delegation."""
        settings = self._config.delegation
        judges: list[Judge] = [every_hop_allowed] if settings.every_hop == "allowed" else []
        if not settings.section:
            return tuple(judges), ()
        pairs = engine if settings.section == 1 else engine.under(Sections.numbered(settings.section))
        self._check_obligations(pairs)
        return (*judges, PairJudge(pairs)), (pairs,)

    def _check_obligations(self, engine: CompiledEngine) -> None:
        for rule, (name, value) in engine.obligations:
            if name == APPLY and value not in self._encoder.mutation_names:
                raise PolicyError(
                    rule.file, rule.line, f"obligation `{APPLY}={value}`: response.mutations has no set of that name"
                )
            if name == APPROVAL and value not in self._config.approvals.groups:
                raise PolicyError(
                    rule.file,
                    rule.line,
                    f"obligation `{APPROVAL}={value}`: approvals.groups does not say who is of that group, "
                    "so that nobody could ever approve it",
                )
