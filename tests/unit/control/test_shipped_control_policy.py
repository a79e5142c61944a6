"""The control policy that ships: it loads with the documented groups, and nobody may anything without one."""

from pathlib import Path

import pytest

from authz.control.caller import Caller
from authz.control.charter import CharterFiles, Question
from authz.control.settings import ControlSettings
from authz.model import Kind, Subject
from authz.stores.policy_files import PolicySettings

ROOT = Path(__file__).parents[3]
ACTIONS = [
    "grants.issue",
    "grants.exchange",
    "grants.complete",
    "revocations.create",
    "revocations.undo",
    "revocations.start_lockdown",
    "revocations.end_lockdown",
    "policies.apply",
    "policies.rollback",
    "policies.current",
    "keys.rotate",
    "decisions.tail",
    "decisions.evaluate",
    "changes.confirm",
    "fleet.status",
    "tasks.get",
    "tasks.resume",
]


@pytest.fixture(scope="module")
def charter():
    settings = PolicySettings(model="model.conf", policies=("control.csv",))
    return CharterFiles(settings, ROOT / "policies", ["security"]).build()


def ask(charter, caller, action, path="/x"):
    _, _, decision = charter.ask(caller, f"control:{action}", Question(path, {}), 0.0)
    return decision


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "caller",
    [
        Caller(Subject(id="operator:eve", kind=Kind.HUMAN), "unix", "eve"),
        Caller(Subject(id="spiffe://demo.internal/w", kind=Kind.WORKLOAD), "tls"),
        Caller(Subject(), "tls"),
    ],
    ids=["an operator without groups", "a workload", "nobody"],
)
@pytest.mark.parametrize(
    "path", ["/policies", "/keys", "/lockdown", "/revocations/principal/x", "/changes/x", "/tasks/t"]
)
def test_without_a_group_nobody_may_anything(charter, caller, action, path):
    assert not ask(charter, caller, action, path).allowed


@pytest.mark.parametrize(
    ("action", "path"),
    [
        ("policies.apply", "/policies"),
        ("policies.rollback", "/policies"),
        ("keys.rotate", "/keys"),
        ("revocations.undo", "/revocations/principal/x"),
        ("revocations.end_lockdown", "/lockdown"),
        ("tasks.resume", "/tasks/t"),
    ],
)
def test_what_gives_power_takes_two(charter, action, path):
    subject = Subject(id="operator:ann", kind=Kind.HUMAN)
    decision = ask(charter, Caller(subject, "unix", "ann", ("operators", "authors")), action, path)
    assert decision.allowed
    assert decision.obligations == (("second_person", "security"),)


def test_the_control_plane_is_off_unless_asked_for():
    assert not ControlSettings().enabled
    assert not ControlSettings().apply_policies
    assert not ControlSettings().http.listen
