"""A grant as a signed token, and back: one spelling, one type, two algorithms, and nothing that is not understood.

Source: RFC 7519, RFC 8725 3.11 (explicit typing), RFC 8693 4.1 (`act`), RFC 8705 3.1 (`cnf`), RFC 9396.
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from authz.errors import Reason, Refusal
from authz.grants.grant import MAX_DELEGATORS, MAX_USES, UNLIMITED, Grant, Task
from authz.grants.scope import Detail, Scope
from authz.grants.settings import GrantSettings
from authz.jose.jwk import KeySet, VerificationKey
from authz.jose.jwt import CompactToken, check_header, parse_compact_jwt, read_certificate_binding, verify_signature
from authz.jose.signing import SigningKey, base64url, sign_compact

TOKEN_TYPE: Final = "authz-grant+jwt"
"""Header `typ`: no token of another kind, signed by the same keys, can pass for a grant, nor a grant for one."""
ALGORITHMS: Final = ("EdDSA", "ES256")

_HEADERS: Final = frozenset({"alg", "kid", "typ"})
# What is wrong with a token in the grant's place is wrong with a grant.
_OWN_REASONS: Final = {
    Reason.TOKEN_MALFORMED: Reason.GRANT_MALFORMED,
    Reason.TOKEN_ALGORITHM: Reason.GRANT_ALGORITHM,
    Reason.TOKEN_SIGNATURE: Reason.GRANT_SIGNATURE,
}


class _Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`act`: the current actor, and within it who acted before."""

    sub: str
    act: "_Actor | UnsetType" = UNSET


class _Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"thumbprint": "x5t#S256"}):
    thumbprint: str


class _Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A grant's claims; an unknown one may restrict it in a way that only a newer version knows, and is refused."""

    iss: str
    aud: str
    sub: str
    """Whom the task started for; also the holder where nobody handed it on."""
    jti: str
    iat: int
    nbf: int
    exp: int
    task: Task
    authorization_details: tuple[Detail, ...]
    act: _Actor | UnsetType = UNSET
    cnf: _Confirmation | UnsetType = UNSET
    uses: Annotated[int, msgspec.Meta(ge=1, le=MAX_USES)] | UnsetType = UNSET
    ancestors: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_DELEGATORS)] | UnsetType = UNSET


def sign_grant(grant: Grant, key: SigningKey) -> str:
    """The token for a grant. Whether it may be issued is not asked here."""
    claims = _Claims(
        iss=grant.issuer,
        aud=grant.audience,
        sub=grant.origin,
        jti=grant.id,
        iat=grant.issued_at,
        nbf=grant.not_before,
        exp=grant.expires,
        task=grant.task,
        authorization_details=grant.scope.details,
        act=_nested(grant),
        cnf=_Confirmation(base64url(bytes.fromhex(grant.certificate))) if grant.certificate else UNSET,
        uses=grant.uses if grant.uses != UNLIMITED else UNSET,
        ancestors=grant.ancestors or UNSET,
    )
    return sign_compact(claims, TOKEN_TYPE, key)


def read_grant(text: str, keys: KeySet, settings: GrantSettings) -> Grant:
    """The grant in a token that one of `keys` signed, for us. Whether it is in time is not asked here.

    Cost: 100 to 250 us, most of it the signature.

    Raises:
        Refusal: GRANT_TOO_LARGE, GRANT_MALFORMED, GRANT_ALGORITHM, GRANT_ISSUER, GRANT_AUDIENCE, GRANT_KEY_UNKNOWN,
            GRANT_SIGNATURE, GRANT_TOO_LONG_LIVED, GRANT_CERTIFICATE.
    """
    if len(text) > settings.max_token_bytes:
        raise Refusal(Reason.GRANT_TOO_LARGE, "longer than max_token_bytes")
    try:
        token = parse_compact_jwt(text)
        _check_type(token)
        _check_addressed(token, settings)
        key = _key(token, keys)
        verify_signature(token, key)
        certificate = read_certificate_binding(token)
    except Refusal as refusal:
        raise Refusal(_OWN_REASONS.get(refusal.reason, refusal.reason), refusal.detail) from None
    return _accepted(_grant(token, certificate), key, settings)


def _check_type(token: CompactToken) -> None:
    check_header(token, ALGORITHMS)
    if set(token.header) != _HEADERS:
        raise Refusal(Reason.GRANT_MALFORMED, "a grant has the headers alg, kid and typ, and no others")
    if token.header["typ"] != TOKEN_TYPE:
        raise Refusal(Reason.GRANT_MALFORMED, "'typ' is not that of a grant")


def _check_addressed(token: CompactToken, settings: GrantSettings) -> None:
    if token.issuer != settings.issuer:
        raise Refusal(Reason.GRANT_ISSUER, "issued by another")
    if token.claims.get("aud") != settings.accepted_audience:
        raise Refusal(Reason.GRANT_AUDIENCE, "meant for others, or not for us alone")


def _key(token: CompactToken, keys: KeySet) -> VerificationKey:
    kid = token.header["kid"]
    key = keys.find(kid) if isinstance(kid, str) else None
    if key is None:
        raise Refusal(Reason.GRANT_KEY_UNKNOWN, "'kid' names no key of the issuer")
    return key


def _accepted(grant: Grant, key: VerificationKey, settings: GrantSettings) -> Grant:
    if grant.expires > key.until:
        raise Refusal(Reason.GRANT_KEY_UNKNOWN, "'kid' names a key that was retired before this could be signed")
    # Whoever issued it: limits bind at use as well, so that no key of an issuer gives more than configuration does.
    if grant.expires - grant.issued_at > settings.max_lifetime_seconds:
        raise Refusal(Reason.GRANT_TOO_LONG_LIVED, "it lives longer than max_lifetime_seconds")
    if len(grant.delegators) > settings.max_delegations:
        raise Refusal(Reason.GRANT_MALFORMED, "handed on more often than max_delegations")
    if settings.require_certificate and not grant.certificate:
        raise Refusal(Reason.GRANT_CERTIFICATE, "it is not bound to a certificate")
    return grant


def _grant(token: CompactToken, certificate: str) -> Grant:
    try:
        claims = msgspec.convert(token.claims, _Claims)
        holder, *delegators = _parties(claims)
        return Grant(
            id=claims.jti,
            issuer=claims.iss,
            audience=claims.aud,
            holder=holder,
            task=claims.task,
            scope=Scope(claims.authorization_details),
            issued_at=claims.iat,
            not_before=claims.nbf,
            expires=claims.exp,
            uses=UNLIMITED if claims.uses is UNSET else claims.uses,
            certificate=certificate,
            delegators=tuple(delegators),
            ancestors=() if claims.ancestors is UNSET else claims.ancestors,
        )
    except ValueError as error:
        # Among these what msgspec finds; its messages name members and types, and quote what a grant may say openly.
        raise Refusal(Reason.GRANT_MALFORMED, str(error)) from None


def _nested(grant: Grant) -> _Actor | UnsetType:
    """The current actor outermost, who acted before within; the oldest of all is `sub` and not repeated."""
    nested: _Actor | UnsetType = UNSET
    for actor in reversed((grant.holder, *grant.delegators)[:-1]):
        nested = _Actor(actor, nested)
    return nested


def _parties(claims: _Claims) -> tuple[str, ...]:
    """Holder first, whom it started for last."""
    parties, actor = [], claims.act
    while actor is not UNSET:
        parties.append(actor.sub)
        actor = actor.act
    return (*parties, claims.sub)
