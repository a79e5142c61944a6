"""What the servers of a benchmark are given: the shipped policies, extended to a thousand agents and more rules.

The worked example in policies/ is copied and added to, so that what is measured is what a user starts from. Each agent
has an X.509-SVID of its own and an entry in the inventory; every fifth lacks the clearance that the rules ask for.
"""

import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "envoy"))  # pki and proxy lie beside the Envoy configuration, which is no package
import pki  # noqa: E402

POLICIES = ROOT / "policies"
HOST = "accounts.demo.internal"
PRINCIPALS = 1_000
AUDIT = "audit.jsonl"
"""The audit trail of a server, in its directory."""
UNCLEARED = 5
"""Every so many-th agent has clearance 1, which is too little."""


RULES = """
# Added for the benchmark: what its agents may do.
p, agents-read-charges, {charges}, /v1/accounts/*, GET, allow,
p, agents-read-documents, {documents}, /v1/documents/*, GET, allow,
""".format(
    charges="r.sub.kind == 'agent' && r.sub.environment == 'prod' && r.sub.clearance >= 2 && r.obj.type == 'account'",
    documents="r.sub.kind == 'agent' && r.sub.labels.team in ['team-0', 'team-1', 'team-2']"
    " && r.obj.sensitivity != 'restricted'",
)
BY_ID = """
# A rule that sets the path against the caller: no two paths are alike to it, so none share a cached decision.
p, nobody-audits-itself, r.obj.type == 'account' && r.obj.path == r.sub.purpose, /v1/accounts/*, *, deny,
"""
FILLER = (
    "p, filler-{n}, r.sub.id == 'spiffe://demo.internal/ns/agents/sa/agent-{agent:05d}' && r.obj.environment == 'prod',"
    " /v0/team-{n}/*, GET, allow,\n"
)


def agent(number: int) -> str:
    """The SPIFFE ID of an agent."""
    return f"spiffe://{pki.TRUST_DOMAIN}/ns/agents/sa/agent-{number:05d}"


def cleared(number: int) -> bool:
    """Whether this agent may read accounts."""
    return number % UNCLEARED != 0


@dataclass(frozen=True, slots=True)
class Identities:
    """The benchmark's PKI: `directory` holds it; `agents` are the certificates of the principals, PEM, by number."""

    directory: Path
    agents: tuple[str, ...]

    @property
    def server_tls(self) -> tuple[str, str, str]:
        """Certificate, key and client CA of a PDP."""
        return tuple(str(self.directory / name) for name in ("pdp.pem", "pdp.key", "ca.pem"))  # type: ignore[return-value]

    @property
    def client_tls(self) -> tuple[str, str, str]:
        """CA, certificate and key of the proxy."""
        return tuple(str(self.directory / name) for name in ("ca.pem", "edge.pem", "edge.key"))  # type: ignore[return-value]


def make_identities(directory: Path, count: int) -> Identities:
    """Mint them; a thousand take about a second. They are thrown away with the run's directory."""
    now = datetime.now(UTC)
    directory.mkdir(mode=0o700)
    authority = pki.Authority(pki.TRUST_DOMAIN, now)
    (directory / "ca.pem").write_bytes(authority.root)
    authority.issue(pki.EDGE, server=True).write(directory, "edge")
    authority.issue(pki.PDP, server=True).write(directory, "pdp")
    agents = []
    for number in range(count):
        svid = authority.issue(agent(number))
        agents.append(svid.certificate.decode())
        if number in (0, 1):
            svid.write(directory, f"agent-{number}")
    return Identities(directory, tuple(agents))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One way to run authz."""

    transport: str = "h2corn"
    listen: str = "unix"
    """unix, unix-each (a socket for each worker), tcp or mtls."""
    workers: int = 1
    cache: bool = True
    by_id: bool = False
    """A rule reads the path, so that every id is a decision of its own."""
    rules: int = 0
    """How many rules besides the handful that the requests need."""
    entries: int = 0
    """Room for so many cached decisions; 0: as many as by default."""
    poll_seconds: float = 1.0
    """How often the files are looked at."""
    rebalance_seconds: float = 0.0
    """How often workers even out their connections; 0: as often as by default."""

    @property
    def name(self) -> str:
        """What tables call it."""
        parts = [self.transport, self.listen]
        parts += [f"{self.workers} workers"] if self.workers > 1 else []
        parts += ["by id"] if self.by_id else []
        parts += [f"{self.rules:,} rules"] if self.rules else []
        parts += [] if self.cache else ["no cache"]
        return ", ".join(parts)


def write_policies(directory: Path, *, principals: int, by_id: bool, rules: int) -> Path:
    """Copy the shipped policies into `directory`, extended."""
    shutil.copytree(POLICIES, directory)
    with (directory / "inventory.toml").open("a") as inventory:
        for number in range(principals):
            inventory.write(
                f'\n[workloads."{agent(number)}"]\nkind = "agent"\nowner = "team-{number % 7}"\nenvironment = "prod"\n'
                f'clearance = {2 + number % 3 if cleared(number) else 1}\nlabels = {{ team = "team-{number % 7}" }}\n'
            )
    with (directory / "policy.csv").open("a") as policy:
        policy.write(RULES + (BY_ID if by_id else ""))
        policy.writelines(FILLER.format(n=n, agent=n % max(1, principals)) for n in range(rules))
    return directory


CONFIG = """
[identity]
trust_domain = "{trust_domain}"
inventory.file = "{policies}/inventory.toml"
inventory.max_file_bytes = 67108864
[policy]
model = "{policies}/model.conf"
policies = ["{policies}/policy.csv"]
[policy.limits]
max_rules = 1000000
[reload]
poll_seconds = {poll_seconds}
[catalogue]
file = "{policies}/catalogue.toml"
[server]
transport = "{transport}"
listen = ["{listen}"]
drain_delay_seconds = 0
{server}
[admin]
listen = "unix:{directory}/admin.sock"
[audit]
destination = "{directory}/{audit}"
{supervisor}
[log]
level = "warning"
{cache}
"""


def configuration(setup: Setup, identities: Identities, directory: Path, listen: str, *, principals: int) -> str:
    """The configuration file of one server; its policies are written beside it."""
    policies = write_policies(directory / "policies", principals=principals, by_id=setup.by_id, rules=setup.rules)
    server = f"workers = {setup.workers}\n"
    if setup.listen == "mtls":
        certificate, key, client_ca = identities.server_tls
        server += (
            f'[server.tls]\ncertificate = "{certificate}"\nkey = "{key}"\nclient_ca = "{client_ca}"\n'
            f'allowed_callers = ["{pki.EDGE}"]\n'
        )
    return CONFIG.format(
        trust_domain=pki.TRUST_DOMAIN,
        policies=policies,
        transport=setup.transport,
        listen=listen,
        server=server,
        directory=directory,
        audit=AUDIT,
        supervisor=f"[supervisor]\nrebalance_seconds = {setup.rebalance_seconds}" if setup.rebalance_seconds else "",
        poll_seconds=setup.poll_seconds,
        cache=cache_section(setup),
    )


def cache_section(setup: Setup) -> str:
    """The section that switches the decision cache on (with its defaults) or off."""
    if not setup.cache:
        return "[cache]\nmax_allowed_entries = 0\nmax_denied_entries = 0\n"
    if not setup.entries:
        return ""
    return f"[cache]\nmax_allowed_entries = {setup.entries}\nmax_bytes = 8589934592\nmax_age_seconds = 86400\n"
