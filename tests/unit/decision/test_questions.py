"""What a call asks for is recalled where calls differ in ids only, and nowhere else."""

from itertools import pairwise

import msgspec
import pytest
from cache_world import Fixed, question
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from proxied import proxied

from authz.decision import questions
from authz.errors import Reason
from authz.model import CURRENT, NOT_SHARED, Freshness

LISTED = pytest.mark.parametrize("listed", [False, True], ids=["map", "list"])


class Asking:
    """Asks a PDP that remembers and one that does not, as a proxy does."""

    def __init__(self, world, *, listed=False):
        self.world, self.listed = world, listed
        self.number = 0

    def __call__(self, *messages):
        """Ask each; what the remembering one made of the last."""
        for message in messages:
            self.number += 1
            sent = proxied(message, self.number, listed=self.listed)
            (told, outcome), (wanted, expected) = self.world.cached.ask(sent), self.world.fresh.ask(sent)
            assert (told, outcome.decision) == (wanted, expected.decision)
            assert outcome.call == expected.call
            assert outcome.asked == expected.asked
            assert not expected.recalled
        return outcome


def asking(rule="r.sub.kind == 'agent'", *, listed=False, **settings):
    return Asking(Fixed(rule, **settings), listed=listed)


@LISTED
def test_what_came_twice_is_recalled_and_ids_stay_those_of_each_call(listed):
    ask = asking(listed=listed)
    outcomes = [ask(question()) for _ in range(6)]
    assert [outcome.recalled for outcome in outcomes] == [False, False, False, False, True, True]
    assert len({outcome.call.request_id for outcome in outcomes}) == 6
    assert outcomes[-1].asked is outcomes[-2].asked


@LISTED
def test_every_path_is_a_question_of_its_own(listed):
    ask = asking("r.obj.path == '/v1/a'", listed=listed)
    found = [(ask(question("/v1/a")), ask(question("/v1/b"))) for _ in range(6)][-1]
    assert [outcome.recalled for outcome in found] == [True, True]
    assert [outcome.decision.reason for outcome in found] == [Reason.ALLOWED, Reason.NO_MATCHING_RULE]


def test_another_subject_for_the_same_proof_is_another_question():
    """Whoever identifies callers may answer another object: the inventory may have changed, or it forgot the first."""
    ask = asking("r.sub.clearance > 2")
    low, high = (msgspec.structs.replace(ask.world.subjects[0], attributes={"clearance": n}) for n in (1, 3))
    for _ in range(3):
        for subject, reason in ((low, Reason.NO_MATCHING_RULE), (high, Reason.ALLOWED)):
            ask.world.subjects[0] = subject
            for _ in range(5):
                assert ask(question()).decision.reason is reason


def test_a_new_policy_is_asked_anew():
    ask = asking()
    assert ask(*[question()] * 6).recalled
    ask.world.reload()
    assert not ask(question()).recalled


def test_where_rules_read_what_is_new_in_every_request_nothing_is_recalled():
    ask = asking("r.env.headers['x-request-id'] < '00000004'")
    ask.world.bind = msgspec.structs.replace(ask.world.bind, expose_headers=("x-request-id",))
    ask.world.reload()
    outcomes = [ask(question()) for _ in range(8)]
    assert [outcome.decision.allowed for outcome in outcomes] == [True] * 3 + [False] * 5
    assert not any(outcome.recalled for outcome in outcomes)


@pytest.mark.parametrize("look", [dict.copy, dict, lambda headers: "".join(headers.values())])
def test_whoever_looks_at_all_headers_is_asked_every_time(look):
    ask = asking()
    name = ask.world.snapshot.binder.name

    def look_and_name(call, *more):
        look(call.headers)
        return name(call, *more)

    ask.world.snapshot.binder.name = look_and_name
    assert not any(ask(question()).recalled for _ in range(8))


@LISTED
def test_a_call_of_a_tool_that_comes_again_is_recalled(listed):
    """Its reader looks at headers that mirror arguments: at those, and not at all there are."""
    ask, body = asking(listed=listed), b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay"}}'
    message = CheckRequest.FromString(question("/mcp"))
    http = message.attributes.request.http
    http.method, http.raw_body, http.size = "POST", body, len(body)
    http.headers["content-type"] = "application/json"
    outcome = ask(*[message.SerializeToString()] * 8)
    assert (outcome.asked.tool, outcome.recalled) == ("pay", True)


