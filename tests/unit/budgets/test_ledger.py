"""Accounts and counters by themselves: amounts, floods of names, bounds, what is forgotten and what is not."""

import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.amount import UNITS, parse_amount, show_amount, units_of
from authz.budgets.ledger import Ledger
from authz.budgets.settings import BreakerSettings, BudgetMatch, BudgetSettings, TaskSettings
from authz.budgets.visit import NoRoom, OverLimit
from authz.errors import Reason, Refusal
from authz.model import NO_FACTS, Asked, Subject, Target
from authz.task_limits import NO_LIMITS, TaskLimits

WHO = "spiffe://td/agent"
NOTHING = frozenset()


def asked(task="t", *, granted=False, name="pay", args=None, path="/mcp", tool="", sensitivity="", kind="mcp"):
    return Asked(
        Target(method="POST"),
        {"host": "h", "path": path, "type": "", "id": "", "sensitivity": sensitivity},
        "http",
        name,
        {"id": task, "purpose": "", "declared": not granted, **NO_FACTS},
        args=args or {},
        grant_key="key" if granted else "",
        until=2_000.0 if granted else math.inf,
        kind=kind,
        tool=tool,
    )


class Book:
    """A ledger, its clock, and the reason of each call."""

    def __init__(self, *budgets, limits=NO_LIMITS, **settings):
        self.ledger = Ledger(budgets, TaskSettings(**settings))
        self.now = 1_000.0
        self.limits = limits
        self.last = None

    def call(self, question, who=WHO, **about):
        subject = Subject(id=who, trust_domain="td", **about)
        visit = None
        try:
            visit = self.ledger.enter(subject, question, self.limits, NOTHING, "v", self.now)
            self.ledger.charge(visit)
            reason = Reason.ALLOWED
        except Refusal as refusal:
            self.last, reason = refusal, refusal.reason
        if visit is not None:
            self.ledger.conclude(visit, reason)
        return reason


def budget(**changes):
    return BudgetSettings(**{"name": "b", "limit": 3, "window_seconds": 60.0, **changes})


PAY = budget(count="sum", argument="amount", limit="100", match=BudgetMatch(actions=("pay",)))


def test_an_amount_is_counted_to_the_cent():
    book = Book(PAY)
    for amount in (33.33, 33.33, 33.33):
        assert book.call(asked(args={"amount": amount})) is Reason.ALLOWED
    assert book.call(asked(args={"amount": 0.02})) is Reason.BUDGET_EXCEEDED
    assert book.call(asked(args={"amount": 0.01})) is Reason.ALLOWED
    assert book.call(asked(args={"amount": 0.000001})) is Reason.BUDGET_EXCEEDED
    assert book.call(asked(name="look")) is Reason.ALLOWED


@pytest.mark.parametrize(
    "amount", [-1, -0.01, math.nan, math.inf, True, "5", None, [5], {"x": 5}, 10**13, 0.1234567, 0.1 + 0.2, 1e300]
)
def test_what_cannot_be_counted_exactly_is_refused(amount):
    book = Book(PAY)
    assert book.call(asked(args={"amount": amount})) is Reason.BUDGET_ARGUMENT
    assert book.call(asked()) is Reason.BUDGET_ARGUMENT
    assert book.call(asked(args={"amount": 100})) is Reason.ALLOWED


@given(st.decimals(0, 10**9, places=6, allow_nan=False, allow_infinity=False))
def test_every_decimal_number_of_a_request_is_counted_as_it_was_written(value):
    written = Decimal(repr(float(value)))
    assert units_of(float(value)) == (int(value * UNITS) if written == value else units_of(float(written)))
    if len(value.normalize().as_tuple().digits) <= 15:
        assert units_of(float(value)) == int(value * UNITS)
    assert parse_amount(show_amount(int(value * UNITS))) == int(value * UNITS)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1.", ".5", "1.0000001", "1\n", "\u0663", "1000000000001", "1_0"])
def test_an_amount_that_is_none(text):
    with pytest.raises(ValueError, match="is no amount"):
        parse_amount(text)


