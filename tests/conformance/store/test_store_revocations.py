"""Revocations, break-glass, keys, policies, replicas."""

import msgspec
import pytest
from stores import NOW, a_grant, a_policy, a_revocation, a_task, once, until

from authz.stores.database.errors import ConflictError, EndedError, NotFoundError, TooLargeError
from authz.stores.database.listing import RevocationFilter
from authz.stores.database.records import BreakGlass, CompletedTask, SigningKey, UsedUpGrant


async def states(store):
    return {grant.id: grant.state for grant in (await store.grants()).items}


@pytest.fixture
async def family(store):
    """g1 with g2 derived from it, g3 from g2; g4 beside them in the same task."""
    await store.issue(a_grant(), a_task())
    await store.issue(a_grant("g2", ancestors=("g1",)))
    await store.issue(a_grant("g3", ancestors=("g2", "g1"), expires_at=NOW + 30))
    await store.issue(a_grant("g4"))
    return store


class TestRevoking:
    """A revocation."""

    async def test_of_a_grant_ends_those_derived_from_it_and_lasts_as_long_as_it_would(self, family):
        assert (await family.revoke(a_revocation(value="g2"))).expires_at == NOW + 60
        assert await states(family) == {"g1": "active", "g2": "revoked", "g3": "revoked", "g4": "active"}
        with pytest.raises(EndedError):
            await family.consume("g3", "d1")

    async def test_of_a_task_ends_all_of_it_for_good(self, family):
        revoked = await family.revoke(a_revocation(kind="task", value="t1"))
        assert revoked.expires_at == NOW + 60
        assert set((await states(family)).values()) == {"revoked"}
        assert (await family.task("t1")).state == "revoked"
        with pytest.raises(EndedError, match="t1 is revoked"):
            await family.issue(a_grant("g9"))

    @pytest.mark.parametrize("kind", ["grant", "task"])
    async def test_of_what_is_not_known_is_kept_all_the_same(self, store, kind):
        await store.revoke(a_revocation(kind=kind, value="lost-in-a-crash"))
        assert [each.value for each in (await store.view()).revocations] == ["lost-in-a-crash"]

    async def test_the_same_again_is_no_fault_and_another_of_its_id_is(self, place, family):
        first = await family.revoke(a_revocation(value="g4"))
        place.clock.now += 1
        assert await family.revoke(a_revocation(value="g4", created_at=NOW + 1)) == first
        with pytest.raises(ConflictError, match="is another"):
            await family.revoke(a_revocation(value="g3"))

    async def test_a_moment_goes_with_issued_before_alone(self, store):
        with pytest.raises(ConflictError, match="issued_before"):
            await store.revoke(a_revocation(kind="principal", value="p", before=NOW, cut_off="principal"))
        with pytest.raises(ConflictError, match="issued_before"):
            await store.revoke(a_revocation(kind="issued_before", value=""))
        await store.revoke(a_revocation(kind="issued_before", value="", before=NOW, cut_off="everybody"))

    async def test_too_large_is_refused(self, store):
        with pytest.raises(TooLargeError):
            await store.revoke(a_revocation(reason="x" * 70_000))

    async def test_is_listed(self, place, store):
        await store.revoke(a_revocation("r1", "principal", "a", expires_at=NOW + 10))
        await store.revoke(a_revocation("r2", "principal", "b", created_at=NOW + 1))
        await store.revoke(a_revocation("r3", "credential", "c", created_at=NOW + 2))
        await store.undo("r3", "me", "mistake")

        async def ids(**wanted):
            return [each.id for each in (await store.revocations(RevocationFilter(**wanted))).items]

        assert await ids() == ["r3", "r2", "r1"]
        assert await ids(kind="principal") == ["r2", "r1"]
        assert await ids(in_force_at=NOW + 10) == ["r2"]
        assert await ids(value="a") == ["r1"]
        assert (await store.revocation("r3")).undo_reason == "mistake"


