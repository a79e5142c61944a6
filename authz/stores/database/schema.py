"""The tables, the same on SQLite and PostgreSQL; docs/store.md explains each. Times are seconds since the epoch."""

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect

VERSION = 4
"""The version of this schema; it grows by one with each step in migrations.py."""

metadata = MetaData()


class Json(TypeDecorator[Any]):
    """A JSON value, kept as text on both databases so that both keep it to the letter."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:  # noqa: ARG002 - SQLAlchemy's signature
        """Answer the text for a value."""
        return msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 - likewise
        """Answer the value of a text."""
        return None if value is None else msgspec.json.decode(value)


def name_of(table: Table) -> str:
    """Answer the name of a table as plain text, which SQLAlchemy's own kind of text is not to everybody."""
    return str(table.name)


def _id(name: str = "id") -> Column[str]:
    return Column(name, Text, primary_key=True)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


def _maybe(name: str) -> Column[float]:
    """A time that may be missing: not yet, or never."""
    return Column(name, Double, nullable=True)


def _among(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"{column}_known")


schema_versions = Table("schema_versions", metadata, Column("version", Integer, primary_key=True), _time("applied_at"))

facts = Table("facts", metadata, _id("name"), _text("value"))
"""`store_id`: which store this is; a restored one is another."""

counters = Table("counters", metadata, _id("name"), Column("value", BigInteger, nullable=False))
"""`changes`: the number of the last change. Its row lock is held from taking a number until the commit, so that numbers
become visible in order and without gaps, which a PostgreSQL sequence does not promise."""

changes = Table(
    "changes",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _time("at"),
    _text("kind"),
    _text("about"),
    Column("data", Json, nullable=False),
    Index("changes_at", "at"),
)

tasks = Table(
    "tasks",
    metadata,
    _id(),
    _text("owner"),
    _text("purpose"),
    _text("state"),
    _time("created_at"),
    _maybe("ends_at"),
    _maybe("ended_at"),
    _text("ended_by"),
    _maybe("grants_expire_at"),
    _text("revocation_id"),
    _among("state", "open", "completed", "revoked"),
    Index("tasks_ended", "ended_at"),
    Index("tasks_created", "created_at"),
)

