"""The service Policies, and the second person that the shipped policy asks for."""

import asyncio

import grpc
import msgspec
import pytest
from control_kit import BOB, PLANNER, Failed
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.control.v1 import changes_pb2, keys_pb2, policies_pb2
from authz.control.v1 import policies_pb2 as pb
from authz.control.v1.common_pb2 import PageRequest
from authz.errors import Reason

POLICIES = policies_pb2.DESCRIPTOR.services_by_name["Policies"]
KEYS = keys_pb2.DESCRIPTOR.services_by_name["Keys"]
CHANGES = changes_pb2.DESCRIPTOR.services_by_name["Changes"]
CLOSED = "p, nobody, False, *, *, deny,\n"
OPEN = "p, everybody, True, *, *, allow,\n"
FREE = "p, alice, r.sub.operator == 'alice', *, *, allow,\n"
"""Rules under which alice needs nobody else."""
NAME = "policies/policy.csv"


def apply(world, text=OPEN, **changes):
    values = {"expected_version": world.holder.current.engine.version, "reason": "ticket 12"} | changes
    return pb.ApplyRequest(files=[pb.PolicyFile(name=NAME, text=text)], **values)


@pytest.fixture
async def free(start):
    async with start(rules=FREE) as world:
        yield world


async def test_the_files_are_shown_when_asked_for(world):
    answer = await world.alice.call(POLICIES, "Current", pb.CurrentRequest(with_files=True))
    assert {file.name for file in answer.files} == {"policies/model.conf", NAME}
    assert not (await world.alice.call(POLICIES, "Current", pb.CurrentRequest())).files


async def test_a_policy_that_would_not_load_is_told_with_its_line(world):
    request = pb.ValidateRequest(files=[pb.PolicyFile(name=NAME, text=OPEN + "p, bad, r.sub. ==, *, *, allow,\n")])
    answer = await world.alice.call(POLICIES, "Validate", request)
    assert not answer.valid
    assert (answer.problems[0].file, answer.problems[0].line) == (NAME, 2)


async def test_a_policy_that_would_load_is_told_with_its_idle_rules(world):
    request = pb.ValidateRequest(files=[pb.PolicyFile(name=NAME, text=OPEN + OPEN.replace("every", "any"))])
    answer = await world.alice.call(POLICIES, "Validate", request)
    assert answer.valid
    assert answer.rules == 2
    assert answer.problems[0].warning


async def test_a_file_that_is_not_the_policy_s_is_refused(world):
    request = pb.ValidateRequest(files=[pb.PolicyFile(name="../secrets", text=OPEN)])
    answer = await world.alice.call(POLICIES, "Validate", request)
    assert not answer.valid


async def test_an_applied_policy_is_in_force_when_the_call_returns(free):
    before = free.holder.current.version
    answer = await free.alice.call(POLICIES, "Apply", apply(free))
    assert answer.revision == 1
    assert answer.version == free.holder.current.version != before
    assert free.holder.current.engine.rule_count == 1


async def test_a_policy_that_does_not_load_is_not_applied(free):
    before = free.holder.current
    with pytest.raises(Failed) as failed:
        await free.alice.call(POLICIES, "Apply", apply(free, "p, bad, r.sub. ==, *, *, allow,\n"))
    assert failed.value.reason == "POLICY_INVALID"
    assert failed.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert f"{NAME}:1" in str(failed.value)
    assert free.holder.current is before


async def test_two_authors_do_not_overwrite_each_other(free):
    stale = apply(free, CLOSED)
    await free.alice.call(POLICIES, "Apply", apply(free))
    with pytest.raises(Failed) as failed:
        await free.alice.call(POLICIES, "Apply", stale)
    assert failed.value.code is grpc.StatusCode.ABORTED
    assert failed.value.metadata["version"] == free.holder.current.version
    assert failed.value.metadata["policy_version"] == free.holder.current.engine.version


async def test_new_keys_do_not_come_between_an_author_and_the_policy(free):
    seen = await free.alice.call(POLICIES, "Current", pb.CurrentRequest())
    await free.alice.call(KEYS, "Rotate", keys_pb2.RotateRequest(reason="yearly"))
    assert free.holder.current.version != seen.version
    answer = await free.alice.call(POLICIES, "Apply", apply(free, expected_version=seen.policy_version))
    assert answer.version == free.holder.current.version
    assert answer.policy_version == free.holder.current.engine.version != seen.policy_version
    again = apply(free, CLOSED, expected_version=answer.version)  # who insists on all that decisions rest on
    assert (await free.alice.call(POLICIES, "Apply", again)).revision == 2
    with pytest.raises(Failed) as failed:
        await free.alice.call(POLICIES, "Apply", apply(free, expected_version=seen.version))
    assert failed.value.reason == "VERSION_CONFLICT"


