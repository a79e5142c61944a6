"""The vocabulary: frozen values that the rest of the package speaks in. Glossary: docs/glossary.md.

They are msgspec structs because one of each is made per request: construction in C costs a tenth of a frozen
dataclass's. Times are seconds since the epoch (float, UTC); absent text is "".
"""

from collections.abc import Callable, Hashable, Mapping
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


class Recurrence:
    """Stands for the calls of one client that differ in path and ids at most.

    It says nothing of a call itself: whatever two calls have here, they are equal if all else is.
    """

    __slots__ = ("differing",)

    def __init__(self, differing: frozenset[str]) -> None:
        self.differing = differing
        """The headers in which they may differ besides `:path`: the ids by which requests are traced."""

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Recurrence)

    def __hash__(self) -> int:
        return 0


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
    body_as_text: bool = False
    """The proxy sent the body as text, in which bytes that are not UTF-8 show as `!` (no `pack_as_bytes`)."""
    recurrence: Recurrence | None = None
    """The same object for all calls that differ in path, stream id and the headers that it names at most; None: it is
    not known whether there are others."""

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
    """ "x509-svid", "xfcc", "wit", "jwt-svid", "kubernetes" or "oidc"."""
    fingerprint: str
    """SHA-256 in lower-case hex: of the leaf's DER, or of the token's text."""
    not_before: float
    not_after: float
    issuer: str = ""

    @property
    def lifetime(self) -> float:
        """Seconds from issue to expiry."""
        return self.not_after - self.not_before


class Transaction(msgspec.Struct, frozen=True):
    """What a verified transaction token says (draft-ietf-oauth-transaction-tokens). It proves nobody's identity."""

    id: str
    """`txn`."""
    issuer: str
    fingerprint: str
    """SHA-256 of the token's text, lower-case hex."""
    subject: str
    """Whom the transaction is for: a SPIFFE ID, or "issuer#sub"."""
    workload: str
    """The SPIFFE ID of the workload that asked for the token (`req_wl`)."""
    scope: str
    not_before: float
    not_after: float
    issued: float = 0.0
    """When: it may hold from later on only, and still have been issued before what cuts it off."""
    context: Mapping[str, Value] = {}
    """`tctx`: what the transaction is about."""
    request: Mapping[str, Value] = {}
    """`rctx`: how the request came in that began it."""
    task: str = ""
    """The id of the task that it is a part of; "": it names none, and need not."""


class Hop(msgspec.Struct, frozen=True):
    """One party of a delegation."""

    id: str
    sources: tuple[str, ...] = ()
    """What says that the task went through it, of "grant", "xfcc", "transaction"; empty for the caller itself."""
    subject: "Subject | None" = None
    """What policy is asked about when this party is judged by itself: without a credential, its chain ending with it.
    None for the caller, who is judged as whom the hop belongs to."""


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
    """The sources that agreed on it, of "certificate", "principal", "xfcc", "wit", "token"."""
    credential: Credential | None = None
    """The mTLS credential when there is one, else that of the workload identity token, else the token's."""
    token: Credential | None = None
    claims: Mapping[str, Value] = {}
    """The verified token's claims that configuration selects."""
    hops: tuple[str, ...] = ()
    """SPIFFE IDs that trusted proxies vouch for, oldest first, ending with this subject (XFCC)."""
    attributes: Mapping[str, Value] = {}
    """From the inventory."""
    wit: Credential | None = None
    """The workload identity token, where one came with a proof for this very call."""
    chain: tuple[Hop, ...] = ()
    """Everybody that the task went through, oldest first, ending with this subject; empty: nobody before it."""
    transaction: Transaction | None = None

    @property
    def expires(self) -> float:
        """When the first of its credentials ends; infinity when it has none (I4)."""
        grounds = (self.credential, self.token, self.wit, self.transaction)
        return min((ground.not_after for ground in grounds if ground), default=float("inf"))


class Freshness(msgspec.Struct, frozen=True, gc=False):
    """How old the state is that a decision made now would rest on, in seconds."""

    policy: float = 0.0
    """Since the policy in force was last known to be the newest."""
    revocations: float = 0.0
    """Since the revocations in memory were last known to be all."""


CURRENT = Freshness()


NO_FACTS: Attributes = {"calls": 0, "denials": 0, "seen": (), "max_sensitivity": "", "first_use": True}
"""What `r.env.task` says of what a task did, where that is not kept, or not read."""