def test_a_flood_of_declared_tasks_does_not_push_out_what_counts():
    book = Book(budget(per=("task",)), max_claimed=100, max_tracked=100, max_declared=50)
    real, mine = asked("real", granted=True), asked("mine")
    for question in (real, mine) * 3:
        assert book.call(question, "spiffe://td/me") is Reason.ALLOWED
    for number in range(2_000):
        book.call(asked(f"garbage-{number}"), f"spiffe://td/{number % 60}")
    assert max(map(len, (*book.ledger.books.tables, *book.ledger.counters.tables))) <= 100
    for question in (real, mine):
        assert book.call(question, "spiffe://td/me") is Reason.BUDGET_EXCEEDED
    assert book.call(asked("new", granted=True), "spiffe://td/me") in {Reason.ALLOWED, Reason.BUDGET_UNTRACKED}


def test_what_is_new_is_refused_while_there_is_no_room_and_taken_in_once_there_is():
    book = Book(budget(per=("task",)), max_tracked=100, forget_seconds=60.0)
    for number in range(100):
        assert book.call(asked(f"t{number}", granted=True)) is Reason.ALLOWED
    assert book.call(asked("one more", granted=True)) is Reason.BUDGET_UNTRACKED
    assert "tasks.max_tracked" in str(book.last)
    book.now = 2_000.0 + 61.0
    assert book.call(asked("one more", granted=True)) is Reason.ALLOWED


def test_probing_many_paths_fills_nothing_but_its_own_table():
    book = Book(budget(name="r", count="retries"), budget(per=("task", "tool")), max_claimed=100)
    for number in range(500):
        visit = book.ledger.enter(Subject(id=WHO), asked(path=f"/{number}"), NO_LIMITS, NOTHING, "v", book.now)
        book.ledger.conclude(visit, Reason.DENIED_BY_RULE)
    assert book.ledger.kept["retries"] == 100
    assert book.call(asked()) is Reason.ALLOWED


def test_names_that_callers_choose_do_not_run_into_one_another():
    book = Book(budget(limit=1, per=("tool", "task")))
    for tool, task in (("a|b", "c"), ("a", "b|c"), ("a\\", "b|c"), ("a\\|b", "c")):
        assert book.call(asked(task, tool=tool)) is Reason.ALLOWED
    assert book.call(asked("c", tool="a|b")) is Reason.BUDGET_EXCEEDED


def test_long_and_unprintable_names_are_kept_apart_in_bounded_room():
    book = Book(budget(limit=1, per=("tool",)))
    tools = ["x" * 5_000, "x" * 4_999 + "y", "a\x00b", "a\x01b", "a\ud800"]
    for tool in tools:
        assert book.call(asked(tool=tool)) is Reason.ALLOWED
    assert all(len(each.key) < 600 and each.key.isprintable() for each in book.ledger.counters.tables[1])
    assert book.call(asked(tool=tools[0])) is Reason.BUDGET_EXCEEDED


def test_one_budget_that_is_used_up_costs_the_others_nothing():
    book = Book(budget(name="wide", limit=9), budget(name="narrow", limit=1, match=BudgetMatch(actions=("pay",))))
    found = [book.call(asked()) for _ in range(5)]
    assert found == [Reason.ALLOWED] + [Reason.BUDGET_EXCEEDED] * 4
    assert [book.call(asked(name="look")) for _ in range(9)] == [Reason.ALLOWED] * 8 + [Reason.BUDGET_EXCEEDED]


def test_every_element_of_a_batch_is_charged_or_none():
    book = Book(budget(name="calls", limit=5), PAY)
    element = asked(args={"amount": 30})
    batch = msgspec.structs.replace(element, batch=(element, element))
    assert book.call(batch) is Reason.ALLOWED
    assert book.call(batch) is Reason.BUDGET_EXCEEDED
    assert book.call(asked(args={"amount": 10})) is Reason.ALLOWED
    assert book.call(asked(args={"amount": 1})) is Reason.BUDGET_EXCEEDED
    assert book.call(asked(name="look")) is Reason.ALLOWED
    assert book.call(asked(name="look")) is Reason.BUDGET_EXCEEDED
    account = book.ledger.books.known(f"t {WHO}")
    assert (account.calls, account.denials) == (5, 3)