async def test_what_is_missing_is_told_all_at_once(free):
    with pytest.raises(Failed) as failed:
        await free.alice.call(POLICIES, "Apply", pb.ApplyRequest())
    assert set(failed.value.violations) == {"files", "reason", "expected_version"}


async def test_rollback_brings_back_an_earlier_revision_as_a_new_one(free):
    first = await free.alice.call(POLICIES, "Apply", apply(free, OPEN))
    await free.alice.call(POLICIES, "Apply", apply(free, CLOSED))
    request = pb.RollbackRequest(revision=1, expected_version=free.holder.current.version, reason="it was better")
    answer = await free.alice.call(POLICIES, "Rollback", request)
    assert answer.revision == 3
    assert answer.version == first.version == free.holder.current.version


async def test_a_revision_that_is_not_there(free):
    request = pb.RollbackRequest(revision=7, expected_version=free.holder.current.version, reason="x")
    with pytest.raises(Failed) as failed:
        await free.alice.call(POLICIES, "Rollback", request)
    assert failed.value.code is grpc.StatusCode.NOT_FOUND


async def test_history_comes_in_pages_newest_first(free):
    for number in range(5):
        await free.alice.call(POLICIES, "Apply", apply(free, OPEN.replace("everybody", f"n{number}")))
    numbers, token = [], ""
    while True:
        page = PageRequest(size=2, token=token)
        answer = await free.alice.call(POLICIES, "History", pb.HistoryRequest(page=page, with_files=True))
        numbers += [revision.revision for revision in answer.revisions]
        assert all(revision.files and revision.author == "operator:alice" for revision in answer.revisions)
        token = answer.next_page_token
        if not token:
            break
    assert numbers == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("token", ["x", "!!", "eyJ9", "WyJhIiwiYiJd"])
async def test_a_page_token_that_is_not_ours(free, token):
    with pytest.raises(Failed) as failed:
        await free.alice.call(POLICIES, "History", pb.HistoryRequest(page=PageRequest(token=token)))
    assert set(failed.value.violations) == {"page.token"}


async def test_without_leave_in_the_configuration_nothing_is_applied(start):
    async with start(rules=FREE, control="#") as world:
        settings = world.config.control
        assert settings.apply_policies
    text = "apply_policies = true"
    async with start(rules=FREE, without=text) as world:
        with pytest.raises(Failed) as failed:
            await world.alice.call(POLICIES, "Apply", apply(world))
    assert failed.value.reason == "POLICIES_READ_ONLY"


def question(path="/v1/accounts/1"):
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.host, http.path = "GET", "api.demo.internal", path
    return request


async def test_explain_shows_the_rules_that_came_near(world):
    from urllib.parse import quote

    made = world.pki.issue(PLANNER, "planner")
    from pathlib import Path

    request = question()
    request.attributes.source.certificate = quote(Path(made["certificate"]).read_text(), safe="")
    answer = await world.alice.call(
        POLICIES, "Explain", pb.ExplainRequest(check_request=request.SerializeToString(), rules=1)
    )
    assert (answer.allowed, answer.reason) == (True, "allowed")
    assert answer.rule.startswith(NAME)
    assert [condition.state for condition in answer.near[0].conditions] == ["holds"] * len(answer.near[0].conditions)


async def test_explain_of_a_request_that_no_policy_sees(world):
    with pytest.raises(Failed) as failed:
        await world.alice.call(
            POLICIES, "Explain", pb.ExplainRequest(check_request=question("/a/../b").SerializeToString())
        )
    assert failed.value.reason == "NOT_EXPLAINABLE"


# The second person


async def ask(world):
    with pytest.raises(Failed) as failed:
        await world.alice.call(POLICIES, "Apply", apply(world))
    assert failed.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.value.reason == "SECOND_PERSON_REQUIRED"
    assert failed.value.metadata["group"] == "security"
    return failed.value.metadata["change_id"]


async def test_a_sensitive_change_waits_for_a_second_person(world):
    before = world.holder.current
    change_id = await ask(world)
    assert world.holder.current is before
    bob = await world.as_(BOB)
    answer = await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
    applied = pb.ApplyResponse()
    assert answer.response.Unpack(applied)
    assert world.holder.current is not before
    revision = await world.shared.store.policy()
    assert (revision.author, revision.approver) == ("operator:alice", "operator:bob")
    assert answer.change.author == "operator:alice"


