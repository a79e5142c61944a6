"""Who follows decisions is told those of all processes: selected, bounded and counted."""

import asyncio
import contextlib

import msgspec
import pytest

from authz.control.decision_shapes import told
from authz.control.feed import Feed
from authz.control.sampling import Sampler
from authz.control.selection import Selection, wanted
from authz.errors import Reason
from authz.model import Asked, Decision, Effect, Kind, Outcome, RuleRef, Subject, Target
from authz.worker.brief import brief, outcome_of
from authz.worker.decisions import HostDecisions, without_decisions
from authz.worker.messages import Follow, Seen, ToSupervisor


def outcome(number=0, *, reason=Reason.ALLOWED, subject="spiffe://demo.internal/a", path="/v1", detail=""):
    effect = Effect.ALLOW if reason is Reason.ALLOWED else Effect.DENY
    return Outcome(
        decision_id=f"d{number}",
        decision=Decision(effect, reason, "v1", RuleRef("p", "policy.csv", 3, "p, x"), (("log", "true"),), detail),
        call=None,
        subject=Subject(id=subject, kind=Kind.WORKLOAD),
        request=None,
        time=1.5,
        latency_seconds=0.001,
        asked=Asked(Target("GET", "a.internal", 0, path), {}, "http", "GET", {"id": "t-1"}),
    )


ALL = Selection()


class Host:
    """Processes that tell each other through messages, as over the supervisor; the first takes orders."""

    def __init__(self, limits):
        self.feeds = [Feed(limit) for limit in limits]
        self.sent, self.behind = [], False
        self.parts = [HostDecisions(feed, self._send, lambda: self.behind) for feed in self.feeds]

    def _send(self, message):
        message = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ToSupervisor)
        self.sent.append(message)
        if isinstance(message, Follow):
            for other in self.parts[1:]:
                other.follow(message)
        else:
            self.parts[0].seen(message)

    @contextlib.asynccontextmanager
    async def following(self, selection=ALL):
        events, got = self.feeds[0].follow(wanted(selection), selection), []

        async def read():
            async for made, skipped in events:
                got.append((made and made.decision_id, skipped))

        reading = asyncio.create_task(read())
        await until(lambda: self.feeds[0].followed)
        yield got
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await events.aclose()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_those_of_every_process_are_followed():
    host = Host([8, 8, 8])
    async with host.following() as got:
        for number, feed in enumerate(host.feeds):
            feed.tell(outcome(number))
        await until(lambda: len(got) == 3)
    assert {made for made, _ in got} == {"d0", "d1", "d2"}
    assert sum(skipped for _, skipped in got) == 0


async def test_while_nobody_follows_nothing_is_done_in_any_process():
    host = Host([8, 8])
    assert not any(feed.followed for feed in host.feeds)
    async with host.following():
        assert all(feed.followed for feed in host.feeds)
    assert not any(feed.followed for feed in host.feeds)
    assert host.parts[1]._telling is None
    assert host.sent[-1] == Follow({})


async def test_what_is_selected_is_selected_where_it_is_decided():
    host = Host([8, 8])
    selection = Selection(effect="deny", reasons=("grant_scope",), subject="spiffe://demo.internal/*", path="/v1")
    async with host.following(selection) as got:
        host.feeds[1].tell(outcome(1))
        host.feeds[1].tell(outcome(2, reason=Reason.GRANT_SCOPE, path="/v2"))
        host.feeds[1].tell(outcome(3, reason=Reason.GRANT_SCOPE, subject="spiffe://other/a"))
        host.feeds[1].tell(outcome(4, reason=Reason.GRANT_EXPIRED))
        host.feeds[1].tell(outcome(5, reason=Reason.GRANT_SCOPE))
        await until(lambda: got)
    [seen] = [message for message in host.sent if isinstance(message, Seen)]
    assert [each.id for each in seen.decisions] == ["d5"]
    assert got == [("d5", 0)]


@pytest.mark.parametrize("limits", [(4, 4), (4, 300), (300, 4)])
async def test_what_finds_no_room_is_counted_exactly(limits):
    host = Host(limits)
    async with host.following() as got:
        for number in range(400):
            host.feeds[1].tell(outcome(number))
        await until(lambda: sum(made is not None for made, _ in got) + sum(skipped for _, skipped in got) == 400)
    shown = [made for made, _ in got if made]
    assert 4 <= len(shown) <= 300
    assert shown[0] == "d0"