def test_what_one_element_of_a_batch_sees_all_of_them_have_seen():
    """A batch that reads and sends is no way around a label."""
    book = Book()
    first, second = asked(name="send"), asked(name="read", sensitivity="restricted")
    visit = book.ledger.enter(
        Subject(id=WHO), msgspec.structs.replace(first, batch=(second,)), NO_LIMITS, frozenset({"seen"}), "v", book.now
    )
    assert [each.task["seen"] for each in visit.asked.every] == [("restricted",)] * 2


def test_tenants_are_what_the_inventory_says():
    book = Book(budget(per=("tenant",)), tenant="sub.labels.tenant")
    for number in range(3):
        assert book.call(asked(), f"spiffe://td/{number}", attributes={"labels": {"tenant": "a"}}) is Reason.ALLOWED
    assert book.call(asked(), "spiffe://td/9", attributes={"labels": {"tenant": "a"}}) is Reason.BUDGET_EXCEEDED
    assert book.call(asked(), "spiffe://td/8", attributes={"labels": {"tenant": "b"}}) is Reason.ALLOWED
    assert book.call(asked(), "spiffe://td/7") is Reason.ALLOWED


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (BudgetMatch(principals=("spiffe://td/*",)), True),
        (BudgetMatch(principals=("spiffe://td/agent",)), True),
        (BudgetMatch(principals=("spiffe://td/agents/*",)), False),
        (BudgetMatch(actions=("mcp:*",)), False),
        (BudgetMatch(tools=("transfer",)), True),
        (BudgetMatch(tools=("look",)), False),
        (BudgetMatch(hosts=("h",), paths=("/v1/{x}",)), True),
        (BudgetMatch(hosts=("*.h",)), False),
        (BudgetMatch(paths=("/v1/a/*",)), True),
        (BudgetMatch(paths=("/v1",)), False),
        (BudgetMatch(sensitivities=("restricted",)), True),
        (BudgetMatch(sensitivities=("public",)), False),
    ],
)
def test_a_budget_counts_what_it_says(match, fits):
    book = Book(budget(limit=1, match=match))
    question = asked(tool="transfer", path="/v1/a", sensitivity="restricted")
    assert [book.call(question), book.call(question)] == [
        Reason.ALLOWED,
        Reason.BUDGET_EXCEEDED if fits else Reason.ALLOWED,
    ]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": "3"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"count": "sum"}, "argument"),
        ({"count": "sum", "argument": "amount", "limit": "1e3"}, "limit"),
        ({"count": "sum", "argument": "a b", "limit": "1"}, "argument"),
        ({"argument": "amount"}, "argument"),
        ({"count": "resources", "limit": 10_001}, "limit"),
        ({"count": "retries", "exact": True}, "exact"),
        ({"per": ("task", "task")}, "per"),
    ],
)
def test_settings_that_contradict_themselves(changes, key):
    assert key in [found for found, _ in budget(**changes).problems()]


def test_an_argument_that_is_not_read_is_no_way_around_a_limit():
    """The body of a POST may hold an amount where nothing decoded it."""
    book = Book(limits=TaskLimits(sums={"amount": "10"}))
    book.ledger.share()
    assert book.call(asked("t", granted=True, kind="")) is Reason.BUDGET_ARGUMENT
    assert book.call(asked("t", granted=True, kind="mcp")) is Reason.ALLOWED


