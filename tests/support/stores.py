"""Stores for tests: the same questions to SQLite and PostgreSQL, with records that need few words."""

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from authz.approvals.approval import Approval, Vote
from authz.approvals.demand import Demand
from authz.stores.database.approving import Ask, Decide, Limits
from authz.stores.database.connect import connect, prepare
from authz.stores.database.records import GrantRecord, Once, PolicyRevision, Revocation, Task
from authz.stores.database.schema import metadata
from authz.stores.database.settings import StoreSettings
from authz.stores.database.store import Store

NOW = 1_800_000_000.0
LIMITS = Limits(open_per_principal=50, opened_per_hour=100, open=1_000)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


class Place:
    """Where a store is kept: opened as often as wanted, each time like another replica."""

    def __init__(self, url: str, base: Path, **settings):
        self.base = base
        self.clock = Clock()
        self.reports = []
        # What is to succeed does so on a machine that stands still for some seconds, too.
        self.settings = StoreSettings(url=url, **{"operation_timeout_seconds": 60} | settings)

    @asynccontextmanager
    async def opened(self, on_commit=lambda changes: None, **settings):
        async with Store.opened(
            msgspec.structs.replace(self.settings, **settings),
            self.base,
            clock=self.clock,
            on_commit=on_commit,
            report=lambda event, **fields: self.reports.append((event, fields)),
        ) as store:
            yield store


@pytest.fixture(scope="session")
def emptied_url(postgres_server):
    """Answers the URL of an empty store on PostgreSQL: the same database, emptied, making one takes a second."""
    name = urlsplit(postgres_server.new_database()).path[1:]
    settings = StoreSettings(url=postgres_server.url(name))
    database = connect(settings, Path())
    prepare(database, settings)
    database.close()

    def empty():
        tables = ", ".join(table.name for table in metadata.sorted_tables if table.name != "schema_versions")
        again = "INSERT INTO counters VALUES ('changes', 0); INSERT INTO facts VALUES ('store_id', md5(random()::text))"
        postgres_server.execute(f"TRUNCATE {tables}; {again}", name)
        return postgres_server.url(name)

    return empty


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """An empty store, once of each kind."""
    if request.param == "sqlite":
        return Place("sqlite:///authz.db", tmp_path)
    return Place(request.getfixturevalue("emptied_url")(), tmp_path)


@pytest.fixture
async def store(place):
    async with place.opened() as opened:
        yield opened


def a_task(task_id="t1", **fields):
    return Task(**{"id": task_id, "owner": "spiffe://td/owner", "purpose": "testing", "created_at": NOW} | fields)


def a_grant(grant_id="g1", task_id="t1", **fields):
    defaults = {
        "id": grant_id,
        "task_id": task_id,
        "issuer": "https://issuer",
        "audience": "fleet",
        "holder": "spiffe://td/holder",
        "issued_at": NOW,
        "not_before": NOW,
        "expires_at": NOW + 60,
        "scope": ({"type": "authz_access", "actions": ["GET"], "locations": ["*"], "resources": ["/a/*"]},),
    }
    return GrantRecord(**defaults | fields)


def a_revocation(revocation_id="r1", kind="grant", value="g1", **fields):
    defaults = {"id": revocation_id, "kind": kind, "value": value, "reason": "why", "author": "me", "created_at": NOW}
    return Revocation(**defaults | fields)


def a_policy(text="p, a, b", **fields):
    content = {"policy.csv": text}
    defaults = {"number": 0, "hash": text, "content": content, "author": "me", "applied_at": NOW}
    return PolicyRevision(**defaults | fields)


def a_request(number=1, *, question=1, **changes):
    fields = {
        "id": f"a-{number}",
        "digest": f"{question:064x}",
        "principal": "spiffe://td/payer",
        "owner": "team",
        "behind": ("spiffe://td/planner",),
        "action": "POST",
        "demand": Demand(groups=("payments",)),
        "facts": {"path": "/v1/payments", "chain": ["spiffe://td/payer"]},
        "opened_at": NOW,
        "expires_at": NOW + 600,
    }
    return Approval(**fields | changes)


def ask(number=1, decision="d1", limits=LIMITS, **changes):
    return Ask(a_request(number, **changes), decision, limits)


def a_word(person="ann", approval_id="a-1", group="payments", question=1, **changes):
    fields = {"approval_id": approval_id, "person": f"https://idp#{person}", "name": person, "group": group}
    vote = Vote(**fields | {"approved": True, "at": NOW} | changes)
    return Decide(vote, f"{question:064x}")


def once(key="k1", digest="d1", scope="caller", expires_at=NOW + 600):
    return Once(scope=scope, key=key, digest=digest, expires_at=expires_at)


async def until(condition, seconds=60):
    """Wait for what other threads bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


def give_up_after(store, seconds):
    """Have a store wait for an operation no longer than this, from now on: what is to succeed may take its time."""
    for part in (store, store._writer, store._reader):
        part._settings = msgspec.structs.replace(part._settings, operation_timeout_seconds=seconds)


async def collect(watching, count, seconds=60):
    """The next so many changes."""
    found = []
    async with asyncio.timeout(seconds):
        async for changes in watching:
            found += changes
            if len(found) >= count:
                break
    await watching.aclose()
    return found
