"""The service `Tasks`: what tasks did so far, and the end of a suspension."""

from collections.abc import Iterable

from authz.amount import show_amount
from authz.budgets.account import account_key
from authz.budgets.counter import short
from authz.budgets.demands import limit_counter
from authz.budgets.sharing import CALLS_OF, DENIALS_OF
from authz.budgets.visit import CALLS, RESOURCES, SUM
from authz.control.backing import Backing
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.faults import not_found
from authz.control.fields import timestamp
from authz.control.method import Call, Method, Methods
from authz.control.pages import read_page
from authz.control.v1 import grants_pb2
from authz.control.v1 import tasks_pb2 as pb
from authz.control.v1.common_pb2 import Task as ProtoTask
from authz.grants.grant import Task
from authz.stores.database.errors import NotFoundError
from authz.stores.database.listing import GrantFilter, TaskFilter
from authz.stores.database.listing import Page as StorePage
from authz.stores.database.records import Task as TaskRecord
from authz.stores.database.spending import Mark

_STATES = {
    "open": pb.TaskAccount.STATE_OPEN,
    "completed": pb.TaskAccount.STATE_COMPLETED,
    "revoked": pb.TaskAccount.STATE_REVOKED,
}
_SUSPENDED, _LABEL = "suspended", "label"


class Tasks:
    """Serves `authz.control.v1.Tasks`."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._store = backing.store

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "List": Method(pb.ListTasksRequest, self._ask_list, self._list),
            "Get": Method(pb.GetTaskRequest, self._ask_one, self._get),
            "Resume": Method(pb.ResumeTaskRequest, self._ask_resume, self._resume, can_wait=True),
        }

    async def _ask_list(self, request: pb.ListTasksRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.text("owner", request.owner)
        fields.settle()
        return Question("/tasks/", {"type": "task"})

    async def _list(self, request: pb.ListTasksRequest, call: Call) -> pb.ListTasksResponse:
        settings = self._backing.settings
        page = read_page(request.page, settings, "tasks", request.suspended_only, request.open_only, request.owner)
        if request.suspended_only:
            keys = sorted({mark.task for mark in await self._store.spending.marks() if mark.kind == _SUSPENDED})
            keys = [key for key in keys if key > page.after]
            found = [await self._account(key, call.now) for key in keys[: page.size]]
            more = keys[page.size - 1] if len(keys) > page.size else ""
        else:
            wanted = TaskFilter(owner=request.owner, state="open" if request.open_only else None)
            listed = await self._store.tasks(wanted, StorePage(page.after, page.size))
            found = [await self._account(each.id, call.now, each) for each in listed.items]
            more = listed.next_page
        return pb.ListTasksResponse(tasks=found, next_page_token=page.token(more) if more else "")

    async def _ask_one(self, request: pb.GetTaskRequest, _: Caller) -> Question:
        return await self._about(request.task_id, request.principal, None)

    async def _get(self, request: pb.GetTaskRequest, call: Call) -> pb.GetTaskResponse:
        return pb.GetTaskResponse(task=await self._known(request.task_id, request.principal, call.now))

    async def _ask_resume(self, request: pb.ResumeTaskRequest, _: Caller) -> Question:
        return await self._about(request.task_id, request.principal, request.reason)

    async def _resume(self, request: pb.ResumeTaskRequest, call: Call) -> pb.ResumeTaskResponse:
        key = account_key(request.task_id, request.principal)
        if not await self._store.spending.unmark(key, _SUSPENDED, call.caller.name):
            raise not_found("suspended task", request.task_id)
        await self._backing.settle()
        return pb.ResumeTaskResponse(task=await self._account(key, call.now))

    async def _about(self, task_id: str, principal: str, reason: str | None) -> Question:
        fields = self._backing.fields()
        fields.checked("task_id", lambda: Task(task_id))
        fields.text("principal", principal)
        if reason is not None:
            fields.text("reason", reason, required=True)
        fields.settle()
        about = {"type": "task", "id": task_id, "subject": principal, "value": reason or ""}
        try:
            task = await self._store.task(task_id)
        except NotFoundError:
            return Question(f"/tasks/{task_id}", {**about})
        return Question(f"/tasks/{task_id}", {**about, "author": task.owner})

    async def _known(self, task_id: str, principal: str, now: float) -> pb.TaskAccount:
        account = await self._account(account_key(task_id, principal), now)
        if not (account.state or account.calls or account.denials or account.HasField("suspended_until")):
            raise not_found("task", task_id)
        return account

    async def _account(self, key: str, now: float, task: TaskRecord | None = None) -> pb.TaskAccount:
        task_id, _, principal = key.partition(" ")
        if task is None and not principal:
            task = await self._find(task_id)
        shown = pb.TaskAccount(task=ProtoTask(id=task_id), principal=principal)
        if task is not None:
            shown.task.purpose = task.purpose
            shown.state, shown.owner = _STATES[task.state], task.owner
            shown.MergeFrom(
                pb.TaskAccount(created_at=timestamp(task.created_at), ended_at=timestamp(task.ended_at or 0))
            )
            await self._show_spent(shown, key)
        totals = dict.fromkeys((CALLS_OF, DENIALS_OF), 0)
        for name in totals:
            totals[name] = sum(amount.amount for amount in await self._store.spending.amounts([short(name + key)]))
        shown.calls, shown.denials = max(0, totals[CALLS_OF]), max(0, totals[DENIALS_OF])
        _show_marks(shown, [mark for mark in await self._store.spending.marks_of(key) if mark.until > now])
        return shown

    async def _find(self, task_id: str) -> TaskRecord | None:
        try:
            return await self._store.task(task_id)
        except NotFoundError:
            return None

    async def _show_spent(self, shown: pb.TaskAccount, key: str) -> None:
        grants = await self._store.grants(GrantFilter(task_id=key), StorePage())
        limits = [grant.limits for grant in grants.items if grant.limits]
        if not limits:
            return
        sums = sorted({argument for each in limits for argument in each.get("sums", {})})
        names = {what: limit_counter(key, what) for what in (CALLS, RESOURCES, *(f"{SUM}{each}" for each in sums))}
        spent: dict[str, int] = dict.fromkeys(names.values(), 0)
        for amount in await self._store.spending.amounts(list(names.values())):
            spent[amount.counter] += 1 if amount.member else amount.amount
        shown.spent.CopyFrom(
            grants_pb2.TaskLimits(
                calls=spent[names[CALLS]],
                resources=spent[names[RESOURCES]],
                sums={argument: show_amount(spent[names[f"{SUM}{argument}"]]) for argument in sums},
            )
        )


def _show_marks(shown: pb.TaskAccount, marks: Iterable[Mark]) -> None:
    for mark in marks:
        if mark.kind == _SUSPENDED:
            shown.MergeFrom(pb.TaskAccount(suspended_until=timestamp(mark.until)))
        elif mark.kind == _LABEL:
            shown.sensitivities.append(mark.value)
