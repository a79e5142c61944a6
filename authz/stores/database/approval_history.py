"""What is kept of earlier requests for approval, to judge a new one by."""

from collections.abc import Sequence

from sqlalchemy import Connection, case, func, select

from authz.approvals.approval import Approval
from authz.approvals.risk import History
from authz.stores.database.approving import read_approval, read_votes
from authz.stores.database.listing import in_state
from authz.stores.database.schema import approvals, grants

_EARLIER = 5


def read_history(connection: Connection, approval: Approval, now: float) -> History:
    """Answer what is known of the same task, and of the same caller and action, without this request."""
    columns = approvals.c
    same = (columns.principal == approval.principal) & (columns.action == approval.action) & (columns.id != approval.id)
    newest = select(approvals).where(same).order_by(columns.opened_at.desc(), columns.id.desc()).limit(_EARLIER)
    earlier = [read_approval(row) for row in connection.execute(newest).mappings()]
    votes = read_votes(connection, [each.id for each in earlier])
    approved = columns.decided_at.is_not(None) & (columns.state != "rejected")
    counts = select(func.count().filter(approved), func.count().filter(columns.state == "rejected")).where(same)
    approved_before, rejected_before = connection.execute(counts).one()
    waits = select(func.count()).where(columns.principal == approval.principal, in_state("open", now))
    requests, passed, granted = _of_task(connection, approval.task_id, now)
    return History(
        task_requests=requests,
        task_passed=passed,
        task_grants=granted,
        earlier=earlier,
        earlier_by={name: [vote.name for vote in each] for name, each in votes.items()},
        approved_before=approved_before,
        rejected_before=rejected_before,
        open_of_principal=connection.execute(waits).scalar_one(),
    )


def count_open(connection: Connection, now: float) -> int:
    """Answer how many requests wait."""
    return int(connection.execute(select(func.count()).where(in_state("open", now))).scalar_one())


def _of_task(connection: Connection, task_id: str, now: float) -> tuple[dict[str, int], int, int]:
    if not task_id:
        return {}, 0, 0
    columns = approvals.c
    state = case((in_state("expired", now), "expired"), else_=columns.state)
    per = select(state, func.count(), func.sum(columns.used)).where(columns.task_id == task_id).group_by(state)
    rows: Sequence[tuple[str, int, int]] = [tuple(row) for row in connection.execute(per)]
    granted = select(func.count()).where(grants.c.task_id == task_id)
    return (
        {name: count for name, count, _ in rows},
        sum(used for _, _, used in rows),
        int(connection.execute(granted).scalar_one()),
    )
