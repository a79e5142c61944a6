"""A human's word in the console: the retry passes as often as was said, and nobody says it who may not."""

import json

import pytest_asyncio
from approval_kit import BODY, PAYER
from console_kit import Browser, ToldPlane, origin, payments_policy

from authz.control.v1 import approvals_pb2 as pb


def body(**changes):
    return json.dumps({**json.loads(BODY), **changes}).encode()


@pytest_asyncio.fixture(loop_scope="session")
async def ada(browser):
    await browser.sign_in("ada")
    return browser


async def opened(world, content):
    asked = await world.plane.ask(content)
    assert asked.reason == "approval_required"
    return asked.id


async def say(browser, approval_id, word="approve", **fields):
    page = await browser.get(f"/approvals/{approval_id}")
    binding = page.text.partition('name="binding" value="')[2].partition('"')[0]
    fields = {"binding": binding, "confirm": "yes", "uses": "1", **fields} if word == "approve" else fields
    return await browser.post(f"/approvals/{approval_id}/{word}", **fields)


async def kept(world, approval_id):
    return (await world.shared.store.approval(approval_id)).approval


async def test_what_a_human_approves_passes_as_often_as_they_said(ada, world):
    content = body(amount=101)
    approval = await opened(world, content)
    inbox = await ada.get("/approvals")
    assert approval in inbox.text
    card = (await ada.get(f"/approvals/{approval}")).text
    for told in (PAYER, "101", "EUR", "/v1/payments", "policies/policy.csv", "Omar Operator"):
        assert told in card, told
    assert "hunter2" not in card
    assert "[masked]" in card
    answer = await say(ada, approval, uses="2", comment="invoice 7")
    assert answer.status_code == 303, answer.text
    assert [(await world.plane.ask(content)).allowed for _ in range(3)] == [True, True, False]
    assert (await world.plane.ask(body(amount=102))).reason == "approval_required"
    card = (await ada.get(f"/approvals/{approval}")).text
    assert "Ada Approver" in card
    assert "invoice 7" in card
    assert "spent" in card


async def test_the_word_is_on_record_as_that_humans(ada, world):
    approval = await opened(world, body(amount=111))
    await say(ada, approval)
    [vote] = (await world.shared.store.approval(approval)).votes
    assert vote.person == f"{ada.provider.issuer}#ada"
    record = next(each for each in reversed(world.trail.outcomes) if each.call.method == "control:approvals.approve")
    assert record.decision.allowed
    assert record.subject.id == f"operator:{ada.provider.issuer}#ada"


async def test_what_is_rejected_does_not_pass(ada, world):
    content = body(amount=103)
    approval = await opened(world, content)
    assert (await say(ada, approval, "reject", comment="")).status_code == 400
    assert (await say(ada, approval, "reject", comment="who is DE02?")).status_code == 303
    assert (await kept(world, approval)).state == "rejected"
    assert not (await world.plane.ask(content)).allowed


async def test_a_word_needs_the_tick_the_digest_that_was_shown_and_a_number(ada, world):
    approval = await opened(world, body(amount=104))
    for wrong, status in (
        ({"confirm": ""}, 400),
        ({"binding": ""}, 400),
        ({"binding": "0" * 64}, (400, 409)),
        ({"uses": "0"}, 400),
        ({"uses": "-1"}, 400),
        ({"uses": "4"}, 400),
        ({"uses": "9" * 30}, 400),
    ):
        answer = await say(ada, approval, **wrong)
        assert answer.status_code in (status if isinstance(status, tuple) else (status,)), (wrong, answer.text)
    assert (await kept(world, approval)).state == "open"


async def test_who_may_not_decide_is_told_why_and_cannot(world, provider):
    approval = await opened(world, body(amount=105))
    for user, reason in (("vera", "needs the role approver"), ("omar", "only the group payments decides")):
        async with Browser(world, provider) as other:
            await other.sign_in(user)
            card = (await other.get(f"/approvals/{approval}")).text
            assert "You may not decide this." in card
            assert reason in card
            assert 'aria-label="Approve"' not in card
            digest = (await kept(world, approval)).digest
            answer = await say(other, approval, binding=digest)
            assert answer.status_code == 403, answer.text
    assert (await kept(world, approval)).state == "open"


async def test_who_may_not_decide_does_not_take_back_either(alone, provider):
    async with alone(files=payments_policy("require_approval=security")).serving() as world:
        world.plane = ToldPlane(world)
        provider.redirects_to(f"{origin(world)}/login/callback")
        approval = await opened(world, body(amount=108))
        async with Browser(world, provider) as other:
            await other.sign_in("ada")  # an approver, of another group
            assert 'aria-label="Withdraw"' not in (await other.get(f"/approvals/{approval}")).text
            answer = await say(other, approval, "withdraw", comment="out of the way")
            assert answer.status_code == 403
            assert "APPROVER_NOT_ALLOWED" in answer.text
            assert (await kept(world, approval)).state == "open"
        async with Browser(world, provider) as own:
            await own.sign_in("sam")
            assert (await say(own, approval, "withdraw", comment="asked by mistake")).status_code == 303
            assert (await kept(world, approval)).state == "withdrawn"


async def test_the_inbox_shows_what_one_may_decide(ada, world):
    approval = await opened(world, body(amount=106))
    assert approval in (await ada.get("/approvals", params={"mine": "1"})).text
    await say(ada, approval, "reject", comment="no")
    assert approval not in (await ada.get("/approvals", params={"mine": "1"})).text
    assert approval in (await ada.get("/approvals", params={"state": "rejected"})).text


HOSTILE = "<script>alert(1)</script> \u202egnp.exe pаyer \x1b[31m " + "x" * 100_000


async def test_hostile_arguments_are_shown_as_text_and_cut(ada, world):
    approval = await opened(world, body(amount=107, note=HOSTILE, **{"<img src=x>": "1"}))
    for path in ("/approvals", f"/approvals/{approval}"):
        answer = await ada.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
        assert "\u202e" not in answer.text
        assert "\x1b" not in answer.text
        assert len(answer.text) < 100_000
    assert "&lt;script&gt;" in answer.text


async def test_every_state_has_a_name_here():
    from authz.console.pages.approvals import STATES

    assert set(STATES) == set(pb.ApprovalState.values())
