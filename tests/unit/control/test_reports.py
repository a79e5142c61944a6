"""`Reports` and `authz report`: shared, overdue, unknown and unused identities, over the control API."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner
from control_kit import BILLING, DOMAIN, OPERATORS, PLANNER, Failed
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.cli.main import cli
from authz.control.v1 import reports_pb2 as pb
from authz.decision.check import Checker
from authz.model import NOT_SHARED, CheckCall, Credential, Subject
from authz.stores.database.seeing import SightingRow

REPORTS = pb.DESCRIPTOR.services_by_name["Reports"]
FREE = "p, alice, r.sub.operator == 'alice', *, *, allow,\n"
STRANGER = f"spiffe://{DOMAIN}/ns/elsewhere/sa/stranger"
DAY = 86_400.0


@pytest.fixture
async def free(start):
    async with start(rules=FREE) as world:
        yield world


def see(world, identity, address, ago, *, certificate="c1", age=100.0):
    now = time.time()
    credential = Credential("x509-svid", certificate * 32, now - age, now + 1_000)
    tracker = world.composition.sharing
    tracker.observe(CheckCall("http", source_address=address), Subject(id=identity, credential=credential), now - ago)


def share(world, identity=PLANNER):
    for address, ago in (("10.0.0.1", 200), ("192.0.2.9", 190), ("10.0.0.1", 100)):
        see(world, identity, address, ago)


async def ask(world, **fields):
    return await world.alice.call(REPORTS, "SharedIdentities", pb.SharedIdentitiesRequest(**fields))


async def test_who_is_shared_with_the_evidence(free):
    share(free)
    see(free, BILLING, "10.0.0.7", 5)
    answer = await ask(free)
    [found] = answer.shared
    assert found.identity == PLANNER
    assert found.owner, "the inventory says who answers for it"
    assert (found.addresses.at_once, found.addresses.expected) == (2, 1)
    assert [each.value for each in found.addresses.seen] == ["10.0.0.1", "192.0.2.9"]
    assert found.certificates.at_once == 1
    assert answer.watched == 2
    assert not answer.truncated


async def test_who_is_not_in_the_inventory(free):
    see(free, STRANGER, "10.0.0.7", 5)
    see(free, BILLING, "10.0.0.7", 5)
    see(free, "https://idp.example#someone", "10.0.0.7", 5)
    await free.shared.store.seen.see([a_row("spiffe://elsewhere.example/x", 50 * DAY)], 300.0)
    answer = await ask(free)
    told = {each.identity for each in answer.unregistered}
    assert told == {STRANGER, "https://idp.example#someone", "spiffe://elsewhere.example/x"}


def a_row(identity, ago, first=100 * DAY):
    now = time.time()
    return SightingRow(identity=identity, kind="identity", value="", first_seen=now - first, last_seen=now - ago)


async def test_who_of_the_inventory_was_not_used(free):
    assert not (await ask(free)).unused, "nothing is known of that before anybody called"
    await free.shared.store.seen.see([a_row(PLANNER, 20 * DAY), a_row(BILLING, 0.0)], 300.0)
    answer = await ask(free, unused_for={"seconds": int(10 * DAY)})
    unused = {each.identity: each.last_seen.seconds for each in answer.unused}
    assert PLANNER in unused
    assert unused[PLANNER] > 0
    assert BILLING not in unused
    assert 0 in unused.values(), "others never called"
    answer = await ask(free, unused_for={"seconds": int(30 * DAY)})
    assert PLANNER not in {each.identity for each in answer.unused}
    assert not (await ask(free, unused_for={"seconds": int(200 * DAY)})).unused, "it was not watched for so long"


async def test_certificates_that_overlive_their_rotation(start):
    settings = "[identity.sharing]\nrotation_seconds = 3600\n"
    async with start(rules=FREE, operators=f"{OPERATORS}\n{settings}") as world:
        see(world, BILLING, "10.0.0.1", 5, certificate="a1", age=9_000)
        see(world, BILLING, "10.0.0.1", 1, certificate="b2", age=10)
        [late] = (await ask(world)).overdue
        assert (late.identity, late.certificate) == (BILLING, "a1" * 32)
        assert late.problem == pb.OverdueCredential.PROBLEM_NOT_ROTATED


async def test_no_more_than_is_wanted(free):
    for n in range(5):
        see(free, f"{STRANGER}-{n}", "10.0.0.1", 5)
    answer = await ask(free, max_entries=3)
    assert len(answer.unregistered) == 3
    assert answer.truncated


async def test_what_cannot_be_asked(free):
    with pytest.raises(Failed) as failed:
        await ask(free, max_entries=-1, unused_for={"seconds": -5})
    assert set(failed.value.violations) == {"max_entries", "unused_for"}


async def test_it_is_for_those_whom_policy_lets(start):
    async with start(rules="p, nobody, False, *, *, allow,\n") as world:
        with pytest.raises(Failed) as failed:
            await ask(world)
        assert failed.value.reason == "NO_MATCHING_RULE"


async def command(world, *words, code):
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["report", *words, "--server", world.unix])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


async def test_the_command(free):
    shown = await command(free, "shared-identities", code=0)
    assert shown.startswith("Shared: in use at once / expected\nnone\n")
    share(free)
    shown = await command(free, "shared-identities", code=1)
    [line] = [line for line in shown.splitlines() if line.startswith(PLANNER)]
    assert "1 / 1" in line
    assert "2 / 1" in line
    told = json.loads(await command(free, "shared-identities", "--json", "--unused-days", "30", code=1))
    assert told["shared"][0]["identity"] == PLANNER


def a_question():
    request = CheckRequest()
    request.attributes.source.address.socket_address.address = "10.0.0.1"
    http = request.attributes.request.http
    http.method, http.host, http.path = "GET", "h", "/"
    return request.SerializeToString()


async def test_the_data_plane_is_watched_and_a_dry_run_is_not(free):
    composition, tracker = free.composition, free.composition.sharing
    seen = []
    tracker.observe = lambda call, subject, now: seen.append(call.source_address) or NOT_SHARED
    free.holder.current = replace(free.holder.current, resolver=Somebody())
    composition.dry_run(free.holder, a_question(), time.time())
    assert seen == []
    Checker(composition.parts(free.holder, free.trail, Uncounted())).check(a_question(), 60.0)
    assert seen == ["10.0.0.1"]


class Somebody:
    def identify(self, call, now):
        return Subject(id=PLANNER)


class Uncounted:
    def decided(self, outcome):
        pass
