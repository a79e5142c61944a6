"""The services Revocations, Keys and Fleet."""

import time

import grpc
import msgspec
import pytest
from control_kit import BOB, DOMAIN, PLANNER, Failed

from authz.control.v1 import changes_pb2, fleet_pb2, grants_pb2, keys_pb2
from authz.control.v1 import revocations_pb2 as pb
from authz.control.v1.common_pb2 import PageRequest, Permission, Task
from authz.errors import Reason, Refusal
from authz.grants.token import read_grant, sign_grant
from authz.model import Credential, Subject

REVOCATIONS = pb.DESCRIPTOR.services_by_name["Revocations"]
GRANTS = grants_pb2.DESCRIPTOR.services_by_name["Grants"]
KEYS = keys_pb2.DESCRIPTOR.services_by_name["Keys"]
FLEET = fleet_pb2.DESCRIPTOR.services_by_name["Fleet"]
CHANGES = changes_pb2.DESCRIPTOR.services_by_name["Changes"]
OPEN = "p, anybody, True, *, *, allow,\n"
FINGERPRINT = "ab" * 32


@pytest.fixture
async def free(start):
    async with start(rules=OPEN) as world:
        yield world


def subject(**changes):
    credential = Credential("x509-svid", FINGERPRINT, time.time() - 100, time.time() + 100, "CN=issuer")
    return Subject(**{"id": PLANNER, "trust_domain": DOMAIN, "credential": credential} | changes)


def refusal(world, who=None):
    return world.shared.view.revocations.refusal(who or subject(), None, time.time())


async def create(world, kind, value="", client=None, **changes):
    request = pb.CreateRevocationRequest(kind=kind, value=value, **{"reason": "compromised"} | changes)
    return (await (client or world.alice).call(REVOCATIONS, "Create", request)).revocation


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (pb.REVOCATION_KIND_PRINCIPAL, PLANNER, Reason.PRINCIPAL_REVOKED),
        (pb.REVOCATION_KIND_CERTIFICATE, FINGERPRINT, Reason.CREDENTIAL_REVOKED),
        (pb.REVOCATION_KIND_TRUST_DOMAIN, DOMAIN, Reason.TRUST_DOMAIN_REVOKED),
    ],
)
async def test_what_is_revoked_is_in_force_when_the_call_returns_and_until_it_is_undone(free, kind, value, reason):
    assert refusal(free) is None
    made = await create(free, kind, value)
    assert (made.value, made.author, made.reason) == (value, "operator:alice", "compromised")
    assert refusal(free) is reason
    undone = await free.alice.call(REVOCATIONS, "Undo", pb.UndoRequest(revocation_id=made.id, reason="a mistake"))
    assert undone.revocation.undone_by == "operator:alice"
    assert refusal(free) is None


@pytest.mark.parametrize(
    ("cut_off", "value"),
    [(pb.CUT_OFF_EVERYBODY, ""), (pb.CUT_OFF_PRINCIPAL, PLANNER), (pb.CUT_OFF_ISSUER, "CN=issuer")],
)
async def test_everything_issued_before_a_moment(free, cut_off, value):
    await create(
        free, pb.REVOCATION_KIND_ISSUED_BEFORE, value, cut_off=cut_off, before={"seconds": int(time.time()) - 10}
    )
    assert refusal(free) is Reason.ISSUED_BEFORE_CUTOFF
    young = Credential("x509-svid", "cd" * 32, time.time(), time.time() + 100, "CN=issuer")
    assert refusal(free, subject(credential=young)) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": 0, "value": "x"}, "kind"),
        ({"kind": 99, "value": "x"}, "kind"),
        ({"kind": pb.REVOCATION_KIND_PRINCIPAL, "value": "planner"}, "value"),
        ({"kind": pb.REVOCATION_KIND_CERTIFICATE, "value": "AB" * 32}, "value"),
        ({"kind": pb.REVOCATION_KIND_TRUST_DOMAIN, "value": "Demo.internal"}, "value"),
        ({"kind": pb.REVOCATION_KIND_GRANT, "value": "short"}, "value"),
        ({"kind": pb.REVOCATION_KIND_PRINCIPAL, "value": PLANNER, "reason": " "}, "reason"),
        ({"kind": pb.REVOCATION_KIND_PRINCIPAL, "value": PLANNER, "expires_at": {"seconds": 1}}, "expires_at"),
        ({"kind": pb.REVOCATION_KIND_PRINCIPAL, "value": PLANNER, "before": {"seconds": 1}}, "before"),
        ({"kind": pb.REVOCATION_KIND_ISSUED_BEFORE, "cut_off": 1}, "before"),
        ({"kind": pb.REVOCATION_KIND_ISSUED_BEFORE, "before": {"seconds": 1}, "value": "x"}, "cut_off"),
        ({"kind": pb.REVOCATION_KIND_ISSUED_BEFORE, "cut_off": 1, "before": {"seconds": 9_000_000_000}}, "before"),
        ({"kind": pb.REVOCATION_KIND_ISSUED_BEFORE, "cut_off": 1, "before": {"seconds": 1}, "value": "x"}, "value"),
    ],
)
async def test_revocations_that_would_stop_nobody_or_everybody(free, changes, field):
    with pytest.raises(Failed) as failed:
        await create(free, **changes)
    assert set(failed.value.violations) == {field}
    assert refusal(free) is None


