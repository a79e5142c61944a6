"""From configuration and the files that it names to the parts of a PDP."""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.config.settings import Config
from authz.decision.bind import Binder, reads_attribute, token_values
from authz.decision.catalogue import EMPTY_CATALOGUE, Catalogue, parse_catalogue
from authz.decision.check import Checker, CheckerParts, Meter, SnapshotSource, Trail
from authz.decision.snapshot import Snapshot
from authz.errors import ConfigError, PolicyError
from authz.extauthz.canonical import canonicalise
from authz.extauthz.codec import ExtAuthzCodec
from authz.extauthz.response import APPLY, Encoder
from authz.identity.inventory import EMPTY_INVENTORY, Inventory, parse_inventory
from authz.identity.resolve import IdentityResolver
from authz.keys import CurrentKeys, Keys, key_sources, make_trust, read_keys
from authz.model import AccessRequest, CheckCall, Outcome, Target
from authz.policy.analysis import Findings, idle
from authz.policy.compile import CompiledEngine
from authz.policy.explain import Explanation, explain
from authz.policy.source import CompileSettings
from authz.stores.document_files import read_document
from authz.stores.holder import SnapshotHolder
from authz.stores.key_files import KeyStore
from authz.stores.policy_files import PolicyFiles
from authz.stores.reading import read_bytes

_VERSION_CHARS = 16
_KNOWN_OBLIGATIONS = frozenset({APPLY})


class Composition:
    """Builds the parts of a PDP from configuration and the files that it names."""

    def __init__(self, config: Config, base: Path, *, trust_principal: bool = False) -> None:
        """`base`: where relative paths start. `trust_principal`: take a bare principal as proved (local checks only).

        Raises:
            ConfigError: a section contradicts itself.
        """
        self.config = config
        self._base = base
        self._identity = (
            msgspec.structs.replace(config.identity, require_certificate=False) if trust_principal else config.identity
        )
        self.key_sources = key_sources(config, base)
        self.keys: CurrentKeys = {}
        """The keys in force; whoever watches the sources puts new ones here, then has the snapshot built anew."""
        self._policy_files = PolicyFiles(config.policy, base)
        self.encoder = Encoder(config.response)
        self.codec = ExtAuthzCodec(config.check_request, self.encoder)

    def build_snapshot(self) -> Snapshot:
        """Read every file and build the snapshot, or fail whole (I11).

        Raises:
            PolicyError: in a model or policy file. ConfigError: in any other.
        """
        engine = self._load_engine()
        inventory, catalogue = self._inventory(), self._catalogue()
        mapping = self.config.attributes.request
        return Snapshot(
            version=self._version(engine.version),
            loaded_at=time.time(),
            resolver=IdentityResolver(self._identity, make_trust(self.config, self.keys), inventory),
            canonicalise=self._canonicalise,
            binder=Binder(
                self.config.attributes,
                catalogue,
                reads_query=reads_attribute(engine.reads, mapping, "act.query"),
            ),
            engine=engine,
            read_tokens=token_values(engine.tokens, mapping),
        )

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
        yield from self._policy_files.watched()
        yield from (self._base / name for name, _ in self._other_files())

    def decide_once(self, message: bytes, now: float) -> tuple[Outcome, CheckResponse]:
        """Decide one CheckRequest here, with no record kept: a dry run."""
        keeper = _Keeper()
        checker = Checker(self.parts(SnapshotHolder(self.build_snapshot()), keeper, keeper, clock=lambda: now))
        response = CheckResponse.FromString(checker.check(message, self.config.server.overload.max_deadline_seconds))
        return keeper.outcome, response

    def explain(self, request: AccessRequest) -> Explanation:
        """Answer which rules came near to this request, and what each lacked."""
        engine = self._load_engine()
        read_tokens = token_values(engine.tokens, self.config.attributes.request)
        return explain(engine, read_tokens(request), lambda: False)

    def idle_rules(self) -> Findings:
        """Answer the rules that change no decision: likely mistakes of their authors."""
        return idle(self._load_engine())

    def parts(
        self, snapshots: SnapshotSource, trail: Trail, meter: Meter, clock: Callable[[], float] = time.time
    ) -> CheckerParts:
        """What a checker is made of."""
        return CheckerParts(
            snapshots=snapshots,
            codec=self.codec,
            trail=trail,
            meter=meter,
            clock=clock,
            monotonic=time.monotonic,
            new_id=_decision_ids(),
            report_fault=_report_fault,
            no_record_no_allow=self.config.audit.on_failure == "deny",
        )

    def _load_engine(self) -> CompiledEngine:
        text = self._policy_files.read()
        engine = CompiledEngine.load(
            text.model,
            text.model_file,
            text.policies,
            known_obligations=_KNOWN_OBLIGATIONS,
            settings=CompileSettings(limits=self.config.policy.limits),
            clock=time.time,
        )
        self._check_obligations(engine)
        return engine

    def _canonicalise(self, call: CheckCall) -> Target:
        return canonicalise(call, self.config.request)

    def _check_obligations(self, engine: CompiledEngine) -> None:
        for rule, (name, value) in engine.obligations:
            if name == APPLY and value not in self.encoder.mutation_names:
                raise PolicyError(
                    rule.file, rule.line, f"obligation `{APPLY}={value}`: response.mutations has no set of that name"
                )

    def _inventory(self) -> Inventory:
        settings = self._identity.inventory
        if not settings.file:
            return EMPTY_INVENTORY
        document = read_document(self._base / settings.file, settings.max_file_bytes)
        return parse_inventory(document, settings.file, settings)

    def _catalogue(self) -> Catalogue:
        settings = self.config.catalogue
        if not settings.file:
            return EMPTY_CATALOGUE
        document = read_document(self._base / settings.file, settings.max_file_bytes)
        return parse_catalogue(document, settings.file, settings)

    def _other_files(self) -> Iterator[tuple[str, int]]:
        """Name the files besides the policy's, each with the largest size that is read."""
        inventory, catalogue = self._identity.inventory, self.config.catalogue
        named = [(inventory.file, inventory.max_file_bytes), (catalogue.file, catalogue.max_file_bytes)]
        yield from ((name, size) for name, size in named if name)

    def _version(self, policy: str) -> str:
        """Hash all that a decision rests on: rules, other files, and the settings that shape a request."""
        digest = hashlib.sha256(policy.encode())
        config = self.config
        for section in (self._identity, config.request, config.check_request, config.attributes):
            digest.update(msgspec.json.encode(section))
        for name, limit in self._other_files():
            digest.update(hashlib.sha256(read_bytes(self._base / name, limit)).digest())
        for name, keys in sorted(self.keys.items()):
            digest.update(name.encode() + keys.digest)
        return digest.hexdigest()[:_VERSION_CHARS]


class _Keeper:
    """The trail and meter of a dry run: keeps the one outcome in memory."""

    outcome: Outcome

    def offer(self, outcome: Outcome) -> bool:
        self.outcome = outcome
        return True

    def decided(self, outcome: Outcome) -> None:
        self.outcome = outcome


def _decision_ids() -> Callable[[], str]:
    """Ids that sort by time: 48 bits of milliseconds, 80 random ones. They name decisions and are no secret."""
    source = random.Random(random.SystemRandom().getrandbits(256))  # noqa: S311 - not for secrets
    return lambda: f"{time.time_ns() // 1_000_000:012x}{source.getrandbits(80):020x}"


def _ignore(_: CurrentKeys) -> None:
    """What changed is read from the store."""


def _report_fault(fault: Exception) -> None:
    structlog.get_logger("authz.decision").error("a fault became a denial", exc_info=fault)
