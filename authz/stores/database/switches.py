"""What is set once for everybody: break-glass, signing keys, policies, and which replicas there are."""

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from authz.stores.database.errors import ConflictError, NotFoundError
from authz.stores.database.records import BreakGlass, PolicyRevision, Replica, SigningKey
from authz.stores.database.schema import break_glass, policy_revisions, replicas, signing_keys
from authz.stores.database.work import Kind, Work, each, read


class EndBreakGlass(msgspec.Struct, frozen=True):
    """The switch to put back."""

    id: str
    by: str


class RetireKey(msgspec.Struct, frozen=True):
    """A key to sign with no longer."""

    kid: str
    at: float


class ApplyPolicy(msgspec.Struct, frozen=True):
    """Policies to put in force. `number` is ours to give; `expected`: what must be in force now, -1: whatever is."""

    revision: PolicyRevision
    expected: int
    max_bytes: int


def break_glass_in_force(connection: Connection, now: float) -> BreakGlass | None:
    """Answer the switch that is on."""
    on = select(break_glass).where(break_glass.c.ended_at.is_(None), break_glass.c.until > now)
    row = connection.execute(on.order_by(break_glass.c.started_at.desc())).mappings().first()
    return read(BreakGlass, row) if row else None


def policy_in_force(connection: Connection) -> PolicyRevision | None:
    """Answer the newest revision."""
    row = connection.execute(select(policy_revisions).order_by(policy_revisions.c.number.desc()).limit(1))
    found = row.mappings().first()
    return read(PolicyRevision, found) if found else None


def policy_number(connection: Connection) -> int:
    """Answer the number of the revision in force; 0: none."""
    return int(connection.execute(select(func.max(policy_revisions.c.number))).scalar() or 0)


def _start(work: Work, switch: BreakGlass) -> BreakGlass:
    row = work.connection.execute(select(break_glass).where(break_glass.c.id == switch.id)).mappings().first()
    if row is not None:
        before = read(BreakGlass, row)
        if msgspec.structs.replace(switch, ended_at=before.ended_at, ended_by=before.ended_by) == before:
            return before
        raise ConflictError(f"break-glass {switch.id} is there already, and is another")
    on = break_glass_in_force(work.connection, work.now)
    if on is not None:
        raise ConflictError(f"break-glass is on already: {on.id}, by {on.author}")
    if refusal := work.unfit(switch):
        raise refusal
    work.insert(break_glass, [switch])
    work.change("break_glass_started", switch.id, switch=msgspec.to_builtins(switch))
    return switch


def _end(work: Work, asked: EndBreakGlass) -> BreakGlass:
    row = work.connection.execute(select(break_glass).where(break_glass.c.id == asked.id)).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no break-glass {asked.id}")
    switch = read(BreakGlass, row)
    if switch.ended_at is not None:
        return switch
    ended = {"ended_at": work.now, "ended_by": asked.by}
    work.connection.execute(update(break_glass).where(break_glass.c.id == asked.id).values(ended))
    work.change("break_glass_ended", asked.id)
    return msgspec.structs.replace(switch, **ended)


def _add_key(work: Work, key: SigningKey) -> SigningKey:
    row = work.connection.execute(select(signing_keys).where(signing_keys.c.kid == key.kid)).mappings().first()
    if row is not None:
        before = read(SigningKey, row)
        if before.jwk != key.jwk:
            raise ConflictError(f"key {key.kid} is there already, and is another")
        return before
    if _PRIVATE_MEMBERS & key.jwk.keys():
        raise ConflictError(f"key {key.kid}: a private key does not belong here")  # I10
    if refusal := work.unfit(key):
        raise refusal
    work.insert(signing_keys, [key])
    work.change("key_added", key.kid, key=msgspec.to_builtins(key))
    return key


_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
"""Members of a JWK that only a private or symmetric key has (RFC 7518 section 6, RFC 9964)."""


def _retire_key(work: Work, asked: RetireKey) -> SigningKey:
    row = work.connection.execute(select(signing_keys).where(signing_keys.c.kid == asked.kid)).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no key {asked.kid}")
    key = read(SigningKey, row)
    if key.retired_at is not None and key.retired_at <= asked.at:
        return key
    work.connection.execute(update(signing_keys).where(signing_keys.c.kid == key.kid).values(retired_at=asked.at))
    work.change("key_retired", key.kid, at=asked.at)
    return msgspec.structs.replace(key, retired_at=asked.at)


def _apply(work: Work, asked: ApplyPolicy) -> PolicyRevision:
    revision, current = asked.revision, policy_in_force(work.connection)
    number = current.number if current else 0
    if current and (current.hash, current.author, current.reason, current.restores) == (
        revision.hash,
        revision.author,
        revision.reason,
        revision.restores,
    ):
        return current  # in force already: asked again
    if asked.expected not in {-1, number}:
        raise ConflictError(f"policy revision {number} is in force, not {asked.expected}: look at it first")
    if refusal := work.unfit(revision, asked.max_bytes):
        raise refusal
    revision = msgspec.structs.replace(revision, number=number + 1)
    work.insert(policy_revisions, [revision])
    work.change("policy_applied", str(revision.number), hash=revision.hash, restores=revision.restores)
    return revision


def _report(work: Work, replica: Replica) -> Replica:
    work.connection.execute(delete(replicas).where(replicas.c.id == replica.id))
    work.insert(replicas, [replica])
    return replica


START_BREAK_GLASS: Kind[BreakGlass, BreakGlass] = Kind(
    "start_break_glass", BreakGlass, lambda _: ["break-glass"], each(_start)
)
END_BREAK_GLASS: Kind[EndBreakGlass, BreakGlass] = Kind(
    "end_break_glass", BreakGlass, lambda _: ["break-glass"], each(_end)
)
ADD_KEY: Kind[SigningKey, SigningKey] = Kind("add_key", SigningKey, lambda _: ["keys"], each(_add_key))
RETIRE_KEY: Kind[RetireKey, SigningKey] = Kind("retire_key", SigningKey, lambda _: ["keys"], each(_retire_key))
APPLY_POLICY: Kind[ApplyPolicy, PolicyRevision] = Kind(
    "apply_policy", PolicyRevision, lambda _: ["policies"], each(_apply)
)
REPORT: Kind[Replica, Replica] = Kind("report", Replica, lambda replica: [f"replica:{replica.id}"], each(_report))