async def test_to_take_away_one_is_enough_to_give_back_takes_two(world):
    made = await create(world, pb.REVOCATION_KIND_PRINCIPAL, PLANNER)
    with pytest.raises(Failed) as failed:
        await world.alice.call(REVOCATIONS, "Undo", pb.UndoRequest(revocation_id=made.id, reason="a mistake"))
    assert failed.value.reason == "SECOND_PERSON_REQUIRED"
    assert refusal(world) is Reason.PRINCIPAL_REVOKED
    bob = await world.as_(BOB)
    change = changes_pb2.ConfirmRequest(change_id=failed.value.metadata["change_id"])
    await bob.call(CHANGES, "Confirm", change)
    assert refusal(world) is None
    kept = await world.shared.store.revocation(made.id)
    assert kept.undone_by == "operator:alice with operator:bob"


async def test_a_retry_revokes_once(free):
    first = await create(free, pb.REVOCATION_KIND_PRINCIPAL, PLANNER, idempotency_key="k")
    second = await create(free, pb.REVOCATION_KIND_PRINCIPAL, PLANNER, idempotency_key="k")
    assert first.id == second.id


async def test_a_revocation_that_is_not_there(free):
    with pytest.raises(Failed) as failed:
        await free.alice.call(REVOCATIONS, "Undo", pb.UndoRequest(revocation_id="r-1", reason="x"))
    assert failed.value.code is grpc.StatusCode.NOT_FOUND


async def test_lists_come_in_pages(free):
    made = [
        (await create(free, pb.REVOCATION_KIND_PRINCIPAL, f"spiffe://{DOMAIN}/w/{number}")).id for number in range(5)
    ]
    seen, token = [], ""
    while True:
        request = pb.ListRevocationsRequest(page=PageRequest(size=2, token=token))
        answer = await free.alice.call(REVOCATIONS, "List", request)
        seen += [each.id for each in answer.revocations]
        token = answer.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(made)


async def test_what_is_revoked_is_watched(free):
    stream = free.alice.stream(REVOCATIONS, "Watch", pb.WatchRevocationsRequest())
    assert (await stream.read()).kind == pb.RevocationEvent.KIND_WATCHING
    made = await create(free, pb.REVOCATION_KIND_PRINCIPAL, PLANNER)
    event = await stream.read()
    assert (event.kind, event.revocation.id) == (pb.RevocationEvent.KIND_CREATED, made.id)
    await free.alice.call(REVOCATIONS, "Undo", pb.UndoRequest(revocation_id=made.id, reason="x"))
    assert (await stream.read()).kind == pb.RevocationEvent.KIND_UNDONE
    stream.cancel()


# Break glass


def lockdown(seconds=600, **changes):
    return pb.StartLockdownRequest(
        **{"reason": "incident 7", "until": {"seconds": int(time.time()) + seconds}} | changes
    )


