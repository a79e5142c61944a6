"""The section `[approvals]` of the configuration."""

import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_HEADER: Final = re.compile(r"[a-z0-9-]{1,64}")
_HOURS: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")

Algorithm: TypeAlias = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"]
Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class HumanIssuerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenID provider that vouches for the humans who decide. It vouches for no workload, and decides no traffic."""

    issuer: Annotated[str, Meta(min_length=1, max_length=2_048, pattern=r"^[!-~]+$")]
    """The exact value of `iss`."""
    jwks: Annotated[str, Meta(min_length=1)]
    """Its JSON Web Key Set: a file, or an https:// URL; kept current as `[keys]` says."""
    audiences: Annotated[tuple[str, ...], Meta(min_length=1)]
    """What `aud` must hold one of: of an ID token the client's id, of an access token this server's name."""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "ES256")
    """The signature algorithms that it uses; any other is refused."""
    types: Annotated[tuple[str, ...], Meta(min_length=1)] = ("", "JWT", "at+jwt")
    """The accepted values of header `typ`, in any case and without "application/"; "" stands for its absence."""
    max_lifetime_seconds: Annotated[float, Meta(ge=30, le=604_800)] = 43_200.0
    """The longest time from issue to expiry."""
    person_claim: Annotated[str, Meta(min_length=1, max_length=128)] = "sub"
    """The claim that tells one person from another. Where the provider's `sub` is another for each client (pairwise),
    and `audiences` names several, one that is the same everywhere, such as `oid`; a token without it proves nobody. The
    console reads it, too, where its provider is this one."""
    groups_claim: Annotated[str, Meta(min_length=1, max_length=128)] = "groups"
    """The claim that lists the groups of a human: texts, or one text."""
    name_claims: tuple[str, ...] = ("name", "preferred_username", "email")
    """Claims that say what a human is called; the first that is there is shown. An inventory's `owner`, and whom a task
    began for, mean this human if they equal any of these, the subject, or one of the groups."""
    client_id: str = ""
    """For `authz login`: the id of a public client at this provider that may use the device flow, or the code flow with
    PKCE and a redirect to http://127.0.0.1. "": `authz login` has to be told."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """For `authz login`: what it asks the provider for."""


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where humans are told of requests: a URL that takes JSON as Slack's incoming webhooks do."""

    url: str = ""
    """An https:// URL; http:// on a loopback address only. Redirects are not followed. "": nobody is told."""
    url_file: str = ""
    """A file that holds the URL instead: with some receivers the URL is the secret."""
    secret_file: str = ""
    """A file with the secret that deliveries are signed with: `whsec_` and base64, or any text of 24 bytes or more.
    Header `webhook-signature` is then as Standard Webhooks have it. "": deliveries are not signed."""
    ca_file: str = ""
    """PEM file with the authorities that may vouch for the receiver; "": those of the system."""
    events: tuple[Literal["opened", "voted", "approved", "rejected", "withdrawn", "used"], ...] = (
        "opened",
        "approved",
        "rejected",
    )
    """Of what is told."""
    timeout_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    """How long one delivery may take."""
    retry_min_seconds: Annotated[float, Meta(ge=0.01, le=60)] = 1.0
    """First pause before a delivery is tried again; it doubles each time."""
    retry_max_seconds: Annotated[float, Meta(ge=0.01, le=3_600)] = 60.0
    """Longest such pause."""
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 8
    """After so many a delivery is given up, and counted."""
    max_queue: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """Deliveries that wait; beyond that the oldest is given up. Nothing else ever waits for the receiver."""


class HoursSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When work is usually done. A request outside of it is shown as unusual; nothing else follows."""

    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")
    """The days."""
    hours: str = ""
    """From and to, "08:00-18:00"; "": any time is usual."""
    utc_offset_minutes: Annotated[int, Meta(ge=-720, le=840)] = 0
    """How far local time is ahead of UTC."""


class ApprovalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Human approval: what rules with `require_approval=<group>` wait for."""

    groups: dict[str, tuple[str, ...]] = {}
    """The groups that rules may name, and for each the values of an issuer's `groups_claim` that make a human one of
    it. Empty: approvals are off, and a policy that asks for one does not load."""
    issuers: Annotated[tuple[HumanIssuerSettings, ...], Meta(max_length=16)] = ()
    """The OpenID providers of those who decide."""
    url: Annotated[str, Meta(pattern=r"^((https?://)[!-~]*\{id\}[!-~]*)?$")] = ""
    """Where a human sees a request, "https://console.example/approvals/{id}"; told in the denial and the webhook."""
    request_ttl_seconds: Annotated[float, Meta(ge=10, le=2_592_000)] = 3_600.0
    """How long a request waits before it lapses; no longer than the grant that it was made under."""
    default_ttl_seconds: Annotated[float, Meta(ge=5, le=2_592_000)] = 900.0
    """How long what was approved may be used, where no rule says `approval_ttl`; no longer than the grant."""
    max_open_per_principal: Annotated[int, Meta(ge=1, le=10_000)] = 20
    """Requests of one principal that wait at once; more are refused."""
    max_opened_per_hour: Annotated[int, Meta(ge=1, le=100_000)] = 120
    """Requests that one principal opens within an hour, whatever becomes of them; more are refused."""
    max_open: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Requests that wait at once in all; more are refused."""
    max_facts_bytes: Annotated[int, Meta(ge=4_096, le=65_536)] = 24_576
    """The most that is kept of one request to be shown."""
    bind_headers: tuple[str, ...] = ("content-type", "content-encoding")
    """Headers that have to be the same at the retry, besides the rest that an approval is bound to."""
    mask_arguments: tuple[str, ...] = ()
    """Names of arguments whose values are never shown nor kept, besides those whose names speak of secrets."""
    business_hours: HoursSettings = HoursSettings()
    """When work is usually done."""
    webhook: WebhookSettings = WebhookSettings()
    """Who is told of requests."""

    @property
    def enabled(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self.groups)

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        for name, values in self.groups.items():
            if not _NAME.fullmatch(name):
                yield "groups", f"`{name}`: a name is a lower-case letter, then letters, digits, `_` and `-`"
            if not values or not all(values):
                yield "groups", f"`{name}`: name the values of the claim that make a human one of it"
        if self.groups and not self.issuers:
            yield "issuers", "name the OpenID provider of those who decide"
        names = [issuer.issuer for issuer in self.issuers]
        yield from (("issuers", f"`{name}` stands twice") for name in sorted(set(names)) if names.count(name) > 1)
        yield from (("issuers", f"`{name}` must not contain `#`") for name in names if "#" in name)
        for header in self.bind_headers:
            if not _HEADER.fullmatch(header):
                yield "bind_headers", f"`{header}` is not the name of a header in lower case"
        if self.business_hours.hours and not _HOURS.fullmatch(self.business_hours.hours):
            yield "business_hours.hours", "expected from and to, such as 08:00-18:00"
        hook = self.webhook
        if hook.url and hook.url_file:
            yield "webhook.url_file", "not together with url"
        if hook.retry_min_seconds > hook.retry_max_seconds:
            yield "webhook.retry_min_seconds", "must not be more than retry_max_seconds"
