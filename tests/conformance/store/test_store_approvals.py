"""Approvals in the store: opened once a question, decided once a person, used exactly as often as humans said."""

import asyncio
import time

import msgspec
import pytest
from stores import NOW, a_grant, a_task, a_word, ask

from authz.approvals.demand import Demand
from authz.stores.database.approving import Limits, Withdraw
from authz.stores.database.checking import check
from authz.stores.database.connect import connect
from authz.stores.database.errors import ConflictError, EndedError, NotFoundError
from authz.stores.database.listing import ApprovalFilter, Page
from authz.stores.database.portable import back_up, restore
from authz.stores.database.settings import RetentionSettings


async def test_one_request_for_one_question_however_often_it_is_asked(store):
    answers = await asyncio.gather(*(store.ask(ask(number, f"d{number}")) for number in range(1, 30)))
    assert {each.answer for each in answers} == {"open"}
    assert len({each.approval.id for each in answers}) == 1
    assert await store.open_approvals() == 1
    told = await store.approval(answers[0].approval.id)
    assert told.approval == answers[0].approval


@pytest.mark.parametrize("uses", [1, 4])
async def test_exactly_the_approved_number_passes_over_replicas(place, uses):
    async with place.opened() as store, place.opened() as other:
        await store.ask(ask())
        await store.decide(a_word(uses=uses))
        tries = [(store, other)[number % 2].ask(ask(1_000 + number, f"d{number}")) for number in range(100)]
        answers = await asyncio.gather(*tries)
        assert sum(each.answer == "passed" for each in answers) == uses
        assert {each.answer for each in answers} == {"passed", "open"}
        assert len({each.approval.id for each in answers if each.answer == "open"}) == 1
        used = (await store.approval("a-1")).approval
        assert (used.state, used.used) == ("spent", uses)


async def test_a_decision_that_asks_again_takes_no_second_use(store):
    await store.ask(ask())
    await store.decide(a_word())
    assert (await store.ask(ask(2, "d9"))).answer == "passed"
    assert (await store.ask(ask(3, "d9"))).answer == "passed"
    assert (await store.ask(ask(4, "d10"))).answer == "open"


async def test_time_ends_requests_and_approvals(place, store):
    await store.ask(ask())
    place.clock.now = NOW + 600
    with pytest.raises(EndedError):
        await store.decide(a_word())
    fresh = await store.ask(ask(2, opened_at=NOW + 600, expires_at=NOW + 1_200))
    assert (fresh.answer, fresh.approval.id) == ("open", "a-2")
    await store.decide(a_word(approval_id="a-2"))
    place.clock.now = NOW + 600 + 900
    assert (await store.ask(ask(3, "d2", expires_at=NOW + 9_999))).approval.id == "a-3"
    listed = await store.approvals(ApprovalFilter(state="expired"))
    assert {each.approval.id for each in listed.items} == {"a-1", "a-2"}


async def test_two_persons_are_two_persons(store):
    await store.ask(ask(demand=Demand(groups=("payments",), persons=2)))
    assert (await store.decide(a_word())).approval.state == "open"
    for again in (a_word(), a_word(uses=1, name="someone else")):
        with pytest.raises(ConflictError):
            await store.decide(again)
    told = await store.decide(a_word("ben"))
    assert (told.approval.state, [vote.name for vote in told.votes]) == ("approved", ["ann", "ben"])
    with pytest.raises(EndedError):
        await store.decide(a_word("eve"))


async def test_what_does_not_fit_is_refused(store):
    with pytest.raises(NotFoundError):
        await store.decide(a_word())
    await store.ask(ask())
    with pytest.raises(ConflictError):
        await store.decide(a_word(question=2))
    with pytest.raises(ConflictError):
        await store.decide(a_word(group="security"))
    with pytest.raises(ConflictError):
        await store.decide(a_word(group=""))


async def test_a_no_stands_until_the_request_would_have_lapsed(place, store):
    await store.ask(ask())
    told = await store.decide(a_word(group="", approved=False, comment="never"))
    assert told.approval.state == "rejected"
    assert (await store.ask(ask(2, "d2"))).answer == "rejected"
    place.clock.now = NOW + 600
    assert (await store.ask(ask(3, "d3", expires_at=NOW + 1_200))).answer == "open"


async def test_taking_back(store):
    await store.ask(ask())
    await store.decide(a_word(uses=5))
    await store.ask(ask(2, "d2"))
    gone = await store.withdraw(Withdraw("a-1", "operator:alice", "a mistake"))
    assert (gone.approval.state, gone.approval.ended_by) == ("withdrawn", "operator:alice")
    assert (await store.withdraw(Withdraw("a-1", "x", "again"))).approval.ended_by == "operator:alice"
    assert (await store.ask(ask(3, "d3"))).answer == "open"


