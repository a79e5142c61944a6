"""Which tokens are accepted: from whom, for whom, signed how, and for how long."""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

Algorithm: TypeAlias = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"]
SPIFFE_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""What JWT-SVID 2.1 allows; anything else must be refused before it is processed."""

Binds: TypeAlias = Literal["caller", "other"]
Audiences: TypeAlias = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
Lifetime: TypeAlias = Annotated[float, msgspec.Meta(ge=30, le=604_800)]


class JwtSvidSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """JWT-SVIDs, verified with the bundle of the trust domain in their own `sub`."""

    audiences: Audiences
    """The names by which this service may be addressed in `aud`; one of them must be there."""
    algorithms: Annotated[tuple[Algorithm, ...], msgspec.Meta(min_length=1)] = SPIFFE_ALGORITHMS
    """The signature algorithms that are accepted, out of those that the JWT-SVID standard allows."""
    max_lifetime_seconds: Lifetime = 3_900.0
    """The longest time from issue to expiry; from now to expiry where a token does not say when it was issued."""
    binds: Binds = "caller"
    """"caller": the token speaks of who sends it, and must agree with the certificate. "other": it speaks of another
    party; its claims are shown to policies, and the caller needs an identity of its own."""
    claims: tuple[str, ...] = ("sub",)
    """The names of the claims that policies may read."""


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer of Kubernetes service account tokens or OpenID Connect access tokens."""

    issuer: Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]
    """The exact value of `iss`."""
    form: Literal["kubernetes", "oidc"]
    """"kubernetes": projected service account tokens, whose `sub` is system:serviceaccount:<namespace>:<name>.
    "oidc": access tokens; the subject's ID is `<issuer>#<sub>`."""
    jwks: Annotated[str, msgspec.Meta(min_length=1)]
    """The issuer's JSON Web Key Set: a file, or an https:// URL; kept current as `[keys]` says."""
    audiences: Audiences
    """The names by which this service may be addressed in `aud`; one of them must be there."""
    algorithms: Annotated[tuple[Algorithm, ...], msgspec.Meta(min_length=1)] = ("RS256", "ES256")
    """The signature algorithms that this issuer uses; any other is refused."""
    types: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("", "JWT", "at+jwt")
    """The accepted values of header `typ`, in any case and without "application/"; "" stands for its absence."""
    max_lifetime_seconds: Lifetime = 3_900.0
    """The longest time from issue to expiry; from now to expiry where a token does not say when it was issued."""
    spiffe_id: str = ""
    """kubernetes: the SPIFFE ID that a service account stands for, as
    `spiffe://prod.example/ns/{namespace}/sa/{service_account}`; both placeholders are whole path segments."""
    subject_kind: Literal["workload", "agent", "human"] = "workload"
    """oidc: what sort of party this issuer vouches for."""
    binds: Binds = "caller"
    """"caller": the token speaks of who sends it, and must agree with the certificate. "other": it speaks of another
    party, say the user for whom an agent acts; its claims are shown to policies, and the caller needs an identity of
    its own."""
    claims: tuple[str, ...] = ("iss", "sub")
    """The names of the claims that policies may read."""


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens in a request header. None is read until `jwt_svid` or an issuer is set, or unknown ones are denied."""

    header: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{1,64}\Z")] = "authorization"
    """The name of the header, in lower case."""
    scheme: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z]{0,32}\Z")] = "Bearer"
    """The authentication scheme before the token; "" when the header holds the token alone."""
    unknown_tokens: Literal["ignore", "deny"] = "ignore"
    """What to do with a credential of none of the configured kinds. "ignore": it adds nothing to the subject and passes
    on, for an application that uses this header for its own. "deny": the request is refused."""
    max_token_bytes: Annotated[int, msgspec.Meta(ge=256, le=65_536)] = 8_192
    """The longest header value that is read, in bytes; a longer one is refused, whosever it is."""
    jwt_svid: JwtSvidSettings | None = None
    """JWT-SVIDs; absent: none is accepted."""
    issuers: tuple[IssuerSettings, ...] = ()
    """The issuers of other tokens."""
