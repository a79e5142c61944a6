"""The whole configuration: each section is defined next to the code that it configures."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from authz.actions.settings import ActionSettings
from authz.approvals.settings import ApprovalSettings
from authz.audit.settings import AuditSettings
from authz.budgets.settings import BudgetSettings, TaskSettings
from authz.console.settings import ConsoleSettings
from authz.control.settings import ControlSettings
from authz.decision.bind import BindSettings
from authz.decision.cache import CacheSettings
from authz.decision.catalogue import CatalogueSettings
from authz.decision.probe import DoctorSettings
from authz.decision.standing import FreshnessSettings
from authz.extauthz.canonical import RequestRules
from authz.extauthz.request import DecodeSettings
from authz.extauthz.response import ResponseSettings
from authz.grants.settings import GrantSettings
from authz.identity.delegation import DelegationSettings
from authz.identity.resolve import IdentitySettings
from authz.shadow.settings import ShadowSettings
from authz.stores.database.settings import StoreSettings
from authz.stores.holder import ReloadSettings
from authz.stores.key_files import KeyStoreSettings
from authz.stores.policy_files import PolicySettings
from authz.telemetry.logs import LogSettings
from authz.transport.settings import AdminSettings, ServerSettings, TlsSettings
from authz.transport.worker_settings import SupervisorSettings


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Paths of files are relative to the configuration file."""

    identity: IdentitySettings
    """Who may call, and what proves it."""
    policy: PolicySettings = PolicySettings()
    """The Casbin model and its rules."""
    keys: KeyStoreSettings = KeyStoreSettings()
    """How trust bundles and key sets are kept current."""
    catalogue: CatalogueSettings = CatalogueSettings()
    """What is known of resources."""
    reload: ReloadSettings = ReloadSettings()
    """How changed files come into force."""
    server: ServerSettings = ServerSettings()
    """The listener that Envoy asks."""
    supervisor: SupervisorSettings = SupervisorSettings()
    """How worker processes are watched over."""
    admin: AdminSettings = AdminSettings()
    """The listener for probes and metrics."""
    control: ControlSettings = ControlSettings()
    """The listener that takes orders: grants, revocations, policies, keys."""
    console: ConsoleSettings = ConsoleSettings()
    """The web console, for humans."""
    request: RequestRules = RequestRules()
    """How a request is brought into its one reading."""
    check_request: DecodeSettings = DecodeSettings()
    """How much of what the proxy sends is read."""
    attributes: BindSettings = BindSettings()
    """What policies see besides the standard attributes."""
    actions: ActionSettings = ActionSettings()
    """Actions that are read from the bodies of requests: MCP and the like."""
    grants: GrantSettings = GrantSettings()
    """Just-in-time grants."""
    delegation: DelegationSettings = DelegationSettings()
    """Whoever acted before the caller."""
    freshness: FreshnessSettings = FreshnessSettings()
    """How old what a decision rests on may be."""
    budgets: tuple[BudgetSettings, ...] = ()
    """Budgets."""
    tasks: TaskSettings = TaskSettings()
    """What is remembered of tasks."""
    approvals: ApprovalSettings = ApprovalSettings()
    """Human approval: who decides what rules with `require_approval` wait for."""
    cache: CacheSettings = CacheSettings()
    """Decisions that are used again."""
    response: ResponseSettings = ResponseSettings()
    """What the proxy is told to do besides allow or deny."""
    audit: AuditSettings = AuditSettings()
    """Where the record of every call goes."""
    shadow: ShadowSettings | None = None
    """A candidate policy that decides beside the live one; unset: none."""
    store: StoreSettings = StoreSettings()
    """Where grants, revocations and the other state is kept that replicas share."""
    log: LogSettings = LogSettings()
    """What the server says of itself."""
    doctor: DoctorSettings = DoctorSettings()
    """Whether `authz doctor` may probe."""

    @property
    def keeps_accounts(self) -> bool:
        """Whether it is remembered what tasks did and what was spent."""
        return bool(self.budgets or self.tasks.track or self.tasks.breaker or self.grants.enabled)

    @property
    def shares_state(self) -> bool:
        """Whether anything rests on the state that replicas share."""
        return self.control.enabled or self.keeps_accounts or self.approvals.enabled

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        names = [budget.name for budget in self.budgets]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "budgets", f"two are called {name!r}; records and metrics could not tell them apart"
        asked = {f"budgets ({each.name}).approval": each.approval for each in self.budgets}
        for key, group in {**asked, "tasks.limit_approval": self.tasks.limit_approval}.items():
            if group and group not in self.approvals.groups:
                yield key, f"{group!r} is not one of approvals.groups"
        longest = self.grants.max_lifetime_seconds
        if self.grants.enabled and self.tasks.forget_seconds < longest:
            # Else what a short grant of a task has spent is forgotten while a long one is still good.
            yield "tasks.forget_seconds", f"at least grants.max_lifetime_seconds ({longest})"

    def rooted(self, base: Path) -> "Config":
        """Answer the same with the files of TLS and of key fetching, where relative, starting at `base`.

        Policies, inventory, catalogue and keys keep their names as written, because errors and records show them.
        """
        keys = self.keys
        if keys.ca_file:
            keys = replace(keys, ca_file=str(base / keys.ca_file))
        server = replace(self.server, tls=_rooted(self.server.tls, base))
        control = replace(self.control, tls=_rooted(self.control.tls, base))
        console_tls = self.console.tls
        if console_tls is not None:
            files = {name: str(base / getattr(console_tls, name)) for name in ("certificate", "key")}
            console_tls = replace(console_tls, **files)
        console = replace(self.console, tls=console_tls)
        return replace(self, server=server, control=control, console=console, keys=keys)


def _rooted(tls: TlsSettings | None, base: Path) -> TlsSettings | None:
    if tls is None:
        return None
    return replace(tls, **{name: str(base / getattr(tls, name)) for name in ("certificate", "key", "client_ca")})
