"""An OpenID provider, as a public client on a terminal speaks to it: discovery, and forms that it answers with JSON."""

import contextlib
import http.client
import ipaddress
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import IO, Any, Final

import msgspec

from authz.errors import AuthzError

_MAX_BYTES: Final = 262_144
_TIMEOUT_SECONDS: Final = 15.0


class SignInError(AuthzError):
    """Signing in did not work; the message holds no token."""


class Provider(msgspec.Struct, frozen=True):
    """What a provider says of itself; an endpoint that it lacks is ""."""

    issuer: str
    token_endpoint: str
    authorization_endpoint: str = ""
    device_authorization_endpoint: str = ""


def check_url(url: str) -> str:
    """The URL, if what is sent there cannot be read on the way: https, or http to this machine.

    Raises:
        SignInError: it is another.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise SignInError("the provider's URL cannot be read") from None
    local = host == "localhost"
    with contextlib.suppress(ValueError):
        local = local or ipaddress.ip_address(host).is_loopback
    if not host or parts.username or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise SignInError(f"{parts.scheme}://{host}: expected https://, or http:// to this machine")
    return url


def discover(issuer: str, ca_file: str = "") -> Provider:
    """What the provider publishes about itself (OpenID Connect Discovery 4).

    Raises:
        SignInError: it cannot be read, or is that of another.
    """
    place = check_url(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    status, found = _send(urllib.request.Request(place), ca_file)  # noqa: S310 - checked
    if status != http.client.OK or found.get("issuer") != issuer:
        raise SignInError(f"{issuer}: publishes no OpenID configuration of its own there (status {status})")
    try:
        provider = msgspec.convert(found, Provider)
    except msgspec.ValidationError as error:
        raise SignInError(f"{issuer}: its OpenID configuration: {error}") from None
    for endpoint in (provider.token_endpoint, provider.authorization_endpoint, provider.device_authorization_endpoint):
        if endpoint:
            check_url(endpoint)
    return provider


def post(endpoint: str, form: Mapping[str, str], ca_file: str = "") -> tuple[int, Mapping[str, Any]]:
    """Send a form; answer the status and the members of the JSON object that comes back.

    Raises:
        SignInError: nothing of that kind does.
    """
    data = urllib.parse.urlencode(form).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    return _send(urllib.request.Request(check_url(endpoint), data, headers), ca_file)  # noqa: S310 - checked


def text_of(answer: Mapping[str, Any], name: str) -> str:
    """A member that has to be there as text.

    Raises:
        SignInError: it is not.
    """
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise SignInError(f"the provider's answer has no {name}")
    return value


def refused(answer: Mapping[str, Any], status: int) -> SignInError:
    """The error for a refusal (RFC 6749 section 5.2); its code is shown if it is one."""
    code = answer.get("error")
    fine = isinstance(code, str) and code.isascii() and code.isprintable() and len(code) < 64  # noqa: PLR2004 - codes are short
    return SignInError(f"the provider refuses: {code if fine else 'status'} {'' if fine else status}".strip())


def _send(request: urllib.request.Request, ca_file: str) -> tuple[int, Mapping[str, Any]]:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError):
        raise SignInError(f"{ca_file}: no usable certificates") from None
    opener = urllib.request.OpenerDirector()  # that follows no redirect, and no proxy out of the environment
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return answer.status, _read(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SignInError(f"{request.host}: no answer: {type(reason).__name__}") from None


def _read(answer: IO[bytes]) -> Mapping[str, Any]:
    content = answer.read(_MAX_BYTES + 1)
    try:
        found = json.loads(content) if len(content) <= _MAX_BYTES else None
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
