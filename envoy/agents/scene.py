"""All that the agents' story needs, each a process of its own: Envoy, authz, the tools, two of the agents."""

import contextlib
import json
import os
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pki
from approver import Approver
from child import Child
from oidc_provider import Provider
from pdp import SHIPPED_POLICIES, Authz
from proxy import Edge, Envoy, patient

HERE = Path(__file__).parent
AGENTS = ("researcher", "payer")
_ROUTES_BEFORE = '              - match: {prefix: "/", grpc: {}}\n'
_CLUSTERS_BEFORE = "  - name: upstream_grpc\n"


def with_agents(bootstrap: str, addresses: dict[str, str]) -> str:
    """Add a route and a cluster for each agent to Envoy's configuration."""
    routes, clusters = [], []
    for name, address in addresses.items():
        host, _, port = address.rpartition(":")
        routes.append(f'              - match: {{prefix: "/agents/{name}"}}\n')
        routes.append(f"                route: {{cluster: {name}, timeout: 60s}}\n")
        endpoint = f'{{endpoint: {{address: {{socket_address: {{address: "{host}", port_value: {port}}}}}}}}}'
        clusters.append(f"  - name: {name}\n    type: STATIC\n    connect_timeout: 1s\n    load_assignment:\n")
        clusters.append(f"      cluster_name: {name}\n      endpoints: [{{lb_endpoints: [{endpoint}]}}]\n")
    bootstrap = bootstrap.replace(_ROUTES_BEFORE, "".join(routes) + _ROUTES_BEFORE)
    return patient(bootstrap.replace(_CLUSTERS_BEFORE, "".join(clusters) + _CLUSTERS_BEFORE))


class Scene:
    """What runs, and where."""

    def __init__(self, directory: Path, envoy: Envoy, authz: Authz, approver: Approver, console: str) -> None:
        self.directory = directory
        self.envoy = envoy
        self.authz = authz
        self.approver = approver
        self.console = console
        self.control_socket = directory / "control.sock"


@contextlib.contextmanager
def scene(settings: str = "") -> Iterator[Scene]:
    """Start everything; end it on every way out. `settings`: further lines of authz.toml."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="authz-agents-"))
        stack.callback(shutil.rmtree, directory)
        keys = directory / "pki"
        pki.make(keys)
        (directory / "calls.jsonl").touch()
        host, _, port = _started(stack, directory, "tools", str(directory / "calls.jsonl")).rpartition(":")
        agents = {name: _started(stack, directory, name, str(directory)) for name in AGENTS}
        edge = Edge(
            certificate=keys / "edge.pem",
            key=keys / "edge.key",
            trust_domain=pki.TRUST_DOMAIN,
            trust_bundle=keys / "ca.pem",
            foreign_trust_domain=pki.FOREIGN_TRUST_DOMAIN,
            foreign_trust_bundle=keys / "foreign-ca.pem",
            upstream=(host, int(port)),
            pdp_socket=directory / "authz.sock",
            access_log=directory / "access.log",
        )
        envoy = Envoy(with_agents(edge.render(), agents), directory)
        stack.callback(envoy.stop)
        provider = stack.enter_context(Provider.running())
        authz = Authz(_Config(directory, keys, provider, settings), directory)
        stack.callback(authz.stop)
        console = f"https://{_told(authz, 'console listening')['address']}"
        provider.redirects_to(f"{console}/login/callback")
        where = {
            "edge": f"https://localhost:{envoy.ports['edge']}",
            "control": _told(authz, "control plane listening")["addresses"][1],
        }
        (directory / "where.json").write_text(json.dumps(where))
        yield Scene(directory, envoy, authz, Approver(console, provider, keys / "ca.pem"), console)


class _Config:
    def __init__(self, directory: Path, keys: Path, provider: Provider, settings: str) -> None:
        self._directory, self._keys, self._provider, self._settings = directory, keys, provider, settings

    def render(self, admin_socket: Path) -> str:
        """Answer authz.toml."""
        policies = self._directory / "policies"
        shutil.copytree(SHIPPED_POLICIES, policies)
        provider, keys, secret = self._provider, self._directory / "provider.jwks", self._directory / "console.secret"
        keys.write_text(httpx.get(f"{provider.issuer}/oauth/jwks.json").text)
        secret.write_text(provider.secret)
        filled = string.Template((HERE / "authz.toml").read_text()).substitute(
            PDP_LISTEN=f"unix:{self._directory}/authz.sock",
            PDP_CERTIFICATE=self._keys / "pdp.pem",
            PDP_KEY=self._keys / "pdp.key",
            ADMIN_LISTEN=f"unix:{admin_socket}",
            TRUST_DOMAIN=pki.TRUST_DOMAIN,
            TRUST_BUNDLE=self._keys / "ca.pem",
            POLICIES=policies,
            AUDIT_FILE=self._directory / "audit.jsonl",
            CONTROL_SOCKET=self._directory / "control.sock",
            STATE=self._directory / "state",
            OPERATOR_UID=os.getuid(),
            PROVIDER=provider.issuer,
            PROVIDER_KEYS=keys,
            CLIENT_ID=provider.client_id,
            CLIENT_SECRET=secret,
        )
        return f"{filled}\n{self._settings}"


def _started(stack: contextlib.ExitStack, directory: Path, name: str, argument: str) -> str:
    """Start one process of the story; answer where it listens."""
    address = directory / f"{name}.address"
    script, own = ("tools.py", ()) if name == "tools" else ("agent.py", (name,))
    child = Child((sys.executable, str(HERE / script), *own, str(address), argument), directory / f"{name}.log")
    stack.callback(child.stop)
    return child.wait_for(lambda: address.read_text() if address.exists() else None, "an address", seconds=60.0)


def _told(authz: Authz, event: str) -> dict[str, Any]:
    """What the log last told of an event."""

    def line() -> dict[str, Any] | None:
        lines = [line for line in authz.child.log.splitlines() if f'"{event}"' in line]
        return dict(json.loads(lines[-1])) if lines else None

    return authz.child.wait_for(line, event, seconds=60.0)