def test_a_suspension_begins_with_the_last_denial_and_ends_by_itself():
    book = Book(breaker=BreakerSettings(denials=2, window_seconds=10.0, suspend_seconds=30.0))
    told = []
    book.ledger.on_suspend = lambda account, until: told.append((account.key, until))
    subject = Subject(id=WHO)

    def denied():
        visit = book.ledger.enter(subject, asked("t", granted=True), NO_LIMITS, NOTHING, "v", book.now)
        book.ledger.conclude(visit, Reason.DENIED_BY_RULE)

    denied()
    book.now += 12.0  # the window and a slot
    denied()
    assert told == []
    denied()
    assert told == [("t", book.now + 30.0)]
    assert book.call(asked("t", granted=True)) is Reason.TASK_SUSPENDED
    assert book.last.retry_after == 31
    book.now += 30.0
    assert book.call(asked("t", granted=True)) is Reason.ALLOWED


def test_calls_without_a_task_are_never_suspended():
    book = Book(breaker=BreakerSettings(denials=1))
    for _ in range(3):
        visit = book.ledger.enter(Subject(id=WHO), asked(""), NO_LIMITS, NOTHING, "v", book.now)
        book.ledger.conclude(visit, Reason.DENIED_BY_RULE)
    assert book.call(asked("")) is Reason.ALLOWED


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_limits_that_were_narrowed_lie_within_both(calls, resources, other_calls, other_resources):
    one = TaskLimits(calls=calls, resources=resources, sums={"a": "5"})
    other = TaskLimits(calls=other_calls, resources=other_resources, sums={"b": "1.5"})
    both = one.narrowed(other)
    assert both.within(one)
    assert both.within(other)
    assert both == other.narrowed(one)
    assert both.narrowed(one) == both


def visited(book, question):
    """A call that is charged, and not over yet."""
    visit = book.ledger.enter(Subject(id=WHO, trust_domain="td"), question, NO_LIMITS, NOTHING, "v", book.now)
    book.ledger.charge(visit)
    return visit


def test_a_resource_stays_counted_when_one_of_the_calls_that_used_it_is_denied_after_all():
    """Else a call that waits for nobody hides every further resource from the budget."""
    book = Book(budget(count="resources"))
    for number in range(3):
        waiting = visited(book, asked(path=f"/{number}"))
        assert book.call(asked(path=f"/{number}")) is Reason.ALLOWED
        book.ledger.conclude(waiting, Reason.APPROVAL_REQUIRED)
    assert book.call(asked(path="/3")) is Reason.BUDGET_EXCEEDED
    assert book.call(asked(path="/2")) is Reason.ALLOWED
    book.now += 66.0
    alone = visited(book, asked(path="/0"))
    book.ledger.conclude(alone, Reason.APPROVAL_REQUIRED)
    assert [book.call(asked(path=f"/{number}")) for number in (1, 2, 3)] == [Reason.ALLOWED] * 3
    assert book.call(asked(path="/0")) is Reason.BUDGET_EXCEEDED


def test_a_resource_stays_counted_that_another_process_used_while_the_call_waited():
    book = Book(budget(count="resources"))
    book.ledger.share()
    waiting = visited(book, asked(path="/0"))
    [(counter, slot, _, member)] = waiting.taken
    counter.learn(slot, member, 1)
    book.ledger.conclude(waiting, Reason.APPROVAL_REQUIRED)
    assert [book.call(asked(path=f"/{number}")) for number in (1, 2, 3)][-1] is Reason.BUDGET_EXCEEDED


def test_a_batch_that_does_not_fit_costs_nothing_though_it_names_a_resource_twice():
    book = Book(budget(count="resources", limit=2))
    batch = msgspec.structs.replace(asked(), batch=tuple(asked(path=path) for path in ("/0", "/0", "/1", "/2")))
    assert book.call(batch) is Reason.BUDGET_EXCEEDED
    assert [book.call(asked(path=path)) for path in ("/8", "/9")] == [Reason.ALLOWED] * 2


class Asking(Book):
    """A book of which a human may let calls exceed the limits."""

    def visit(self, question):
        visit = self.ledger.enter(Subject(id=WHO, trust_domain="td"), question, self.limits, NOTHING, "v", self.now)
        self.ledger.charge(visit)
        return visit


def texts(departures):
    return [(each.limit_of, each.limit, each.used, each.asked, each.group) for each in departures]


