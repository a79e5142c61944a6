"""The section `[console]` of the configuration."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from authz.transport.settings import Count, Positive

Role = Literal["viewer", "approver", "operator"]
"""Looks; also decides on approvals; also revokes and uses the kill switch. One who has several may do what each may."""
_ISSUER: Final = r"^(https://[!-~]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?(/[!-~]*)?|)$"
Group = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_-]*$")]


class MemberSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What members of one group of the identity provider are here."""

    claim: Annotated[str, Meta(min_length=1, max_length=256)]
    """The group, exactly as it stands in the groups claim."""
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)] = ("viewer",)
    """What they may use the console for: "viewer", "approver", "operator"."""
    groups: Annotated[tuple[Group, ...], Meta(max_length=64)] = ()
    """The groups that policies know them by: `r.sub.groups`, `second_person`, `require_approval`. A group of the
    provider gives none by its name alone."""


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Login at an OpenID Connect provider: authorization code with PKCE."""

    issuer: Annotated[str, Meta(pattern=_ISSUER)] = ""
    """The provider's issuer URL, exactly the `iss` of its ID tokens; its metadata are read from below it. `http://` on
    this machine alone."""
    client_id: Annotated[str, Meta(max_length=256)] = ""
    """The client id under which the provider knows this console."""
    client_secret_file: str = ""
    """File with the client secret, read at each login; "": a public client."""
    ca_file: str = ""
    """PEM file with the authorities that may vouch for the provider, read whenever its metadata are; "": those of the
    system."""
    scopes: Annotated[tuple[Annotated[str, Meta(pattern=r"^[!-~]+$")], ...], Meta(max_length=32)] = (
        "openid",
        "profile",
        "groups",
    )
    """Scopes that are asked for; "openid" must be among them."""
    groups_claim: str = "groups"
    """The claim of the ID token that lists the user's groups."""
    name_claims: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=16)] = (
        "name",
        "preferred_username",
        "email",
    )
    """Claims that say what the user is called; the first that is there is shown. None is who they are: that is `sub`.
    An inventory's owner, and whom a task began for, mean this user if they equal any of these."""
    algorithms: Annotated[
        tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...],
        Meta(min_length=1),
    ] = (
        "RS256",
        "ES256",
        "EdDSA",
    )
    """Signature algorithms that are accepted of ID tokens."""
    members: Annotated[tuple[MemberSettings, ...], Meta(max_length=1_000)] = ()
    """Which groups of the provider may come in, and as what. Who is in none of them is turned away."""
    max_token_age_seconds: Positive = 300.0
    """The oldest ID token that begins a session."""
    leeway_seconds: Annotated[float, Meta(ge=0, le=300)] = 30.0
    """By how much the provider's clock may differ."""
    login_seconds: Positive = 600.0
    """How long a user may take at the provider."""
    timeout_seconds: Positive = 5.0
    """How long the provider may take for one answer."""
    max_response_bytes: Annotated[int, Meta(ge=1_024, le=16 * 1024 * 1024)] = 512 * 1024
    """The largest answer of the provider."""
    refresh_seconds: Positive = 3_600.0
    """For how long its metadata and keys are used before they are read again."""
    min_refresh_seconds: Positive = 5.0
    """How soon, at the earliest, they are read again for a token whose key is not known (keys rotate), or after the
    provider did not answer: until then nobody new signs in."""


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is signed in, kept in the memory of the process that takes orders: a restart signs all out."""

    max_sessions: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """The most at once; the one that was used the longest ago makes room."""
    max_per_user: Annotated[int, Meta(ge=1, le=1_000)] = 8
    """The most of one user."""
    idle_seconds: Positive = 900.0
    """A session that is not used ends after this."""
    absolute_seconds: Positive = 28_800.0
    """Any session ends after this: what the provider said of the user is not believed longer."""


class ConsoleTlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS of the console. Browsers show no certificate: people sign in."""

    certificate: str
    """PEM file: the server's certificate, then its chain."""
    key: str
    """PEM file: the certificate's private key, not encrypted."""
    reload_interval_seconds: Annotated[float, Meta(ge=0.05, le=3600)] = 10.0
    """How often the files are read again."""
    max_file_bytes: Count = 1024 * 1024
    """A larger file than this is refused."""


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The web console: approvals, decisions, tasks, grants and the kill switch, for humans in a browser.

    It needs `[control]`, whose policy judges every act, and the packages of `nhi-authz[console]`.
    """

    enabled: bool = False
    """Whether there is one."""
    listen: str = "127.0.0.1:9195"
    """Where to listen: an IP address and port, which without `[console.tls]` must be this machine's own, or
    "unix:/run/authz/console.sock"."""
    tls: ConsoleTlsSettings | None = None
    """TLS for the listener; unset: a proxy on this machine ends TLS, and `public_url` says under what name."""
    public_url: Annotated[str, Meta(pattern=r"^(https://[a-z0-9.:\[\]-]+)?$")] = ""
    """The `https://` origin under which browsers reach it, without a path. "": `https://` and the address itself, which
    needs `[console.tls]`. Requests for another host are refused."""
    unix_socket_mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o660
    """Permission bits of the Unix socket."""
    oidc: OidcSettings = OidcSettings()
    """Who comes in."""
    sessions: SessionSettings = SessionSettings()
    """For how long."""
    page_size: Annotated[int, Meta(ge=1, le=500)] = 50
    """Rows on a page of a list."""
    max_shown_characters: Annotated[int, Meta(ge=64, le=65_536)] = 2_000
    """A longer value is cut where it is shown, and says so."""
    max_connections: Count = 256
    """Connections open at once; more are turned away."""
    max_concurrent_requests: Annotated[int, Meta(ge=1, le=10_000)] = 32
    """Requests worked on at once; more get 503, before any of this server's own code runs. Who is not signed in gets no
    more than half of them."""
    max_requests_per_second: Annotated[float, Meta(gt=0, le=100_000)] = 100.0
    """Requests begun in a second; more wait for their turn, so that a flood here takes no time from decisions. Who is
    not signed in gets no more than half of them."""
    max_time_share: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """The share of the time of the event loop, which decides for the data plane, that pages may take: a page that takes
    10 ms lets the next begin after 100. More wait for their turn; who is not signed in gets no more than half of it."""
    max_live_streams: Annotated[int, Meta(ge=1, le=1_000)] = 8
    """Live views open at once; more get 503. Each costs every decision of its process up to a microsecond."""
    max_live_streams_per_user: Annotated[int, Meta(ge=1, le=1_000)] = 3
    """Of these, the most of one user."""
    live_seconds: Positive = 3_600.0
    """A live view ends after this; the browser opens it again."""
    live_rows: Annotated[int, Meta(ge=1, le=200)] = 20
    """Decisions a second that a live view shows; what is more is counted, not shown."""
    max_body_bytes: Annotated[int, Meta(ge=1_024, le=1024 * 1024)] = 16 * 1024
    """The largest form."""
    max_header_bytes: Annotated[int, Meta(ge=1_024, le=1024 * 1024)] = 16 * 1024
    """The largest request head."""
    timeout_seconds: Positive = 10.0
    """How long a client may take for its request, we for the answer, or it to take that."""
    idle_timeout_seconds: Positive = 75.0
    """A connection without requests is closed after this."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        if not self.enabled:
            return
        oidc = self.oidc
        if not oidc.issuer:
            yield "oidc.issuer", "who comes in is not said: name the OpenID Connect provider"
        if not oidc.client_id:
            yield "oidc.client_id", "must not be empty"
        if "openid" not in oidc.scopes:
            yield "oidc.scopes", 'must have "openid" among them'
        if not oidc.members:
            yield "oidc.members", "nobody may come in: name a group of the provider"
        if self.tls is None and not self.public_url:
            yield "public_url", "must be set where another ends TLS ([console.tls] is unset)"
