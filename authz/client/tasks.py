"""Grants for the length of a task: issued on entry, renewed while it goes on, over on exit whatever happens."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from authz.client.connection import Connection
from authz.client.errors import CallFailedError
from authz.control.v1 import grants_pb2 as pb
from authz.control.v1.common_pb2 import Permission, PermissionCondition
from authz.control.v1.common_pb2 import Task as ProtoTask

_KEY_BYTES = 16
_RENEW_AT = 2 / 3
"""Share of a grant's life after which the next one is asked for."""
_LEAST_PAUSE_SECONDS = 1.0


def permission(
    actions: Sequence[str],
    resources: Sequence[str],
    *,
    locations: Sequence[str] = ("*",),
    conditions: Mapping[str, str | float | bool] | None = None,
) -> Permission:
    """What may be done to what.

    `actions`: HTTP methods, gRPC methods or tools, such as "GET" or "mcp:tools/search". `resources`: paths such as
    "/v1/accounts/{id}" or "/v1/accounts/*". `locations`: hosts. `conditions`: attribute -> the value that it must have.
    """
    made = Permission(actions=actions, resources=resources, locations=locations)
    for attribute, value in (conditions or {}).items():
        condition = PermissionCondition(attribute=attribute)
        if isinstance(value, bool):
            condition.among.add(bool_value=value)
        elif isinstance(value, str):
            condition.among.add(string_value=value)
        else:
            condition.among.add(number_value=value)
        made.conditions.append(condition)
    return made


def limits(*, calls: int = 0, resources: int = 0, sums: Mapping[str, str] | None = None) -> pb.TaskLimits:
    """What a task may spend in all: calls, distinct resources, and what arguments add up to, as {"amount": "99.95"}."""
    return pb.TaskLimits(calls=calls, resources=resources, sums=dict(sums or {}))


class Task:
    """A task that is going on, and the grant that covers it now."""

    def __init__(self, answer: pb.IssueResponse) -> None:
        self._answer = answer
        self.problem: CallFailedError | None = None
        """Why the last renewal failed; None while all is well. The grant at hand is good until it expires."""

    @property
    def id(self) -> str:
        """The task's id."""
        return self._answer.grant.task.id

    @property
    def token(self) -> str:
        """The grant's token as of now: ask again for each request."""
        return self._answer.token

    @property
    def header(self) -> str:
        """The request header in which it is sent."""
        return self._answer.header

    @property
    def headers(self) -> dict[str, str]:
        """The header with the token as of now."""
        return {self.header: self.token}

    @property
    def grant(self) -> pb.Grant:
        """What was granted."""
        return self._answer.grant

    @property
    def expires(self) -> float:
        """When the grant at hand ends, in seconds since the epoch."""
        return float(self._answer.grant.expires_at.seconds)

    def renewed(self, answer: pb.IssueResponse) -> None:
        """Go on with another grant of the same task."""
        self._answer, self.problem = answer, None


class Grants:
    """Asks for grants over a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextlib.asynccontextmanager
    async def task(  # noqa: PLR0913 - each by name
        self,
        *,
        purpose: str,
        scope: Sequence[Permission],
        task_id: str = "",
        ttl_seconds: int = 0,
        uses: int = 0,
        limits: pb.TaskLimits | None = None,
        bind_certificate: bool = False,
        renew: bool = True,
    ) -> AsyncIterator[Task]:
        """Have a grant for the length of a block; the task is completed at its end, also by an error or cancellation.

        `renew`: ask for the next grant before one expires; what the server then refuses shows in `Task.problem`.
        `ttl_seconds`, `uses`: 0 for the server's default, and for any number. A counted grant is not renewed.

        Raises:
            CallFailedError: the grant was refused; or, at the end of a block without an error, completing failed.
        """
        request = pb.IssueRequest(
            task=ProtoTask(id=task_id, purpose=purpose),
            permissions=scope,
            uses=uses,
            limits=limits,
            bind_certificate=bind_certificate,
            idempotency_key=secrets.token_urlsafe(_KEY_BYTES),
        )
        if ttl_seconds:
            request.ttl.seconds = ttl_seconds
        task = Task(await self._issue(request))
        renewing = asyncio.create_task(self._renew(task, request)) if renew and not uses else None
        try:
            yield task
        except BaseException as error:
            with contextlib.suppress(CallFailedError):  # the block's own error is what the caller has to hear of
                await self._end(task, renewing, f"failed: {type(error).__name__}")
            raise
        await self._end(task, renewing, "done")

    async def _issue(self, request: pb.IssueRequest) -> pb.IssueResponse:
        return await self._connection.call("Grants/Issue", request, pb.IssueResponse)

    async def _renew(self, task: Task, first: pb.IssueRequest) -> None:
        while True:
            left = task.expires - time.time()
            spare = (task.expires - task.grant.issued_at.seconds) * (1 - _RENEW_AT)
            await asyncio.sleep(max(_LEAST_PAUSE_SECONDS, left / 4 if task.problem else left - spare))
            request = pb.IssueRequest()
            request.CopyFrom(first)
            request.task.id = task.id
            request.idempotency_key = secrets.token_urlsafe(_KEY_BYTES)
            try:
                task.renewed(await self._issue(request))
            except CallFailedError as error:
                task.problem = error
                if task.expires <= time.time():
                    return

    async def _end(self, task: Task, renewing: "asyncio.Task[None] | None", outcome: str) -> None:
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        request = pb.CompleteRequest(task_id=task.id, outcome=outcome)
        # Shielded: whoever cancels the block does not thereby leave its grants alive.
        completing = asyncio.ensure_future(self._connection.call("Grants/Complete", request, pb.CompleteResponse))
        try:
            await asyncio.shield(completing)
        except asyncio.CancelledError:
            with contextlib.suppress(CallFailedError):
                await completing
            raise
