"""One request of one human: who they are, what they may use, what they sent, and the page that they get."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, quote

from google.protobuf.message import Message
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from authz.console.desk_room import DeskRoom
from authz.console.sessions import Session
from authz.console.settings import Role
from authz.control.caller import Caller
from authz.control.faults import Code, ControlError
from authz.control.web import http_status

SESSION_COOKIE = "__Host-authz-session"
_MAX_FIELDS = 200
_SEE_OTHER = 303


class Visit:
    """One request."""

    def __init__(self, room: DeskRoom, request: Request, session: Session) -> None:
        self.room = room
        self.request = request
        self.session = session
        self.caller: Caller = room.caller_of(session)

    def may(self, role: Role) -> bool:
        """Whether this human has a role."""
        return role in self.session.person.roles

    def demand(self, role: Role) -> None:
        """Return if this human has a role.

        Raises:
            ControlError: they do not.
        """
        if not self.may(role):
            raise ControlError(
                Code.PERMISSION_DENIED, "ROLE_MISSING", f"this needs the role {role!r}, which none of your groups gives"
            )

    async def call(self, service: str, name: str, request: Message, answer: type[Any]) -> Any:
        """Call the control plane as this human; raises ControlError."""
        return await self.room.services.call(service, name, request, answer, self.caller)

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the URL, the first of its name."""
        return self.request.query_params.get(name, default)

    async def form(self) -> dict[str, str]:
        """Answer the form that was sent, once it is sure that a page of ours to this session sent it.

        Raises:
            ControlError: it was not, or it is no form.
        """
        return await own_form(self.request, self.room, self.session)

    async def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Answer a page."""
        return HTMLResponse(
            await self.room.render(
                template,
                session=self.session,
                csrf=self.session.csrf,
                roles=self.session.person.roles,
                path=self.request.url.path,
                lockdown_on=self.room.lockdown_on(),
                now=self.room.clock(),
                **values,
            ),
            status,
        )

    def go(self, path: str) -> Response:
        """Send the browser on after something was done."""
        return RedirectResponse(path, _SEE_OTHER)


Handler = Callable[[Visit], Awaitable[Response]]


def signed_in(room: DeskRoom, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Answer the handler for those who are signed in; others are shown the way."""

    async def serve(request: Request) -> Response:
        session = room.sessions.find(request.cookies.get(SESSION_COOKIE, ""))
        if session is None:
            return await _not_signed_in(room, request)
        visit = Visit(room, request, session)
        try:
            return await handler(visit)
        except ControlError as error:
            return await visit.page("error.html", status=http_status(error), error=error, title="Not done")

    return serve


async def _not_signed_in(room: DeskRoom, request: Request) -> Response:
    if request.url.path.endswith("/stream"):
        raise HTTPException(401, "you are not signed in, or not any more")
    if request.method not in {"GET", "HEAD"}:
        return _not_done(room, request)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("sec-fetch-site") == "cross-site":
        # A browser keeps the session to itself when another site's link leads here; from our own page it shows it.
        return HTMLResponse(await room.render("continue.html", title="One moment", target=path))
    return RedirectResponse(f"/signin?next={quote(path, safe='')}", _SEE_OTHER)


def _not_done(room: DeskRoom, request: Request) -> Response:
    """A form of ours without a session: it has ended, or another process keeps it. Sign in, and do it again."""
    try:
        demand_own_origin(request, room.origin())
    except ControlError:
        raise HTTPException(401, "you are not signed in, or not any more") from None
    page = request.url.path.rpartition("/")[0]  # the act is the last part of the page's own path
    return RedirectResponse(f"/signin?next={quote(page, safe='')}&lost=1", _SEE_OTHER)


async def own_form(request: Request, room: DeskRoom, session: Session | None) -> dict[str, str]:
    """Answer the form that was sent, once it is sure that a page of ours to this session sent it.

    Raises:
        ControlError: it was not, or it is no form.
    """
    demand_own_origin(request, room.origin())
    fields = await read_form(request, room.settings.max_body_bytes)
    token = fields.pop("csrf", "")
    if session is not None and not hmac.compare_digest(token.encode(), session.csrf.encode()):
        raise ControlError(
            Code.PERMISSION_DENIED, "FORM_NOT_OURS", "the form was not made for this session: load the page again"
        )
    return fields


def demand_own_origin(request: Request, origin: str) -> None:
    """Return if a page of ours sent this request.

    Raises:
        ControlError: it was another's, or that cannot be told.
    """
    named = request.headers.getlist("origin")
    if named == [origin] or (not named and request.headers.get("sec-fetch-site") == "same-origin"):
        return
    raise ControlError(Code.PERMISSION_DENIED, "OTHER_ORIGIN", "the request comes from a page of another site")


async def read_form(request: Request, most: int) -> dict[str, str]:
    """Answer the fields of a form, each at most once.

    Raises:
        ControlError: it is too large, or no form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise ControlError(Code.INVALID_ARGUMENT, "NOT_A_FORM", "expected a form")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise ControlError(Code.OUT_OF_RANGE, "TOO_LARGE", f"the form is larger than {most} bytes")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise ControlError(Code.INVALID_ARGUMENT, "NOT_A_FORM", "the form cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ControlError(Code.INVALID_ARGUMENT, "NOT_A_FORM", "a field of the form comes twice")
    return fields