class TestUndoing:
    """Taking a revocation back."""

    async def test_brings_back_what_it_had_ended(self, family):
        await family.revoke(a_revocation())
        undone = await family.undo("r1", "boss", "a mistake")
        assert (undone.undone_at, undone.undone_by) == (NOW, "boss")
        assert set((await states(family)).values()) == {"active"}
        assert await family.undo("r1", "other", "again") == undone
        with pytest.raises(NotFoundError):
            await family.undo("r9", "boss", "no such")

    async def test_of_a_task_opens_it_again(self, family):
        await family.revoke(a_revocation(kind="task", value="t1"))
        await family.undo("r1", "boss", "")
        task = await family.task("t1")
        assert (task.state, task.ended_at, task.grants_expire_at) == ("open", None, None)
        assert set((await states(family)).values()) == {"active"}

    async def test_leaves_what_another_one_covers(self, family):
        await family.revoke(a_revocation("r1", "grant", "g1"))
        await family.revoke(a_revocation("r2", "grant", "g2"))
        await family.undo("r1", "boss", "")
        assert await states(family) == {"g1": "active", "g2": "revoked", "g3": "revoked", "g4": "active"}
        await family.undo("r2", "boss", "")
        assert set((await states(family)).values()) == {"active"}

    async def test_leaves_a_grant_of_a_task_that_is_revoked_too(self, family):
        await family.revoke(a_revocation("r1", "grant", "g1"))
        await family.revoke(a_revocation("r2", "task", "t1"))
        await family.undo("r1", "boss", "")
        assert set((await states(family)).values()) == {"revoked"}
        await family.undo("r2", "boss", "")
        assert set((await states(family)).values()) == {"active"}

    async def test_leaves_a_task_that_was_revoked_twice(self, family):
        await family.revoke(a_revocation("r1", "task", "t1"))
        await family.revoke(a_revocation("r2", "task", "t1"))
        await family.undo("r1", "boss", "")
        assert (await family.task("t1")).state == "revoked"
        assert set((await states(family)).values()) == {"revoked"}
        await family.undo("r2", "boss", "")
        assert (await family.task("t1")).state == "open"

    async def test_does_not_open_what_was_completed(self, family):
        await family.revoke(a_revocation(value="g4"))
        await family.complete("t1", "me")
        await family.undo("r1", "boss", "")
        assert set((await states(family)).values()) == {"completed"}


class TestView:
    """What a replica must know to refuse what is over."""

    async def test_has_all_that_is_over_and_not_yet_expired(self, place, store):
        await store.issue(a_grant("used", "t1", max_uses=1), a_task("t1"))
        await store.issue(a_grant("done", "t2"), a_task("t2"))
        await store.issue(a_grant("long", "t3", expires_at=NOW + 5000), a_task("t3"))
        await store.consume("used", "d1")
        await store.complete("t2", "me")
        await store.revoke(a_revocation("r1", "task", "t3"))
        await store.revoke(a_revocation("r2", "principal", "p"))
        await store.revoke(a_revocation("r3", "principal", "q"))
        await store.undo("r3", "me", "")
        view = await store.view()
        assert view.used_up == (UsedUpGrant(id="used", until=NOW + 60),)
        assert view.completed == (CompletedTask(id="t2", until=NOW + 60),)
        assert {each.id for each in view.revocations} == {"r1", "r2"}
        assert (view.break_glass, view.policy_revision, view.store_id) == (None, 0, store.store_id)
        records = []
        assert await store.view(lambda: records.append) == msgspec.structs.replace(
            view, revocations=(), completed=(), used_up=()
        )
        assert records == [*view.revocations, *view.completed, *view.used_up]
        place.clock.now += 500
        later = await store.view()
        assert (later.used_up, later.completed, len(later.revocations)) == ((), (), 2)

    async def test_its_number_is_of_the_same_moment(self, store):
        for n in range(3):
            await store.revoke(a_revocation(f"r{n}", "principal", f"p{n}"))
            view = await store.view()
            assert (view.seq, len(view.revocations)) == (n + 1, n + 1)


def a_switch(switch_id="b1", **fields):
    defaults = {"id": switch_id, "author": "me", "reason": "fire", "allow": ("spiffe://td/a",), "started_at": NOW}
    return BreakGlass(**defaults | {"until": NOW + 60} | fields)


