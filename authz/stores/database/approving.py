"""Approvals: opened once a question, decided once a person, and used exactly as often as humans said."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, RowMapping, func, select

from authz.approvals.approval import LIVE, Approval, State, Vote, approved, missing
from authz.approvals.human import folded
from authz.approvals.view import Known, news_of
from authz.stores.database.bulk import among, among_pairs, insert_rows, update_rows
from authz.stores.database.errors import ConflictError, EndedError, NotFoundError, StoreRefusal
from authz.stores.database.schema import approval_uses, approval_votes, approvals
from authz.stores.database.work import Kind, Work, each

Answer: TypeAlias = Literal["passed", "open", "rejected", "principal_full", "full", "too_often"]
_HOUR_SECONDS = 3_600.0
_ASKED_AGAIN_SECONDS = 120.0
"""Longer than any decision goes on asking."""
_AT_ONCE = 1_000


class Limits(msgspec.Struct, frozen=True):
    """How many requests there may be."""

    open_per_principal: int
    opened_per_hour: int
    open: int


class Ask(msgspec.Struct, frozen=True):
    """One decision that wants to pass; `request` is opened if there is none for its digest."""

    request: Approval
    decision_id: str
    limits: Limits


class Asked(msgspec.Struct, frozen=True):
    """What came of it; `approval`: the one that answers, None where none was opened."""

    answer: Answer
    approval: Approval | None = None


class Decide(msgspec.Struct, frozen=True):
    """One person's word. `digest`: what it was said about."""

    vote: Vote
    digest: str


class Withdraw(msgspec.Struct, frozen=True):
    """A request, or what is left of an approval, to be taken back."""

    approval_id: str
    by: str
    why: str


class Told(msgspec.Struct, frozen=True):
    """An approval with what was said about it."""

    approval: Approval
    votes: tuple[Vote, ...] = ()


def read_approval(row: RowMapping) -> Approval:
    """Answer the approval of a row."""
    return msgspec.convert({name: row[name] for name in Approval.__struct_fields__}, Approval)


def read_votes(connection: Connection, ids: Iterable[str]) -> dict[str, list[Vote]]:
    """Answer what was said about each, in order."""
    found: dict[str, list[Vote]] = {}
    query = select(approval_votes).where(among(connection, approval_votes.c.approval_id, ids))
    for row in connection.execute(query.order_by(approval_votes.c.at, approval_votes.c.person)).mappings():
        vote = msgspec.convert({name: row[name] for name in Vote.__struct_fields__}, Vote)
        found.setdefault(vote.approval_id, []).append(vote)
    return found


def read_known(connection: Connection, now: float) -> Sequence[tuple[str, Known]]:
    """Answer all that is not over, as a view holds it, by digest."""
    columns = approvals.c
    query = select(columns.digest, columns.id, columns.state, columns.principal, columns.expires_at)
    live = query.where(columns.state.in_(sorted(LIVE)), columns.expires_at > now)
    rows = connection.execution_options(yield_per=_AT_ONCE).execute(live)
    return [(digest, Known(*rest)) for digest, *rest in rows]


# Asking


class _Counts:
    """How many requests wait, or were opened lately; counted when it matters for the first time."""

    def __init__(self, work: Work, principals: Collection[str]) -> None:
        self._work = work
        self._principals = principals
        self._open: dict[str, int] | None = None
        self._lately: dict[str, int] = {}
        self._all = 0

    def refusal(self, asked: Ask) -> Answer | None:
        """Answer why no further request is opened."""
        if self._open is None:
            self._count()
        limits, principal = asked.limits, asked.request.principal
        if (self._open or {}).get(principal, 0) >= limits.open_per_principal:
            return "principal_full"
        if self._lately.get(principal, 0) >= limits.opened_per_hour:
            return "too_often"
        return "full" if self._all >= limits.open else None

    def opened(self, principal: str) -> None:
        """Count one more."""
        assert self._open is not None  # noqa: S101 - `refusal` was asked
        self._open[principal] = self._open.get(principal, 0) + 1
        self._lately[principal] = self._lately.get(principal, 0) + 1
        self._all += 1

    def _count(self) -> None:
        connection, now, columns = self._work.connection, self._work.now, approvals.c
        theirs = among(connection, columns.principal, self._principals)
        waits = (columns.state == "open") & (columns.expires_at > now)
        per = select(columns.principal, func.count()).group_by(columns.principal)
        self._open = {row[0]: row[1] for row in connection.execute(per.where(theirs, waits))}
        lately = per.where(theirs, columns.opened_at > now - _HOUR_SECONDS)
        self._lately = {row[0]: row[1] for row in connection.execute(lately)}
        self._all = int(connection.execute(select(func.count()).select_from(approvals).where(waits)).scalar_one())


def _ask(work: Work, asked: Sequence[Ask]) -> list[Asked | StoreRefusal]:
    live = _live(work, {ask.request.digest for ask in asked})
    used = _used(work, asked)
    counts = _Counts(work, {ask.request.principal for ask in asked})
    opened: list[Approval] = []
    uses: list[dict[str, Any]] = []
    touched: dict[str, Approval] = {}
    results: list[Asked | StoreRefusal] = []
    for ask in asked:
        found = live.get(ask.request.digest)
        before = used.get((ask.request.digest, ask.decision_id))
        if before is not None:
            results.append(Asked("passed", before))
        elif found is not None and found.state == "rejected":
            results.append(Asked("rejected", found))
        elif found is not None and found.left:
            spent = _spent(work, found)
            used[found.digest, ask.decision_id] = spent
            uses.append({"approval_id": found.id, "decision_id": ask.decision_id, "used_at": work.now})
            live[found.digest] = touched[found.id] = spent
            work.change("approval_used", found.id, **news_of(spent))
            results.append(Asked("passed", spent))
        elif found is not None and found.state == "open":
            results.append(Asked("open", found))
        elif refused := counts.refusal(ask):
            results.append(Asked(refused))
        elif unfit := work.unfit(ask.request):
            results.append(unfit)
        else:
            counts.opened(ask.request.principal)
            live[ask.request.digest] = ask.request
            opened.append(ask.request)
            work.change("approval_opened", ask.request.id, **news_of(ask.request))
            results.append(Asked("open", ask.request))
    insert_rows(work.connection, approvals, [_row(request) for request in opened])
    insert_rows(work.connection, approval_uses, uses)
    _update(work, list(touched.values()))
    return results