ACTION_RESOURCE: Attributes = {"uri": "", "prompt": "", "model": "", "task": "", "context": ""}
"""What the body of a request may tell of the resource, on top of host, path and catalogue; "": it tells nothing."""


class Action(msgspec.Struct, frozen=True):
    """One thing that a request asks for, as its body says: what a decoder of `authz.actions` answers."""

    name: str
    """`r.act.name`: "mcp:tools/call:transfer_funds", "a2a:SendMessage", "graphql:mutation:createUser", ..."""
    args: Attributes = {}
    """`r.act.args`: what it is done with."""
    kind: str = ""
    """`r.act.kind`: the protocol of the body: "mcp", "a2a", "openai", "anthropic", "graphql", "grpc", "rest"."""
    tool: str = ""
    """`r.act.tool`: the tool, skill or the like that it is done by; "": none is named."""
    resource: Attributes = {}
    """What the body tells of the resource: only names that `ACTION_RESOURCE` has."""
    offers: "tuple[Action, ...]" = ()
    """What could be asked for next, where a request asks just that: the proxy is told what of it would be allowed."""


NOT_SHARED: Attributes = {"shared": False, "sharing": {"certificates": 0, "addresses": 0, "owners": 0}}
"""What policies see of the sharing of an identity that nobody watches; never changed."""


class Asked(msgspec.Struct, frozen=True):
    """What a call asks for, named: the resource and the action, and the task that it says it belongs to."""

    target: Target
    obj: Attributes
    """`r.obj`; shared between calls for the same thing, so never changed."""
    protocol: str
    """ "http", "grpc", "websocket" or "tcp"."""
    name: str
    """What the action is called: the HTTP method, a gRPC service and method, "connect"."""
    task: Attributes
    place: Hashable = None
    """The class of the resource: equal for resources that the rules in force do not tell apart."""
    args: Attributes = {}
    """What the action is done with, as the body says; {} where no body is read."""
    grant: Attributes = {}
    """`r.env.grant` but for its age."""
    grant_key: str = ""
    """What stands for the grant that came with the call; "": none did."""
    until: float = float("inf")
    """When that grant ends (I4)."""
    fresh: Freshness = CURRENT
    """How old the state was when the call was judged by it."""
    kind: str = ""
    """The protocol of the body that the action was read from; "": none was read."""
    tool: str = ""
    batch: "tuple[Asked, ...]" = ()
    """The further ones, where a body asks for several: all must be allowed."""
    offers: tuple[Action, ...] = ()
    """What could be asked for next, of which the proxy is told what would be allowed."""
    covers: "Callable[[Asked], bool] | None" = None
    """Whether the grant that came with the call covers what is asked; None: no grant came, or offers play no part."""
    sharing: Attributes = msgspec.field(default_factory=lambda: NOT_SHARED)
    """`r.sub.shared` and `r.sub.sharing`: they change while the subject stays the same object."""

    @property
    def every(self) -> "tuple[Asked, ...]":
        """All that the call asks for."""
        return (self, *self.batch)


class AccessRequest(msgspec.Struct, frozen=True):
    """The question put to the policy: subject, resource, action and environment as attributes (NIST SP 800-162)."""

    subject: Subject
    target: Target
    sub: Attributes
    obj: Attributes
    act: Attributes
    env: Attributes
    others: "tuple[AccessRequest, ...]" = ()
    """The further questions of a batch: it is allowed where all are."""
    offers: "tuple[tuple[str, AccessRequest], ...]" = ()
    """What could be asked for next, by the name that the proxy is told it by."""


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
    retry_after: int = 0
    """In how many seconds a denied call may be allowed; 0: that is not known."""
    offered: tuple[str, ...] | None = None
    """What of the offers would be allowed; None: the call was about none."""

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
    """As it was put to the policy; None also where an earlier decision was used again."""
    time: float
    """When the call came in."""
    latency_seconds: float
    """From the call's arrival at the PDP to its decision."""
    asked: Asked | None = None
    cached: bool = False
    """Whether an earlier decision was used again."""
    recalled: bool = False
    """Whether `asked` is the same object as for an earlier call, from which this one differs in ids at most."""
    told: Mapping[str, object] = {}
    """What a denied client is told to wait for; {}: nothing."""
