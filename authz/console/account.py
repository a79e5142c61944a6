"""Coming and going: sign in at the provider, come back, sign out."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote, urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from authz.console.desk_room import DeskRoom
from authz.console.login import LoginUsed
from authz.console.provider import NotSignedIn, ProviderDown
from authz.console.services import SIGN_IN, SIGN_OUT
from authz.console.sessions import Person
from authz.console.visit import SESSION_COOKIE, own_form
from authz.control.faults import ControlError
from authz.control.web import http_status

LOGIN_COOKIE = "__Host-authz-login"
CALLBACK = "/login/callback"
_HOME = "/approvals"
_MAX_PATH = 1_024
_MAX_CODE = 4_096


class Account:
    """The pages that nobody need be signed in for."""

    def __init__(self, room: DeskRoom) -> None:
        self._room = room
        self._log = structlog.get_logger("authz.console")

    async def sign_in(self, request: Request) -> Response:
        """The page with the one button."""
        target = local_path(request.query_params.get("next", ""))
        return HTMLResponse(
            await self._room.render(
                "signin.html",
                title="Sign in",
                target=quote(target, safe=""),
                issuer=self._room.settings.oidc.issuer,
                out=request.query_params.get("out") == "1",
                lost=request.query_params.get("lost") == "1",
            )
        )

    async def log_in(self, request: Request) -> Response:
        """Send the browser to the provider."""
        login = self._room.logins.begin()
        target = local_path(request.query_params.get("next", ""))
        try:
            url = await self._room.provider.leave(login, self._callback)
        except ProviderDown as error:
            return await self._problem(503, error)
        response = RedirectResponse(url, 303)
        kept = f"{login.cookie}~{urlsafe_b64encode(target.encode()).decode()}"
        # Lax: the way back from the provider begins at another site.
        _set(response, LOGIN_COOKIE, kept, "lax", int(self._room.settings.oidc.login_seconds))
        return response

    async def come_back(self, request: Request) -> Response:
        """Take the provider's answer, and begin a session."""
        place = request.cookies.get(LOGIN_COOKIE, "").partition("~")[2]
        old = request.cookies.get(SESSION_COOKIE, "")
        try:
            name = self._begin(await self._person(request))
        except ProviderDown as error:
            return await self._problem(503, error)
        except NotSignedIn as error:
            self._log.warning("a login failed", problem=str(error))
            return await self._problem(403, error)
        except ControlError as error:
            return await self._problem(http_status(error), error)
        self._room.sessions.end(old)
        # A page and no redirect: what begins at the provider's site would not show a strict cookie.
        response = HTMLResponse(await self._room.render("continue.html", title="Signed in", target=_target(place)))
        _set(response, SESSION_COOKIE, name, "strict", int(self._room.settings.sessions.absolute_seconds))
        response.delete_cookie(LOGIN_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return response

    async def _person(self, request: Request) -> Person:
        """Answer who the provider says has come back, to the browser that went."""
        query = request.query_params
        cookie = request.cookies.get(LOGIN_COOKIE, "").partition("~")[0]
        try:
            login = self._room.logins.take(cookie, query.get("state", ""))
        except LoginUsed:
            raise NotSignedIn("this login was used already: begin anew") from None
        if login is None:
            raise NotSignedIn("this login was not begun in this browser, or took too long")
        code = query.get("code", "")
        if "error" in query or not 0 < len(code) <= _MAX_CODE:
            raise NotSignedIn("the provider did not sign you in")
        return await self._room.provider.come_back(login, self._callback, code, query.get("iss", ""))

    def _begin(self, person: Person) -> str:
        """Answer the name of a new session, once policy lets this human in and that is on record."""
        room = self._room
        name = room.sessions.begin(person)
        session = room.sessions.find(name)
        if session is None:
            raise NotSignedIn("sessions end at once here: see console.sessions")
        try:
            room.services.signed(SIGN_IN, room.caller_of(session))
        except ControlError:
            room.sessions.end(name)
            raise
        return name

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        name = request.cookies.get(SESSION_COOKIE, "")
        session = self._room.sessions.find(name)
        try:
            await own_form(request, self._room, session)
        except ControlError as error:
            return await self._problem(http_status(error), error)
        if session is not None:
            self._room.sessions.end(name)  # first: a record that cannot be kept keeps nobody in
            try:
                self._room.services.signed(SIGN_OUT, self._room.caller_of(session))
            except ControlError as error:
                self._log.warning("a sign-out is not on record", problem=error.reason)
        there = self._room.provider.sign_out(f"{self._room.origin()}/signin")
        if there and session is not None:
            # A page and no redirect: `form-action` lets no form lead to another site.
            response: Response = HTMLResponse(
                await self._room.render("signed_out.html", title="Signed out", target=there)
            )
        else:
            response = RedirectResponse("/signin?out=1", 303)
        response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return response

    @property
    def _callback(self) -> str:
        return f"{self._room.origin()}{CALLBACK}"

    async def _problem(self, status: int, error: Exception) -> Response:
        down = status == HTTPStatus.SERVICE_UNAVAILABLE
        page = await self._room.render("signin_failed.html", title="Not signed in", problem=str(error), down=down)
        return HTMLResponse(page, status)


def local_path(text: str) -> str:
    """Answer the path on this console that a text names; the inbox for anything else (no open redirect)."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return _HOME
    plain = text.isascii() and text.isprintable() and "\\" not in text and " " not in text and len(text) <= _MAX_PATH
    here = text.startswith("/") and not text.startswith("//") and not parts.scheme and not parts.netloc
    return text if plain and here else _HOME


def _target(place: str) -> str:
    try:
        return local_path(urlsafe_b64decode(place.encode("ascii")).decode())
    except ValueError:
        return _HOME


def _set(response: Response, name: str, value: str, same_site: Literal["lax", "strict"], seconds: int) -> None:
    # `__Host-`: from this very host, over TLS, for the whole of it; no other can set or read it.
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite=same_site)
