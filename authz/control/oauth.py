"""OAuth's side of grants: token exchange for standard clients, the server's metadata, and its public keys.

Source: RFC 8693 (token exchange), 8705 (mutual TLS), 9396 (authorization_details), 8414 (metadata), 7517 (keys).
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from google.protobuf.message import Message

from authz.control.caller import Caller
from authz.control.desk import Desk
from authz.control.faults import Code, ControlError
from authz.control.grant_shapes import permissions_of
from authz.control.method import Method
from authz.control.v1 import grants_pb2 as pb
from authz.control.v1.common_pb2 import Permission
from authz.control.web import Route, Routes, WebAnswer, WebRequest, http_status, to_json
from authz.grants.scope import DETAIL_TYPE, parse_scope
from authz.jose.decoding import decode_json_object

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
_TOKEN_TYPES: Final = frozenset({_JWT, _ACCESS_TOKEN})
_FORM: Final = "application/x-www-form-urlencoded"
_ACTION: Final = "control:grants.exchange"
_MAX_FIELDS: Final = 32
_KNOWN: Final = frozenset(
    {
        "grant_type",
        "client_id",
        "subject_token",
        "subject_token_type",
        "actor_token",
        "actor_token_type",
        "requested_token_type",
        "audience",
        "authorization_details",
    }
)


class _OAuthError(ControlError):
    """An error with a code of OAuth's own."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, error, message)


class OAuth:
    """The endpoints, as routes."""

    def __init__(
        self,
        desk: Desk,
        exchange: "Method[pb.ExchangeRequest]",
        issuer: str,
        jwks: Callable[[], bytes],
        url: Callable[[], str],
    ) -> None:
        """`url`: under which clients reach this server."""
        self._desk = desk
        self._exchange = exchange
        self._issuer = issuer
        self._jwks = jwks
        self._url = url

    @property
    def routes(self) -> Routes:
        """What is served where."""
        public = "public, max-age=60"
        return {
            "/oauth/token": Route("POST", self._token, told),
            "/.well-known/oauth-authorization-server": Route("GET", self._metadata, told, False, public),
            "/.well-known/jwks.json": Route("GET", self._keys, told, False, public),
        }

    async def _metadata(self, _: WebRequest) -> WebAnswer:
        return to_json(
            200,
            {
                "issuer": self._issuer,
                "token_endpoint": f"{self._url()}/oauth/token",
                "jwks_uri": f"{self._url()}/.well-known/jwks.json",
                "response_types_supported": [],
                "grant_types_supported": [GRANT_TYPE],
                "token_endpoint_auth_methods_supported": ["tls_client_auth"],
                "tls_client_certificate_bound_access_tokens": True,
                "authorization_details_types_supported": [DETAIL_TYPE],
            },
        )

    async def _keys(self, _: WebRequest) -> WebAnswer:
        return WebAnswer(200, self._jwks(), "application/jwk-set+json")

    async def _token(self, request: WebRequest) -> WebAnswer:
        caller = request.caller
        if caller is None:  # the route demands one
            raise ControlError(Code.UNAUTHENTICATED, "IDENTITY_MISSING", "no client certificate")
        form = _form(request)
        asked = _exchange_request(form, caller)
        answer: Message = await self._desk.call(_ACTION, self._exchange, asked, caller)
        if not isinstance(answer, pb.ExchangeResponse):
            raise TypeError("the exchange answered something else")
        seconds = answer.grant.expires_at.seconds - answer.grant.not_before.seconds
        return to_json(
            200,
            {
                "access_token": answer.token,
                "issued_token_type": form.get("requested_token_type", _ACCESS_TOKEN),
                # It goes into a header of its own and is good for its holder alone: no bearer token (RFC 8693 2.2.1).
                "token_type": "N_A",
                "expires_in": seconds,
            },
        )


def _form(request: WebRequest) -> dict[str, str]:
    """Read the parameters, each at most once (RFC 6749 section 3.2)."""
    if request.media_type != _FORM:
        raise _OAuthError("invalid_request", f"the content type must be {_FORM}")
    try:
        text = request.body.decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise _OAuthError("invalid_request", "the body is not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _OAuthError("invalid_request", "a parameter is repeated")
    return {name: value for name, value in form.items() if value}  # without a value is as if left out


def _exchange_request(form: dict[str, str], caller: Caller) -> pb.ExchangeRequest:
    if form.get("grant_type", "") != GRANT_TYPE:
        raise _OAuthError("unsupported_grant_type", f"the grant type must be {GRANT_TYPE}")
    if form.get("client_id", caller.subject.id) != caller.subject.id:
        raise _OAuthError("invalid_client", "client_id is not the identity of the certificate")
    if "scope" in form:
        raise _OAuthError("invalid_scope", "say what is wanted in authorization_details")
    if "resource" in form:
        raise _OAuthError("invalid_target", "say where in the locations of authorization_details")
    unknown = sorted(form.keys() - _KNOWN)
    if unknown:  # it could be a restriction that would not be kept
        raise _OAuthError("invalid_request", f"not supported here: {', '.join(name[:64] for name in unknown)}")
    _check_tokens(form)
    return pb.ExchangeRequest(
        subject_token=form["subject_token"],
        actor_token=form.get("actor_token", ""),
        permissions=_permissions(form.get("authorization_details", "")),
        audience=form.get("audience", ""),
        bind_certificate=True,
    )


def _check_tokens(form: dict[str, str]) -> None:
    if "subject_token" not in form:
        raise _OAuthError("invalid_request", "subject_token is missing")
    for name in ("subject_token_type", "requested_token_type"):
        required = name == "subject_token_type"
        if (required or name in form) and form.get(name, "") not in _TOKEN_TYPES:
            raise _OAuthError("invalid_request", f"{name} must be {_ACCESS_TOKEN} or {_JWT}")
    if ("actor_token" in form) != ("actor_token_type" in form):
        raise _OAuthError("invalid_request", "actor_token and actor_token_type go together")
    if form.get("actor_token_type", _JWT) != _JWT:
        raise _OAuthError("invalid_request", f"actor_token_type must be {_JWT}")


def _permissions(text: str) -> list[Permission]:
    if not text:
        return []
    try:
        # The strict reader takes objects; an array is one with a single member to it.
        read = decode_json_object(b'{"details":' + text.encode() + b"}")
        return permissions_of(parse_scope(read["details"] if len(read) == 1 else None).details)
    except ValueError as error:
        raise _OAuthError("invalid_authorization_details", str(error)) from None


def told(error: ControlError) -> WebAnswer:
    """Word an error as OAuth does (RFC 6749 section 5.2)."""
    status = 400
    if isinstance(error, _OAuthError):
        code = error.reason
        status = 401 if code == "invalid_client" else 400
    elif error.code is Code.UNAUTHENTICATED:
        code, status = "invalid_client", 401
    elif error.reason == "SCOPE_WIDER":
        code = "invalid_authorization_details"
    elif error.code is Code.PERMISSION_DENIED:
        code = "unauthorized_client"
    elif error.code in {Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION}:
        code = "invalid_target" if "audience" in error.message else "invalid_request"
    else:
        status = http_status(error)
        code = "temporarily_unavailable" if status == 503 else "server_error"  # noqa: PLR2004 - HTTP's
    return to_json(status, {"error": code, "error_description": _plain(error.message)})


def _plain(text: str) -> str:
    """The characters that an error description may have."""
    return "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "'" for letter in text)
