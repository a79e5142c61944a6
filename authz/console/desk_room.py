"""What all pages share."""

from asyncio import sleep
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

import jinja2
import msgspec

from authz.console.assets import Assets
from authz.console.login import Logins
from authz.console.provider import Signs
from authz.console.services import Services
from authz.console.sessions import Session, Sessions
from authz.console.settings import ConsoleSettings
from authz.console.shown import shown
from authz.console.words import distance, span, when
from authz.control.caller import Caller

_PIECE_SECONDS: Final = 0.0002


class DeskRoom(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a console."""

    settings: ConsoleSettings
    services: Services
    sessions: Sessions
    logins: Logins
    provider: Signs
    templates: jinja2.Environment
    caller_of: Callable[[Session], Caller]
    origin: Callable[[], str]
    """`https://` and the host under which browsers reach it."""
    lockdown_on: Callable[[], bool]
    clock: Callable[[], float]

    async def render(self, template: str, **values: Any) -> str:
        """Answer a page's text, made in pieces so short that a decision never waits for a whole page."""
        parts: list[str] = []
        over = perf_counter() + _PIECE_SECONDS
        for part in self.templates.get_template(template).generate(values):
            parts.append(part)
            if perf_counter() > over:
                await sleep(0)
                over = perf_counter() + _PIECE_SECONDS
        return "".join(parts)


def templates(assets: Assets, most_characters: int) -> jinja2.Environment:
    """Answer the templates, every one compiled on its first use and kept."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("authz.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["shown"] = lambda value: shown(value, most_characters)
    made.filters["brief"] = lambda value, most=80: shown(value, most)
    made.filters["when"] = when
    made.filters["span"] = span
    made.filters["distance"] = distance
    made.globals["asset"] = assets.url
    made.globals["session"] = None
    made.globals["lockdown_on"] = False
    made.globals["path"] = ""
    return made
