"""Puts a console together."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from authz.console.app import console_app
from authz.console.assets import Assets
from authz.console.desk_room import DeskRoom, templates
from authz.console.login import Logins
from authz.console.people import HumanSettings, caller_of
from authz.console.provider import Provider
from authz.console.server import ConsoleServer
from authz.console.services import Services
from authz.console.sessions import Session, Sessions
from authz.console.settings import ConsoleSettings
from authz.control.caller import Caller, Callers
from authz.control.desk import Desk
from authz.control.method import Methods


def console(  # noqa: PLR0913 - what a console has to do with the rest of the server
    settings: ConsoleSettings,
    base: Path,
    *,
    desk: Desk,
    services: Mapping[ServiceDescriptor, Methods],
    callers: Callers,
    approvers: Mapping[str, tuple[str, ...]],
    person_claim: str,
    lockdown_on: Callable[[], bool],
    clock: Callable[[], float],
) -> ConsoleServer:
    """Answer a console that is ready to serve; `base`: where relative paths in the configuration start.

    `approvers`: for each group of approvers, the provider's groups that are of it. `person_claim`: the claim that tells
    people apart for approvals.

    Raises:
        ConfigError: its address is none.
    """
    opened: list[ConsoleServer] = []

    def origin() -> str:
        return settings.public_url or f"https://{opened[0].address}"

    humans = HumanSettings(
        groups_claim=settings.oidc.groups_claim, name_claims=settings.oidc.name_claims, groups=approvers
    )
    sessions = Sessions(settings.sessions, clock)

    def caller(session: Session) -> Caller:
        return caller_of(session, callers, humans)

    def signed_in(name: str) -> Caller | None:
        known = ((session, session.person) for session in sessions.going_on())
        # Names first: to make callers of ten thousand sessions would keep decisions waiting.
        found = (session for session, who in known if callers.name_of(who.issuer, who.subject) == name)
        return next(map(caller, found), None)

    callers.signed_in = signed_in
    assets = Assets()
    room = DeskRoom(
        settings=settings,
        services=Services(desk, services, settings.timeout_seconds),
        sessions=sessions,
        logins=Logins(settings.oidc.login_seconds, clock),
        provider=Provider(settings.oidc, base, clock, person_claim),
        templates=templates(assets, settings.max_shown_characters),
        caller_of=caller,
        origin=origin,
        lockdown_on=lockdown_on,
        clock=clock,
    )
    app: Any = console_app(room, assets)
    opened.append(ConsoleServer(settings, app))
    return opened[0]
