"""The console as an ASGI application: which path is which page."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from authz.console.account import CALLBACK, Account
from authz.console.assets import Assets
from authz.console.desk_room import DeskRoom
from authz.console.guard import App, Guard, Scope
from authz.console.pages import approvals, changes, decisions, grants, lockdown, policy, tasks
from authz.console.visit import SESSION_COOKIE, Handler, signed_in


def console_app(room: DeskRoom, assets: Assets) -> App:
    """Answer the application."""
    account, live = Account(room), decisions.Live()

    def page(path: str, handler: Handler) -> Route:
        return Route(path, signed_in(room, handler), methods=["GET"])

    def act(path: str, handler: Handler) -> Route:
        return Route(path, signed_in(room, handler), methods=["POST"])

    routes = [
        Route("/", _home, methods=["GET"]),
        Route("/signin", account.sign_in, methods=["GET"]),
        Route("/login", account.log_in, methods=["GET"]),
        Route(CALLBACK, account.come_back, methods=["GET"]),
        Route("/logout", account.log_out, methods=["POST"]),
        Route("/static/{name}", assets.serve, methods=["GET"]),
        page("/approvals", approvals.inbox),
        page("/approvals/{id}", approvals.card),
        act("/approvals/{id}/approve", approvals.approve),
        act("/approvals/{id}/reject", approvals.reject),
        act("/approvals/{id}/withdraw", approvals.withdraw),
        page("/decisions", live.page),
        page("/decisions/stream", live.stream),
        page("/decisions/{id}", decisions.explained),
        page("/tasks", tasks.listed),
        page("/tasks/{id:path}", tasks.one),
        act("/tasks/{id:path}/resume", tasks.resume),
        page("/grants", grants.listed),
        page("/grants/{id}", grants.one),
        act("/grants/{id}/revoke", grants.revoke),
        page("/lockdown", lockdown.page),
        act("/lockdown/start", lockdown.start),
        act("/lockdown/end", lockdown.end),
        page("/policy", policy.page),
        page("/changes", changes.listed),
        act("/changes/{id}/confirm", changes.confirm),
        act("/changes/{id}/reject", changes.reject),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _told(room)})
    app.router.redirect_slashes = False

    def known(scope: Scope) -> bool:
        return room.sessions.knows(Request(scope).cookies.get(SESSION_COOKIE, ""))

    return Guard(room.settings, app, lambda: room.origin().removeprefix("https://"), known)


async def _home(_: Request) -> Response:
    return RedirectResponse("/approvals", 303)


def _told(room: DeskRoom) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def tell(_: Request, error: Exception) -> Response:
        status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "it failed")
        return HTMLResponse(await room.render("problem.html", title="Not here", problem=detail, status=status), status)

    return tell