async def test_a_change_is_carried_out_once(world):
    change_id = await ask(world)
    bob = await world.as_(BOB)
    await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
    with pytest.raises(Failed) as failed:
        await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
    assert failed.value.code is grpc.StatusCode.NOT_FOUND


EVERYTHING = "p, all, True, *, *, allow,\np, two, True, *, control:policies.apply, allow, second_person=security\n"


async def test_nobody_confirms_their_own_change_whatever_policy_says(start):
    both = '[[control.operators]]\nname = "alice"\nuid = %d\nspiffe_id = "%s"\ngroups = ["security"]\n'
    import os

    async with start(rules=EVERYTHING, operators=both % (os.getuid(), BOB)) as world:
        change_id = await ask(world)
        for alice in (world.alice, await world.as_(BOB)):  # another way in is not another person
            with pytest.raises(Failed) as failed:
                await alice.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
            assert failed.value.reason == "APPROVER_IS_AUTHOR"


async def test_no_machine_confirms_whatever_policy_says(start):
    async with start(rules=EVERYTHING) as world:
        change_id = await ask(world)
        planner = await world.as_(PLANNER)
        with pytest.raises(Failed) as failed:
            await planner.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
        assert failed.value.reason == "APPROVER_NOT_HUMAN"


async def test_who_is_not_of_the_group_does_not_confirm(start):
    import os

    three = (
        f'[[control.operators]]\nname = "alice"\nuid = {os.getuid()}\n'
        f'[[control.operators]]\nname = "bob"\nspiffe_id = "{BOB}"\n'
        '[[control.operators]]\nname = "carol"\nuid = 4294967000\ngroups = ["security"]\n'
    )
    async with start(rules=EVERYTHING, operators=three) as world:
        change_id = await ask(world)
        bob = await world.as_(BOB)
        with pytest.raises(Failed) as failed:
            await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
        assert failed.value.reason == "APPROVER_NOT_IN_GROUP"


async def test_an_author_who_lost_the_right_meanwhile_gets_nothing(world):
    change_id = await ask(world)
    (world.policies / "control.csv").write_text(
        "p, bob, r.sub.operator == 'bob', *, *, allow,\np, two, False, *, *, allow, second_person=security\n"
    )
    bob = await world.as_(BOB)
    async with asyncio.timeout(60):
        while True:
            try:
                await world.alice.call(POLICIES, "Current", pb.CurrentRequest())
            except Failed:
                break
    before = world.holder.current
    with pytest.raises(Failed) as failed:
        await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
    assert failed.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert world.holder.current is before


async def test_a_refused_confirmation_is_on_record_as_a_denial(start):
    async with start(rules=EVERYTHING) as world:
        change_id = await ask(world)
        for who, why in ((world.alice, "APPROVER_IS_AUTHOR"), (await world.as_(PLANNER), "APPROVER_NOT_HUMAN")):
            with pytest.raises(Failed):
                await who.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
            decision = world.trail.last.decision
            assert not decision.allowed
            assert (decision.reason, decision.detail) == (Reason.SECOND_PERSON_REFUSED, why)
        with pytest.raises(Failed) as failed:
            await (await world.as_(PLANNER, "again")).call(
                CHANGES, "Reject", changes_pb2.RejectRequest(change_id=change_id, reason="no")
            )
        assert failed.value.reason == "NOT_IN_GROUP"
        assert world.trail.last.decision.reason is Reason.SECOND_PERSON_REFUSED


async def test_who_confirmed_is_on_record_with_what_was_done(world):
    change_id = await ask(world)
    bob = await world.as_(BOB)
    await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
    confirmed, done = world.trail.outcomes[-2:]
    assert (confirmed.subject.id, confirmed.decision.allowed) == (BOB, True)
    assert (done.subject.id, done.decision.allowed) == ("operator:alice", True)
    assert done.decision.detail == f"change {change_id}, confirmed by operator:bob"


async def test_a_dropped_change_is_gone(world):
    change_id = await ask(world)
    bob = await world.as_(BOB)
    assert [change.id for change in (await bob.call(CHANGES, "List", changes_pb2.ListChangesRequest())).changes] == [
        change_id
    ]
    await world.alice.call(CHANGES, "Reject", changes_pb2.RejectRequest(change_id=change_id, reason="second thoughts"))
    assert not (await bob.call(CHANGES, "List", changes_pb2.ListChangesRequest())).changes


async def test_a_change_waits_through_a_restart(start):
    async with start() as world:
        change_id = await ask(world)
    async with start() as world:
        before = world.holder.current
        bob = await world.as_(BOB)
        await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
        assert world.holder.current is not before