grants = Table(
    "grants",
    metadata,
    _id(),
    Column("task_id", Text, ForeignKey("tasks.id"), nullable=False),
    _text("issuer"),
    _text("audience"),
    _text("holder"),
    _text("issued_to"),
    _time("issued_at"),
    _time("not_before"),
    _time("expires_at"),
    Column("max_uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("delegators", Json, nullable=False),
    Column("ancestors", Json, nullable=False),
    Column("scope", Json, nullable=False),
    Column("limits", Json, nullable=False, server_default="{}"),
    _text("certificate"),
    _text("state"),
    _maybe("ended_at"),
    _text("ended_by"),
    _text("revocation_id"),
    _among("state", "active", "completed", "revoked"),
    CheckConstraint("max_uses = 0 OR used <= max_uses", name="used_at_most"),
    Index("grants_task", "task_id"),
    Index("grants_holder", "holder"),
    Index("grants_expiry", "expires_at"),
    Index("grants_issued", "issued_at", "id"),
)

uses = Table(
    "uses",
    metadata,
    Column("grant_id", Text, ForeignKey("grants.id"), primary_key=True),
    _id("decision_id"),
    _time("used_at"),
)

approvals = Table(
    "approvals",
    metadata,
    _id(),
    _text("digest"),
    _text("state"),
    _text("principal"),
    _text("origin"),
    _text("owner"),
    Column("behind", Json, nullable=False),
    _text("task_id"),
    _text("grant_id"),
    _text("action"),
    _text("groups"),
    Column("demand", Json, nullable=False),
    Column("facts", Json, nullable=False),
    _time("opened_at"),
    _time("expires_at"),
    _maybe("ends_at"),
    _maybe("decided_at"),
    _maybe("ended_at"),
    _text("ended_by"),
    _text("ended_why"),
    Column("uses", Integer, nullable=False),
    Column("for_task", Boolean, nullable=False),
    Column("used", Integer, nullable=False),
    _text("decision_id"),
    _among("state", "open", "approved", "rejected", "spent", "withdrawn"),
    CheckConstraint("for_task OR used <= uses", name="approval_used_at_most"),
    Index("approvals_digest", "digest"),
    Index("approvals_principal", "principal", "action", "opened_at"),
    Index("approvals_task", "task_id"),
    Index("approvals_opened", "opened_at", "id"),
    Index("approvals_state", "state", "expires_at"),
)
"""`groups`: those of the demand, each between two commas, to be searched for one."""

approval_votes = Table(
    "approval_votes",
    metadata,
    Column("approval_id", Text, ForeignKey("approvals.id"), primary_key=True),
    _id("person"),
    _text("name"),
    _text("group"),
    Column("approved", Boolean, nullable=False),
    _text("comment"),
    Column("uses", Integer, nullable=False),
    Column("for_task", Boolean, nullable=False),
    _time("at"),
    _text("tool"),
)
"""One word a person: the key says so."""

approval_uses = Table(
    "approval_uses",
    metadata,
    Column("approval_id", Text, ForeignKey("approvals.id"), primary_key=True),
    _id("decision_id"),
    _time("used_at"),
)

revocations = Table(
    "revocations",
    metadata,
    _id(),
    _text("kind"),
    _text("value"),
    _text("cut_off"),
    _maybe("before"),
    _text("reason"),
    _text("author"),
    _time("created_at"),
    _maybe("expires_at"),
    _maybe("undone_at"),
    _text("undone_by"),
    _text("undo_reason"),
    _among("kind", "grant", "task", "principal", "credential", "trust_domain", "issued_before"),
    Index("revocations_target", "kind", "value"),
    Index("revocations_expiry", "expires_at"),
    Index("revocations_created", "created_at", "id"),
)

spent = Table(
    "spent",
    metadata,
    _id("counter"),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    _id("member"),
    Column("amount", BigInteger, nullable=False),
    _time("until"),
    Column("number", BigInteger, nullable=False),
    Index("spent_number", "number"),
    Index("spent_until", "until"),
)
"""What was spent of budgets and limits. `number` grows with each telling, so that the others read what is new; 0: they
need not, for it is counted here alone."""

marks = Table(
    "marks",
    metadata,
    _id("task"),
    _id("kind"),
    _id("value"),
    _time("at"),
    _time("until"),
    _among("kind", "label", "suspended"),
    Index("marks_until", "until"),
)
"""What every process must know of a task: sensitivities that it saw, and that it is suspended."""

break_glass = Table(
    "break_glass",
    metadata,
    _id(),
    _text("author"),
    _text("reason"),
    Column("allow", Json, nullable=False),
    _time("started_at"),
    _time("until"),
    _maybe("ended_at"),
    _text("ended_by"),
)

idempotency = Table(
    "idempotency",
    metadata,
    _id("scope"),
    _id("key"),
    _text("digest"),
    _text("operation"),
    Column("answer", Json, nullable=False),
    _time("created_at"),
    _time("expires_at"),
    Index("idempotency_expiry", "expires_at"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    _id("kid"),
    _text("replica_id"),
    Column("jwk", Json, nullable=False),
    _time("created_at"),
    _time("not_before"),
    _maybe("retired_at"),
    _time("expires_at"),
)
"""Public halves only: a private key never enters the database."""

policy_revisions = Table(
    "policy_revisions",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _text("hash"),
    Column("content", Json, nullable=False),
    _text("author"),
    _text("approver"),
    _text("reason"),
    _time("applied_at"),
    Column("restores", BigInteger, nullable=True),
)

replicas = Table(
    "replicas",
    metadata,
    _id(),
    _text("host"),
    _text("version"),
    _time("started_at"),
    _time("last_seen"),
    Column("applied_seq", BigInteger, nullable=False),
    _text("policy_version"),
    Column("staleness_seconds", Double, nullable=True),
)

sightings = Table(
    "sightings",
    metadata,
    _id("identity"),
    _id("kind"),
    _id("value"),
    _time("first_seen"),
    _time("last_seen"),
    _time("not_before"),
    _time("not_after"),
    _time("written_at"),
    _among("kind", "identity", "certificate", "address", "owner"),
    Index("sightings_written", "written_at"),
    Index("sightings_kind", "kind", "last_seen"),
)
"""When each identity was seen, and with which certificates, addresses and declared task owners."""

pending_changes = Table(
    "pending_changes",
    metadata,
    _id(),
    _text("action"),
    _text("author"),
    _text("group"),
    _text("summary"),
    Column("caller", Json, nullable=False),
    _text("request"),
    _text("decision_id"),
    _time("created_at"),
    _time("expires_at"),
    Index("pending_changes_expiry", "expires_at"),
)
"""Orders that wait for a second person; a row is there until it is confirmed, rejected, or has lapsed."""
