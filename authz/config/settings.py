"""The whole configuration: each section is defined next to the code that it configures."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from authz.audit.settings import AuditSettings
from authz.decision.bind import BindSettings
from authz.decision.catalogue import CatalogueSettings
from authz.decision.probe import DoctorSettings
from authz.extauthz.canonical import RequestRules
from authz.extauthz.request import DecodeSettings
from authz.extauthz.response import ResponseSettings
from authz.identity.resolve import IdentitySettings
from authz.stores.holder import ReloadSettings
from authz.stores.key_files import KeyStoreSettings
from authz.stores.policy_files import PolicySettings
from authz.telemetry.logs import LogSettings
from authz.transport.settings import AdminSettings, ServerSettings


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
    admin: AdminSettings = AdminSettings()
    """The listener for probes and metrics."""
    request: RequestRules = RequestRules()
    """How a request is brought into its one reading."""
    check_request: DecodeSettings = DecodeSettings()
    """How much of what the proxy sends is read."""
    attributes: BindSettings = BindSettings()
    """What policies see besides the standard attributes."""
    response: ResponseSettings = ResponseSettings()
    """What the proxy is told to do besides allow or deny."""
    audit: AuditSettings = AuditSettings()
    """Where the record of every call goes."""
    log: LogSettings = LogSettings()
    """What the server says of itself."""
    doctor: DoctorSettings = DoctorSettings()
    """Whether `authz doctor` may probe."""

    def rooted(self, base: Path) -> "Config":
        """Answer the same with the files of TLS and of key fetching, where relative, starting at `base`.

        Policies, inventory, catalogue and keys keep their names as written, because errors and records show them.
        """
        tls = self.server.tls
        if tls is not None:
            tls = replace(tls, **{name: str(base / getattr(tls, name)) for name in ("certificate", "key", "client_ca")})
        keys = self.keys
        if keys.ca_file:
            keys = replace(keys, ca_file=str(base / keys.ca_file))
        return replace(self, server=replace(self.server, tls=tls), keys=keys)
