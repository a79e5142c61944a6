"""Issued, derived, revoked, undone and completed in whatever order: a grant is active if and only if nothing in force
covers it, and its task is open."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from stores import NOW, Place, a_grant, a_revocation, a_task

from authz.stores.database.completing import COMPLETE, Complete
from authz.stores.database.connect import connect, prepare
from authz.stores.database.dialect import WRITES
from authz.stores.database.errors import StoreRefusal
from authz.stores.database.issuing import ISSUE, Issue, read_grants, read_tasks
from authz.stores.database.revoking import REVOKE, UNDO, Revoke, Undo, task_concerned
from authz.stores.database.schema import grants
from authz.stores.database.using import USE, Use
from authz.stores.database.work import Work

TASKS = ("t0", "t1")
FAMILY = [("issue", "t0", None), ("issue", "t0", 0), ("issue", "t0", 1), ("issue", "t0", None), ("issue", "t1", None)]
"""g0 with g1 derived from it and g2 from that, g3 beside them; g4 in another task."""
number = st.integers(0, 2)
undo = st.tuples(st.just("undo"), st.integers(0, 3))
revoke = st.tuples(st.just("revoke"), st.sampled_from(["grant", "grant", "task"]), number)
issue = st.tuples(st.just("issue"), st.sampled_from(["t0", "t0", "t0", "t1"]), number | st.none())
complete = st.tuples(st.just("complete"), st.sampled_from(TASKS))
STEPS = st.lists(st.one_of(revoke, issue, undo, revoke, issue, undo, complete), min_size=8, max_size=16)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    place = Place("sqlite:///model.db", tmp_path_factory.mktemp("model"))
    opened = connect(place.settings, place.base)
    prepare(opened, place.settings, place.clock)
    yield opened
    opened.close()


class Model:
    """What should be so, in the simplest words."""

    def __init__(self):
        self.grants = {}  # id -> (task, ancestors)
        self.completed = set()
        self.revoked = {}  # revocation id -> (kind, value), while in force

    def covered(self, grant_id):
        task, ancestors = self.grants[grant_id]
        return any(
            (kind == "grant" and value in (grant_id, *ancestors)) or (kind == "task" and value == task)
            for kind, value in self.revoked.values()
        )

    def is_open(self, task):
        return task not in self.completed and ("task", task) not in self.revoked.values()

    def active(self, grant_id):
        return self.is_open(self.grants[grant_id][0]) and not self.covered(grant_id)


class Machine:
    """Does each step to the store and to the model."""

    def __init__(self, work):
        self.work = work
        self.model = Model()
        self.revocations = 0

    def ask(self, kind, payload):
        [result] = kind.run(self.work, [payload])
        return result

    def issue(self, task, parent):
        ancestors = ()
        if parent is not None and f"g{parent}" in self.model.grants:
            ancestors = (f"g{parent}", *self.model.grants[f"g{parent}"][1])
        grant = a_grant(f"g{len(self.model.grants)}", task, ancestors=ancestors, max_uses=9)
        expected = task not in self.known() or self.model.is_open(task)
        if ancestors:
            expected = expected and self.model.active(ancestors[0]) and self.model.grants[ancestors[0]][0] == task
        result = self.ask(ISSUE, Issue(grant, a_task(task)))
        assert isinstance(result, StoreRefusal) != expected
        if expected:
            self.model.grants[grant.id] = (task, ancestors)

    def known(self):
        return {task for task, _ in self.model.grants.values()}

    def revoke(self, kind, n):
        value = f"g{n}" if kind == "grant" else TASKS[n % 2]
        if value not in (self.model.grants if kind == "grant" else self.known()):
            return
        revocation = a_revocation(f"r{self.revocations}", kind, value)
        self.revocations += 1
        self.ask(REVOKE, Revoke(revocation, task_concerned(self.work.connection, revocation.id, kind, value)))
        self.model.revoked[revocation.id] = (kind, value)

    def undo(self, n):
        if n < self.revocations:
            task = task_concerned(self.work.connection, f"r{n}", "", "")
            self.ask(UNDO, Undo(f"r{n}", "me", "", task))
            self.model.revoked.pop(f"r{n}", None)

    def complete(self, task):
        if task in self.known():
            self.ask(COMPLETE, Complete(task, "me"))
            if self.model.is_open(task):
                self.model.completed.add(task)

    def compare(self):
        found = read_grants(self.work, self.model.grants)
        for grant_id, grant in found.items():
            active = self.model.active(grant_id)
            assert (grant.state == "active") == active, (grant_id, grant.state)
            used = self.ask(USE, Use(grant_id, f"d{grant_id}"))
            assert (used is True) == active
        for task_id, task in read_tasks(self.work, TASKS).items():
            assert (task.state == "open") == self.model.is_open(task_id)


@settings(max_examples=settings().max_examples // 2)
@given(STEPS)
def test_a_grant_is_active_unless_something_in_force_covers_it(database, steps):
    with database.engine.connect().execution_options(**{WRITES: True}) as connection, contextlib.ExitStack() as stack:
        transaction = connection.begin()
        stack.callback(transaction.rollback)
        machine = Machine(Work(connection, NOW, 65_536))
        for step, *arguments in FAMILY + steps:
            getattr(machine, step)(*arguments)
        machine.compare()
        assert len(connection.execute(select(grants.c.id)).all()) == len(machine.model.grants)
