"""What was spent: told by every process and read back by all, or counted here before one too many passes."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from authz.budgets.visit import Demand
from authz.stores.database.bulk import among
from authz.stores.database.errors import StoreRefusal
from authz.stores.database.schema import counters, marks, spent
from authz.stores.database.work import Kind, Work, each, read

MAX_TOLD = 5_000
"""Amounts that one operation may tell."""
_MAX_READ = 20_000
"""Amounts that one operation answers; the next goes on from there."""
_NUMBER = "spent"


class Amount(msgspec.Struct, frozen=True):
    """What was spent in one slot of one counter; told: how much more, answered: how much in all."""

    counter: str
    slot: int
    member: str
    amount: int
    until: float
    """When it can be forgotten."""


class Share(msgspec.Struct, frozen=True):
    """What a process counted, and up to which number it knows what the others did."""

    amounts: tuple[Amount, ...]
    since: int


class Shared(msgspec.Struct, frozen=True):
    """What changed since."""

    number: int
    amounts: tuple[Amount, ...]
    complete: bool


class Spend(msgspec.Struct, frozen=True):
    """Amounts that are counted together or not at all."""

    demands: "tuple[Wanted, ...]"


class Wanted(msgspec.Struct, frozen=True):
    """One amount that shall fit under a limit."""

    counter: str
    amount: int
    limit: int
    slot: int
    oldest: int
    member: str
    """Of distinct ones, which; "": amounts are added up."""
    until: float
    over: bool = False
    """Whether it is counted beyond the limit: a human said so."""


class Spent(msgspec.Struct, frozen=True):
    """What came of it."""

    refused: int = -1
    """Which did not fit; -1: all did."""
    gone: int = 0
    """Which slot must have gone for it to fit."""
    used: int = 0
    """How much of its limit was used before."""


class Mark(msgspec.Struct, frozen=True):
    """Something that every process must know of a task: a label, or that it is suspended."""

    task: str
    kind: str
    """ "label" or "suspended"."""
    value: str
    at: float
    until: float


class Unmark(msgspec.Struct, frozen=True):
    """Marks of a kind that shall be taken off a task."""

    task: str
    kind: str
    by: str


def wanted_of(demand: Demand, *, over: bool = False) -> Wanted:
    """The amount of a demand. `over`: to be counted beyond the limit."""
    return Wanted(
        demand.counter, demand.amount, demand.limit, demand.slot, demand.oldest, demand.distinct, demand.until, over
    )


def _share(work: Work, asked: Sequence[Share]) -> list[Shared | StoreRefusal]:
    number = _next_number(work)
    rows: dict[tuple[str, int, str], dict[str, Any]] = {}
    for share in asked:
        for amount in share.amounts[:MAX_TOLD]:
            known = rows.setdefault(
                (amount.counter, amount.slot, amount.member), {**msgspec.structs.asdict(amount), "amount": 0}
            )
            known["amount"] += amount.amount
    _add(work.connection, [{**row, "number": number} for row in rows.values()])
    return [_changed(work, share.since, number) for share in asked]


def _next_number(work: Work) -> int:
    highest = select(func.max(spent.c.number)).scalar_subquery()
    known = select(counters.c.value, highest).where(counters.c.name == _NUMBER)
    row = work.connection.execute(known).first()
    if row is None:  # the first time, or after a restore
        number = int(work.connection.execute(select(func.max(spent.c.number))).scalar() or 0) + 1
        work.connection.execute(insert(counters), {"name": _NUMBER, "value": number})
        return number
    number = max(int(row[0]), int(row[1] or 0)) + 1
    work.connection.execute(update(counters).where(counters.c.name == _NUMBER).values(value=number))
    return number


def _changed(work: Work, since: int, number: int) -> Shared:
    query = select(spent).where(spent.c.number > since).order_by(spent.c.number).limit(_MAX_READ + 1)
    rows = work.connection.execute(query).mappings().all()
    if len(rows) <= _MAX_READ:
        return Shared(number, tuple(read(Amount, row) for row in rows), complete=True)
    last = rows[-1]["number"]  # one operation tells less than is read, so that others come before it
    whole = [row for row in rows if row["number"] < last]
    return Shared(whole[-1]["number"], tuple(read(Amount, row) for row in whole), complete=False)


def _spend(work: Work, asked: Sequence[Spend]) -> list[Spent | StoreRefusal]:
    names = {wanted.counter for spend in asked for wanted in spend.demands}
    known: dict[str, dict[tuple[int, str], int]] = {name: {} for name in names}
    found = select(spent.c.counter, spent.c.slot, spent.c.member, spent.c.amount)
    for counter, slot, member, amount in work.connection.execute(
        found.where(among(work.connection, spent.c.counter, names))
    ):
        known[counter][slot, member] = amount
    results: list[Spent | StoreRefusal] = []
    new: list[dict[str, Any]] = []
    for spend in asked:
        result = _fits(spend, known)
        results.append(result)
        if result.refused < 0:
            for wanted in spend.demands:
                place = (wanted.slot, wanted.member)
                known[wanted.counter][place] = known[wanted.counter].get(place, 0) + wanted.amount
                new.append(
                    {
                        "counter": wanted.counter,
                        "slot": wanted.slot,
                        "member": wanted.member,
                        "amount": wanted.amount,
                        "until": wanted.until,
                        "number": 0,
                    }
                )
    _add(work.connection, new)
    return results


def _fits(spend: Spend, known: dict[str, dict[tuple[int, str], int]]) -> Spent:
    # What the demands before one, which are counted together with it, make of their counters.
    before: dict[str, dict[tuple[int, str], int]] = {}
    for at, wanted in enumerate(spend.demands):
        held = before.setdefault(wanted.counter, dict(known[wanted.counter]))
        counted = {place: amount for place, amount in held.items() if place[0] >= wanted.oldest}
        held[wanted.slot, wanted.member] = held.get((wanted.slot, wanted.member), 0) + wanted.amount
        if wanted.member:
            last: dict[str, int] = {}
            for slot, member in counted:
                last[member] = max(slot, last.get(member, slot))
            if wanted.member not in last and len(last) >= wanted.limit and not wanted.over:
                return Spent(at, min(last.values()), len(last))
            continue
        used = sum(counted.values())
        left = used + wanted.amount
        if left > wanted.limit and not wanted.over:
            gone = wanted.slot
            for (slot, _), amount in sorted(counted.items()):
                left, gone = left - amount, slot
                if left <= wanted.limit:
                    break
            return Spent(at, gone, used)
    return Spent()


def _mark(work: Work, asked: Mark) -> Mark:
    columns = marks.c
    this = (columns.task == asked.task) & (columns.kind == asked.kind) & (columns.value == asked.value)
    before = work.connection.execute(select(columns.until).where(this)).scalar()
    if before is None:
        work.insert(marks, [asked])
    elif before < asked.until:
        work.connection.execute(update(marks).where(this).values(until=asked.until))
    else:
        return asked
    work.change("task_marked", asked.task, mark=asked.kind, value=asked.value, until=asked.until)
    return asked


def _unmark(work: Work, asked: Unmark) -> bool:
    these = (marks.c.task == asked.task) & (marks.c.kind == asked.kind)
    if not work.connection.execute(delete(marks).where(these)).rowcount:
        return False
    work.change("task_unmarked", asked.task, mark=asked.kind, by=asked.by)
    return True


def read_marks(connection: Connection, now: float) -> Iterable[Mark]:
    """Answer all that hold."""
    rows = connection.execute(select(marks).where(marks.c.until > now)).mappings()
    return [read(Mark, row) for row in rows]


def read_marks_of(connection: Connection, task: str) -> Iterable[Mark]:
    """Answer those of one task."""
    rows = connection.execute(select(marks).where(marks.c.task == task).order_by(marks.c.value)).mappings()
    return [read(Mark, row) for row in rows]


def read_spent(connection: Connection, names: Iterable[str]) -> Sequence[Amount]:
    """Answer what was spent under these counters."""
    rows = connection.execute(select(spent).where(among(connection, spent.c.counter, names))).mappings()
    return [read(Amount, row) for row in rows]


def _add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add amounts to what is there."""
    if not rows:
        return
    statement: Any = _dialect(connection).insert(spent)
    given = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=list(spent.primary_key),
        set_={
            "amount": spent.c.amount + given.amount,
            "until": _later(connection, given.until),
            "number": given.number,
        },
    )
    connection.execute(statement, list(rows))


def _later(connection: Connection, until: Any) -> Any:
    greatest = func.max if connection.dialect.name == "sqlite" else func.greatest
    return greatest(spent.c.until, until)


def _dialect(connection: Connection) -> Any:
    return sqlite if connection.dialect.name == "sqlite" else postgresql


SHARE: Kind[Share, Shared] = Kind("share", Shared, lambda _: [_NUMBER], _share)
SPEND: Kind[Spend, Spent] = Kind(
    "spend", Spent, lambda spend: [f"spent:{each.counter}" for each in spend.demands], _spend
)
MARK: Kind[Mark, Mark] = Kind("mark", Mark, lambda mark: [f"mark:{mark.task}"], each(_mark))
UNMARK: Kind[Unmark, bool] = Kind("unmark", bool, lambda unmark: [f"mark:{unmark.task}"], each(_unmark))
