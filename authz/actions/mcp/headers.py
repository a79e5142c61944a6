"""What the headers of an MCP request say, and that the body says the same.

Source: revision 2026-07-28, transports (`MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name`): whoever reads the body must
compare and refuse a difference. Older revisions have the first alone; the others are compared there, too, where they
come, since a proxy may route by them.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from authz.actions.mcp.mirrored import decoded
from authz.actions.mcp.params import PREFIX, refuse_params
from authz.actions.mcp.settings import McpSettings
from authz.errors import Reason, Refusal

VERSION: Final = "mcp-protocol-version"
METHOD: Final = "mcp-method"
NAME: Final = "mcp-name"
SESSION: Final = "mcp-session-id"
STATELESS: Final = "2026-07-28"
"""The revision without sessions and handshake, with mirrored headers."""
BATCHING: Final = "2025-03-26"
"""The revision with batches."""
_SESSION_ID = re.compile(r"[\x21-\x7e]{1,256}")
_ONCE: Final = frozenset({VERSION, METHOD, NAME, SESSION})


def revision_of(headers: Mapping[str, str], settings: McpSettings) -> str:
    """Answer the revision that the request is written in.

    Raises:
        Refusal: BODY_UNKNOWN: one that is not accepted.
    """
    revision = headers.get(VERSION)
    if revision is None:
        if settings.without_version not in settings.revisions:
            raise Refusal(Reason.BODY_UNKNOWN, f"no {VERSION} header")
        return settings.without_version
    if revision not in settings.revisions:
        raise Refusal(Reason.BODY_UNKNOWN, "a protocol revision that is not accepted")
    return revision


def check_once(repeated: Collection[str]) -> None:
    """Refuse a header that came more than once: who takes the first value sees another than who joins them.

    Raises:
        Refusal: BODY_MISMATCH.
    """
    for name in repeated:
        if name in _ONCE or name.startswith(PREFIX):
            raise Refusal(Reason.BODY_MISMATCH, "a header that says what the body does came more than once")


def refuse_mirrored(headers: Mapping[str, str], problem: str) -> None:
    """Refuse headers that mirror a message where there is none, or more than one.

    Raises:
        Refusal: BODY_MISMATCH.
    """
    if METHOD in headers or NAME in headers:
        raise Refusal(Reason.BODY_MISMATCH, problem)
    refuse_params(headers)


def check_session(headers: Mapping[str, str]) -> None:
    """Refuse a session id that is none.

    Raises:
        Refusal: BODY_MALFORMED.
    """
    session = headers.get(SESSION)
    if session is not None and not _SESSION_ID.fullmatch(session):
        raise Refusal(Reason.BODY_MALFORMED, f"{SESSION} is no session id")


def check_mirrored(headers: Mapping[str, str], revision: str, method: str, name: str | None) -> None:
    """Refuse headers that say something else than the body; `name`: of tool, prompt, resource or task, None: has none.

    Raises:
        Refusal: BODY_MISMATCH.
    """
    demanded = revision == STATELESS
    told = headers.get(METHOD)
    if told is None and not demanded:
        pass
    elif told is None or told.strip(" \t") != method:
        raise Refusal(Reason.BODY_MISMATCH, f"{METHOD} does not name the body's method")
    told = headers.get(NAME)
    if told is None:
        if demanded and name is not None:
            raise Refusal(Reason.BODY_MISMATCH, f"no {NAME} header")
    elif name is None or decoded(told, NAME) != name:
        raise Refusal(Reason.BODY_MISMATCH, f"{NAME} does not name what the body does")
