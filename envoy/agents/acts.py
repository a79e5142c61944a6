"""The story itself: who does what, what should come of it, and why the audit trail says it did."""

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pki
from scene import Scene
from workload import Workload

from authz.client import connect, limits, permission
from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Task

Record = dict[str, Any]
"""One line of a log."""
_LOG_SECONDS = 30.0
_POLL_SECONDS = 0.02
_OK = 200
CRAWLER_CALLS = 20
RUNAWAY_CALLS = 30

PLANNER = pki.WORKLOADS["planner"]
LIMIT_CENTS = 100_000
SCOPE = [permission(["*"], ["/agents/*", "/mcp/*"])]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool, and what should come of it."""

    server: str
    tool: str
    arguments: dict[str, object]
    reason: str
    note: str = ""

    @property
    def told(self) -> dict[str, object]:
        """As an agent is told."""
        return {"server": self.server, "tool": self.tool, "arguments": self.arguments}


def publish(reason: str, note: str = "") -> Call:
    """Tell the world."""
    return Call("outside", "publish", {"text": "all is well"}, reason, note)


def pay(cents: int, reason: str, note: str = "") -> Call:
    """Pay the supplier."""
    return Call("bank", "transfer_funds", {"to": "acme", "cents": cents}, reason, note)


RESEARCH = (
    publish("allowed", "nothing secret was read yet"),
    Call("crm", "read_customer", {"customer": "42"}, "allowed"),
    publish("denied_by_rule", "the task has read personal data: nothing goes outside any more"),
    Call("bank", "transfer_funds", {"to": "me", "cents": 1}, "grant_scope", "no tool of the researcher's grant"),
)
BEFORE = (pay(20_000, "allowed"), pay(40_000, "approval_required", "above 250.00: a human has to agree"))
AFTER = (
    pay(40_000, "allowed", "the very call that was approved"),
    pay(40_000, "approval_required", "once more is another payment"),
    pay(20_000, "allowed"),
    pay(20_001, "task_limit", "one cent over what the task may pay in all"),
    pay(20_000, "allowed", "to the cent"),
    pay(1, "task_limit"),
)


class Story:
    """Performs the acts on a stage."""

    def __init__(self, stage: Scene) -> None:
        self._stage = stage
        self._wrong: list[str] = []
        self._planner = Workload("planner", stage.directory)
        self._crawler = Workload("crawler", stage.directory)

    async def perform(self) -> list[str]:
        """Play all acts, print what happens, and answer what was not as expected."""
        print("A human, alice, starts a task for the planner: close the quarter, pay at most 1000.00.")
        token, task = await self._start()
        print("\nThe planner asks the researcher, who asks for a grant of its own and gets a narrower one:")
        await self._delegate(token, "researcher", RESEARCH)
        print("\nThe planner asks the payer:")
        told = await self._delegate(token, "payer", BEFORE)
        approval = told[-1].get("told", {}).get("access_request", {}).get("id", "")
        print("\nAda, of the finance department, sees it in the console and says yes:")
        by = await self._stage.approver.approve(approval, "invoice 4711 is right")
        print(f"  approval {approval} given, with {by}")
        print("\nThe payer tries again:")
        await self._delegate(token, "payer", AFTER)
        print("\nA crawler of another team runs away, searching again and again:")
        await self._run_away()
        print("\nThe task is completed; every grant that was made for it is dead:")
        await self._complete(task)
        await self._delegate(token, "researcher", (), refused="task_completed")
        self._check_done()
        print("\nWhat the audit trail says:")
        for line, same in itertools.groupby(map(_summary, self._trail())):
            times = len(list(same))
            print(f"  {line}{f'   {times} times' if times > 1 else ''}")
        return self._wrong

    async def _start(self) -> tuple[str, str]:
        async with connect(f"unix:{self._stage.control_socket}") as control:
            request = grants_pb2.IssueRequest(
                holder=PLANNER,
                task=Task(purpose="close the quarter"),
                permissions=SCOPE,
                limits=limits(sums={"cents": str(LIMIT_CENTS)}),
            )
            answer = await control.call("Grants/Issue", request, grants_pb2.IssueResponse)
        return answer.token, answer.grant.task.id

    async def _complete(self, task: str) -> None:
        async with connect(f"unix:{self._stage.control_socket}") as control:
            request = grants_pb2.CompleteRequest(task_id=task, outcome="done")
            await control.call("Grants/Complete", request, grants_pb2.CompleteResponse)

    async def _delegate(self, token: str, agent: str, calls: Sequence[Call], refused: str = "") -> list[Record]:
        """Have an agent make calls; answer what it tells. `refused`: why it should not even be asked."""
        told = await self._planner.ask_agent(token, agent, [call.told for call in calls])
        if refused:
            self._compare(f"planner -> {agent}", refused, self._reason(told[0]))
            return told
        if len(told) != len(calls):
            self._wrong.append(f"planner -> {agent}: {told}")
            return told
        for call, came in zip(calls, told, strict=True):
            self._compare(f"{agent}: {call.tool} {_arguments(call)}", call.reason, self._reason(came), call.note)
        return told

    async def _run_away(self) -> None:
        call = Call("crm", "search", {"query": "everybody"}, "allowed")
        told = await self._crawler.use_tools("", [call.told] * RUNAWAY_CALLS)
        reasons = [self._reason(each) for each in told]
        expected = ["allowed"] * CRAWLER_CALLS + ["budget_exceeded"] * (RUNAWAY_CALLS - CRAWLER_CALLS)
        counted = ", ".join(f"{reason} {len(list(same))} times" for reason, same in itertools.groupby(reasons))
        self._compare(f"crawler: search {RUNAWAY_CALLS} times", expected, reasons, shown=counted)

    def _check_done(self) -> None:
        """Compare what reached the tools with what was allowed: what is refused must not have happened."""
        done = self._lines("calls.jsonl")
        paid = sum(call["cents"] for call in done if call["tool"] == "transfer_funds")
        published = sum(call["tool"] == "publish" for call in done)
        self._compare("paid in all, in cents", LIMIT_CENTS, paid)
        self._compare("texts published", 1, published)

    def _compare(self, what: str, expected: object, found: object, note: str = "", shown: str = "") -> None:
        good = found == expected
        print(f"{' ' if good else '!'} {what:<52} {shown or found}{f'   ({note})' if note else ''}")
        if not good:
            self._wrong.append(f"{what}: expected {expected}, got {found}")

    def _reason(self, told: Record) -> str:
        """Why a call came out so: from the record of its decision, which the caller knows by id only."""
        decision = told.get("decision_id")
        if not decision:
            return "allowed" if told["status"] == _OK else f"status {told['status']}"
        end = time.monotonic() + _LOG_SECONDS
        while time.monotonic() < end:
            for record in self._trail():
                if record["decision_id"] == decision:
                    return str(record["reason"])
            time.sleep(_POLL_SECONDS)
        return f"decision {decision} is not on record"

    def _trail(self) -> list[Record]:
        return [record for record in self._lines("audit.jsonl") if record["event"] == "decision"]

    def _lines(self, name: str) -> list[Record]:
        """What processes have written so far, without a line that has not ended yet."""
        whole, _, _ = (self._stage.directory / name).read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]


def _arguments(call: Call) -> str:
    return ", ".join(f"{name}={value}" for name, value in call.arguments.items())


def _summary(record: Record) -> str:
    subject = (record.get("subject") or {}).get("id", "(nobody)").rpartition("/")[2]
    action = record.get("action") or {}
    task = (record.get("task") or {}).get("id", "")
    return (
        f"{record['effect']:<5} {record['reason']:<20} {subject:<11} "
        f"{action.get('name', ''):<34} {action.get('path', ''):<20} {task}"
    )
