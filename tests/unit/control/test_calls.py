"""Every call: who it is from, whether it may be, and what it is told; over real sockets."""

import asyncio

import grpc
import pytest
from control_kit import BILLING, BOB, DOMAIN, PLANNER, Failed, unix_client
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from authz.control.server import ControlServer
from authz.control.settings import ControlSettings
from authz.control.v1 import policies_pb2 as pb
from authz.control.v1 import revocations_pb2
from authz.errors import ConfigError, Reason
from authz.stores.database.listing import Listed

POLICIES = pb.DESCRIPTOR.services_by_name["Policies"]
REVOCATIONS = revocations_pb2.DESCRIPTOR.services_by_name["Revocations"]
CURRENT = pb.CurrentRequest()
ANYBODY = "p, anybody, True, *, *, allow,\n"


async def test_an_operator_on_the_unix_socket_is_who_the_kernel_says(world):
    answer = await world.alice.call(POLICIES, "Current", CURRENT)
    assert answer.version == world.holder.current.version
    assert answer.rules == world.holder.current.engine.rule_count
    record = world.trail.last
    assert record.subject.id == "operator:alice"
    assert record.request.act["name"] == "control:policies.current"
    assert record.call.layer == "control"
    assert record.decision.allowed


async def test_a_user_who_is_no_operator_is_told_so(start):
    other = '[[control.operators]]\nname = "carol"\nuid = 4294967000\ngroups = ["operators", "security"]\n'
    async with start(operators=other) as world:
        with pytest.raises(Failed) as failed:
            await world.alice.call(POLICIES, "Current", CURRENT)
    assert failed.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert failed.value.reason == "OPERATOR_UNKNOWN"


