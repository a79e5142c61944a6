"""Tasks: what one did so far, who works on it for whom, and the button that lets a suspended one go on."""

from urllib.parse import quote, urlencode

from starlette.responses import Response

from authz.console.graph import MAX_NODES, draw, links
from authz.console.pages.grants import state_names
from authz.console.visit import Visit
from authz.control.faults import Code, ControlError
from authz.control.v1 import chains_pb2 as pb
from authz.control.v1 import tasks_pb2
from authz.control.v1.common_pb2 import PageRequest

_STATES = {"open": pb.CHAINS_STATE_OPEN, "completed": pb.CHAINS_STATE_COMPLETED, "revoked": pb.CHAINS_STATE_REVOKED}
_NAMES = {pb.CHAINS_STATE_UNSPECIFIED: "declared", **{number: name for name, number in _STATES.items()}}
_SUSPENDED = "suspended"


async def listed(visit: Visit) -> Response:
    """Tasks, the last opened first."""
    state = visit.asked("state")
    if state == _SUSPENDED:
        return await _suspended(visit)
    request = pb.ListChainsRequest(
        state=pb.ChainsState.Name(_STATES.get(state, pb.CHAINS_STATE_UNSPECIFIED)),
        owner=visit.asked("owner").strip(),
        page=PageRequest(size=visit.room.settings.page_size, token=visit.asked("page")),
    )
    found = await visit.call("Chains", "List", request, pb.ListChainsResponse)
    return await visit.page(
        "tasks.html",
        title="Tasks",
        tasks=found.tasks,
        state=state,
        owner=request.owner,
        next_page=found.next_page_token,
        names=_NAMES,
    )


async def one(visit: Visit) -> Response:
    """One task: what it did, and its chains drawn."""
    task_id, principal = visit.request.path_params["id"], visit.asked("principal").strip()
    account, found = await _account(visit, task_id, principal), pb.GetChainsResponse()
    if not (principal and account):  # with a principal it is a task that only they speak of, and no chain has it
        try:
            request = pb.GetChainsRequest(task_id=task_id)
            found = await visit.call("Chains", "Get", request, pb.GetChainsResponse)
        except ControlError as error:
            if account is None or error.code is not Code.NOT_FOUND:
                raise
    states = state_names()
    chain = links(
        found.task.owner,
        [(grant.holder, list(grant.delegators), grant.id, states[grant.state]) for grant in reversed(found.grants)],
    )
    return await visit.page(
        "task.html",
        title="One task",
        task_id=task_id,
        task=found.task,
        account=account,
        grants=found.grants,
        more_grants=found.more_grants,
        drawing=draw(found.task.owner, chain, f"Who works on task {found.task.task.id} for whom"),
        most_drawn=MAX_NODES,
        names=_NAMES,
        states=states,
    )


async def resume(visit: Visit) -> Response:
    """Lift its suspension."""
    form = await visit.form()
    visit.demand("operator")
    task_id, principal = visit.request.path_params["id"], form.get("principal", "")
    request = tasks_pb2.ResumeTaskRequest(task_id=task_id, principal=principal, reason=form.get("reason", ""))
    await visit.call("Tasks", "Resume", request, tasks_pb2.ResumeTaskResponse)
    query = f"?{urlencode({'principal': principal})}" if principal else ""
    return visit.go(f"/tasks/{quote(task_id, safe='')}{query}")


async def _suspended(visit: Visit) -> Response:
    wanted = PageRequest(size=visit.room.settings.page_size, token=visit.asked("page"))
    request = tasks_pb2.ListTasksRequest(suspended_only=True, page=wanted)
    found = await visit.call("Tasks", "List", request, tasks_pb2.ListTasksResponse)
    return await visit.page(
        "tasks.html",
        title="Tasks",
        tasks=found.tasks,
        state=_SUSPENDED,
        owner="",
        next_page=found.next_page_token,
        names=dict.fromkeys(tasks_pb2.TaskAccount.State.values(), _SUSPENDED),
    )


async def _account(visit: Visit, task_id: str, principal: str) -> tasks_pb2.TaskAccount | None:
    """What it did, as far as is known and this human may see."""
    request = tasks_pb2.GetTaskRequest(task_id=task_id, principal=principal)
    try:
        found = await visit.call("Tasks", "Get", request, tasks_pb2.GetTaskResponse)
    except ControlError as error:
        if error.code not in {Code.NOT_FOUND, Code.PERMISSION_DENIED}:
            raise
        return None
    account: tasks_pb2.TaskAccount = found.task
    return account
