"""Two replicas over one PostgreSQL: what is ordered on one holds on the other."""

import asyncio
import contextlib
import time

import pytest
from control_kit import BOB, PLANNER, Failed, Pki, World

from authz.control.v1 import changes_pb2, fleet_pb2, grants_pb2, keys_pb2, policies_pb2, revocations_pb2
from authz.control.v1.common_pb2 import Permission, Task
from authz.errors import Reason
from authz.grants.token import read_grant
from authz.model import Subject

GRANTS = grants_pb2.DESCRIPTOR.services_by_name["Grants"]
REVOCATIONS = revocations_pb2.DESCRIPTOR.services_by_name["Revocations"]
POLICIES = policies_pb2.DESCRIPTOR.services_by_name["Policies"]
KEYS = keys_pb2.DESCRIPTOR.services_by_name["Keys"]
FLEET = fleet_pb2.DESCRIPTOR.services_by_name["Fleet"]
CHANGES = changes_pb2.DESCRIPTOR.services_by_name["Changes"]
OPEN = "p, anybody, True, *, *, allow,\n"


@pytest.fixture
async def replicas(tmp_path, postgres_url):
    (tmp_path / "pki").mkdir()
    pki = Pki(tmp_path / "pki")
    store = f'url = "{postgres_url}"\nheartbeat_seconds = 0.2'
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            world = World(tmp_path / name, pki, rules=OPEN, store=store)
            made.append(await stack.enter_async_context(world.serving()))
        yield made


async def until(condition, seconds=60):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def issue(world):
    planner = await world.as_(PLANNER, f"planner-{time.monotonic_ns()}")
    request = grants_pb2.IssueRequest(
        task=Task(id="t-1", purpose="x"), permissions=[Permission(actions=["GET"], locations=["*"], resources=["/a"])]
    )
    return await planner.call(GRANTS, "Issue", request)


def read(world, token):
    return read_grant(token, world.shared.ring.key_set(), world.config.grants)


def refusal(world, grant=None):
    return world.shared.view.revocations.refusal(Subject(id=PLANNER, trust_domain="demo.internal"), grant, time.time())


async def test_a_grant_of_one_is_good_on_the_other_until_its_task_is_completed_there(replicas):
    one, other = replicas
    token = (await issue(one)).token
    await until(lambda: len(other.shared.ring.records) == 2)
    grant = read(other, token)
    assert refusal(other, grant) is None
    planner = await other.as_(PLANNER, "planner-b")
    await planner.call(GRANTS, "Complete", grants_pb2.CompleteRequest(task_id="t-1"))
    await until(lambda: refusal(one, grant) is Reason.TASK_COMPLETED)


async def test_a_rotated_key_is_known_to_the_other(replicas):
    one, other = replicas
    await one.alice.call(KEYS, "Rotate", keys_pb2.RotateRequest(reason="yearly"))
    kid = one.shared.ring.signing.kid
    await until(lambda: other.shared.ring.key_set().find(kid) is not None)
    read(other, (await issue(one)).token)
    await until(lambda: other.composition.own_grant_keys.find(kid) is not None)  # as the data plane sees it


async def test_what_is_revoked_on_one_is_refused_by_the_other(replicas):
    one, other = replicas
    request = revocations_pb2.CreateRevocationRequest(
        kind=revocations_pb2.REVOCATION_KIND_PRINCIPAL, value=PLANNER, reason="x"
    )
    made = await one.alice.call(REVOCATIONS, "Create", request)
    await until(lambda: refusal(other) is Reason.PRINCIPAL_REVOKED)
    undo = revocations_pb2.UndoRequest(revocation_id=made.revocation.id, reason="a mistake")
    await other.alice.call(REVOCATIONS, "Undo", undo)
    await until(lambda: refusal(one) is None)


async def test_a_policy_that_is_applied_on_one_comes_into_force_on_the_other(replicas):
    one, other = replicas
    file = policies_pb2.PolicyFile(name="policies/policy.csv", text=OPEN)
    request = policies_pb2.ApplyRequest(files=[file], reason="x", expected_version=one.holder.current.engine.version)
    await one.alice.call(POLICIES, "Apply", request)
    await until(lambda: other.holder.current.engine.rule_count == 1)
    assert other.holder.current.engine.version == one.holder.current.engine.version


async def test_both_are_shown(replicas):
    one, other = replicas

    async def status():
        return await one.alice.call(FLEET, "Status", fleet_pb2.StatusRequest())

    async with asyncio.timeout(20):
        while len((found := await status()).replicas) < 2:
            await asyncio.sleep(0.05)
    assert {each.id for each in found.replicas} == {one.shared.store.replica_id, other.shared.store.replica_id}
    assert found.self == one.shared.store.replica_id


TWO = f"{OPEN}p, two, True, *, control:keys.rotate, allow, second_person=security\n"


@pytest.fixture
async def careful_replicas(tmp_path, postgres_url):
    (tmp_path / "pki").mkdir()
    pki = Pki(tmp_path / "pki")
    store = f'url = "{postgres_url}"\nheartbeat_seconds = 0.2'
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            world = World(tmp_path / name, pki, rules=TWO, store=store)
            made.append(await stack.enter_async_context(world.serving()))
        yield made


async def ask_to_rotate(world):
    with pytest.raises(Failed) as failed:
        await world.alice.call(KEYS, "Rotate", keys_pb2.RotateRequest(reason="yearly"))
    assert failed.value.reason == "SECOND_PERSON_REQUIRED"
    return failed.value.metadata["change_id"]


async def test_a_change_asked_for_on_one_is_confirmed_on_the_other_and_once(careful_replicas):
    one, other = careful_replicas
    change_id = await ask_to_rotate(one)
    here, there = await one.as_(BOB, "bob-a"), await other.as_(BOB, "bob-b")
    [listed] = (await there.call(CHANGES, "List", changes_pb2.ListChangesRequest())).changes
    assert (listed.id, listed.author, listed.action) == (change_id, "operator:alice", "control:keys.rotate")
    confirm = changes_pb2.ConfirmRequest(change_id=change_id)
    answers = await asyncio.gather(
        *(bob.call(CHANGES, "Confirm", confirm) for bob in (here, there, here, there)), return_exceptions=True
    )
    faults = [each for each in answers if isinstance(each, Failed)]
    assert len(faults) == 3
    assert {each.reason for each in faults} == {"CHANGE_NOT_FOUND"}
    assert not (await here.call(CHANGES, "List", changes_pb2.ListChangesRequest())).changes
