"""One probe through the proxy in front, and what the PDP says that it saw of it."""

import hashlib
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol

import msgspec

PREFIX = "/.well-known/authz-doctor"
PROBE_REASON = "doctor_probe"
_NONCE_BYTES = 16


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What the PDP saw of a probe: the member `observed` of the problem details that answer it."""

    path: str
    """`http.path` as it came, with its query."""
    canonical_path: str = ""
    """What the PDP makes of it; "" where it would refuse."""
    refusal: str = ""
    """The reason code with which the PDP would refuse the request as it came; "" where it would not."""
    scheme: str = ""
    subject: str = ""
    """The id of the caller as resolved; "" when anonymous."""
    certificate: bool = False
    """Whether the caller's certificate came along."""
    raw_headers: bool = False
    """Whether headers came as bytes (`header_map`)."""
    nonce_headers: tuple[str, ...] = ()
    """Names of the headers whose value holds the probe's nonce, pseudo headers included, in lower case."""
    xfcc_elements: int = 0
    """Elements of x-forwarded-client-cert; 0: it did not come, -1: it cannot be read."""
    body_bytes: int = 0
    body_sha256: str = ""
    """Of the body bytes, in lower-case hex."""
    body_partial: bool = False


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `{nonce}` in a header's value becomes the probe's nonce."""

    suffix: str = "plain"
    """Of the target, after prefix and nonce."""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    nonce: str = ""

    @classmethod
    def make(cls, suffix: str = "plain", headers: Mapping[str, str] | None = None, body: bytes = b"") -> "Probe":
        """Answer a probe with a fresh nonce, so that no answer to another one can be taken for its own."""
        nonce = secrets.token_hex(_NONCE_BYTES)
        filled = {name: value.replace("{nonce}", nonce) for name, value in (headers or {}).items()}
        return cls(suffix=suffix, headers=filled, body=body, nonce=nonce)

    @property
    def body_sha256(self) -> str:
        """What the PDP should have computed."""
        return hashlib.sha256(self.body).hexdigest()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `observed` only when the PDP itself answered this very probe."""

    status: int
    reason: str = ""
    """The reason code of the PDP's problem details; "" when somebody else answered."""
    observed: Observed | None = None
    from_upstream: bool = False
    """Whether Envoy says that a service behind it was asked."""

    @property
    def refused(self) -> bool:
        """Whether the proxy itself refused the request as malformed."""
        return self.observed is None and self.status == HTTPStatus.BAD_REQUEST and not self.from_upstream

    @property
    def redirected(self) -> bool:
        """Whether the client was sent to another spelling of the path."""
        return self.observed is None and HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST


class Door(Protocol):
    """The way through the proxy."""

    @property
    def identity(self) -> str:
        """The SPIFFE ID of the certificate that probes are sent with; "" without one."""

    @property
    def encrypted(self) -> bool:
        """Whether the way to the proxy is TLS."""

    def send(self, probe: Probe) -> Reply:
        """Send a probe and answer what came back.

        Raises:
            AuthzError: nothing came back.
        """

    def admits_strangers(self) -> bool:
        """Whether a caller without a certificate gets an HTTP response at all."""