async def test_whoever_is_no_operator_any_more_has_asked_for_nothing(start):
    async with start() as world:
        change_id = await ask(world)
    others = f'[[control.operators]]\nname = "bob"\nspiffe_id = "{BOB}"\ngroups = ["security", "authors"]\n'
    async with start(rules=EVERYTHING, operators=others) as world:
        bob = await world.as_(BOB)
        with pytest.raises(Failed) as failed:
            await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
        assert failed.value.reason == "AUTHOR_NOT_ACCEPTED"
        assert (await bob.call(CHANGES, "List", changes_pb2.ListChangesRequest())).changes, "it is not used up by that"


async def test_whoever_goes_by_another_name_now_has_not_asked(start):
    """The same certificate, given to another operator: it is not the one who asked."""
    both = '[[control.operators]]\nname = "{}"\nspiffe_id = "{}"\ngroups = ["security"]\n'
    carol = f"{BOB}-carol"
    async with start(rules=EVERYTHING, operators=both.format("carol", carol) + both.format("bob", BOB)) as world:
        asker = await world.as_(carol)
        with pytest.raises(Failed) as failed:
            await asker.call(POLICIES, "Apply", apply(world))
        change_id = failed.value.metadata["change_id"]
    async with start(rules=EVERYTHING, operators=both.format("dave", carol) + both.format("bob", BOB)) as world:
        bob = await world.as_(BOB)
        with pytest.raises(Failed) as failed:
            await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
        assert failed.value.reason == "AUTHOR_NOT_ACCEPTED"


async def test_no_more_changes_wait_than_configured(start):
    async with start(control="changes.max_pending = 1") as world:
        await ask(world)
        with pytest.raises(Failed) as failed:
            await world.alice.call(POLICIES, "Apply", apply(world))
        assert failed.value.reason == "TOO_MANY_CHANGES"


async def test_a_rule_that_wants_a_group_without_people_does_not_load(start):
    from authz.errors import PolicyError

    with pytest.raises(PolicyError, match="no operator is in that group"):
        async with start(rules=FREE.replace("allow,", "allow, second_person=nobody")):
            pass


async def test_a_change_is_confirmed_by_the_group_that_the_policy_names_now(start):
    rules = "p, all, True, *, *, allow,\np, two, True, *, control:policies.apply, allow, second_person="
    async with start(rules=f"{rules}security\n", control="changes.max_pending = 10_000") as world:
        change_id = await ask(world)
        (world.policies / "control.csv").write_text(f"{rules}authors\n")
        async with asyncio.timeout(60):
            while True:
                with pytest.raises(Failed) as failed:
                    await world.alice.call(POLICIES, "Apply", apply(world))
                if failed.value.metadata["group"] == "authors":
                    break
        before = world.holder.current
        bob = await world.as_(BOB)  # of security
        with pytest.raises(Failed) as failed:
            await bob.call(CHANGES, "Confirm", changes_pb2.ConfirmRequest(change_id=change_id))
        assert failed.value.reason == "CHANGE_OUTDATED"
        assert world.holder.current is before


async def test_one_group_of_two_that_rules_name_is_not_enough(start):
    rules = "p, {0}, True, *, control:policies.apply, allow, second_person={0}\n"
    async with start(rules=rules.format("security") + rules.format("authors")) as world:
        with pytest.raises(Failed) as failed:
            await world.alice.call(POLICIES, "Apply", apply(world))
        assert failed.value.reason == "SECOND_PERSON_AMBIGUOUS"


async def test_what_is_applied_never_takes_the_place_of_a_signed_bundle(free):
    from authz.control_plane import check_control
    from authz.data_plane_parts import DataPlaneParts
    from authz.errors import ConfigError
    from authz.orders import Orders
    from authz.stores.bundle_source import BundleSettings

    await free.alice.call(POLICIES, "Apply", apply(free))
    bundle = BundleSettings(location="b.tar.gz", name="b", trusted_keys=("k.pem",), state_directory="s")
    policy = msgspec.structs.replace(free.config.policy, bundle=bundle)
    free.composition.config = config = msgspec.structs.replace(free.config, policy=policy)
    with pytest.raises(ConfigError, match="apply_policies"):
        check_control(config, free.directory)
    parts = DataPlaneParts(free.composition, free.holder, None, free.trail, free.decisions, free.shared)
    with pytest.raises(ConfigError, match="apply_policies"):  # though a revision is in the store
        await Orders(free.directory, parts).follow()