async def test_a_lockdown_denies_all_but_who_is_named(free):
    answer = await free.alice.call(REVOCATIONS, "StartLockdown", lockdown(except_principals=[BOB]))
    assert refusal(free) is Reason.BREAK_GLASS
    assert refusal(free, subject(id=BOB)) is None
    told = await free.alice.call(REVOCATIONS, "List", pb.ListRevocationsRequest())
    assert told.lockdown.id == answer.lockdown.id
    assert told.lockdown.author == "operator:alice"
    ended = await free.alice.call(REVOCATIONS, "EndLockdown", pb.EndLockdownRequest(reason="over"))
    assert ended.lockdown.id == answer.lockdown.id
    assert refusal(free) is None


async def test_a_lockdown_stops_workloads_here_too_but_not_operators(free):
    await free.alice.call(REVOCATIONS, "StartLockdown", lockdown())
    planner, bob = await free.as_(PLANNER), await free.as_(BOB)
    with pytest.raises(Failed) as failed:
        await planner.call(GRANTS, "List", grants_pb2.ListGrantsRequest())
    assert failed.value.reason == "BREAK_GLASS"
    await bob.call(GRANTS, "List", grants_pb2.ListGrantsRequest())


@pytest.mark.parametrize("kind", [pb.REVOCATION_KIND_PRINCIPAL, pb.REVOCATION_KIND_TRUST_DOMAIN])
async def test_a_lockdown_gives_no_power_back_to_an_operator_who_was_revoked(free, kind):
    await create(free, kind, BOB if kind == pb.REVOCATION_KIND_PRINCIPAL else DOMAIN)
    await free.alice.call(REVOCATIONS, "StartLockdown", lockdown())
    bob = await free.as_(BOB)
    with pytest.raises(Failed) as failed:
        await bob.call(REVOCATIONS, "EndLockdown", pb.EndLockdownRequest(reason="mine again"))
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert refusal(free) is Reason.BREAK_GLASS


async def test_what_is_known_for_too_long_stops_workloads_here_too_but_not_operators(free, monkeypatch):
    planner, bob = await free.as_(PLANNER), await free.as_(BOB)
    monkeypatch.setattr(type(free.shared.store), "staleness_seconds", property(lambda _: 1e9))
    with pytest.raises(Failed) as failed:
        await planner.call(GRANTS, "List", grants_pb2.ListGrantsRequest())
    assert failed.value.reason == "STATE_STALE"
    await bob.call(GRANTS, "List", grants_pb2.ListGrantsRequest())


async def test_the_end_of_one_lockdown_is_not_confirmed_for_another(world):
    first = await world.alice.call(REVOCATIONS, "StartLockdown", lockdown())
    with pytest.raises(Failed) as failed:
        await world.alice.call(REVOCATIONS, "EndLockdown", pb.EndLockdownRequest(reason="a drill"))
    change_id = failed.value.metadata["change_id"]
    await world.shared.store.end_break_glass(first.lockdown.id, "somebody else")
    await world.alice.call(REVOCATIONS, "StartLockdown", lockdown(reason="an attack"))
    bob = await world.as_(BOB)
    with pytest.raises(Failed) as failed:
        await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
    assert failed.value.reason == "CHANGE_OUTDATED"
    assert refusal(world) is Reason.BREAK_GLASS


async def test_the_end_of_a_lockdown_takes_two(world):
    await world.alice.call(REVOCATIONS, "StartLockdown", lockdown())
    with pytest.raises(Failed) as failed:
        await world.alice.call(REVOCATIONS, "EndLockdown", pb.EndLockdownRequest(reason="over"))
    assert failed.value.reason == "SECOND_PERSON_REQUIRED"
    assert refusal(world) is Reason.BREAK_GLASS


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seconds": -10}, "until"),
        ({"seconds": 86_500}, "until"),
        ({"until": None}, "until"),
        ({"reason": ""}, "reason"),
        ({"except_principals": ["planner"]}, "except_principals[0]"),
    ],
)
async def test_lockdowns_that_are_not_taken(free, changes, field):
    with pytest.raises(Failed) as failed:
        await free.alice.call(REVOCATIONS, "StartLockdown", lockdown(**changes))
    assert set(failed.value.violations) == {field}