def test_how_fresh_the_state_is_is_each_call_s_own(monkeypatch):
    ages = iter(range(100))
    ask = asking()
    monkeypatch.setattr(ask.world.cached.checker, "_freshness", lambda: Freshness(policy=next(ages), revocations=0.5))
    found = []
    for number in range(8):
        outcome = ask.world.cached.ask(proxied(question(), number))[1]
        found.append((outcome.asked.fresh.policy, outcome.cached, outcome.recalled))
    assert found[4:] == [(age, True, False) for age in range(4, 8)]


def test_what_was_not_to_be_recalled_once_is_not_looked_into_again(monkeypatch):
    looked = []
    monkeypatch.setattr(questions.Questions, "_rests_on_form", lambda *_: looked.append(1))
    ask = asking()
    ask(*[question()] * 20)
    assert len(looked) == 1


def test_no_more_is_remembered_than_there_is_room_for():
    world = Fixed("r.sub.kind == 'agent'")
    known = world.cached.checker.questions = questions.Questions(4, world.codec.shape)
    ask = Asking(world)
    for path in range(20):
        ask(*[question(f"/v1/{path:02}")] * 5)
        assert len(known._known) <= 4
        assert len(known._worth) <= 4
    assert len(known._known)


def test_what_takes_much_room_is_asked_every_time():
    """A body of a few kB becomes arguments of ten times that, which whoever calls chooses."""
    ask = asking()
    name = ask.world.snapshot.binder.name
    args = {"/v1/a": {"list": [[] for _ in range(200)]}, "/v1/b": {"list": [[]]}}

    def name_with_args(call, *more):
        return msgspec.structs.replace(name(call, *more), args=args[call.path])

    ask.world.snapshot.binder.name = name_with_args
    assert [ask(*[question(path)] * 8).recalled for path in args] == [False, True]


def test_a_policy_that_was_replaced_is_not_kept_alive_by_what_never_recurs():
    """Else it is freed as a whole when something recurs at last, on the path of that request."""
    ask = asking()
    ask(*[question()] * 6)
    ask.world.reload()
    ask.world.cached.ask(question())  # as no proxy writes it: without its time
    assert ask.world.cached.checker.questions._snapshot is ask.world.snapshot


def test_what_a_reload_leaves_behind_is_let_go_of_bit_by_bit():
    """All at once would keep whoever asks first waiting for all that the others ever asked."""
    ask = asking()
    known = ask.world.cached.checker.questions
    for path in range(40):
        ask(*[question(f"/v1/{path:02}")] * 5)
    for _ in range(3):
        ask.world.reload()
        left = [sum(map(len, known._void)) for _ in range(12) if ask(question("/v1/00"))]
        assert left[0] > 16
        assert all(before - after <= 16 for before, after in pairwise(left))
        for path in range(9):
            ask(question(f"/v1/{path:02}"))
        assert not known._void
        for path in range(40):
            ask(*[question(f"/v1/{path:02}")] * 3)


def test_who_reads_one_body_in_two_ways_is_asked_every_time():
    ask = asking()
    name, count = ask.world.snapshot.binder.name, iter(range(100))

    def name_otherwise(*arguments):
        return msgspec.structs.replace(name(*arguments), args={"n": next(count)})

    ask.world.snapshot.binder.name = name_otherwise
    assert not any(ask.world.cached.ask(proxied(question(), number))[1].recalled for number in range(12))


def test_what_a_task_did_so_far_is_no_part_of_what_is_recalled():
    world = Fixed("r.sub.kind == 'agent'")
    known, snapshot = questions.Questions(8, world.codec.shape), world.snapshot
    calls = [world.codec.decode(proxied(question(), number)) for number in range(8)]
    assert calls[-1].recurrence is not None
    subject = world.subjects[0]
    for call in calls[4:]:
        asked = questions.name(snapshot, call, None, CURRENT, NOT_SHARED)
        known.key(snapshot, call, subject, None, asked, named=False)
    assert known.recall(snapshot, calls[-1], subject, None, asked.sharing) is None


def test_where_nothing_comes_a_third_time_few_are_looked_into(monkeypatch):
    looked = []
    monkeypatch.setattr(questions.Questions, "_rests_on_form", lambda *_: looked.append(1))
    ask = asking()
    ask(*[question("/v1/0000")] * 3)
    for path in range(400):
        ask(*[question(f"/v1/{path + 1:04}")] * 2)
    assert questions._CREDIT <= len(looked) <= questions._CREDIT + 400 // questions._ONE_OF


def test_what_is_recalled_earns_more(monkeypatch):
    known = questions.Questions(1_000, lambda _: None)
    known._credit = 0
    world = Fixed("r.sub.kind == 'agent'")
    world.cached.checker.questions = known
    ask = Asking(world)
    assert ask(*[question()] * 3 + [question()] * questions._ONE_OF * 2).recalled
    assert known._credit > 0
