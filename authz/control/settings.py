"""The section `[control]` of the configuration."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from authz.stores.policy_files import PolicySettings
from authz.transport.settings import Count, Positive, Seconds, TlsSettings


class OperatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One human who operates this server."""

    name: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
    """Who it is; policies see `r.sub.operator`, records `operator:<name>`."""
    uid: Annotated[int, Meta(ge=0, le=2**32 - 2)] | None = None
    """The user on this machine as whom this operator uses the Unix socket; the kernel vouches for it."""
    spiffe_id: str = ""
    """The SPIFFE ID in the certificate with which this operator comes over TLS."""
    oidc_subject: Annotated[str, Meta(max_length=255)] | None = None
    """The `sub` with which this operator signs in to the console; "": never. Where there is a console it must be said:
    who has two names could be the second person of themselves."""
    groups: tuple[Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_-]*$")], ...] = ()
    """What policies ask for (`'security' in r.sub.groups`), and what `second_person` names."""


class WatchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on streams: `Watch` and `Tail`."""

    max_streams: Count = 64
    """Open at once; more are refused."""
    queue_events: Annotated[int, Meta(ge=1, le=100_000)] = 1_024
    """Decisions that wait for a client of `Tail` that is slow; it then misses some, and is told how many. A `Watch`
    misses nothing: what it reads on from is kept in the store."""
    recent_decisions: Annotated[int, Meta(ge=1, le=10_000)] = 256
    """Decisions shown by `Sample` that are remembered for `Describe`, each with its request."""
    max_seconds: Positive = 3_600.0
    """A stream ends after this; the client opens another."""


class ChangeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes that wait for a second person."""

    ttl_seconds: Annotated[float, Meta(ge=10, le=604_800)] = 86_400.0
    """How long one waits before it lapses."""
    max_pending: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """The most that wait at once; more are refused."""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The control plane's HTTP listener, for standard clients: OAuth token exchange, AuthZEN, shared signals."""

    listen: str = ""
    """An IP address and port; always with `[control.tls]`. "": there is none. Clients need a certificate for all but
    the metadata, the public keys and the receiver of security events."""
    public_url: Annotated[str, Meta(pattern=r"^(https://[!-~]+[^/])?$")] = ""
    """Under which `https://` URL clients reach it: what the metadata tell. "": `https://` and the address itself."""
    max_body_bytes: Annotated[int, Meta(ge=1_024, le=16 * 1024 * 1024)] = 256 * 1024
    """The largest request body."""
    max_evaluations: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """The most evaluations in one AuthZEN request."""
    max_connections: Count = 256
    """Connections open at once; more are turned away."""
    max_concurrent_requests: Count = 64
    """Requests worked on at once; more get 503."""
    max_header_bytes: Annotated[int, Meta(ge=1_024, le=1024 * 1024)] = 16 * 1024
    """The largest request head."""
    timeout_seconds: Positive = 10.0
    """How long a client may take for its request, we for the answer, or it to take that."""
    idle_timeout_seconds: Positive = 75.0
    """A connection without requests is closed after this."""


class SignalIssuerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One who may send us security events (RFC 8417). What each may revoke is policy: `r.sub.id` is the issuer."""

    issuer: Annotated[str, Meta(min_length=1, max_length=2_048)]
    """The exact value of `iss`."""
    audience: Annotated[str, Meta(min_length=1, max_length=2_048)]
    """What `aud` must hold: the name that this issuer knows us by."""
    jwks: Annotated[str, Meta(min_length=1)]
    """Its public keys, a JSON Web Key Set: a file, or an https:// URL; kept current as `[keys]` says."""
    max_age_seconds: Annotated[float, Meta(ge=60, le=2_592_000)] = 86_400.0
    """The oldest event that is taken: one may be delivered late, but not for ever."""


class SignalReceiverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One whom we tell of revocations."""

    url: str
    """Where events are pushed to (RFC 8935), an https:// URL."""
    audience: Annotated[str, Meta(min_length=1, max_length=2_048)]
    """The value of `aud`."""
    ca_file: str = ""
    """PEM file with the authorities that may vouch for the receiver; "": those of the system."""
    authorization_file: str = ""
    """A file with the value of the Authorization header, such as `Bearer ...`; read for each delivery. "": none."""


class SignalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shared signals (CAEP): security events in, at `POST /ssf/events` of the HTTP listener, and out."""

    issuers: Annotated[tuple[SignalIssuerSettings, ...], Meta(max_length=100)] = ()
    """Whose events are taken."""
    receivers: Annotated[tuple[SignalReceiverSettings, ...], Meta(max_length=100)] = ()
    """Who is told of what is revoked here."""
    timeout_seconds: Positive = 10.0
    """How long one delivery may take."""
    retry_min_seconds: Positive = 1.0
    """First pause before a delivery is tried again; it doubles each time."""
    retry_max_seconds: Positive = 300.0
    """Longest such pause. Events are delivered in order: what comes after waits."""


class ControlSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The control plane: grants, revocations, policies, keys, over gRPC on listeners of its own."""

    enabled: bool = False
    """Whether there is one."""
    listen: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)] = ("unix:/run/authz/control.sock",)
    """Where to listen: "unix:/run/authz/control.sock", or an IP address and port, which needs `[control.tls]`: orders
    are never taken over plain TCP, not even from this machine."""
    tls: TlsSettings | None = None
    """Mutual TLS for the TCP listeners: the client's certificate is its identity. `allowed_callers` is not for here:
    who may call what is policy."""
    unix_socket_mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o660
    """Permission bits of the Unix sockets. Who may connect still has to be one of `operators`."""
    operators: Annotated[tuple[OperatorSettings, ...], Meta(max_length=1_000)] = ()
    """The humans who operate this server. Workloads need no entry: they are who their certificate says."""
    policy: PolicySettings = PolicySettings(model="policies/model.conf", policies=("policies/control.csv",))
    """Who may call which method: a policy apart from the data plane's, so that no rule for traffic can give power over
    the server. What no rule allows is denied. Its own obligation is `second_person=<group>`."""
    http: HttpSettings = HttpSettings()
    """The listener for standard clients: OAuth, AuthZEN, shared signals."""
    signals: SignalSettings = SignalSettings()
    """Shared signals: security events in and out."""
    watch: WatchSettings = WatchSettings()
    """Bounds on streams."""
    changes: ChangeSettings = ChangeSettings()
    """Changes that wait for a second person."""
    max_message_bytes: Annotated[int, Meta(ge=1_024, le=256 * 1024 * 1024)] = 16 * 1024 * 1024
    """The largest request; whole policies are sent in one."""
    max_header_bytes: Annotated[int, Meta(ge=1_024, le=1024 * 1024)] = 16 * 1024
    """The largest block of request headers (gRPC metadata)."""
    max_connections: Count = 256
    """Connections open at once; more are turned away."""
    max_streams_per_connection: Annotated[int, Meta(ge=1, le=65_536)] = 128
    """Calls open at once on one connection; the client waits with more."""
    max_concurrent_calls: Count = 64
    """Calls worked on at once, streams aside; more are refused with RESOURCE_EXHAUSTED."""
    default_deadline_seconds: Positive = 10.0
    """The deadline of a call that names none."""
    max_deadline_seconds: Positive = 60.0
    """A longer deadline than this is cut to this. Streams are bounded by `watch.max_seconds` instead."""
    default_page_size: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """Entries in a page of a list, where the caller does not say."""
    max_page_size: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    """The most entries in a page."""
    max_text_characters: Annotated[int, Meta(ge=16, le=65_536)] = 1_024
    """The longest reason, purpose or other text that a caller gives."""
    idempotency_seconds: Positive = 3_600.0
    """For how long a retry with the same idempotency key is answered as the first call was."""
    signing_algorithm: Literal["EdDSA", "ES256"] = "EdDSA"
    """With what grants are signed; a change counts for the next key (`authz keys rotate`)."""
    default_grant_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """How long a grant lives whose request does not say; `grants.max_lifetime_seconds` bounds it."""
    max_lockdown_seconds: Annotated[float, Meta(ge=60, le=2_592_000)] = 86_400.0
    """The longest time for which a lockdown is declared at once."""
    settle_seconds: Positive = 5.0
    """How long a call waits until what it changed is in force in all processes of this host."""
    apply_policies: bool = False
    """Whether policies may be applied through `Policies.Apply`. They are kept in the store, and once there is one, the
    newest is in force on every replica in place of the policy files, which then only say what it began with. Not
    together with a bundle or a database of policies: what is applied is not what their keepers vouch for."""
    handshake_timeout_seconds: Positive = 5.0
    """From the accepted connection to the finished TLS handshake and HTTP/2 preface."""
    idle_timeout_seconds: Positive = 7_200.0
    """A connection without calls is closed after this."""
    drain_timeout_seconds: Seconds = 5.0
    """On stop: how long calls may take to finish. Streams are ended at once."""