async def test_there_is_nothing_to_end(free):
    with pytest.raises(Failed) as failed:
        await free.alice.call(REVOCATIONS, "EndLockdown", pb.EndLockdownRequest(reason="over"))
    assert failed.value.reason == "NO_LOCKDOWN"


async def test_a_change_that_siblings_do_not_take_up_is_told(free):
    class Late:
        async def apply(self, timeout_seconds):
            return 1

    free.shared._siblings = Late()
    with pytest.raises(Failed) as failed:
        await create(free, pb.REVOCATION_KIND_PRINCIPAL, PLANNER)
    assert failed.value.reason == "NOT_YET_IN_FORCE"
    assert refusal(free) is Reason.PRINCIPAL_REVOKED  # kept all the same


# Keys


async def issue(client):
    request = grants_pb2.IssueRequest(
        task=Task(purpose="x"), permissions=[Permission(actions=["GET"], locations=["*"], resources=["/a"])]
    )
    return (await client.call(GRANTS, "Issue", request)).token


async def test_rotation_overlaps(free):
    planner = await free.as_(PLANNER)
    [before] = (await free.alice.call(KEYS, "List", keys_pb2.ListKeysRequest())).keys
    old = await issue(planner)
    rotated = (await free.alice.call(KEYS, "Rotate", keys_pb2.RotateRequest(reason="yearly"))).key
    new = await issue(planner)
    keys = (await free.alice.call(KEYS, "List", keys_pb2.ListKeysRequest())).keys
    assert [key.id for key in keys] == [rotated.id, before.id]
    assert keys[1].HasField("retired_at")
    assert keys[1].verifies_until.seconds > keys[1].retired_at.seconds + 900
    assert not keys[0].HasField("retired_at")
    for token, kid in ((old, before.id), (new, rotated.id)):
        import jwt

        assert jwt.get_unverified_header(token)["kid"] == kid
        read_grant(token, free.shared.ring.key_set(), free.config.grants)
    assert all('"d"' not in key.public_jwk for key in keys)


async def test_rotation_takes_two(world):
    with pytest.raises(Failed) as failed:
        await world.alice.call(KEYS, "Rotate", keys_pb2.RotateRequest(reason="yearly"))
    assert failed.value.reason == "SECOND_PERSON_REQUIRED"


async def test_private_keys_are_for_this_user_alone(free):
    directory = free.directory / "state" / "signing-keys"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())


async def test_a_key_that_others_can_read_is_refused(start):
    from authz.errors import ConfigError

    async with start() as world:
        [path] = (world.directory / "state" / "signing-keys").iterdir()
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        async with start():
            pass


async def test_a_restart_signs_with_the_same_key(start):
    async with start() as world:
        kid = world.shared.ring.signing.kid
    async with start() as world:
        assert world.shared.ring.signing.kid == kid


# The fleet


async def test_the_fleet_is_told(free):
    status = await free.alice.call(FLEET, "Status", fleet_pb2.StatusRequest())
    assert status.self == free.shared.store.replica_id
    assert any(replica.id == status.self for replica in status.replicas) or not status.replicas
    assert status.uniform


async def test_a_key_that_was_stolen_and_rotated_out_makes_no_new_grants_once_its_old_ones_are_over(free):
    planner = await free.as_(PLANNER)
    stolen = free.shared.ring.signing
    honest = read_grant(await issue(planner), free.shared.ring.key_set(), free.config.grants)
    await free.alice.call(KEYS, "Rotate", keys_pb2.RotateRequest(reason="stolen"))
    in_force = free.holder.current.grants._keys  # nothing comes after the rotation that would have it made anew
    read_grant(sign_grant(honest, stolen), in_force, free.config.grants)
    later = int(time.time()) + 1_000
    forged = msgspec.structs.replace(honest, issued_at=later, not_before=later, expires=later + 300)
    with pytest.raises(Refusal) as refused:
        read_grant(sign_grant(forged, stolen), in_force, free.config.grants)
    assert refused.value.reason is Reason.GRANT_KEY_UNKNOWN
