"""The vocabulary: frozen values that the rest of the package speaks in. Glossary: docs/glossary.md.

They are msgspec structs because one of each is made per request: construction in C costs a tenth of a frozen
dataclass's. Times are seconds since the epoch (float, UTC); absent text is "".
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

import msgspec

from authz.errors import Reason

Value: TypeAlias = "str | int | float | bool | tuple[Value, ...] | list[Value] | Mapping[str, Value] | None"
"""What an attribute can be, as a policy sees it."""

Attributes: TypeAlias = dict[str, Value]


class Effect(Enum):
    """What a rule, or all of them together, say."""

    ALLOW = "allow"
    DENY = "deny"


class Kind(Enum):
    """What sort of principal a subject is."""

    WORKLOAD = "workload"
    AGENT = "agent"
    HUMAN = "human"
    ANONYMOUS = "anonymous"


class CheckCall(msgspec.Struct, frozen=True, gc=False):
    """One `CheckRequest`, decoded and bounded, still untrusted.

    Source: `envoy.service.auth.v3.AttributeContext`. The header map has lower-case names, pseudo headers included
    where the proxy sends them; values of a repeated header are joined by ",".
    """

    layer: str
    """ "http" (the HTTP filter asked) or "tcp" (the network filter did)."""
    source_address: str = ""
    source_port: int = 0
    destination_address: str = ""
    destination_port: int = 0
    principal: str = ""
    """`source.principal` as the proxy gave it: first URI SAN, else DNS SAN, else the subject string. Not validated."""
    certificate: str = ""
    """`source.certificate`: the peer's leaf, URL-encoded PEM."""
    destination_principal: str = ""
    sni: str = ""
    time: float = 0.0
    stream_id: str = ""
    method: str = ""
    path: str = ""
    """The request target with its query, not decoded."""
    host: str = ""
    scheme: str = ""
    protocol: str = ""
    """"HTTP/1.1", "HTTP/2", "HTTP/3" or ""."""
    headers: Mapping[str, str] = {}
    repeated_headers: frozenset[str] = frozenset()
    """Names seen more than once; known only when the proxy sends `header_map` (`encode_raw_headers`)."""
    raw_headers: bool = False
    """Whether the proxy sent `header_map`, so that bytes that are not UTF-8 were visible to us (and refused)."""
    body: bytes = b""
    body_partial: bool = False
    """The proxy cut the body (`x-envoy-auth-partial-body: true`): nothing may be concluded from it."""
    size: int = -1
    context_extensions: Mapping[str, str] = {}
    metadata: Mapping[str, Value] = {}
    """`metadata_context.filter_metadata`, the configured namespaces only."""
    route_metadata: Mapping[str, Value] = {}

    @property
    def request_id(self) -> str:
        """The proxy's `x-request-id`; caller-chosen unless the proxy resets it at its edge."""
        return self.headers.get("x-request-id", "")


class Target(msgspec.Struct, frozen=True, gc=False):
    """What the request names, in its one canonical reading (I6)."""

    method: str = ""
    host: str = ""
    """Lower case, no port, no trailing dot."""
    port: int = 0
    """As the caller wrote it; 0 when it named none."""
    path: str = ""
    """Starts with "/"; escapes of unreserved characters decoded, other escapes in upper case; no query."""
    query: str = ""


class Credential(msgspec.Struct, frozen=True, gc=False):
    """What proved an identity, without the thing itself."""

    kind: str
    """ "x509-svid", "xfcc", "jwt-svid", "kubernetes" or "oidc"."""
    fingerprint: str
    """SHA-256 in lower-case hex: of the leaf's DER, or of the token's text."""
    not_before: float
    not_after: float
    issuer: str = ""

    @property
    def lifetime(self) -> float:
        """Seconds from issue to expiry."""
        return self.not_after - self.not_before


class Subject(msgspec.Struct, frozen=True):
    """The resolved caller of this hop, and the evidence that it rests on."""

    id: str = ""
    """A SPIFFE ID; for tokens that map to none "issuer#sub"; "" when anonymous."""
    kind: Kind = Kind.ANONYMOUS
    trust_domain: str = ""
    path: str = ""
    namespace: str = ""
    service_account: str = ""
    sources: tuple[str, ...] = ()
    """The sources that agreed on it, of "certificate", "principal", "xfcc", "token"."""
    credential: Credential | None = None
    """The mTLS credential when there is one, else the token's."""
    token: Credential | None = None
    claims: Mapping[str, Value] = {}
    """The verified token's claims that configuration selects."""
    hops: tuple[str, ...] = ()
    """SPIFFE IDs that trusted proxies vouch for, oldest first, ending with this subject (XFCC)."""
    attributes: Mapping[str, Value] = {}
    """From the inventory."""

    @property
    def expires(self) -> float:
        """When the first of its credentials ends; infinity when it has none (I4)."""
        return min((c.not_after for c in (self.credential, self.token) if c), default=float("inf"))


class AccessRequest(msgspec.Struct, frozen=True):
    """The question put to the policy: subject, resource, action and environment as attributes (NIST SP 800-162)."""

    subject: Subject
    target: Target
    sub: Attributes
    obj: Attributes
    act: Attributes
    env: Attributes


class RuleRef(msgspec.Struct, frozen=True, gc=False):
    """Which rule: its policy type, file and line (from 1), and its columns as text."""

    ptype: str
    file: str
    line: int
    text: str

    @property
    def id(self) -> str:
        """A short stable name for records: file and line."""
        return f"{self.file}:{self.line}"


Obligations: TypeAlias = tuple[tuple[str, str], ...]
"""What must be done besides allowing, as (name, value), in the rule's order."""


class Decision(msgspec.Struct, frozen=True):
    """What the PDP says, and why."""

    effect: Effect
    reason: Reason
    policy_version: str = ""
    rule: RuleRef | None = None
    obligations: Obligations = ()
    detail: str = ""
    """For the record and the log, never for the client."""

    @property
    def allowed(self) -> bool:
        """Whether this is an allow."""
        return self.effect is Effect.ALLOW


class Outcome(msgspec.Struct, frozen=True):
    """One call from end to end: what was asked, by whom, what was decided; what is None was not reached."""

    decision_id: str
    decision: Decision
    call: CheckCall | None
    subject: Subject | None
    request: AccessRequest | None
    time: float
    """When the call came in."""
    latency_seconds: float
    """From the call's arrival at the PDP to its decision."""
