"""The OpenID Connect provider: where people sign in, and what it says of them, checked (I5, I8).

Sources: OpenID Connect Core 1.0 (3.1), Discovery 1.0; RFC 7636 (PKCE), RFC 9207 (iss in the answer); RP-Initiated
Logout 1.0.
"""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import httpx2
import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.common.urls import add_params_to_uri
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, import_key

from authz.console.login import Login
from authz.console.sessions import Person
from authz.console.settings import OidcSettings, Role
from authz.errors import AuthzError

_MAX_NAME = 128
_MAX_SUBJECT = 255
_MAX_KEYS = 100
_MAX_GROUPS = 1_000
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class ProviderDown(AuthzError):
    """The provider does not answer, or not as one does."""


class NotSignedIn(AuthzError):
    """What came back proves nobody, or nobody who may come in. The message is for the user, and quotes no token."""


class Signs(Protocol):
    """Sends users away, and learns who came back."""

    async def leave(self, login: Login, redirect_uri: str) -> str:
        """Answer the URL at the provider to which the browser is sent; raises ProviderDown."""

    async def come_back(self, login: Login, redirect_uri: str, code: str, issuer: str) -> Person:
        """Answer who signed in; raises ProviderDown or NotSignedIn."""

    def sign_out(self, redirect_uri: str) -> str:
        """Answer the URL at the provider where its own session ends; "": it is not known to have one."""


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Provider:
    """One provider, whose metadata and keys are read when they are needed: it may come up after us, or be down."""

    def __init__(
        self, settings: OidcSettings, base: Path, clock: Callable[[], float], person_claim: str = "sub"
    ) -> None:
        """`base`: where relative paths of files start. `person_claim`: what tells people apart for approvals."""
        self._settings = settings
        self._person_claim = person_claim
        self._base = base
        self._clock = clock
        self._metadata: _Metadata | None = None
        self._keys: KeySet | None = None
        self._read_at = float("-inf")
        self._failed_at = float("-inf")
        self._doubted = False
        """Whether it did not answer where its metadata say, so that those may be of yesterday."""
        self._trust: ssl.SSLContext | None = None
        self._reading = asyncio.Lock()

    async def leave(self, login: Login, redirect_uri: str) -> str:
        """Answer the URL at the provider to which the browser is sent.

        Raises:
            ProviderDown: it does not answer.
        """
        metadata = await self._current()
        # No client is made for it: anybody may come here, as often as they like.
        url = prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=self._settings.client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=" ".join(self._settings.scopes),
            state=login.state,
            nonce=login.nonce,
            code_challenge=create_s256_code_challenge(login.verifier),
            code_challenge_method="S256",
        )
        return cast("str", url)

    async def come_back(self, login: Login, redirect_uri: str, code: str, issuer: str) -> Person:
        """Answer who signed in.

        Raises:
            ProviderDown: it does not answer. NotSignedIn: nobody has, or nobody who may come in.
        """
        metadata = await self._current()
        if issuer != metadata.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            raise NotSignedIn("the answer came from another provider")  # mix-up (RFC 9207)
        async with self._client(metadata, redirect_uri) as client:
            try:
                token = await client.fetch_token(
                    metadata.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=login.verifier,
                )
            except AuthlibBaseError:
                raise NotSignedIn("the provider does not accept this login: it is over, or was used already") from None
            except (httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
                self._doubted = True
                raise _down(error) from None
        id_token = token.get("id_token") if isinstance(token, dict) else None
        if not isinstance(id_token, str) or len(id_token) > self._settings.max_response_bytes:
            raise NotSignedIn("the provider gave no ID token")
        return self._person(id_token, await self._verified(id_token, login.nonce))

    def sign_out(self, redirect_uri: str) -> str:
        """Answer the URL at the provider where its own session ends; "": it is not known to have one.

        No ID token is shown there, for none is kept; so the provider asks the user.
        """
        if self._metadata is None or not self._metadata.end_session_endpoint:
            return ""
        asked = [("client_id", self._settings.client_id), ("post_logout_redirect_uri", redirect_uri)]
        return cast("str", add_params_to_uri(self._metadata.end_session_endpoint, asked))

    async def _verified(self, id_token: str, nonce: str) -> Mapping[str, Any]:
        settings = self._settings
        for last in (False, True):
            try:
                token = jwt.decode(id_token, await self._key_set(), algorithms=list(settings.algorithms))
                break
            except (JoseError, ValueError, TypeError) as error:
                # A key that is not known, or by now another one under its name: the provider's keys may have rotated.
                if last or self._clock() - self._read_at < settings.min_refresh_seconds:
                    raise NotSignedIn(f"the ID token's signature is not accepted ({type(error).__name__})") from None
                await self._read()
        if token.claims.get("aud") not in (settings.client_id, [settings.client_id]):  # exactly us and nobody else
            raise NotSignedIn("the ID token is for another audience")
        claims = CodeIDToken(
            token.claims,
            token.header,
            options={"iss": {"essential": True, "value": settings.issuer}},
            params={"nonce": nonce, "client_id": settings.client_id},
        )
        try:
            claims.validate(now=int(self._clock()), leeway=int(settings.leeway_seconds))
        except (JoseError, AuthlibBaseError, ValueError, TypeError) as error:
            raise NotSignedIn(f"the ID token is not accepted: {_told(error)}") from None
        # Stricter than the library: fresh, and the nonce is never optional.
        issued = claims.get("iat")
        if not isinstance(issued, int | float) or self._clock() - issued > settings.max_token_age_seconds:
            raise NotSignedIn("the ID token is too old: is the provider's clock right?")
        if claims.get("nonce") != nonce:
            raise NotSignedIn("the ID token belongs to another login")
        return dict(claims)

    def _person(self, id_token: str, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise NotSignedIn("the ID token's sub is not usable")
        who = claims.get(self._person_claim)
        if not isinstance(who, str) or not 0 < len(who) <= _MAX_SUBJECT or not who.isprintable():
            raise NotSignedIn(f"the ID token's {self._person_claim} names no person")
        groups = claims.get(settings.groups_claim, [])
        groups = [groups] if isinstance(groups, str) else groups
        if not isinstance(groups, list) or len(groups) > _MAX_GROUPS or not all(isinstance(g, str) for g in groups):
            raise NotSignedIn(f"the ID token's {settings.groups_claim} is not a list of at most {_MAX_GROUPS} names")
        told = set(groups)
        called = {
            claim: value
            for claim in settings.name_claims
            if isinstance(value := claims.get(claim), str) and value.strip()
        }
        members = [member for member in settings.members if member.claim in told]
        if not members:
            raise NotSignedIn("you are signed in at the provider, but are in no group that may use this console")
        roles: set[Role] = {role for member in members for role in member.roles}
        return Person(
            issuer=settings.issuer,
            subject=subject,
            person=who,
            name=next(iter(called.values()), subject)[:_MAX_NAME],
            roles=frozenset(roles),
            groups=tuple(dict.fromkeys(group for member in members for group in member.groups)),
            claims={**called, settings.groups_claim: tuple(groups)},
            token=hashlib.sha256(id_token.encode()).hexdigest(),
            issued_at=float(claims["iat"]),
        )

    async def _current(self) -> _Metadata:
        if self._metadata is None or self._old():
            async with self._reading:  # one asks for all who wait
                if self._metadata is None or self._old():
                    await self._read()
        if self._metadata is None:  # `_read` would have raised
            raise ProviderDown("the provider's metadata are not there")
        return self._metadata

    def _old(self) -> bool:
        settings = self._settings
        return self._clock() - self._read_at > (
            settings.min_refresh_seconds if self._doubted else settings.refresh_seconds
        )

    async def _key_set(self) -> KeySet:
        await self._current()
        if self._keys is None:
            raise ProviderDown("the provider's keys are not there")
        return self._keys

    async def _read(self) -> None:
        """Read metadata and keys, whole or not at all; who comes soon after a failure shares it."""
        settings = self._settings
        if self._clock() - self._failed_at < settings.min_refresh_seconds:
            raise ProviderDown("the identity provider could not be reached a moment ago: try again soon")
        try:
            await self._read_anew()
        except ProviderDown:
            self._failed_at = self._clock()
            raise

    async def _read_anew(self) -> None:
        settings = self._settings
        self._trust = await asyncio.to_thread(self._authorities)
        async with httpx2.AsyncClient(**self._options()) as client:
            try:
                raw = await client.get(f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration")
                metadata = msgspec.json.decode(raw.raise_for_status().content, type=_Metadata)
                self._check(metadata)
                answer = (await client.get(metadata.jwks_uri)).raise_for_status().content
                listed = msgspec.json.decode(answer, type=dict[str, list[dict[str, Any]]])
            except (httpx2.HTTPError, ValueError, OSError) as error:
                raise _down(error) from None
        keys = []
        for each in listed.get("keys", [])[:_MAX_KEYS]:
            try:
                key = import_key(each)
            except (JoseError, ValueError, TypeError, KeyError):
                continue  # of a kind that we do not know, so that we accept nothing signed with it
            if key.key_type in {"RSA", "EC", "OKP"} and each.get("use", "sig") == "sig":  # never a symmetric one
                keys.append(key)
        if not keys:
            raise ProviderDown("the provider publishes no key that could verify a login")
        self._metadata, self._keys, self._read_at = metadata, KeySet(keys), self._clock()
        self._doubted = False

    def _check(self, metadata: _Metadata) -> None:
        if metadata.issuer != self._settings.issuer:
            raise ProviderDown("the provider's metadata are of another issuer")
        needed = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        for url in (*needed, *filter(None, [metadata.end_session_endpoint])):
            if not _private(url):
                raise ProviderDown("the provider's metadata name an endpoint that is not https://")

    def _client(self, metadata: _Metadata, redirect_uri: str) -> Any:
        settings = self._settings
        secret = self._secret()
        method = "none"
        if secret:
            known = metadata.token_endpoint_auth_methods_supported
            method = "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
        return AsyncOAuth2Client(
            client_id=settings.client_id,
            client_secret=secret or None,
            token_endpoint_auth_method=method,
            scope=" ".join(settings.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            **self._options(),
        )

    def _secret(self) -> str:
        if not self._settings.client_secret_file:
            return ""
        try:
            return (self._base / self._settings.client_secret_file).read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise ProviderDown("console.oidc.client_secret_file cannot be read") from None

    def _authorities(self) -> ssl.SSLContext:
        """Those who may vouch for the provider: read with its metadata, for it takes milliseconds."""
        file = self._settings.ca_file
        try:
            return ssl.create_default_context(cafile=str(self._base / file) if file else None)
        except (OSError, ssl.SSLError):
            raise ProviderDown("console.oidc.ca_file cannot be read") from None

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        if self._trust is None:  # `_read` would have raised
            raise ProviderDown("the authorities for the provider are not there")
        return {
            "transport": _Bounded(
                httpx2.AsyncHTTPTransport(verify=self._trust, trust_env=False), settings.max_response_bytes
            ),
            "timeout": settings.timeout_seconds,
            "follow_redirects": False,
            "headers": {"accept-encoding": "identity"},
            "trust_env": False,
        }


class _Bounded(httpx2.AsyncBaseTransport):
    """Hands on answers up to a size (I12)."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, most: int) -> None:
        self._inner = inner
        self._most = most

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        answer.stream = _BoundedStream(cast("httpx2.AsyncByteStream", answer.stream), self._most)
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, most: int) -> None:
        self._inner = inner
        self._left = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._inner:
            self._left -= len(part)
            if self._left < 0:
                raise httpx2.DecodingError("the answer is too large")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


def _private(url: str) -> bool:
    """Whether nobody else can listen to what goes there."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return (
        bool(host)
        and "@" not in parts.netloc
        and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOCAL))
    )


def _down(error: Exception) -> ProviderDown:
    return ProviderDown(f"the identity provider cannot be reached, or answers wrongly ({type(error).__name__})")


def _told(error: Exception) -> str:
    """What is wrong, by the claim's name and never its value."""
    claim = getattr(error, "claim", "")
    return f"{type(error).__name__} {claim}".strip()
