"""Signing in by a browser on this machine: authorization code with PKCE, and a redirect to the loopback address.

Source: RFC 8252 section 7.3, RFC 7636, RFC 9207.
"""

import base64
import hashlib
import hmac
import http.server
import secrets
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from authz.cli.sign_in.provider import Provider, SignInError, post, refused, text_of
from authz.errors import Refusal
from authz.jose.jwt import parse_compact_jwt

_MAX_SECONDS: Final = 300.0
_PATH: Final = "/callback"
_DONE: Final = b"<!doctype html><title>authz</title><p>Done. You can close this page and go back to the terminal."


def sign_in_by_browser(  # noqa: PLR0913 - what it takes
    provider: Provider,
    client_id: str,
    scopes: Sequence[str],
    open_page: Callable[[str], None],
    *,
    ca_file: str = "",
    seconds: float = _MAX_SECONDS,
) -> Mapping[str, Any]:
    """The provider's answer with the tokens; `open_page` is given the address where the human signs in.

    Raises:
        SignInError: the human refuses, nobody comes in time, or what comes back is not the answer to this.
    """
    if not provider.authorization_endpoint:
        raise SignInError("the provider has no authorization endpoint: use --device")
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with _Receiver(state) as receiver:
        redirect = f"http://127.0.0.1:{receiver.server_port}{_PATH}"
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect,
            "scope": " ".join(scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in provider.authorization_endpoint else "?"
        open_page(f"{provider.authorization_endpoint}{separator}{urllib.parse.urlencode(query)}")
        answer = receiver.wait(seconds)
    if answer.get("iss", provider.issuer) != provider.issuer:
        raise SignInError("the answer is of another provider")
    if "error" in answer or "code" not in answer:
        raise refused(answer, 0)
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": answer["code"],
        "redirect_uri": redirect,
        "code_verifier": verifier,
    }
    status, tokens = post(provider.token_endpoint, form, ca_file)
    if "error" in tokens or "id_token" not in tokens:
        raise refused(tokens, status)
    _demand_nonce(text_of(tokens, "id_token"), nonce)
    return tokens


def _demand_nonce(token: str, nonce: str) -> None:
    """Pass when the token answers this very request; that it is genuine is for the server to judge."""
    try:
        found = parse_compact_jwt(token).claims.get("nonce")
    except Refusal:
        found = None
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise SignInError("the ID token does not answer this request")


class _Receiver(http.server.HTTPServer):
    """Waits on the loopback address for the browser to come back."""

    timeout = 1.0

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self.answer: dict[str, str] = {}

    def wait(self, seconds: float) -> dict[str, str]:
        """The parameters of the answer with our state; others are not listened to."""
        for _ in range(max(1, int(seconds / self.timeout))):
            self.handle_request()
            if self.answer:
                return self.answer
        raise SignInError("nobody signed in in time")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nobody's answer."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Receiver
    timeout = 5.0

    def do_GET(self) -> None:
        """Take the answer, if it is the one to our question."""
        parts = urllib.parse.urlsplit(self.path)
        try:
            found = dict(urllib.parse.parse_qsl(parts.query, strict_parsing=True, max_num_fields=32))
        except ValueError:
            found = {}
        ours = hmac.compare_digest(found.get("state", "").encode(), self.server.state.encode())
        self.send_response(200 if ours and parts.path == _PATH else 404)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("referrer-policy", "no-referrer")
        self.end_headers()
        if ours and parts.path == _PATH:
            self.server.answer = found
            self.wfile.write(_DONE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature is theirs
        """The address holds the code: it is not logged (I10)."""
