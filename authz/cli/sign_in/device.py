"""Signing in by a code that is typed in elsewhere: OAuth 2.0 device authorization (RFC 8628)."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from authz.cli.sign_in.provider import Provider, SignInError, post, refused, text_of

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_SECONDS: Final = 5.0
_DEFAULT_INTERVAL: Final = 5.0
_MAX_INTERVAL: Final = 60.0
_MAX_SECONDS: Final = 1_800.0


def sign_in_by_device(  # noqa: PLR0913 - what it takes
    provider: Provider,
    client_id: str,
    scopes: Sequence[str],
    tell: Callable[[str, str], None],
    *,
    ca_file: str = "",
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Mapping[str, Any]:
    """The provider's answer with the tokens; `tell` is told the address to open, and the code to type in.

    Raises:
        SignInError: the human refuses, or nobody comes in time.
    """
    if not provider.device_authorization_endpoint:
        raise SignInError("the provider has no device flow: use --browser")
    form = {"client_id": client_id, "scope": " ".join(scopes)}
    status, begun = post(provider.device_authorization_endpoint, form, ca_file)
    if "device_code" not in begun:
        raise refused(begun, status)
    address = begun.get("verification_uri_complete") or text_of(begun, "verification_uri")
    tell(str(address), text_of(begun, "user_code"))
    interval = min(_number(begun, "interval", _DEFAULT_INTERVAL), _MAX_INTERVAL)
    end = monotonic() + min(_number(begun, "expires_in", _MAX_SECONDS), _MAX_SECONDS)
    form = {"client_id": client_id, "grant_type": _GRANT, "device_code": text_of(begun, "device_code")}
    while monotonic() < end:
        sleep(interval)
        status, answer = post(provider.token_endpoint, form, ca_file)
        match answer.get("error"):
            case None:
                return answer
            case "authorization_pending":
                continue
            case "slow_down":
                interval = min(interval + _SLOWER_SECONDS, _MAX_INTERVAL)
            case _:
                raise refused(answer, status)
    raise SignInError("nobody signed in before the code lapsed")


def _number(answer: Mapping[str, Any], name: str, default: float) -> float:
    value = answer.get(name, default)
    return float(value) if isinstance(value, int | float) and value >= 0 else default
