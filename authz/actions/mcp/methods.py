"""What a client may ask of an MCP server, in any revision, and which parameter tells what it is about."""

from collections.abc import Mapping
from typing import Final

import msgspec


class Method(msgspec.Struct, frozen=True):
    """One method."""

    names: str = ""
    """The parameter that names the tool or prompt, part of the action's name; "": none does."""
    resource: str = ""
    """The name in `r.obj` under which the parameter `about` is found."""
    about: str = ""
    """The parameter that says which resource, prompt or task it is about."""
    notifies: bool = False
    """A notification: it has no id and gets no answer."""


METHODS: Final[Mapping[str, Method]] = {
    "initialize": Method(),
    "server/discover": Method(),
    "subscriptions/listen": Method(),
    "ping": Method(),
    "tools/list": Method(),
    "tools/call": Method(names="name"),
    "resources/list": Method(),
    "resources/templates/list": Method(),
    "resources/read": Method(resource="uri", about="uri"),
    "resources/subscribe": Method(resource="uri", about="uri"),
    "resources/unsubscribe": Method(resource="uri", about="uri"),
    "prompts/list": Method(),
    "prompts/get": Method(names="name", resource="prompt", about="name"),
    "completion/complete": Method(),
    "logging/setLevel": Method(),
    "tasks/list": Method(),
    "tasks/get": Method(resource="task", about="taskId"),
    "tasks/update": Method(resource="task", about="taskId"),
    "tasks/result": Method(resource="task", about="taskId"),
    "tasks/cancel": Method(resource="task", about="taskId"),
    "notifications/initialized": Method(notifies=True),
    "notifications/cancelled": Method(notifies=True),
    "notifications/progress": Method(notifies=True),
    "notifications/roots/list_changed": Method(notifies=True),
    "notifications/tasks/status": Method(notifies=True),
}
"""Sources: the specification's revisions 2024-11-05 to 2026-07-28, and its tasks extension."""

NAMED: Final = frozenset(
    {"name", "uri", "taskId", "arguments", "ref", "argument", "_meta", "protocolVersion", "inputResponses"}
)
"""The parameters that something here rests on: none may come under a second spelling."""
