"""What a ledger tells the others: all of it, no more at once than the store takes, and tools where rules read them."""

import pytest

from authz.budgets.ledger import Ledger
from authz.budgets.settings import BudgetSettings, TaskSettings
from authz.budgets.sharing import TOOLS_OF, Exchange, News
from authz.errors import Reason
from authz.model import NO_FACTS, Asked, Subject, Target
from authz.task_limits import NO_LIMITS

WHO = "spiffe://td/agent"
NOW = 1_000.0
FIRST_USE = frozenset({"first_use"})


class Process:
    """A ledger of a process that shares, and its exchange."""

    def __init__(self, *budgets, reads=FIRST_USE, **settings):
        self.ledger = Ledger(budgets, TaskSettings(**settings))
        self.ledger.share()
        self.exchange = Exchange(self.ledger)
        self.reads = reads

    def call(self, question, reason=Reason.ALLOWED):
        """Answer whether it looked like a first use."""
        visit = self.ledger.enter(Subject(id=WHO), question, NO_LIMITS, self.reads, "v", NOW)
        self.ledger.charge(visit)
        self.ledger.conclude(visit, reason)
        return visit.asked.task["first_use"]

    def tell(self, limit=100):
        news = self.exchange.collect(limit)
        self.exchange.told((), NOW)
        return news

    def tools(self, limit=100):
        return [
            (each.counter.removeprefix(TOOLS_OF), each.member) for each in self.tell(limit) if TOOLS_OF in each.counter
        ]

    def learn(self, *told, until=NOW + 60):
        self.exchange.told([News(f"{TOOLS_OF}{task}", 0, tool, 1, until) for task, tool in told], NOW)


def of(tool, task="task-1", *, granted=True, path="/mcp"):
    return Asked(
        Target(method="POST"),
        {"host": "h", "path": path, "type": "", "id": "", "sensitivity": ""},
        "http",
        f"mcp:tools/call:{tool}",
        {"id": task, "purpose": "", "declared": not granted, **NO_FACTS},
        grant_key="key" if granted else "",
        until=2_000.0,
        kind="mcp",
        tool=tool,
    )


@pytest.mark.parametrize("limit", [1, 2, 7, 30])
def test_no_more_is_told_than_fits_and_nothing_is_lost(limit):
    """What the store leaves out was counted nowhere."""
    process = Process(BudgetSettings(name="b", count="resources", limit=100, window_seconds=60.0))
    for number in range(30):
        process.call(of("mail", f"task-{number % 3}", path=f"/{number}"))
    told = []
    while news := process.tell(limit):
        assert len(news) <= limit
        told += news
    assert len({each.member for each in told if each.counter.startswith("b")}) == 30
    calls = [each.amount for each in told if "calls of" in each.counter]
    assert sum(calls) == 30
    assert len([each for each in told if TOOLS_OF in each.counter]) == 3


def test_a_tool_that_was_used_elsewhere_is_not_used_for_the_first_time():
    process = Process()
    process.learn(("task-1", "mail"))
    assert not process.call(of("mail"))
    assert process.call(of("pay"))
    assert process.call(of("mail", "task-2"))
    assert sorted(process.tools()) == [("task-1", "pay"), ("task-2", "mail")]


def test_each_tool_is_told_once_and_again_where_it_may_not_have_arrived():
    process = Process()
    process.call(of("mail"))
    assert len(process.exchange.collect(100)) == 2
    process.exchange.failed()
    assert process.tools() == [("task-1", "mail")]
    process.call(of("mail"))
    assert process.tools() == []


def test_a_tool_is_told_when_the_call_that_waited_is_allowed():
    process = Process()
    visit = process.ledger.enter(Subject(id=WHO), of("mail"), NO_LIMITS, FIRST_USE, "v", NOW)
    process.ledger.charge(visit)
    assert process.tools() == []
    process.ledger.conclude(visit, Reason.ALLOWED)
    assert process.tools() == [("task-1", "mail")]


def test_a_call_that_was_denied_after_all_has_used_nothing():
    process = Process()
    process.call(of("mail"), Reason.DENIED_BY_RULE)
    assert process.tools() == []
    assert process.call(of("mail"))


def test_tools_are_told_where_rules_read_them():
    process = Process(reads=frozenset({"calls"}))
    process.ledger.enter(Subject(id=WHO), of("mail"), NO_LIMITS, frozenset({"calls"}), "v", NOW)
    process.call(of("mail"))
    assert process.tools() == []
    process.ledger.enter(Subject(id=WHO), of("mail"), NO_LIMITS, FIRST_USE, "w", NOW)
    process.reads = FIRST_USE
    process.call(of("pay"))
    assert sorted(process.tools()) == [("task-1", "mail"), ("task-1", "pay")]


def test_a_task_that_is_only_claimed_opens_no_account_elsewhere():
    process = Process()
    key = f"task-1 {WHO}"
    process.learn((key, "mail"))
    assert process.ledger.kept["claimed_tasks"] == 0
    assert process.call(of("mail", granted=False))
    process.learn((key, "pay"))
    assert not process.call(of("pay", granted=False))


def test_what_is_over_opens_no_account_and_what_there_is_no_room_for_neither():
    process = Process(max_tracked=100, max_tools=2)
    process.learn(("task-1", "mail"), until=NOW)
    assert process.ledger.kept["tasks"] == 0
    process.learn(*((f"task-{number}", "mail") for number in range(200)))
    assert process.ledger.kept["tasks"] == 100
    process.learn(*(("task-1", f"tool-{number}") for number in range(5)))
    assert len(process.ledger.books.known("task-1").tools) == 2
