"""An agent of the story: takes work over A2A, gets itself a grant for it, and does it with tools over MCP.

    python envoy/agents/agent.py NAME ADDRESS_FILE DIRECTORY

Everything that it calls it calls through Envoy, with its own certificate. For each piece of work it exchanges the
grant of whoever asked for a narrower one of its own (RFC 8693), so that each hop has its own identity and only less
power. It has no judgement: it tries whatever it is told, as an agent that was talked into something would.
"""

import asyncio
import sys
from pathlib import Path

from a2a.helpers.proto_helpers import get_data_parts, new_data_part, new_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events.event_queue_v2 import EventQueue
from a2a.server.request_handlers.default_request_handler_v2 import DefaultRequestHandlerV2
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks.inmemory_task_store import InMemoryTaskStore
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from serving import serve
from starlette.applications import Starlette
from workload import GRANT_HEADER, Workload

from authz.client import permission
from authz.control.v1.common_pb2 import Permission

SCOPES: dict[str, list[Permission]] = {
    "researcher": [permission(["mcp:*"], ["/mcp/crm", "/mcp/outside"])],
    "payer": [permission(["mcp:*"], ["/mcp/bank"])],
}
"""What each asks for, for the time of a piece of work: its own tools, whatever else the task may do."""


class Worker(AgentExecutor):
    """Does what it is told, call by call, and answers what came of each."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._grants: dict[str, str] = {}
        """The grant of whoever asked -> one's own. One for a task: a human's word on a call is bound to its grant."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Do one piece of work: the calls in the message's data."""
        headers = context.call_context.state["headers"]
        work = get_data_parts(context.message.parts)[0]
        asked_with = headers[GRANT_HEADER]
        if asked_with not in self._grants:
            scope = SCOPES[self._workload.name]
            self._grants[asked_with] = await self._workload.exchange(asked_with, scope)
        told = await self._workload.use_tools(self._grants[asked_with], work["calls"])
        await event_queue.enqueue_event(new_message([new_data_part({"told": told})], context_id=context.context_id))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Nothing that it does lasts."""


def card(name: str) -> AgentCard:
    """Describe an agent to those who look for one."""
    return AgentCard(
        name=name,
        description=f"the {name} of the story",
        version="1.0",
        supported_interfaces=[
            AgentInterface(protocol_binding="JSONRPC", url=f"/agents/{name}", protocol_version="1.0")
        ],
        capabilities=AgentCapabilities(streaming=False),
        default_input_modes=["application/json"],
        default_output_modes=["application/json"],
        skills=[AgentSkill(id=name, name=name, description="does what it is told", tags=["story"])],
    )


def application(workload: Workload) -> Starlette:
    """Serve one agent under /agents/<name>."""
    about = card(workload.name)
    handler = DefaultRequestHandlerV2(Worker(workload), InMemoryTaskStore(), about)
    return Starlette(
        routes=create_agent_card_routes(about) + create_jsonrpc_routes(handler, f"/agents/{workload.name}")
    )


if __name__ == "__main__":
    asyncio.run(serve(application(Workload(sys.argv[1], Path(sys.argv[3]))), Path(sys.argv[2])))