async def test_a_connection_to_the_private_socket_is_nobody(world):
    relay = world.server._relays[0]
    async with grpc.aio.insecure_channel(str(relay.private)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(f"/{POLICIES.full_name}/Current")(b"")
    assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_workload_is_who_its_certificate_says_and_may_nothing_by_default(world):
    planner = await world.as_(PLANNER)
    with pytest.raises(Failed) as failed:
        await planner.call(POLICIES, "Current", CURRENT)
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert failed.value.reason == "NO_MATCHING_RULE"
    assert failed.value.metadata["action"] == "control:policies.current"
    assert world.trail.last.subject.id == PLANNER
    assert failed.value.metadata["decision_id"] == world.trail.last.decision_id


async def test_an_operator_over_tls_is_a_human_with_groups(start):
    rules = (
        "p, security, r.sub.kind == 'human' && 'security' in r.sub.groups && r.sub.operator == 'bob', *, *, allow,\n"
    )
    async with start(rules=rules) as world:
        bob = await world.as_(BOB)
        await bob.call(POLICIES, "Current", CURRENT)
        assert world.trail.last.subject.id == BOB
        with pytest.raises(Failed):
            await world.alice.call(POLICIES, "Current", CURRENT)


async def test_a_certificate_of_another_trust_domain_is_refused(world):
    stranger = await world.as_("spiffe://other.example/ns/agents/sa/planner", "stranger")
    with pytest.raises(Failed) as failed:
        await stranger.call(POLICIES, "Current", CURRENT)
    assert failed.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert failed.value.reason == "TRUST_DOMAIN_NOT_ALLOWED"


async def test_no_certificate_no_connection(world):
    from pathlib import Path

    credentials = grpc.ssl_channel_credentials(Path(world.pki.ca).read_bytes())
    options = [("grpc.ssl_target_name_override", "localhost")]
    async with grpc.aio.secure_channel(world.target, credentials, options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(f"/{POLICIES.full_name}/Current")(b"", timeout=10)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("kind", ["principal", "credential", "trust_domain"])
async def test_a_revoked_caller_may_nothing(start, kind):
    async with start(rules=ANYBODY) as world:
        bob = await world.as_(BOB)
        await bob.call(POLICIES, "Current", CURRENT)
        fingerprint = world.trail.last.subject.credential.fingerprint
        await world.revoke(kind, {"principal": BOB, "credential": fingerprint, "trust_domain": DOMAIN}[kind])
        with pytest.raises(Failed) as failed:
            await bob.call(POLICIES, "Current", CURRENT)
        assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED
        assert failed.value.reason == f"{kind}_revoked".upper()


async def test_what_cannot_be_recorded_is_not_done(world):
    world.trail.keeps = False
    with pytest.raises(Failed) as failed:
        await world.alice.call(POLICIES, "Current", CURRENT)
    assert failed.value.code is grpc.StatusCode.UNAVAILABLE
    assert failed.value.reason == "AUDIT_UNAVAILABLE"


@pytest.mark.parametrize("raw", [b"\xff\xff", b"\x0a\xff"])
async def test_bytes_that_are_no_message(world, raw):
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await world.alice.channel.unary_unary(f"/{POLICIES.full_name}/Current")(raw)
    assert Failed(failed.value).reason == "MALFORMED"


async def test_a_field_that_is_not_known_is_refused(world):
    from google.protobuf.wrappers_pb2 import StringValue

    raw = StringValue(value="narrow").SerializeToString().replace(b"\x0a", b"\x7a", 1)  # field 15
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await world.alice.channel.unary_unary(f"/{POLICIES.full_name}/Current")(raw)
    assert Failed(failed.value).reason == "UNKNOWN_FIELD"


async def test_a_field_that_is_not_known_deep_inside_is_refused(world):
    inner = pb.PolicyFile(name="a", text="b").SerializeToString() + b"\x7a\x01x"
    raw = b"\x0a" + bytes([len(inner)]) + inner
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await world.alice.channel.unary_unary(f"/{POLICIES.full_name}/Validate")(raw)
    assert Failed(failed.value).reason == "UNKNOWN_FIELD"


async def test_the_deadline_of_the_caller_is_kept(start):
    async with start() as world:
        blocked = asyncio.Event()

        async def never(*_):
            await blocked.wait()

        world.shared.store.policies = never
        with pytest.raises(Failed) as failed:
            await world.alice.call(POLICIES, "History", pb.HistoryRequest(), timeout=0.2)
        assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_deadline_gets_the_server_s(start):
    async with start(control="default_deadline_seconds = 0.1") as world:
        blocked = asyncio.Event()

        async def never(*_):
            await blocked.wait()

        world.shared.store.policies = never
        with pytest.raises(Failed) as failed:
            await world.alice.call(POLICIES, "History", pb.HistoryRequest(), timeout=None)
        assert failed.value.reason == "DEADLINE_EXCEEDED"


async def test_more_calls_at_once_than_allowed(start):
    async with start(control="max_concurrent_calls = 1") as world:
        entered, go = asyncio.Event(), asyncio.Event()

        async def wait(*_):
            entered.set()
            await go.wait()
            return Listed((), "")

        world.shared.store.policies = wait
        first = asyncio.create_task(world.alice.call(POLICIES, "History", pb.HistoryRequest()))
        await entered.wait()
        with pytest.raises(Failed) as failed:
            await world.alice.call(POLICIES, "Current", CURRENT)
        assert failed.value.reason == "TOO_MANY_CALLS"
        go.set()
        await first


async def test_a_fault_tells_nothing_but_that_there_was_one(world):
    async def broken(*_):
        raise RuntimeError("password=hunter2")

    world.shared.store.policies = broken
    with pytest.raises(Failed) as failed:
        await world.alice.call(POLICIES, "History", pb.HistoryRequest())
    assert failed.value.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(failed.value)


async def test_reflection_and_health(world):
    stub = health_pb2_grpc.HealthStub(world.alice.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=POLICIES.full_name))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def services():
        with grpc.insecure_channel(world.unix) as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert {POLICIES.full_name, "authz.control.v1.Decisions"} <= await asyncio.to_thread(services)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"])
async def test_orders_are_never_taken_over_plain_tcp(address):
    with pytest.raises(ConfigError, match="plain TCP"):
        ControlServer(ControlSettings(listen=(address,)), None, None, {})


async def test_the_unix_socket_can_be_used_by_many_clients_at_once(world):
    async def one():
        async with unix_client(world.server) as client:
            await client.call(POLICIES, "Current", CURRENT)

    await asyncio.gather(*(one() for _ in range(20)))


@pytest.mark.parametrize(
    ("operators", "problem"),
    [
        ('[[control.operators]]\nname = "a"\n', "give a uid"),
        ('[[control.operators]]\nname = "a"\nuid = 1\n[[control.operators]]\nname = "b"\nuid = 1\n', "is 'a', too"),
        ('[[control.operators]]\nname = "a"\nuid = 1\n[[control.operators]]\nname = "a"\nuid = 2\n', "stands twice"),
        ('[[control.operators]]\nname = "a"\nspiffe_id = "spiffe://Demo/x"\n', "spiffe_id"),
        (f'[[control.operators]]\nname = "a"\nspiffe_id = "spiffe://{DOMAIN}"\n', "spiffe_id"),
    ],
)
async def test_operators_that_could_be_confused(start, operators, problem):
    with pytest.raises(ConfigError, match=problem):
        async with start(operators=operators):
            pass


async def test_a_rule_for_traffic_gives_no_power_here(start):
    async with start(files={"policy.csv": "p, anything, True, *, *, allow,\n"}) as world:
        billing = await world.as_(BILLING)
        with pytest.raises(Failed) as failed:
            await billing.call(POLICIES, "Current", CURRENT)
    assert failed.value.reason == "NO_MATCHING_RULE"


# What is not even judged is on record, once


def recorded(world):
    [outcome] = world.trail.outcomes
    return outcome


async def test_a_call_from_nobody_known_is_on_record(start):
    other = '[[control.operators]]\nname = "carol"\nuid = 4294967000\ngroups = ["operators", "security"]\n'
    async with start(operators=other) as world:
        world.trail.outcomes.clear()
        with pytest.raises(Failed):
            await world.alice.call(POLICIES, "Current", CURRENT)
        outcome = recorded(world)
        assert (outcome.call.layer, outcome.call.method) == ("control", "control:policies.current")
        assert (outcome.decision.reason, outcome.decision.detail) == (Reason.IDENTITY_MISSING, "OPERATOR_UNKNOWN")
        assert outcome.subject is None


async def test_a_certificate_that_is_not_accepted_is_on_record_with_why(world):
    stranger = await world.as_("spiffe://other.example/ns/agents/sa/planner", "stranger")
    world.trail.outcomes.clear()
    with pytest.raises(Failed):
        await stranger.call(POLICIES, "Current", CURRENT)
    assert recorded(world).decision.reason is Reason.TRUST_DOMAIN_NOT_ALLOWED


@pytest.mark.parametrize("method", ["Current", "Validate"])
async def test_bytes_that_are_no_message_are_on_record(world, method):
    world.trail.outcomes.clear()
    with pytest.raises(grpc.aio.AioRpcError):
        await world.alice.channel.unary_unary(f"/{POLICIES.full_name}/{method}")(b"\xff\xff")
    outcome = recorded(world)
    assert (outcome.decision.allowed, outcome.decision.reason) == (False, Reason.REQUEST_MALFORMED)
    assert outcome.subject.id == "operator:alice"


async def test_fields_that_are_wrong_are_on_record(world):
    world.trail.outcomes.clear()
    with pytest.raises(Failed) as failed:
        await world.alice.call(REVOCATIONS, "Create", revocations_pb2.CreateRevocationRequest())
    assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert recorded(world).decision.reason is Reason.REQUEST_MALFORMED


async def test_a_stream_that_cannot_be_read_is_on_record(world):
    world.trail.outcomes.clear()
    watching = world.alice.channel.unary_stream(f"/{REVOCATIONS.full_name}/Watch")(b"\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError):
        await watching.read()
    assert recorded(world).decision.reason is Reason.REQUEST_MALFORMED


async def test_what_was_judged_is_on_record_once(world):
    world.trail.outcomes.clear()
    await world.alice.call(POLICIES, "Current", CURRENT)
    with pytest.raises(Failed):
        await world.alice.call(REVOCATIONS, "Undo", revocations_pb2.UndoRequest(revocation_id="none", reason="x"))
    assert len(world.trail.outcomes) == 2


@pytest.mark.parametrize(("who", "reason"), [(None, Reason.IDENTITY_MISSING), (PLANNER, Reason.REQUEST_MALFORMED)])
async def test_requests_over_http_that_are_refused_are_on_record(world, who, reason):
    async with world.http(who) as client:
        world.trail.outcomes.clear()
        answer = await client.post("/oauth/token", content="not a form")
        assert answer.status_code in {400, 401}
    outcome = recorded(world)
    assert (outcome.call.method, outcome.call.path) == ("control:http", "/oauth/token")
    assert outcome.decision.reason is reason
