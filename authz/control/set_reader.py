"""Security event tokens: read strictly, verified, and turned into what they mean here.

Source: RFC 8417 (SET), RFC 9493 (subject identifiers), OpenID CAEP 1.0 and Shared Signals Framework 1.0.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from authz.control.settings import SignalIssuerSettings
from authz.control.v1 import revocations_pb2 as pb
from authz.errors import Refusal
from authz.jose.jwk import KeySet
from authz.jose.jwt import CompactToken, check_header, parse_compact_jwt, read_audiences, verify_signature
from authz.model import Value

CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
SESSION_REVOKED: Final = f"{CAEP}session-revoked"
CREDENTIAL_CHANGE: Final = f"{CAEP}credential-change"
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
_TYPES: Final = frozenset({"secevent+jwt", "application/secevent+jwt"})
_LEEWAY_SECONDS: Final = 60.0
_MAX_ID: Final = 512
_MAX_EVENTS: Final = 8


class BadEventError(Exception):
    """A token that is not taken; `err` is RFC 8935's code."""

    def __init__(self, err: str, description: str) -> None:
        super().__init__(description)
        self.err = err
        self.description = description


class SecurityEvent(msgspec.Struct, frozen=True):
    """One verified token."""

    issuer: str
    jti: str
    issued_at: float
    subject: Mapping[str, Value]
    events: Mapping[str, Mapping[str, Value]]


def read_set(
    text: str, issuers: Mapping[str, SignalIssuerSettings], keys: Callable[[str], KeySet], now: float
) -> SecurityEvent:
    """Verify a token.

    Raises:
        BadEventError: it is not one of a configured issuer for us, or not as the standards want it.
    """
    try:
        token = parse_compact_jwt(text)
        check_header(token, _ALGORITHMS)
    except Refusal as refusal:
        raise BadEventError("invalid_request", refusal.detail) from None
    if token.header.get("typ") not in _TYPES:
        raise BadEventError("invalid_request", "'typ' is not that of a security event token")
    settings = issuers.get(token.issuer)
    if settings is None:
        raise BadEventError("invalid_issuer", "not an issuer that is known here")
    kid = token.header.get("kid")
    key = keys(token.issuer).find(kid) if isinstance(kid, str) else None
    if key is None:
        raise BadEventError("invalid_key", "'kid' names no key of the issuer")
    try:
        verify_signature(token, key)
        audiences = read_audiences(token)
    except Refusal as refusal:
        err = "invalid_audience" if "audience" in refusal.detail else "authentication_failed"
        raise BadEventError(err, refusal.detail) from None
    if settings.audience not in audiences:
        raise BadEventError("invalid_audience", "meant for others")
    return _event(token, settings, now)


def _event(token: CompactToken, settings: SignalIssuerSettings, now: float) -> SecurityEvent:
    claims = token.claims
    jti, issued, events, subject = (claims.get(name) for name in ("jti", "iat", "events", "sub_id"))
    if "sub" in claims or "exp" in claims:  # what an ID token has, and a SET must not (SSF 1.0)
        raise BadEventError("invalid_request", "a security event token has neither 'sub' nor 'exp'")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_ID:
        raise BadEventError("invalid_request", f"'jti' must be text of 1 to {_MAX_ID} characters")
    if isinstance(issued, bool) or not isinstance(issued, int | float):
        raise BadEventError("invalid_request", "'iat' must be a time")
    if not now - settings.max_age_seconds <= issued <= now + _LEEWAY_SECONDS:
        raise BadEventError("invalid_request", "'iat' is too long ago, or in the future")
    if not isinstance(events, dict) or not 0 < len(events) <= _MAX_EVENTS:
        raise BadEventError("invalid_request", f"'events' must be an object of 1 to {_MAX_EVENTS}")
    found: dict[str, Mapping[str, Value]] = {}
    for name, event in events.items():
        if not isinstance(event, dict):
            raise BadEventError("invalid_request", "an event must be an object")
        found[name] = event
    if not isinstance(subject, dict):
        raise BadEventError("invalid_request", "'sub_id' must be a subject identifier")
    return SecurityEvent(settings.issuer, jti, float(issued), subject, found)


def revocations_of(event: SecurityEvent, grant_issuer: str, now: float) -> list[pb.CreateRevocationRequest]:
    """Answer what is to be revoked; none for events that mean nothing here.

    Raises:
        BadEventError: an event that has to be acted on, about a subject that is not understood.
    """
    made = []
    for name, content in event.events.items():
        ends = name == SESSION_REVOKED or (
            name == CREDENTIAL_CHANGE and content.get("change_type") in {"revoke", "delete"}
        )
        if ends:
            request = _revocation(event.subject, _moment(event, content, now), grant_issuer)
            request.reason = f"{name.rpartition('/')[2]} from {event.issuer}"[:512]
            request.idempotency_key = _key(event.jti, name)
            made.append(request)
    return made


def _key(jti: str, name: str) -> str:
    """Answer what an event is known by, however often it is delivered."""
    return hashlib.sha256(msgspec.json.encode([jti, name])).hexdigest()


def _moment(event: SecurityEvent, content: Mapping[str, Value], now: float) -> float:
    """Answer when it happened; what was issued before that is not accepted any more.

    Raises:
        BadEventError: at no time: that would revoke nothing, and look as if it did.
    """
    told = content.get("event_timestamp")
    if isinstance(told, int | float) and not isinstance(told, bool) and not told >= 1:
        raise BadEventError("invalid_request", "'event_timestamp' must be a time after 1970")
    moment = float(told) if isinstance(told, int | float) and not isinstance(told, bool) else event.issued_at
    return min(moment, now)


def _revocation(subject: Mapping[str, Value], moment: float, grant_issuer: str) -> pb.CreateRevocationRequest:
    match subject:
        case {"format": "uri", "uri": str(principal)}:
            return _cut_off(principal, moment)
        case {"format": "iss_sub", "iss": str(issuer), "sub": str(name)}:
            return _cut_off(f"{issuer}#{name}", moment)
        case {"format": "jwt_id", "iss": str(issuer), "jti": str(grant)} if issuer == grant_issuer:
            return pb.CreateRevocationRequest(kind=pb.REVOCATION_KIND_GRANT, value=grant)
        case {"format": "opaque", "id": str(task)}:
            return pb.CreateRevocationRequest(kind=pb.REVOCATION_KIND_TASK, value=task)
        case _:
            raise BadEventError("invalid_request", "'sub_id' is of a format that is not understood here")


def _cut_off(principal: str, moment: float) -> pb.CreateRevocationRequest:
    request = pb.CreateRevocationRequest(
        kind=pb.REVOCATION_KIND_ISSUED_BEFORE, cut_off=pb.CUT_OFF_PRINCIPAL, value=principal
    )
    request.before.FromMilliseconds(int(moment * 1_000))
    return request