@pytest.mark.parametrize(
    ("settings", "first", "second", "told"),
    [
        ({}, asked(), asked(), ("budget b", "1", "1", "1", "leads")),
        (
            {"count": "sum", "argument": "amount", "limit": "99.95"},
            asked(args={"amount": 99.5}),
            asked(args={"amount": 0.75}),
            ("budget b", "99.95", "99.5", "0.75", "leads"),
        ),
        ({"count": "resources"}, asked(path="/a"), asked(path="/b"), ("budget b", "1", "1", "1", "leads")),
    ],
    ids=["calls", "sum", "resources"],
)
def test_a_call_beyond_a_budget_tells_what_a_human_is_asked(settings, first, second, told):
    book = Asking(budget(**{"limit": 1, "approval": "leads", **settings}))
    assert book.visit(first).beyond == ()
    visit = book.visit(second)
    assert texts(visit.beyond) == [told]
    assert book.ledger.exceeded == {"b": 0}
    book.ledger.conclude(visit, Reason.APPROVAL_REQUIRED)  # it waits, and costs nothing
    assert texts(book.visit(second).beyond) == [told]


def test_what_the_store_refuses_of_a_call_is_for_a_human_and_is_not_remembered_against_the_next():
    book = Asking(budget(limit=1, exact=True, approval="leads"))
    refused = book.ledger.refused(book.visit(asked()), NoRoom(0, 9, 7))
    assert isinstance(refused, OverLimit)
    assert texts([refused.departure]) == [("budget b", "1", "7", "1", "leads")]
    assert len(book.visit(asked()).demands) == 1


def test_what_the_store_refuses_of_a_batch_leaves_calls_by_themselves_to_a_human():
    book = Asking(budget(limit=1, exact=True, approval="leads"))
    batch = msgspec.structs.replace(asked(), batch=(asked(),))
    refused = book.ledger.refused(book.visit(batch), NoRoom(0, 99_999, 1))
    assert (refused.reason, isinstance(refused, OverLimit)) == (Reason.BUDGET_EXCEEDED, False)
    assert [each.group for each in book.visit(asked()).demands] == ["leads"]
    with pytest.raises(Refusal, match="budget_exceeded"):
        book.visit(batch)


def test_what_the_store_refuses_of_a_batch_for_a_limit_leaves_calls_by_themselves_to_a_human():
    book = Asking(limits=TaskLimits(calls=1), limit_approval="leads")
    batch = msgspec.structs.replace(asked(granted=True), batch=(asked(granted=True),))
    assert book.ledger.refused(book.visit(batch), NoRoom(0, 0, 1)).reason is Reason.TASK_LIMIT
    assert [each.group for each in book.visit(asked(granted=True)).demands] == ["leads"]
    with pytest.raises(Refusal, match="task_limit"):
        book.visit(batch)


@pytest.mark.parametrize("limits", [TaskLimits(calls=1), TaskLimits(sums={"amount": "0.5"})], ids=["calls", "sums"])
def test_what_the_store_refuses_of_a_limit_is_for_a_human(limits):
    book = Asking(limits=limits, limit_approval="leads")
    question = asked(granted=True, args={"amount": 0.25})
    refused = book.ledger.refused(book.visit(question), NoRoom(0, 0, 1))
    name, shown = ("calls", ("1", "1", "1")) if limits.calls else ("sum:amount", ("0.5", "0.000001", "0.25"))
    assert texts([refused.departure]) == [(f"task limit {name}", *shown, "leads")]
    assert book.visit(question).demands[0].group == "leads"


def test_of_a_batch_no_human_is_asked():
    book = Book(budget(limit=1, approval="leads"))
    batch = msgspec.structs.replace(asked(), batch=(asked(), asked()))
    assert book.call(batch) is Reason.BUDGET_EXCEEDED
    assert book.ledger.exceeded == {"b": 1}


def test_retries_are_not_for_humans():
    settings = budget(count="retries", approval="leads")
    assert [key for key, _ in settings.problems()] == ["approval"]