class TestBreakGlass:
    """The emergency switch."""

    async def test_is_on_until_somebody_ends_it(self, store):
        await store.start_break_glass(a_switch())
        assert await store.break_glass() == a_switch() == (await store.view()).break_glass
        ended = await store.end_break_glass("b1", "you")
        assert (ended.ended_at, ended.ended_by) == (NOW, "you")
        assert await store.break_glass() is None
        assert await store.end_break_glass("b1", "me") == ended
        assert (await store.break_glass_history()).items == (ended,)

    async def test_or_until_its_time_is_over(self, place, store):
        await store.start_break_glass(a_switch())
        place.clock.now += 60
        assert await store.break_glass() is None

    async def test_is_there_once(self, store):
        assert await store.start_break_glass(a_switch()) == await store.start_break_glass(a_switch())
        with pytest.raises(ConflictError, match="on already: b1, by me"):
            await store.start_break_glass(a_switch("b2"))
        with pytest.raises(ConflictError, match="is another"):
            await store.start_break_glass(a_switch(reason="flood"))
        with pytest.raises(NotFoundError):
            await store.end_break_glass("b9", "me")


def a_key(kid="k1", **jwk):
    public = {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"} | jwk
    return SigningKey(kid=kid, replica_id="one", jwk=public, created_at=NOW, not_before=NOW + 5, expires_at=NOW + 100)


class TestKeys:
    """Signing keys."""

    async def test_are_published_retired_and_over(self, place, store):
        await store.add_key(a_key())
        assert await store.add_key(a_key()) == a_key()
        assert (await store.retire_key("k1", NOW + 50)).retired_at == NOW + 50
        assert (await store.retire_key("k1", NOW + 70)).retired_at == NOW + 50
        assert (await store.retire_key("k1", NOW + 40)).retired_at == NOW + 40
        assert [key.kid for key in await store.keys()] == ["k1"]
        place.clock.now += 100
        assert await store.keys() == []

    async def test_another_of_the_same_name_is_refused(self, store):
        await store.add_key(a_key())
        with pytest.raises(ConflictError, match="is another"):
            await store.add_key(a_key(x="BBBB"))
        with pytest.raises(NotFoundError):
            await store.retire_key("k9", NOW)

    @pytest.mark.parametrize("member", ["d", "p", "q", "k", "priv"])
    async def test_a_private_key_never_comes_in(self, store, member):
        with pytest.raises(ConflictError, match="private"):
            await store.add_key(a_key(**{member: "s3cret"}))
        assert await store.keys() == []


class TestPolicies:
    """The history of policies."""

    async def test_numbers_them_and_the_last_is_in_force(self, store):
        with pytest.raises(NotFoundError, match="no policies"):
            await store.policy()
        first = await store.apply_policy(a_policy("a"))
        second = await store.apply_policy(a_policy("b"), expected=1)
        assert (first.number, second.number) == (1, 2)
        back = await store.apply_policy(a_policy("a", restores=1, reason="broke"))
        assert (back.number, back.restores, await store.policy()) == (3, 1, back)
        assert await store.policy(2) == second
        assert [revision.number for revision in (await store.policies()).items] == [3, 2, 1]
        assert (await store.view()).policy_revision == 3

    async def test_not_when_another_is_in_force_than_was_looked_at(self, store):
        await store.apply_policy(a_policy("a"), expected=0)
        with pytest.raises(ConflictError, match="revision 1 is in force, not 0"):
            await store.apply_policy(a_policy("b"), expected=0)

    async def test_asking_again_changes_nothing(self, store):
        first = await store.apply_policy(a_policy("a"), expected=0)
        assert await store.apply_policy(a_policy("a"), expected=0) == first
        await store.apply_policy(a_policy("b"), once=once())
        assert (await store.apply_policy(a_policy("c"), once=once())).number == 2

    async def test_too_large_is_refused(self, place):
        async with place.opened(max_policy_bytes=2_000) as store:
            with pytest.raises(TooLargeError, match="max_policy_bytes"):
                await store.apply_policy(a_policy("x" * 2_000))


async def test_replicas_report_themselves(place, store):
    async with place.opened() as other:
        other.policy_version, other.applied_seq = "v2", 0
        found = {}

        async def both():
            found.update({replica.id: replica for replica in await store.replicas()})
            return {store.replica_id, other.replica_id} <= found.keys()

        for _ in range(1_000):
            if await both():
                break
        one = found[other.replica_id]
        assert (one.started_at, one.last_seen, one.applied_seq) == (NOW, NOW, 0)
        assert one.staleness_seconds >= 0
    await until(lambda: store.fresh)