def _spent(work: Work, found: Approval) -> Approval:
    over = not found.for_task and found.used + 1 >= found.uses
    return msgspec.structs.replace(
        found,
        used=found.used + 1,
        state="spent" if over else found.state,
        ended_at=work.now if over else None,
    )


def _live(work: Work, digests: Collection[str]) -> dict[str, Approval]:
    """The one of each digest that answers now."""
    columns = approvals.c
    query = select(approvals).where(
        among(work.connection, columns.digest, digests),
        columns.state.in_(sorted(LIVE)),
        columns.expires_at > work.now,
    )
    rows = work.connection.execute(query.order_by(columns.opened_at)).mappings()
    return {row["digest"]: read_approval(row) for row in rows}


def _used(work: Work, asked: Sequence[Ask]) -> dict[tuple[str, str], Approval]:
    """By (digest, decision) those of them that have passed already: their decision asks again, unheard."""
    columns = approvals.c
    lately = columns.ended_at.is_(None) | (columns.ended_at > work.now - _ASKED_AGAIN_SECONDS)
    theirs = among(work.connection, columns.digest, {ask.request.digest for ask in asked})
    used = select(approvals).where(theirs, columns.used > 0, lately)
    known = {row["id"]: read_approval(row) for row in work.connection.execute(used).mappings()}
    if not known:
        return {}
    decisions = {ask.decision_id for ask in asked}
    pairs = [(name, decision) for name in known for decision in decisions]
    these = among_pairs(work.connection, (approval_uses.c.approval_id, approval_uses.c.decision_id), pairs)
    found = select(approval_uses.c.approval_id, approval_uses.c.decision_id).where(these)
    return {(known[row[0]].digest, row[1]): known[row[0]] for row in work.connection.execute(found)}


def _row(request: Approval) -> dict[str, Any]:
    row = msgspec.structs.asdict(request)
    return row | {"groups": f",{','.join(request.demand.groups)},"}


def _update(work: Work, changed: Sequence[Approval]) -> None:
    names = ("id", "state", "expires_at", "decided_at", "ended_at", "ended_by", "ended_why", "uses", "for_task", "used")
    update_rows(work.connection, approvals, "id", [{name: getattr(one, name) for name in names} for one in changed])


# Deciding


def _one(work: Work, approval_id: str) -> Told:
    row = work.connection.execute(select(approvals).where(approvals.c.id == approval_id)).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no approval {approval_id}")
    return Told(read_approval(row), tuple(read_votes(work.connection, [approval_id]).get(approval_id, ())))


def _decide(work: Work, asked: Decide) -> Told:
    vote = asked.vote
    told = _one(work, vote.approval_id)
    approval, votes = told.approval, told.votes
    if approval.digest != asked.digest:
        raise ConflictError(f"approval {approval.id} is about something else than what was shown")
    if (state := approval.state_at(work.now)) != "open":
        raise EndedError(f"approval {approval.id} is {state}")
    # Who has several subjects, as where they are another for each client, still has one name.
    if any(each.person == vote.person or folded(each.name) == folded(vote.name) for each in votes):
        raise ConflictError(f"{vote.person} has spoken about approval {approval.id} already")
    if vote.approved and vote.group not in missing(approval.demand, votes):
        raise ConflictError(f"nobody of {vote.group or 'no group'} is missing for approval {approval.id}")
    if refusal := work.unfit(vote):
        raise refusal
    votes = (*votes, vote)
    if not vote.approved:
        approval = msgspec.structs.replace(approval, state="rejected", decided_at=work.now, ended_at=work.now)
    elif not missing(approval.demand, votes):
        approval = approved(approval, votes, work.now)
    work.insert(approval_votes, [vote])
    if approval is not told.approval:
        _update(work, [approval])
    kinds: dict[State, Any] = {"rejected": "approval_rejected", "approved": "approval_approved"}
    work.change(kinds.get(approval.state, "approval_voted"), approval.id, **news_of(approval))
    return Told(approval, votes)


def _withdraw(work: Work, asked: Withdraw) -> Told:
    told = _one(work, asked.approval_id)
    approval = told.approval
    if (state := approval.state_at(work.now)) not in {"open", "approved"}:
        if state == "withdrawn":
            return told
        raise EndedError(f"approval {approval.id} is {state}")
    approval = msgspec.structs.replace(
        approval, state="withdrawn", ended_at=work.now, ended_by=asked.by, ended_why=asked.why
    )
    if refusal := work.unfit(approval):
        raise refusal
    _update(work, [approval])
    work.change("approval_withdrawn", approval.id, **news_of(approval))
    return Told(approval, told.votes)


ASK: Kind[Ask, Asked] = Kind("ask_approval", Asked, lambda _: ["approvals"], _ask)
DECIDE: Kind[Decide, Told] = Kind("decide_approval", Told, lambda _: ["approvals"], each(_decide))
WITHDRAW: Kind[Withdraw, Told] = Kind("withdraw_approval", Told, lambda _: ["approvals"], each(_withdraw))
"""One lock for all: asking reads by digest and counts all that wait, deciding changes what it reads."""
