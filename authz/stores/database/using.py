"""Counting uses: of a grant for N uses exactly N decisions win, however many race on however many replicas."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import select

from authz.stores.database.bulk import among_pairs, insert_rows, update_rows
from authz.stores.database.errors import EndedError, NotFoundError, StoreRefusal
from authz.stores.database.issuing import read_grants
from authz.stores.database.records import GrantRecord
from authz.stores.database.schema import grants, uses
from authz.stores.database.work import Kind, Work


class Use(msgspec.Struct, frozen=True):
    """One decision that wants to rest on a grant."""

    grant_id: str
    decision_id: str


def _run(work: Work, asked: Sequence[Use]) -> list[bool | StoreRefusal]:
    known = read_grants(work, [use.grant_id for use in asked])
    counted = _counted(work, asked)
    used = {grant.id: grant.used for grant in known.values()}
    new: list[Use] = []
    results: list[bool | StoreRefusal] = []
    for use in asked:
        grant = known.get(use.grant_id)
        if use in counted:  # the same decision asks again, not having heard the answer
            results.append(True)
        elif refusal := _refusal(work, use, grant):
            results.append(refusal)
        elif grant is None or grant.max_uses == 0:
            results.append(True)
        elif used[grant.id] >= grant.max_uses:
            results.append(False)
        else:
            used[grant.id] += 1
            counted.add(use)
            new.append(use)
            results.append(True)
            if used[grant.id] == grant.max_uses:
                work.change("grant_used_up", grant.id, until=grant.expires_at)
    _record(work, new, used)
    return results


def _counted(work: Work, asked: Sequence[Use]) -> set[Use]:
    pairs = [(use.grant_id, use.decision_id) for use in asked]
    these = among_pairs(work.connection, (uses.c.grant_id, uses.c.decision_id), pairs)
    known = select(uses.c.grant_id, uses.c.decision_id).where(these)
    return {Use(grant_id, decision_id) for grant_id, decision_id in work.connection.execute(known)}


def _refusal(work: Work, use: Use, grant: GrantRecord | None) -> StoreRefusal | None:
    if grant is None:
        return NotFoundError(f"there is no grant {use.grant_id}")
    if grant.state != "active" or grant.expires_at <= work.now:
        return EndedError(f"grant {grant.id} is {'expired' if grant.state == 'active' else grant.state}")
    return None


def _record(work: Work, new: Sequence[Use], used: dict[str, int]) -> None:
    rows = [{"grant_id": use.grant_id, "decision_id": use.decision_id, "used_at": work.now} for use in new]
    insert_rows(work.connection, uses, rows)
    changed = [{"id": grant_id, "used": used[grant_id]} for grant_id in sorted({use.grant_id for use in new})]
    update_rows(work.connection, grants, "id", changed)


USE: Kind[Use, bool] = Kind("use", bool, lambda use: [f"grant:{use.grant_id}"], _run)
