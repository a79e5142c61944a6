"""The service `Chains`: units of delegated work as chains of grants, who works on them for whom."""

from authz.control.backing import Backing
from authz.control.caller import Caller
from authz.control.charter import Question
from authz.control.faults import not_found
from authz.control.fields import timestamp
from authz.control.grant_shapes import told as told_grant
from authz.control.method import Call, Method, Methods
from authz.control.pages import read_page
from authz.control.v1 import chains_pb2 as pb
from authz.control.v1.common_pb2 import Task as ProtoTask
from authz.grants.grant import Task
from authz.model import Attributes
from authz.stores.database.errors import NotFoundError
from authz.stores.database.listing import GrantFilter, TaskFilter
from authz.stores.database.listing import Page as StorePage
from authz.stores.database.records import Task as TaskRecord
from authz.stores.database.records import TaskState

_MAX_GRANTS = 1_000
_STATES: dict[int, TaskState | None] = {
    pb.CHAINS_STATE_UNSPECIFIED: None,
    pb.CHAINS_STATE_OPEN: "open",
    pb.CHAINS_STATE_COMPLETED: "completed",
    pb.CHAINS_STATE_REVOKED: "revoked",
}
_STATE_OF = {name: number for number, name in _STATES.items() if name}


class Chains:
    """Serves `authz.control.v1.Chains`."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    @property
    def methods(self) -> Methods:
        """The methods, by their names in the protocol."""
        return {
            "List": Method(pb.ListChainsRequest, self._ask_list, self._list),
            "Get": Method(pb.GetChainsRequest, self._ask_get, self._get),
        }

    async def _ask_list(self, request: pb.ListChainsRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.demand("state", request.state in _STATES, "not one that is known")
        fields.text("owner", request.owner)
        fields.settle()
        return Question("/tasks/", {"type": "task", "author": request.owner})

    async def _list(self, request: pb.ListChainsRequest, _: Call) -> pb.ListChainsResponse:
        page = read_page(request.page, self._backing.settings, "tasks", request.state, request.owner)
        wanted = TaskFilter(owner=request.owner, state=_STATES[request.state])
        found = await self._backing.store.tasks(wanted, StorePage(page.after, page.size))
        return pb.ListChainsResponse(
            tasks=[told(each) for each in found.items],
            next_page_token=page.token(found.next_page) if found.next_page else "",
        )

    async def _ask_get(self, request: pb.GetChainsRequest, _: Caller) -> Question:
        fields = self._backing.fields()
        fields.checked("task_id", lambda: Task(request.task_id))
        fields.settle()
        about: Attributes = {"type": "task", "id": request.task_id}
        try:
            task = await self._backing.store.task(request.task_id)
        except NotFoundError:
            return Question(f"/tasks/{request.task_id}", about)
        return Question(f"/tasks/{task.id}", {**about, "author": task.owner})

    async def _get(self, request: pb.GetChainsRequest, call: Call) -> pb.GetChainsResponse:
        try:
            task = await self._backing.store.task(request.task_id)
        except NotFoundError:
            raise not_found("task", request.task_id) from None
        found = await self._backing.store.grants(GrantFilter(task_id=task.id), StorePage("", _MAX_GRANTS))
        return pb.GetChainsResponse(
            task=told(task),
            grants=[told_grant(each, task.purpose, call.now) for each in found.items],
            more_grants=bool(found.next_page),
        )


def told(task: TaskRecord) -> pb.ChainedTask:
    """Answer a task as the protocol shows it."""
    return pb.ChainedTask(
        task=ProtoTask(id=task.id, purpose=task.purpose),
        owner=task.owner,
        state=pb.ChainsState.Name(_STATE_OF[task.state]),
        created_at=timestamp(task.created_at),
        ends_at=timestamp(task.ends_at or 0.0),
        ended_at=timestamp(task.ended_at or 0.0),
        ended_by=task.ended_by,
    )
