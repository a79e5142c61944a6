"""What was spent, in the store: counted once, up to the limit and not beyond, and told to everybody who shares it."""

import asyncio

import msgspec
from stores import NOW

from authz.stores.database.spending import Amount, Mark, Wanted

HOUR = NOW + 3_600.0


def wanted(amount=1, limit=10, *, counter="c", slot=5, oldest=0, member="", until=HOUR):
    return Wanted(counter, amount, limit, slot, oldest, member, until)


def an_amount(amount=1, *, counter="b", slot=1, member="", until=HOUR):
    return Amount(counter, slot, member, amount, until)


async def test_of_a_hundred_at_once_on_two_replicas_exactly_the_limit_passes(place):
    async with place.opened() as store, place.opened() as other:
        tries = [(store, other)[number % 2].spending.spend([wanted(limit=17)]) for number in range(100)]
        answers = await asyncio.gather(*tries)
        assert sum(each.refused < 0 for each in answers) == 17
        assert [each.amount for each in await store.spending.amounts(["c"])] == [17]


async def test_of_several_demands_all_are_counted_or_none(store):
    first = [wanted(8, counter="a"), wanted(3, 5, counter="b")]
    assert (await store.spending.spend(first)).refused == -1
    assert (await store.spending.spend([wanted(1, counter="a"), wanted(3, 5, counter="b")])).refused == 1
    assert (await store.spending.spend([wanted(2, counter="a")])).refused == -1
    assert (await store.spending.spend([wanted(1, counter="a")])).refused == 0


async def test_demands_on_the_same_counters_in_any_order_do_not_wait_for_one_another_for_ever(place):
    async with place.opened() as store, place.opened() as other:
        pair = [wanted(counter="a", limit=1_000), wanted(counter="b", limit=1_000)]
        tries = [(store, other)[number % 2].spending.spend(pair if number % 3 else pair[::-1]) for number in range(60)]
        assert {each.refused for each in await asyncio.gather(*tries)} == {-1}
        assert [each.amount for each in await store.spending.amounts(["a", "b"])] == [60, 60]


async def test_what_was_spent_in_slots_that_have_gone_counts_no_more_and_who_is_refused_hears_which_must_go(store):
    spend = store.spending.spend
    for slot, amount in ((1, 4), (2, 4), (3, 2)):
        assert (await spend([wanted(amount, slot=slot)])).refused == -1
    told = await spend([wanted(5, slot=3)])
    assert (told.refused, told.gone) == (0, 2)
    assert (await spend([wanted(5, slot=4, oldest=2)])).refused == 0
    assert (await spend([wanted(4, slot=4, oldest=2)])).refused == -1


async def test_distinct_ones_count_once_each(store):
    spend = store.spending.spend
    for member in ("x", "y", "x"):
        assert (await spend([wanted(limit=2, member=member)])).refused == -1
    assert (await spend([wanted(limit=2, member="z")])).refused == 0
    assert (await spend([wanted(limit=2, member="x", slot=9)])).refused == -1  # goes on counting from now
    assert (await spend([wanted(limit=2, member="z", slot=9, oldest=6)])).refused == -1  # y has gone


async def test_the_largest_amounts_are_exact(store):
    assert [(await store.spending.spend([wanted(each, 10**18)])).refused for each in (10**18 - 1, 1, 1)] == [-1, -1, 0]
    assert [each.amount for each in await store.spending.amounts(["c"])] == [10**18]


async def test_what_each_tells_all_learn_once_and_only_what_is_new(place):
    async with place.opened() as store, place.opened() as other:
        mine = await store.spending.share([an_amount(2), an_amount(1, slot=2), an_amount(3)], 0)
        assert mine.complete
        theirs = await other.spending.share([an_amount(4, until=HOUR + 60), an_amount(member="m")], 0)
        assert {(each.slot, each.member): each.amount for each in theirs.amounts} == {
            (1, ""): 9,
            (2, ""): 1,
            (1, "m"): 1,
        }
        assert theirs.number > mine.number
        again = await store.spending.share([], mine.number)
        assert {(each.slot, each.member): each.amount for each in again.amounts} == {(1, ""): 9, (1, "m"): 1}
        assert {each.until for each in again.amounts if not each.member} == {HOUR + 60}
        taken_back = await store.spending.share([an_amount(-2)], again.number)
        assert {each.amount for each in taken_back.amounts} == {7}


async def test_many_who_tell_at_once_are_all_counted(place):
    async with place.opened() as store, place.opened() as other:
        await asyncio.gather(*((store, other)[number % 2].spending.share([an_amount()], 0) for number in range(60)))
        assert [each.amount for each in await store.spending.amounts(["b"])] == [60]


async def test_a_mark_is_kept_once_for_the_longest_time_and_told(place):
    async with place.opened() as store:
        label = Mark("t1", "label", "restricted", NOW, NOW + 60)
        before = store.head
        await asyncio.gather(*(store.spending.mark(label) for _ in range(5)))
        assert [change.kind for change in (await store.changes_since(before)).changes] == ["task_marked"]
        await store.spending.mark(msgspec.structs.replace(label, until=NOW + 30))
        await store.spending.mark(msgspec.structs.replace(label, until=NOW + 90))
        await store.spending.mark(Mark("t1", "suspended", "", NOW, NOW + 60))
        assert {(each.kind, each.until) for each in await store.spending.marks_of("t1")} == {
            ("label", NOW + 90),
            ("suspended", NOW + 60),
        }
        assert await store.spending.unmark("t1", "suspended", "operator:x")
        assert not await store.spending.unmark("t1", "suspended", "operator:x")
        place.clock.now = NOW + 91
        assert await store.spending.marks() == []


async def test_what_does_not_count_any_more_is_deleted_and_nothing_else(place):
    async with place.opened() as store:
        await store.spending.spend([wanted(counter="old", until=NOW + 10), wanted(counter="new")])
        await store.spending.mark(Mark("t1", "label", "restricted", NOW, NOW + 10))
        place.clock.now = NOW + 11
        deleted = await store.compact()
        assert (deleted["spent"], deleted["marks"]) == (1, 1)
        assert [each.counter for each in await store.spending.amounts(["old", "new"])] == ["new"]


async def test_hostile_names_are_data(store):
    for name in ("'; DROP TABLE spent; --", "%", "\\", "\u202e\u0000".replace("\0", ""), "a" * 512):
        assert (await store.spending.spend([wanted(limit=1, counter=name, member=name)])).refused == -1
        assert (await store.spending.spend([wanted(limit=1, counter=name, member=f"{name}2")])).refused == 0
