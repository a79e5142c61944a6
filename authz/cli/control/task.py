"""`authz task`: what tasks did, and which are suspended."""

import click

from authz.cli.control.server import Orders, enum, moment, orders_options, table
from authz.client import Connection
from authz.control.v1 import tasks_pb2 as pb

_principal = click.option(
    "--principal", default="", help="Of a task without a grant: the identity that declares it, by SPIFFE ID."
)


@click.group()
def task() -> None:
    """Look at what tasks did, and let one go on that is suspended."""


@task.command("list")
@orders_options
@click.option("--suspended", is_flag=True, help="Only those that are suspended.")
@click.option("--open", "open_only", is_flag=True, help="Only those that go on.")
@click.option("--owner", default="", help="Whose.")
@click.option("--limit", default=100, show_default=True, help="The most that are listed.")
def list_command(orders: Orders, owner: str, limit: int, *, suspended: bool, open_only: bool) -> None:
    """List tasks, the last opened first."""

    async def work(connection: Connection) -> None:
        found = pb.ListTasksResponse()
        while len(found.tasks) < limit:
            request = pb.ListTasksRequest(suspended_only=suspended, open_only=open_only, owner=owner)
            request.page.size, request.page.token = limit - len(found.tasks), found.next_page_token
            page = await connection.call("Tasks/List", request, pb.ListTasksResponse)
            found.tasks.extend(page.tasks)
            found.next_page_token = page.next_page_token
            if not page.next_page_token:
                break
        rows = [
            (
                each.task.id,
                _state(each),
                str(each.calls),
                str(each.denials),
                ",".join(each.sensitivities),
                each.owner or each.principal,
            )
            for each in found.tasks
        ]
        orders.show(found, table(("TASK", "STATE", "CALLS", "DENIED", "SAW", "OWNER"), rows))

    orders.run(work)


@task.command("show")
@orders_options
@click.argument("task_id")
@_principal
def show_command(orders: Orders, task_id: str, principal: str) -> None:
    """Show one task."""

    async def work(connection: Connection) -> None:
        request = pb.GetTaskRequest(task_id=task_id, principal=principal)
        answer = await connection.call("Tasks/Get", request, pb.GetTaskResponse)
        orders.show(answer, _details(answer.task))

    orders.run(work)


@task.command("resume")
@orders_options
@click.argument("task_id")
@_principal
@click.option("--reason", required=True, help="Why, for the record.")
def resume_command(orders: Orders, task_id: str, principal: str, reason: str) -> None:
    """Let a task go on that the circuit breaker has suspended."""

    async def work(connection: Connection) -> None:
        request = pb.ResumeTaskRequest(task_id=task_id, principal=principal, reason=reason)
        answer = await connection.call("Tasks/Resume", request, pb.ResumeTaskResponse)
        orders.show(answer, f"task {task_id} may go on")

    orders.run(work)


def _state(shown: pb.TaskAccount) -> str:
    if shown.HasField("suspended_until"):
        return "suspended"
    return enum(shown, "state", "STATE_") if shown.state else "declared"


def _details(shown: pb.TaskAccount) -> str:
    lines = [
        f"task:      {shown.task.id}" + (f" ({shown.task.purpose})" if shown.task.purpose else ""),
        f"state:     {_state(shown)}",
        f"owner:     {shown.owner or shown.principal}",
        f"calls:     {shown.calls}",
        f"denied:    {shown.denials}",
        f"saw:       {', '.join(shown.sensitivities) or 'nothing sensitive'}",
    ]
    if shown.HasField("suspended_until"):
        lines.append(f"suspended: until {moment(shown, 'suspended_until')}")
    if shown.HasField("spent"):
        sums = (f"{argument}={amount}" for argument, amount in sorted(shown.spent.sums.items()))
        lines.append(
            f"spent:     {' '.join([f'calls={shown.spent.calls}', f'resources={shown.spent.resources}', *sums])}"
        )
    return "\n".join(lines)
