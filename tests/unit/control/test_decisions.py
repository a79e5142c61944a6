"""The service Decisions: following what is decided, and dry runs."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import grpc
import msgspec
import pytest
from control_kit import BOB, PLANNER, Failed, Trail
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from authz.control.records import Told
from authz.control.v1 import decisions_pb2 as pb
from authz.decision.check import Checker
from authz.model import Asked, Subject, Target
from authz.shared_state import NoSiblings
from authz.worker.brief import brief, outcome_of

DECISIONS = pb.DESCRIPTOR.services_by_name["Decisions"]


class Meter:
    def decided(self, outcome):
        pass


def question():
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.host, http.path = "GET", "api.demo.internal", "/v1/accounts/1"
    return request.SerializeToString()


@pytest.fixture
def decide(world):
    checker = Checker(world.composition.parts(world.holder, Told(Trail(), world.decisions), Meter()))
    return lambda message=None: checker.check(message or question(), 60.0)


async def following(world, count):
    async with asyncio.timeout(60):
        while len(world.decisions._followers) < count:
            await asyncio.sleep(0.01)


async def test_decisions_are_followed_as_they_are_made(world, decide):
    stream = world.alice.stream(DECISIONS, "Tail", pb.TailRequest())
    await following(world, 1)
    decide()
    event = await stream.read()
    assert (event.decision.effect, event.decision.reason) == ("deny", "identity_missing")
    stream.cancel()


async def test_only_those_that_are_wanted(world, decide):
    stream = world.alice.stream(DECISIONS, "Tail", pb.TailRequest(reasons=["request_malformed"]))
    await following(world, 1)
    decide()
    decide(b"\xff\xff")
    event = await stream.read()
    assert event.decision.reason == "request_malformed"
    stream.cancel()


async def test_a_reason_that_is_none(world):
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await world.alice.stream(DECISIONS, "Tail", pb.TailRequest(reasons=["typo"])).read()
    assert Failed(failed.value).violations.keys() == {"reasons"}


async def test_a_follower_that_is_slow_is_told_what_it_missed(start):
    async with start(control="watch.queue_events = 2") as world:
        checker = Checker(world.composition.parts(world.holder, Told(Trail(), world.decisions), Meter()))
        stream = world.alice.stream(DECISIONS, "Tail", pb.TailRequest())
        await following(world, 1)
        for _ in range(10):  # without giving way to the follower
            checker.check(question(), 60.0)
        seen = [await stream.read(), await stream.read()]
        checker.check(question(), 60.0)
        seen.append(await stream.read())
        assert sum(event.skipped for event in seen) == 8
        stream.cancel()


async def test_a_stream_ends_when_its_caller_is_revoked(start):
    async with start(rules="p, anybody, True, *, *, allow,\n") as world:
        bob = await world.as_(BOB)
        stream = bob.stream(DECISIONS, "Tail", pb.TailRequest())
        await following(world, 1)
        await world.revoke("principal", BOB)
        Checker(world.composition.parts(world.holder, Told(Trail(), world.decisions), Meter())).check(question(), 60.0)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stream.read()
    assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_ends_after_its_time(start):
    async with start(control="watch.max_seconds = 0.1") as world:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await world.alice.stream(DECISIONS, "Tail", pb.TailRequest()).read()
        assert Failed(failed.value).reason == "STREAM_ENDED"


async def test_more_streams_than_allowed(start):
    async with start(control="watch.max_streams = 1") as world:
        first = world.alice.stream(DECISIONS, "Tail", pb.TailRequest())
        await following(world, 1)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await world.alice.stream(DECISIONS, "Tail", pb.TailRequest()).read()
        assert Failed(failed.value).reason == "TOO_MANY_STREAMS"
        first.cancel()
        async with asyncio.timeout(60):  # its place is free again
            while world.decisions.followed:
                await asyncio.sleep(0.01)


async def test_a_dry_run_knows_what_is_revoked(world):
    made = world.pki.issue(PLANNER, "planner")
    request = CheckRequest.FromString(question())
    request.attributes.source.certificate = quote(Path(made["certificate"]).read_text(), safe="")
    asked = pb.CheckRequest(check_request=request.SerializeToString())
    assert (await world.alice.call(DECISIONS, "Check", asked)).decision.effect == "allow"
    await world.revoke("principal", PLANNER)
    assert (await world.alice.call(DECISIONS, "Check", asked)).decision.reason == "principal_revoked"


async def test_a_dry_run_decides_and_keeps_no_record(world):
    answer = await world.alice.call(DECISIONS, "Check", pb.CheckRequest(check_request=question()))
    assert (answer.decision.effect, answer.decision.reason) == ("deny", "identity_missing")
    assert CheckResponse.FromString(answer.check_response).denied_response.status.code == 401
    assert [record.call.layer for record in world.trail.outcomes] == ["control"]


async def test_clearing_the_cache_moves_the_epoch_of_every_process_before_it_returns(world, monkeypatch):
    moved = []

    async def apply(_, timeout_seconds):
        moved.append(timeout_seconds)
        return 0

    monkeypatch.setattr(NoSiblings, "apply", apply)
    await world.alice.call(DECISIONS, "ClearCache", pb.ClearCacheRequest())
    assert len(moved) == 1


async def test_no_workload_clears_the_cache(world):
    bob = await world.as_(BOB)
    with pytest.raises(Failed) as failed:
        await bob.call(DECISIONS, "ClearCache", pb.ClearCacheRequest())
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_what_another_process_decided_is_shown_and_who_wants_it_explained_is_told_why_it_is_not(world):
    trail = Trail()
    Checker(world.composition.parts(world.holder, trail, Meter())).check(question(), 60.0)
    asked = Asked(Target("GET", "api.demo.internal", 0, "/v1/accounts/1"), {}, "http", "GET", {})
    made = msgspec.structs.replace(trail.last, asked=asked, subject=Subject(id=PLANNER))
    stream = world.alice.stream(DECISIONS, "Sample", pb.SampleRequest(most=5))
    await following(world, 1)
    [sampler] = world.decisions.of_host
    sampler.receive(outcome_of(brief(made)))
    sampler.miss({"allow": {"allowed": 7}, "deny": {"identity_missing": 2}})
    answer = await stream.read()
    stream.cancel()
    assert (answer.allowed, answer.denied, dict(answer.reasons)) == (7, 3, {"allowed": 7, "identity_missing": 3})
    assert [each.id for each in answer.decisions] == [made.decision_id]
    found = await world.alice.call(DECISIONS, "Describe", pb.DescribeRequest(decision_id=made.decision_id))
    assert "another process" in found.unexplained
    assert found.decision.path == "/v1/accounts/1"
