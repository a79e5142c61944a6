"""One login on its way to the provider and back: what ties the answer to the browser that asked.

Nothing is kept here meanwhile, so that beginning logins by the million costs no memory: the browser holds a name in a
cookie, and the state, nonce and PKCE verifier follow from it by a key that only this process has. Only of a login whose
answer has come is it remembered, for as long as it lasts, that it is used.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable

import msgspec

_SHAPE = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")
_BYTES = 32
_MOST_USED = 65_536
"""More than the console's pace lets through while a login lasts, as both are by default."""


class Login(msgspec.Struct, frozen=True):
    """What one login goes by."""

    cookie: str
    state: str
    nonce: str
    verifier: str
    """Of PKCE (RFC 7636): 43 characters of base64url."""


class LoginUsed(Exception):
    """The answer to this login has come before."""


class Logins:
    """Begins logins, and knows them again."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """`seconds`: how long one may take."""
        self._seconds = seconds
        self._clock = clock
        self._key = secrets.token_bytes(_BYTES)
        self._used: set[str] = set()
        """Names of logins that are used, since `_turned`; those before are in `_used_before`."""
        self._used_before: set[str] = set()
        self._turned = clock()

    def begin(self) -> Login:
        """Begin one."""
        return self._made(str(int(self._clock() + self._seconds)), secrets.token_urlsafe(_BYTES))

    def take(self, cookie: str, state: str) -> Login | None:
        """Answer the login that this browser began and that the answer is for, once: from now on it is used.

        None: it is not that, or too late, or there is no room to remember it.

        Raises:
            LoginUsed: it was taken before, so that whoever comes with it may have copied what they show.
        """
        match = _SHAPE.fullmatch(cookie)
        if match is None:
            return None
        login = self._made(match[1], match[2])
        ours = hmac.compare_digest(login.cookie, cookie) and hmac.compare_digest(login.state.encode(), state.encode())
        now = self._clock()
        if not ours or int(match[1]) <= now:
            return None
        return login if self._use(match[2], now) else None

    def _use(self, name: str, now: float) -> bool:
        if now - self._turned > self._seconds:
            # What was used before the last turn is too late by now.
            gone = now - self._turned > 2 * self._seconds
            self._used_before, self._used, self._turned = set() if gone else self._used, set(), now
        if name in self._used or name in self._used_before:
            raise LoginUsed
        if len(self._used) + len(self._used_before) >= _MOST_USED:
            return False
        self._used.add(name)
        return True

    def _made(self, until: str, name: str) -> Login:
        def derived(what: str) -> str:
            digest = hmac.new(self._key, f"{what}.{until}.{name}".encode(), hashlib.sha256).digest()
            return urlsafe_b64encode(digest).rstrip(b"=").decode()

        return Login(f"{until}.{name}.{derived('cookie')}", derived("state"), derived("nonce"), derived("verifier"))
