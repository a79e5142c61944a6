"""Fills envoy/authz.toml and runs `authz serve` with it."""

import http.client
import shutil
import socket
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from child import Child

TEMPLATE = Path(__file__).with_name("authz.toml")
SHIPPED_POLICIES = Path(__file__).parents[1] / "policies"
_DATABASE_PORT = "tcp:5432"
_HTTP_OK = 200


def copy_policies(directory: Path, tcp_port: int) -> Path:
    """Copy the shipped policies, their database's port being where Envoy listens for TCP; answer where to."""
    copied = directory / "policies"
    shutil.copytree(SHIPPED_POLICIES, copied)
    for name in ("policy.csv", "catalogue.toml"):
        file = copied / name
        file.write_text(file.read_text().replace(_DATABASE_PORT, f"tcp:{tcp_port}"))
    return copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdp:
    """What the placeholders of authz.toml stand for; the file's head explains them."""

    listen: str
    certificate: Path
    key: Path
    edge_id: str
    trust_domain: str
    trust_bundle: Path
    policies: Path
    audit_file: Path
    doctor_id: str

    def render(self, admin_socket: Path) -> str:
        """Answer the configuration."""
        return string.Template(TEMPLATE.read_text()).substitute(
            PDP_LISTEN=self.listen,
            PDP_CERTIFICATE=self.certificate,
            PDP_KEY=self.key,
            EDGE_ID=self.edge_id,
            ADMIN_LISTEN=f"unix:{admin_socket}",
            TRUST_DOMAIN=self.trust_domain,
            TRUST_BUNDLE=self.trust_bundle,
            POLICIES=self.policies,
            AUDIT_FILE=self.audit_file,
            DOCTOR_ID=self.doctor_id,
        )


class Authz:
    """A running PDP, ready to decide; its admin listener is a Unix socket in `directory`."""

    def __init__(self, config: Pdp, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it is ready. `environment`: further settings (AUTHZ__SECTION__KEY).

        Raises:
            ChildError: it does not start; the message holds the end of its log.
        """
        self.config = directory / "authz.toml"
        self.admin = directory / "admin.sock"
        self.config.write_text(config.render(self.admin))
        authz = str(Path(sys.executable).with_name("authz"))
        self.child = Child((authz, "serve", "--config", str(self.config)), directory / "authz.log", environment)
        try:
            self.child.wait_for(lambda: self.get("/readyz"), "being ready")
        except BaseException:
            self.child.kill()
            raise

    def get(self, path: str) -> str | None:
        """Answer what the admin listener says; None when it is not there or does not say 200."""
        connection = _UnixConnection(self.admin)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read().decode() if response.status == _HTTP_OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def stop(self) -> None:
        """End it in order: calls under way are finished, records are written."""
        self.child.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self.child.kill()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