async def test_a_way_that_does_not_keep_up_keeps_a_bounded_number_and_counts_the_rest():
    host = Host([8, 8])
    async with host.following() as got:
        host.behind = True
        for number in range(1_000):
            host.feeds[1].tell(outcome(number))
        [gathered] = host.parts[1]._gathered.values()
        assert len(gathered._kept) == 8
        assert not [message for message in host.sent if isinstance(message, Seen)]
        host.behind = False
        await until(lambda: sum(made is not None for made, _ in got) + sum(skipped for _, skipped in got) == 1_000)


@contextlib.asynccontextmanager
async def sampling(host, most, selection=ALL):
    sampler = Sampler(wanted(selection), most)
    host.feeds[0].join_host(sampler, msgspec.structs.replace(selection, most=most))
    yield sampler
    host.feeds[0].leave(sampler)


async def test_samples_are_few_of_each_effect_and_counted_exactly():
    host = Host([1_000, 1_000])
    async with sampling(host, 3) as sampler:
        for number in range(400):
            host.feeds[1].tell(outcome(number))
        for number in range(5):
            host.feeds[1].tell(outcome(400 + number, reason=Reason.GRANT_SCOPE))
        host.feeds[0].tell(outcome(500))
        allowed = denied = 0
        reasons = {}

        def all_told():
            nonlocal allowed, denied
            counts, _ = sampler.take()
            allowed, denied = allowed + counts.allowed, denied + counts.denied
            for reason, number in counts.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + number
            return allowed + denied == 406

        await until(all_told)
    assert (allowed, denied, reasons) == (401, 5, {"allowed": 401, "grant_scope": 5})
    told_of = [each for message in host.sent if isinstance(message, Seen) for each in message.decisions]
    effects = [each.effect for each in told_of]  # a flood of allows does not take the room of the few denials
    assert (effects.count(Effect.ALLOW), effects.count(Effect.DENY)) == (3, 3)
    assert not any(feed.followed for feed in host.feeds)


async def test_room_for_samples_comes_back_every_second():
    host = Host([8, 8])
    async with sampling(host, 1) as sampler:
        seen = set()

        def another():
            host.feeds[1].tell(outcome(len(seen)))
            seen.update(each.decision_id for each in sampler.take()[1])
            return len(seen) >= 3

        await until(another)


async def test_what_was_meant_for_one_that_follows_no_more_goes_nowhere():
    host = Host([8, 8])
    async with host.following() as got:
        [name] = host.parts[0]._names.values()
    async with host.following() as later:
        host.parts[0].seen(Seen(name, (brief(outcome()),), {}))
        assert host.parts[0]._names
        assert name not in host.parts[0]._names.values()
        await asyncio.sleep(0)
    assert got == later == []


def test_a_message_for_a_way_that_does_not_keep_up_is_numbers_alone():
    decisions = (brief(outcome(1)), brief(outcome(2)), brief(outcome(3, reason=Reason.GRANT_SCOPE)))
    bare = without_decisions(Seen("x", decisions, {"deny": {"grant_scope": 2}}))
    assert bare == Seen("x", (), {"allow": {"allowed": 2}, "deny": {"grant_scope": 3}})


@pytest.mark.parametrize(
    "made",
    [
        outcome(detail="because"),
        outcome(path="/v1/" + "x" * 5_000),
        outcome(path="/login/password=hunter2/eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."),
        outcome(path="/%65%79JhbGciOiJub25lIn0"),
        outcome(path="/card/4111111111111111"),
        outcome(subject="spiffe://demo.internal/\u202ea"),
        msgspec.structs.replace(outcome(), subject=None, asked=None),
    ],
)
def test_it_is_shown_as_the_process_that_decided_would_show_it_and_no_secret_leaves_that(made):
    wire = msgspec.msgpack.encode(brief(made))
    assert told(outcome_of(msgspec.msgpack.decode(wire, type=type(brief(made))))) == told(made)
    assert len(wire) < 4_096
    for secret in (b"hunter2", b"eyJhbGci", b"JhbGciOi", b"4111111111111111"):
        assert secret not in wire
