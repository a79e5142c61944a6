"""What can be set about the shared state."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

_DAY = 86_400
_YEAR = 366 * _DAY

_Wait = Annotated[float, msgspec.Meta(ge=0.1, le=60)]
_Keep = Annotated[float, msgspec.Meta(ge=60, le=10 * _YEAR)]


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long what is over is kept, before it is deleted for good. What is still in force is never deleted."""

    grants_seconds: Annotated[float, msgspec.Meta(ge=3_600, le=10 * _YEAR)] = 7.0 * _DAY
    """Grants with their uses, tasks and revocations: for so long after their end, by the clock of whichever replica
    deletes them. Where clocks differ by more, a replica that starts anew may not know of a revocation that counts."""
    approvals_seconds: _Keep = 90.0 * _DAY
    """Requests for approval, and who said what: for so long after they are over. What was before helps to judge."""
    changes_seconds: _Keep = 1.0 * _DAY
    """The list of changes: a replica that was away for longer reads everything anew."""
    policies_seconds: _Keep = 1.0 * _YEAR
    """Policy revisions that are not in force; the newest `policies_revisions` are kept whatever their age."""
    policies_revisions: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    """Policy revisions that are kept whatever their age."""
    replicas_seconds: _Keep = 1.0 * _DAY
    """Replicas that were not seen for so long leave `authz fleet status`."""
    sightings_seconds: _Keep = 3_600.0
    """Certificates, addresses and task owners that an identity was not seen with for so long; not shorter than
    `identity.sharing.window_seconds`."""
    identities_seconds: _Keep = 2.0 * _YEAR
    """Identities that were not seen for so long: then nobody remembers that they ever were."""
    interval_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=_DAY)] = 60.0
    """Time between two runs of deleting."""
    rows_per_run: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    """Most rows of each table that one run deletes, so that no writer waits for long. When a run reaches it, the next
    one follows within a second."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where grants, revocations and the other state is kept that replicas share."""

    state_directory: str = "state"
    """Directory for what this host keeps: the SQLite file unless `url` says otherwise, and private keys. It is made
    with mode 0700 where it is missing."""
    url: str = ""
    """The database: empty for SQLite in `state_directory`, `sqlite:///path/of.db` (relative to the configuration file;
    a fourth slash for an absolute path), or `postgresql://user@host/database?sslmode=verify-full`. A password in it is
    masked wherever it is shown; better kept in `url_file`, the environment (`AUTHZ__STORE__URL`), or libpq's
    password file."""
    url_file: str = ""
    """A file that holds the URL, instead of `url`."""
    allow_unverified_server: bool = False
    """Whether PostgreSQL on another host may be used without `sslmode=verify-full`: whoever can pose as the database
    decides who is let in."""
    readers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """Connections for reading. Two more are used: one that writes and one that listens for changes."""
    synchronous: Literal["full", "normal"] = "full"
    """SQLite: `full` has the disk confirm every commit; with `normal` the last ones before a power cut may be lost,
    but nothing when only the process ends. PostgreSQL has `synchronous_commit` of its own."""
    connect_timeout_seconds: Annotated[int, msgspec.Meta(ge=2, le=60)] = 5
    """PostgreSQL: longest time that a connection may take."""
    statement_timeout_seconds: _Wait = 5.0
    """Longest time that one statement may take, or wait for another process's lock."""
    operation_timeout_seconds: _Wait = 10.0
    """Longest time that a caller waits for an operation, repeated attempts included."""
    load_timeout_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3_600)] = 300.0
    """Longest time that reading all that is revoked may take, as a process does when it starts: a million entries take
    some 20 s."""
    retry_min_seconds: Annotated[float, msgspec.Meta(ge=0.01, le=10)] = 0.05
    """First pause before a lost database is tried again; it doubles each time."""
    retry_max_seconds: _Wait = 2.0
    """Longest such pause."""
    group_operations: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 256
    """Most operations that one transaction does together."""
    group_wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=0.1)] = 0.0
    """How long a transaction waits for more operations to join it. Without waiting, it takes what came in while the one
    before it was committed."""
    queue_operations: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    """Most operations that wait to be done; one more is refused at once."""
    poll_seconds: Annotated[float, msgspec.Meta(ge=0.005, le=10)] = 0.05
    """SQLite: how often the file is looked at for changes of other processes on this host."""
    heartbeat_seconds: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 1.0
    """How often contact with the database is confirmed when nothing changes, and this replica reports itself."""
    max_staleness_seconds: Annotated[float, msgspec.Meta(ge=0.2, le=3_600)] = 10.0
    """How old the last confirmed contact may be. Past it, what depends on the shared state is denied, and the server is
    not ready."""
    max_policy_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=1 << 26)] = 8 << 20
    """Largest policy revision."""
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=1 << 20)] = 64 << 10
    """Largest grant, task or revocation with all its texts, and largest answer kept for an idempotency key."""
    retention: RetentionSettings = RetentionSettings()
    """How long what is over is kept."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, message) for each setting that contradicts another."""
        if self.url and self.url_file:
            yield "url_file", "not together with url"
        if self.retry_min_seconds > self.retry_max_seconds:
            yield "retry_min_seconds", "must not be more than retry_max_seconds"
        if self.heartbeat_seconds * 2 > self.max_staleness_seconds:
            yield "max_staleness_seconds", "must be at least twice heartbeat_seconds"