@pytest.mark.parametrize(
    ("limits", "answer"),
    [
        (Limits(2, 100, 100), "principal_full"),
        (Limits(100, 2, 100), "too_often"),
        (Limits(100, 100, 2), "full"),
    ],
)
async def test_a_flood_is_refused_and_costs_nothing(store, limits, answer):
    answers = await asyncio.gather(
        *(store.ask(ask(number, f"d{number}", limits, question=number)) for number in range(1, 30))
    )
    assert [each.answer for each in answers].count("open") == 2
    assert {each.answer for each in answers} == {"open", answer}
    assert await store.open_approvals() == 2


async def test_lists_select_and_read_on(store):
    for number in range(1, 6):
        await store.ask(ask(number, question=number, opened_at=NOW + number, task_id=f"t{number % 2}"))
    await store.ask(ask(9, question=9, demand=Demand(groups=("pay",)), principal="spiffe://td/other"))
    page = await store.approvals(ApprovalFilter(group="payments"), Page(size=2))
    assert [each.approval.id for each in page.items] == ["a-5", "a-4"]
    rest = await store.approvals(ApprovalFilter(group="payments"), Page(page.next_page, 10))
    assert [each.approval.id for each in rest.items] == ["a-3", "a-2", "a-1"]
    assert [each.approval.id for each in (await store.approvals(ApprovalFilter(group="pay"))).items] == ["a-9"]
    assert not (await store.approvals(ApprovalFilter(group="pay%"))).items
    assert len((await store.approvals(ApprovalFilter(task_id="t1"))).items) == 3


async def test_what_was_before_is_told(store):
    await store.issue(a_grant("g1", "t1"), a_task("t1"))
    await store.ask(ask(1, task_id="t1"))
    await store.decide(a_word())
    await store.ask(ask(5, "d5", task_id="t1"))
    await store.ask(ask(2, question=2, task_id="t1", opened_at=NOW + 1))
    await store.decide(a_word(approval_id="a-2", question=2, group="", approved=False))
    latest = (await store.ask(ask(3, question=3, task_id="t1", opened_at=NOW + 2))).approval
    found = await store.approval_history(latest)
    assert (found.approved_before, found.rejected_before, found.open_of_principal) == (1, 1, 1)
    assert [each.id for each in found.earlier] == ["a-2", "a-1"]
    assert (dict(found.task_requests), found.task_passed) == ({"spent": 1, "rejected": 1, "open": 1}, 1)
    assert (found.task_grants, found.earlier_by["a-1"]) == (1, ["ann"])


async def test_every_step_is_told_to_those_who_follow(store):
    after = store.head
    await store.ask(ask(demand=Demand(groups=("payments",), persons=2)))
    await store.decide(a_word(uses=2))
    await store.decide(a_word("ben", uses=2))
    await store.ask(ask(2, "d2"))
    await store.withdraw(Withdraw("a-1", "x", ""))
    await store.ask(ask(3, question=3))
    await store.decide(a_word(approval_id="a-3", question=3, group="", approved=False))
    kinds = []
    async with asyncio.timeout(60):
        async for changes in store.watch(after):
            kinds += [change.kind.removeprefix("approval_") for change in changes]
            if len(kinds) >= 7:
                break
    assert kinds == ["opened", "voted", "approved", "used", "withdrawn", "opened", "rejected"]
    assert next(each for _, each in await store.known_approvals()).state == "rejected"


async def test_what_is_long_over_is_deleted_and_what_is_not_stays(place):
    retention = RetentionSettings(approvals_seconds=1_000.0)
    async with place.opened(retention=retention) as store:
        await store.ask(ask())
        await store.decide(a_word())
        await store.ask(ask(9, "d2"))
        await store.ask(ask(2, question=2, expires_at=NOW + 10_000))
        place.clock.now = NOW + 5_000
        counts = await store.compact()
        assert (counts["approvals"], counts["approval_votes"], counts["approval_uses"]) == (1, 1, 1)
        left = await store.approvals()
        assert [each.approval.id for each in left.items] == ["a-2"]


async def test_a_restored_store_lets_nothing_pass_that_was_approved_before(place, tmp_path):
    async with place.opened() as store:
        await store.ask(ask())
        await store.decide(a_word(uses=2))
    database = connect(place.settings, place.base)
    assert not check(database).problems
    back_up(database, tmp_path / "backup", time.time())
    database.close()
    fresh = connect(msgspec.structs.replace(place.settings, url="sqlite:///fresh.db"), place.base)
    from authz.stores.database.migrations import migrate

    migrate(fresh, time.time())
    restore(fresh, tmp_path / "backup", NOW + 1)
    fresh.close()
    async with place.opened(url="sqlite:///fresh.db") as store:
        assert (await store.approval("a-1")).approval.state == "withdrawn"
        assert (await store.ask(ask(2, "d2"))).answer == "open"
