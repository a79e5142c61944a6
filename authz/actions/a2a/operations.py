"""What A2A's operations are called in each binding and revision, and which path they have.

Source: A2A 1.0.1 sections 5.3 and 9 to 11; A2A 0.3.0 section 3.5.6.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from authz.errors import Reason, Refusal

SENDS: Final = frozenset({"SendMessage", "SendStreamingMessage"})
BY_TASK: Final = frozenset({"GetTask", "CancelTask", "SubscribeToTask"})
"""Operations whose `id` is the task's."""
BY_CONFIG: Final = frozenset(
    {
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
    }
)
"""Operations whose `taskId` is the task's, in 1.0."""
ALL: Final = SENDS | BY_TASK | BY_CONFIG | {"ListTasks", "GetExtendedAgentCard"}

OLD_NAMES: Final[Mapping[str, str]] = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/list": "ListTasks",
    "tasks/cancel": "CancelTask",
    "tasks/resubscribe": "SubscribeToTask",
    "tasks/pushNotificationConfig/set": "CreateTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/get": "GetTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/list": "ListTaskPushNotificationConfigs",
    "tasks/pushNotificationConfig/delete": "DeleteTaskPushNotificationConfig",
    "agent/getAuthenticatedExtendedCard": "GetExtendedAgentCard",
}
"""0.3's names of the operations; both revisions are called by 1.0's, so that one rule covers them."""

GRPC: Final = re.compile(r"/(?:lf\.)?a2a\.v1\.A2AService/([A-Za-z]+)")

_TASK: Final = r"(?P<task>[A-Za-z0-9._~-]{1,256})"
_CONFIG: Final = r"/pushNotificationConfigs/(?P<config>[A-Za-z0-9._~-]{1,256})"
_ROUTES: Final = tuple(
    (method, re.compile(r"(?P<before>(?:/[^/:]+)*?)" + path), name)
    for method, path, name in (
        ("POST", r"/message:send", "SendMessage"),
        ("POST", r"/message:stream", "SendStreamingMessage"),
        ("GET", r"/tasks", "ListTasks"),
        ("GET", rf"/tasks/{_TASK}", "GetTask"),
        ("POST", rf"/tasks/{_TASK}:cancel", "CancelTask"),
        ("POST", rf"/tasks/{_TASK}:subscribe", "SubscribeToTask"),
        ("GET", rf"/tasks/{_TASK}:subscribe", "SubscribeToTask"),
        ("POST", rf"/tasks/{_TASK}/pushNotificationConfigs", "CreateTaskPushNotificationConfig"),
        ("GET", rf"/tasks/{_TASK}/pushNotificationConfigs", "ListTaskPushNotificationConfigs"),
        ("GET", rf"/tasks/{_TASK}{_CONFIG}", "GetTaskPushNotificationConfig"),
        ("DELETE", rf"/tasks/{_TASK}{_CONFIG}", "DeleteTaskPushNotificationConfig"),
        ("GET", r"/extendedAgentCard", "GetExtendedAgentCard"),
        ("GET", r"/(?:v1/)card", "GetExtendedAgentCard"),
        ("GET", r"/\.well-known/agent(?:-card)?\.json", "GetAgentCard"),
    )
)
# Where one of these stands in the path the request is one of the REST binding, known to us or not.
_REST_WORDS: Final = frozenset({"tasks", "pushNotificationConfigs", "extendedAgentCard", "card", ".well-known"})


class Operation(NamedTuple):
    """What a path asks for."""

    name: str
    task: str
    """"" where the path names none."""
    before: str
    """The segment before the operation: the tenant, or a part of where the agent is mounted; "": none."""


def by_path(method: str, path: str) -> Operation | None:
    """Answer what a request of the REST binding asks for; None: it can only be one of the JSON-RPC binding.

    Raises:
        Refusal: a path that no operation has, though it looks so, or that a server could decode to another.
    """
    if "%" in path:
        raise Refusal(Reason.BODY_AMBIGUOUS, "an escape in the path of an A2A request")
    for verb, pattern, name in _ROUTES:
        if verb == method and (found := pattern.fullmatch(path)):
            return Operation(name, found.groupdict().get("task", ""), found["before"].rpartition("/")[2])
    if method != "POST" or ":" in path or not _REST_WORDS.isdisjoint(path.split("/")):
        raise Refusal(Reason.BODY_UNKNOWN, "no path and method of an A2A operation")
    return None
